"""Dark is dark and light is light, in the palette and in what paints itself."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QColor, QPalette

from surgeon_gui.settings import ThemeChoice
from surgeon_gui.theme import DARK, LIGHT, Theme, apply_theme, chosen, theme_of
from surgeon_gui.widgets.layer_map import heat_colour
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


@pytest.mark.parametrize(("choice", "theme"), CHOICES)
def test_open_windows_and_their_plots_follow(qtbot, qapp, window, choice, theme):
    find(window, f"theme_{choice.value}_action", object).trigger()
    assert theme_of(window) is theme
    plot = find(window, "perplexity_plot")
    assert plot.backgroundBrush().color() == QColor(theme.surface)
    assert window.settings.theme is choice


def test_the_system_decides_if_it_is_asked(qapp):
    assert chosen(ThemeChoice.SYSTEM) in (LIGHT, DARK)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_text_stands_out_from_what_is_behind_it(theme: Theme):
    pairs = [
        (theme.text, theme.surface),
        (theme.text, theme.window),
        (theme.text, theme.bad_soft),
        (theme.muted, theme.surface),
        (theme.muted, theme.window),
        (theme.bad, theme.surface),
        (theme.on_accent, theme.accent),
    ]
    for front, back in pairs:
        assert contrast(front, back) >= 4.5, (front, back)  # WCAG 2.1, AA


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_more_sparsity_moves_away_from_the_surface(theme: Theme):
    shares = [step / 10 for step in range(11)]
    distance = [
        contrast(heat_colour(theme, share).name(), theme.surface) for share in shares
    ]
    assert distance == sorted(distance)


def contrast(front: str, back: str) -> float:
    lights = sorted((_luminance(front), _luminance(back)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: str) -> float:
    parts = QColor(colour).getRgbF()[:3]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    return sum(w * x for w, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
