"""Themes apply to palettes and to widgets that paint themselves."""

import re
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QObject
from PySide6.QtGui import QColor, QImage, QPainter, QPalette
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QStyle,
    QStyleOptionButton,
)

from surgeon_gui.base.colors import DARK, LIGHT
from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.theme import apply_theme, chosen, contrast, theme_of
from surgeon_gui.views.run.charts import QualityChart
from surgeon_gui.views.run.course import CourseView
from surgeon_gui.widgets.charts.line_chart import LineChart
from surgeon_gui.widgets.controls import button, chip, mark
from tests.helpers.run_pages import states_of
from tests.helpers.window_audit import settle
from tests.helpers.windows import find, find_type

CHOICES = [(ThemeChoice.LIGHT, LIGHT), (ThemeChoice.DARK, DARK)]


@pytest.mark.parametrize(("choice", "theme"), CHOICES)
def test_theme_sets_palette_and_visible_pictures(qtbot, qapp, choice, theme):
    apply_theme(qapp, choice)
    lightness = qapp.palette().color(QPalette.ColorRole.Window).lightness()
    text = qapp.palette().color(QPalette.ColorRole.WindowText).lightness()
    assert (lightness < 128) is (theme is DARK)
    assert abs(lightness - text) > 128
    pictures = set(re.findall(r'url\("([^"]+)"\)', qapp.styleSheet()))
    assert {Path(each).name for each in pictures} > {f"tick-{theme.name}.svg"}
    for picture in pictures:
        (color,) = re.findall(r'stroke="(#\w+)"', Path(picture).read_text())
        ground = theme.accent if "tick" in picture else theme.window
        assert contrast(color, ground) >= 4.5, picture
    # An empty check box is visible.
    for is_enabled in (True, False):
        box = QCheckBox("As a chat message")
        qtbot.addWidget(box)
        box.setEnabled(is_enabled)
        box.show()
        image = box.grab().toImage()
        row = image.height() // 2
        edge = [image.pixelColor(x, row).name() for x in range(14)]
        back = image.pixelColor(image.width() - 1, row).name()
        minimum = 3.0 if is_enabled else 2.0  # as for marks and for disabled text
        assert max(contrast(color, back) for color in edge) >= minimum


def test_open_window_and_plots_follow_theme(qapp, window):
    live, run = find_type(window, CourseView), states_of("run-1")[-1]
    find_type(live, QualityChart).show_run(run)
    plot = find(window, "perplexity_plot")
    assert plot.backgroundBrush().color() == QColor(LIGHT.surface)
    find(window, "theme_dark_action", object).trigger()
    assert theme_of(window) is DARK
    assert plot.backgroundBrush().color() == QColor(DARK.surface)
    live.show_all(run, now=100.0)  # makes the other plots
    later = find(window, "costs_plot")
    assert later.backgroundBrush().color() == QColor(DARK.surface)
    assert window.settings.theme is ThemeChoice.DARK


def test_boxes_are_flat_and_rounded(qtbot, qapp):
    apply_theme(qapp, ThemeChoice.LIGHT)
    for kind in (QLineEdit, QComboBox, QSpinBox, QPushButton):
        box = kind()
        qtbot.addWidget(box)
        box.resize(100, 30)
        box.show()
        image = box.grab().toImage()
        colors = {image.pixelColor(50, y).name() for y in range(2, 28)}
        assert len(colors) == 1  # no gradient
        assert image.pixelColor(0, 0) != image.pixelColor(50, 0)  # no corner


@pytest.mark.parametrize(("choice", "theme"), CHOICES)
@pytest.mark.parametrize("kind", ["primary", "chip"])
def test_focus_shows_and_does_not_cut_the_label(qtbot, qapp, kind, choice, theme):
    apply_theme(qapp, choice)
    made = chip("purpose_smaller_button")
    if kind == "primary":
        made = button("empty_demo_button", primary=True)
    qtbot.addWidget(made)
    made.setChecked(kind == "chip")
    made.show()
    option = QStyleOptionButton()
    made.initStyleOption(option)
    labels, edges = [], []
    for has_focus in (False, True):
        option.state &= ~QStyle.StateFlag.State_HasFocus
        if has_focus:
            option.state |= QStyle.StateFlag.State_HasFocus
        image = QImage(made.size(), QImage.Format.Format_RGB32)
        painter = QPainter(image)
        made.style().drawControl(
            QStyle.ControlElement.CE_PushButton, option, painter, made
        )
        painter.end()
        labels.append(image.copy(made.rect().adjusted(6, 6, -6, -6)))
        edges.append(image.pixelColor(made.width() // 2, 0).name())
    assert labels[0] == labels[1]
    assert edges[0] != edges[1] == theme.text.lower()


def test_buttons_with_a_menu_have_an_arrow(window):
    buttons = [each for each in window.findChildren(QPushButton) if each.menu()]
    assert buttons
    assert all(each.property("menu") for each in buttons)


def test_system_choice_is_light_or_dark(qtbot, qapp):
    assert chosen(ThemeChoice.SYSTEM) in (LIGHT, DARK)


def test_labels_of_changed_settings_stay_bold_in_another_theme(qtbot, qapp):
    apply_theme(qapp, ThemeChoice.LIGHT)
    label = QLabel("Windows")
    qtbot.addWidget(label)
    label.show()
    mark(label, "changed", True)
    assert label.font().bold()
    apply_theme(qapp, ThemeChoice.DARK)
    assert label.font().bold()
    mark(label, "changed", False)
    assert not label.font().bold()


class Count(QObject):
    """Counts the style events of a widget."""

    def __init__(self, widget):
        super().__init__(widget)
        self.events = 0
        widget.installEventFilter(self)

    def eventFilter(self, watched, event):
        self.events += event.type() == QEvent.Type.StyleChange
        return False


def test_switch_of_the_theme_styles_each_widget_once(qtbot, qapp, monkeypatch):
    apply_theme(qapp, ThemeChoice.LIGHT)
    view = CourseView()
    qtbot.addWidget(view)
    view.show()
    settle()
    before = view.grab().toImage()
    chart, styled = find(view, "perplexity_chart"), []
    restyle = LineChart._restyle
    monkeypatch.setattr(
        LineChart, "_restyle", lambda self: (styled.append(self), restyle(self))
    )
    count = Count(chart)
    apply_theme(qapp, ThemeChoice.DARK)
    assert styled.count(chart) == 1
    assert count.events <= 2  # the old style sheet is removed, the new one is set
    assert theme_of(chart) is DARK
    assert view.grab().toImage() != before
    apply_theme(qapp, ThemeChoice.LIGHT)
    settle()
    assert view.grab().toImage() == before
