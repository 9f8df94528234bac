"""No text is cut off at 1280 x 720, and every control has a name of its own."""

import itertools
import re
from dataclasses import replace
from types import SimpleNamespace

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QPushButton, QScrollArea

from docs import generate_objects
from surgeon_engine.api.config.presets import presets
from surgeon_engine.api.config.pruning import Target
from surgeon_engine.api.messages.events import Failed
from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.theme import apply_theme
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.text.problems import Step
from surgeon_gui.views.bars import Bar
from surgeon_gui.views.steps.step_panel import StepCard, StepHeader
from surgeon_gui.widgets.layouts import PageArea
from surgeon_gui.window.main_window import MainWindow
from tests.helpers.widget_queries import choose_unit
from tests.helpers.window_audit import controls, cut_texts, pages, settle
from tests.helpers.windows import (
    find,
    load_and_wait,
    open_place,
    open_step,
    wait_until,
)

QT_PREFIXES = ("_q_", "Scroll")  # controls that Qt creates


def test_no_text_is_cut_off_with_any_preset_and_target(qtbot, window):
    load_and_wait(qtbot, window)
    open_step(window, Step.TARGET)
    find(window, "pruning_advanced_button").setChecked(True)
    for preset, target in zip(presets(), itertools.cycle(Target), strict=False):
        window.session.draft.edit_part(replace(preset.pruning, max_divergence=0.5))
        choose_unit(window, target)
        assert cut_texts(window) == [], preset.name


def test_header_of_an_opened_step_is_visible(qtbot, window):
    load_and_wait(qtbot, window)
    for step in (*Step, Step.MODEL, Step.EXPORT, Step.TARGET):
        open_step(window, step)
        settle()
        header = find(window, f"step_{step.value}_header")
        area = find(window, "step_panel")
        top = header.mapTo(area, header.rect().topLeft()).y()
        assert 0 <= top <= area.height() - header.height(), step


def test_scroll_bars_and_errors_move_nothing(qtbot, window):
    load_and_wait(qtbot, window)
    window.resize(1280, 800)
    settle()
    watched = ["model_card", "place_runs_button", "model_change_button"]

    def places():
        found = [find(window, name) for name in watched]
        return [(x.mapTo(window, QPoint()), x.width()) for x in found]

    before = places()
    window.show_problem(Failed("Nothing can be written.", "Choose another folder."))
    settle()
    assert find(window, "error_bar").isVisible()
    assert places() == before
    find(window, "expert_button").click()
    settle()
    watched += ["expert_search_edit", "step_model_header"]
    before, bar = places(), find(window, "step_panel").verticalScrollBar()
    assert bar.maximum() == 0
    open_step(window, Step.CALIBRATION)
    settle()
    assert bar.maximum() > 0
    bar.setValue(0)
    assert places() == before


def test_primary_buttons_are_those_of_pages(window):
    bars = window.findChildren(Bar)
    buttons = [each for bar in bars for each in bar.findChildren(QPushButton)]
    assert len(bars) > 3
    assert [x.objectName() for x in buttons if x.property("primary")] == []


def test_expert_has_room_in_the_smallest_window(qtbot, window):
    load_and_wait(qtbot, window)
    window.resize(window.minimumSize())
    open_step(window, Step.TARGET)
    settle()
    area, header = find(window, "step_panel"), find(window, "step_target_header")
    assert area.height() - header.height() > 200
    cards = [x for x in window.findChildren(StepCard) if not x.header.isChecked()]
    tops = [x.mapTo(area, QPoint()).y() for x in cards]
    ends = [y + x.height() for x, y in zip(cards, tops, strict=True)]
    above = [end for y, end in zip(tops, ends, strict=True) if y < 0]
    assert above and max(above) <= 0  # no part of another frame


def test_window_fits_a_small_screen_and_its_page_scrolls_to_start(
    qtbot, window, monkeypatch
):
    """As with a scale of 2 on a screen of 1280 x 800."""
    load_and_wait(qtbot, window)
    screen = SimpleNamespace(availableGeometry=lambda: QRect(0, 0, 640, 400))
    monkeypatch.setattr(MainWindow, "screen", lambda self: screen)
    window._reset_size()
    settle()
    assert window.width() <= 640 and window.height() <= 400
    start, page = find(window, "start_button"), find(window, "new_page")
    for _ in range(2):  # at first without Expert
        page.findChild(PageArea).ensureWidgetVisible(start)
        settle()
        assert start.visibleRegion().boundingRect() == start.rect()
        assert sideways(window) == []
        open_step(window, Step.TARGET)
        settle()


