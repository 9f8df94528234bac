"""Small widgets: buttons, boxes, labels, links, facts, menus and tooltips."""

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QCursor, QTextDocument
from PySide6.QtWidgets import (
    QApplication,
    QLabel,
    QMenu,
    QPushButton,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from surgeon_gui.widgets.choice_box import SHORT, ChoiceBox
from surgeon_gui.widgets.controls import (
    bold,
    eliding_label,
    enable_unless,
    give_menu,
    show_elided,
    text_label,
)
from surgeon_gui.widgets.elided_link import ElidedLink
from surgeon_gui.widgets.facts import Facts, align
from surgeon_gui.widgets.layouts import vertical
from surgeon_gui.widgets.popups import round_corners
from surgeon_gui.widgets.tool_tips import plain_tip


@pytest.fixture
def page(qtbot):
    page = QWidget()
    qtbot.addWidget(page)
    column = QVBoxLayout(page)
    for name in ("save", "next"):
        made = QPushButton(name)
        made.setObjectName(name)
        column.addWidget(made)
    page.show()
    page.activateWindow()
    qtbot.waitActive(page)
    return page


def test_disabled_button_does_not_pass_the_focus_on(page):
    save = page.findChild(QPushButton, "save")
    save.setFocus()
    enable_unless(save, "It is being saved.")
    assert QApplication.focusWidget() is None
    enable_unless(save, "")
    assert QApplication.focusWidget() is save


def test_focus_that_the_user_has_moved_stays(page):
    save, other = page.findChildren(QPushButton)
    save.setFocus()
    enable_unless(save, "It is being saved.")
    other.setFocus()
    enable_unless(save, "")
    assert QApplication.focusWidget() is other
    other.clearFocus()
    enable_unless(save, "")  # it was enabled already
    assert QApplication.focusWidget() is None


@pytest.mark.parametrize("is_menu", [True, False])
def test_widget_is_hovered_after_its_list_only_if_the_mouse_is_on_it(page, is_menu):
    save, box = page.findChild(QPushButton, "save"), ChoiceBox()
    menu = QMenu(page)
    give_menu(save, menu)
    page.layout().addWidget(box)
    widget, close = (save, menu.aboutToHide.emit) if is_menu else (box, box.hidePopup)
    page.layout().activate()
    for place, is_hovered in ((widget.rect().center(), True), (QPoint(-5, 0), False)):
        QCursor.setPos(widget.mapToGlobal(place))
        widget.setAttribute(Qt.WidgetAttribute.WA_UnderMouse)
        close()
        assert widget.underMouse() is is_hovered


def test_box_shows_the_short_form_of_a_choice(qtbot):
    box = ChoiceBox()
    qtbot.addWidget(box)
    box.addItems(["All outcomes", "Failed"])
    box.setItemData(0, "Outcome", SHORT)
    assert box.shown_text == "Outcome"
    assert box.currentText() == "All outcomes"  # in the list, and read aloud
    box.setCurrentIndex(1)
    assert box.shown_text == "Failed"


@pytest.mark.qt_log_ignore("plugin does not support")  # offscreen
def test_list_opens_at_the_choice_after_escape(qtbot):
    box = ChoiceBox()
    qtbot.addWidget(box)
    box.offer({1: "One", 2: "Two", 3: "Three"}, 3)
    box.show()
    box.showPopup()
    qtbot.keyClick(box.view(), Qt.Key.Key_Home)
    qtbot.keyClick(box.view(), Qt.Key.Key_Escape)
    assert box.value == 3
    box.showPopup()
    assert box.view().currentIndex().row() == 2
    box.hidePopup()


def test_button_of_an_inactive_window_gets_the_focus_back(page, qtbot):
    save = page.findChild(QPushButton, "save")
    save.setFocus()
    other = QWidget()
    qtbot.addWidget(other)
    other.show()
    other.activateWindow()
    qtbot.waitActive(other)
    enable_unless(save, "It is being saved.")
    assert page.focusWidget() is None
    enable_unless(save, "")
    assert page.focusWidget() is save


def test_label_does_not_wrap_before_a_unit(qtbot):
    text = "weights 95 % weights"
    label = text_label()
    qtbot.addWidget(label)
    label.setText(text)
    # There is room for the number, but not for its unit.
    label.resize(label.fontMetrics().horizontalAdvance("weights 95 ") + 4, 100)
    label.show()  # sends the event of the size
    shown = QLabel.text(label)
    assert "95\N{NO-BREAK SPACE}%" in shown
    assert label.text() == text  # as it was set
    label.setText("_" * 200)
    assert label.minimumSizeHint().width() < label.fontMetrics().averageCharWidth() * 60
    assert label.text() == "_" * 200


def test_line_of_figures_is_cut_at_its_end_and_a_path_in_its_middle(qtbot):
    text = "135 M parameters and 98.4 MB in a file of GGUF"
    for keeps_end, last in ((False, "\N{HORIZONTAL ELLIPSIS}"), (True, "GGUF")):
        label = eliding_label("label", keeps_end=keeps_end)
        qtbot.addWidget(label)
        label.resize(label.fontMetrics().horizontalAdvance(text) // 2, 20)
        show_elided(label, text)
        assert label._elidedText().endswith(last)
        label.resize(label.fontMetrics().horizontalAdvance(text) + 4, 20)
        label.show()  # sends the event of the size
        assert QLabel.text(label) == text
        label.setFont(bold(label.font(), 2.0))
        assert "…" in QLabel.text(label)


@pytest.mark.qt_log_ignore("plugin does not support")  # offscreen
def test_menus_and_lists_that_pop_up_have_round_corners(qtbot):
    menu, box = round_corners(QMenu()), ChoiceBox()
    box.addItems(["A choice"])
    menu.addAction("An action")
    for each in (menu, box):
        qtbot.addWidget(each)
    box.show()
    menu.popup(QPoint())
    box.showPopup()
    for popup in (menu, box.view().window()):
        assert not popup.mask().isEmpty()
        assert not popup.mask().contains(QPoint())
        popup.hide()
    shown = box.view().window().mask().boundingRect()
    assert shown == box.view().geometry()  # not the strips above and below it


def test_link_with_the_room_that_it_asks_for_is_whole(qtbot):
    link = ElidedLink("plan_folder_button", lambda: None)
    qtbot.addWidget(link)
    link.show()
    for length in range(10, 60):
        line = f"Speicherort: {'/home/me/models/runs-de' * 3}"[:length]
        link.show_line(line, "")
        link.resize(link.sizeHint())
        assert link.text() == line
        link.resize(link.sizeHint().width() - 40, link.height())
        assert "\N{HORIZONTAL ELLIPSIS}" in link.text()


def test_long_path_does_not_widen_panel(qtbot):
    facts = Facts("facts")
    qtbot.addWidget(facts)
    facts.show_facts((("Folder", "/home/me/.local/share/surgeon" * 3),))
    facts.show()
    assert facts.minimumSizeHint().width() < 150
    facts.resize(300, 10)
    short = Facts("short")
    qtbot.addWidget(short)
    short.show_facts((("Folder", "here"),))
    assert facts.heightForWidth(300) > 2 * short.heightForWidth(300)  # it wraps


@pytest.mark.parametrize(
    "text",
    [
        "A model",
        "<b>bold</b> & <a href='http://a.example'>a link</a>",
        "two\nlines,  two spaces",
        "&lt;b&gt;",
    ],
)
def test_tip_shows_the_text_as_it_is(text):
    document = QTextDocument()
    document.setHtml(plain_tip(text))
    assert document.toPlainText() == text


def test_tip_keeps_units_beside_their_numbers():
    assert "95\N{NO-BREAK SPACE}% of" in plain_tip("95 % of")


def test_no_text_has_no_tip():
    assert plain_tip("") == ""


@pytest.mark.qt_log_ignore("does not support raise", extend=True)
def test_long_tip_wraps(qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    text = "A long explanation of a setting. " * 20
    QToolTip.showText(QPoint(0, 0), plain_tip(text), parent)
    shown = [x for x in QApplication.topLevelWidgets() if x.inherits("QTipLabel")]
    assert len(shown) == 1
    assert shown[0].width() < parent.fontMetrics().horizontalAdvance(text) / 4
    QToolTip.hideText()


def test_values_of_aligned_tables_begin_at_the_same_place(qtbot):
    page, tables = QWidget(), (Facts("short"), Facts("long"))
    vertical(page, *tables)
    qtbot.addWidget(page)
    for table, name in zip(tables, ("Text", "File and model in memory"), strict=True):
        table.show_facts(((name, "value"),))
    align(*tables)
    page.show()
    (left,), (other,) = (
        [x.x() for x in table.findChildren(QLabel) if x.text() == "value"]
        for table in tables
    )
    assert left == other > 0
