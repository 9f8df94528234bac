"""Dark is dark and light is light, in the palette and in what paints itself."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QColor, QPalette

from surgeon_gui.base.colours import DARK, LIGHT
from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.theme import apply_theme, chosen, theme_of
from tests.helpers.windows import find

CHOICES = [(ThemeChoice.LIGHT, LIGHT), (ThemeChoice.DARK, DARK)]


@pytest.fixture(autouse=True)
def light_afterwards(qapp):
    yield
    apply_theme(qapp, ThemeChoice.LIGHT)


@pytest.mark.parametrize(("choice", "theme"), CHOICES)
def test_a_theme_shows_in_the_palette(qtbot, qapp, choice, theme):
    apply_theme(qapp, choice)
    lightness = qapp.palette().color(QPalette.ColorRole.Window).lightness()
    text = qapp.palette().color(QPalette.ColorRole.WindowText).lightness()
    assert (lightness < 128) is (theme is DARK)
    assert abs(lightness - text) > 128


@pytest.mark.slow
@pytest.mark.parametrize(("choice", "theme"), CHOICES)
def test_open_windows_and_their_plots_follow(qtbot, qapp, window, choice, theme):
    find(window, f"theme_{choice.value}_action", object).trigger()
    assert theme_of(window) is theme
    plot = find(window, "perplexity_plot")
    assert plot.backgroundBrush().color() == QColor(theme.surface)
    assert window.settings.theme is choice


def test_the_system_decides_if_it_is_asked(qapp):
    assert chosen(ThemeChoice.SYSTEM) in (LIGHT, DARK)