def test_header_under_the_mouse_has_a_ground_and_no_second_frame(qtbot):
    header = StepHeader(1, "step_model_header")
    qtbot.addWidget(header)
    header.resize(300, 60)
    header.setAttribute(Qt.WidgetAttribute.WA_UnderMouse)
    image = header.grab().toImage()
    outside, *_, edge, inside = (image.pixelColor(150, y).name() for y in range(5))
    assert outside != edge == inside


def test_spin_box_stays_below_the_pointer_when_a_problem_appears_above(qtbot, window):
    load_and_wait(qtbot, window)
    window.resize(1024, 700)
    open_step(window, Step.TARGET)
    find(window, "pruning_advanced_button").setChecked(True)
    settle()
    area, box = find(window, "step_panel"), find(window, "pruning_min_density")
    area.ensureWidgetVisible(box)
    box.setFocus()
    settle()
    before = box.mapTo(area, QPoint()).y()
    scrolled = area.verticalScrollBar().value()
    box.setValue(box.maximum())  # the target gets a problem
    settle()
    assert window.session.state.problems
    qtbot.waitUntil(lambda: box.mapTo(area, QPoint()).y() == before)
    assert area.verticalScrollBar().value() != scrolled
    # And when it goes, with the area at its end, and the sentence beside it.
    window.resize(1280, 700)
    settle()
    box.setFocus()
    bar = area.verticalScrollBar()
    bar.setValue(bar.maximum())
    settle()
    before = box.mapTo(area, QPoint()).y()
    box.setValue(0)
    settle()
    assert not window.session.state.problems
    qtbot.waitUntil(lambda: box.mapTo(area, QPoint()).y() == before)


def test_names_captions_and_mnemonics_are_unique(window):
    check_names(window)
    check_page_of_names(window)
    check_mnemonics(window)


def check_names(window):
    items = {id(each): each for each in controls(window)}
    actions = [each for each in window.findChildren(QAction) if each.objectName()]
    names = [each.objectName() for each in (*items.values(), *actions)]
    assert "" not in names
    own = [name for name in names if not name.startswith(QT_PREFIXES)]
    assert [name for name in set(own) if own.count(name) > 1] == []


def check_page_of_names(window):
    written = re.findall(r"^\| `(\w+)`", generate_objects.page(window), re.MULTILINE)
    assert len(written) == len(set(written))
    live = {each.objectName() for each in controls(window)}
    named = {n for n in live if not n.startswith((*QT_PREFIXES, "recent_"))}
    assert named | set(CAPTIONS) <= set(written)


def check_mnemonics(window):
    texts = [find(window, f"{name}_button").text() for name in ("start", "empty_demo")]
    texts += [action.text() for action in window.menuBar().actions()]
    keys = [text[text.index("&") + 1].upper() for text in texts if "&" in text]
    assert len(keys) == len(set(keys)) > 4


def test_window_uses_the_width_it_has(qtbot, qapp, window):
    apply_theme(qapp, ThemeChoice.LIGHT)
    assert window.height() < window.screen().availableGeometry().height()
    load_and_wait(qtbot, window)
    for width in (920, 1024, 1280, 1920):
        window.resize(width, 720)
        for page in pages(window):
            settle()
            # The layout of a new card takes several turns of the event loop.
            wait_until(qtbot, lambda: not sideways(window))
            assert sideways(window) == [], page
    start, title = find(window, "start_button"), find(window, "plan_label")
    for width, is_below in ((920, True), (1600, False)):
        open_place(window, "new")
        window.resize(width, 720)
        settle()
        top = start.mapTo(window, QPoint()).y()
        assert (top > title.mapTo(window, title.rect().bottomLeft()).y()) is is_below


def sideways(window):
    """Return the visible areas that scroll to the side."""
    areas = window.findChildren(QScrollArea)
    return [x for x in areas if x.isVisible() and x.horizontalScrollBar().maximum()]


def test_buttons_of_a_bar_are_below_its_text_where_it_is_narrow(qtbot):
    bar, button = Bar("bar_label"), QPushButton("button")
    qtbot.addWidget(bar)
    bar.lay_out(button)
    bar.show_text("text")
    text = find(bar, "bar_label")
    for width, is_below in ((600, False), (300, True)):
        bar.resize(width, 80)
        settle()
        assert (button.geometry().top() > text.geometry().bottom()) is is_below
