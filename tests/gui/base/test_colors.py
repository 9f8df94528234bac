"""Contrast of texts and marks, and colors for color-blind users."""

import numpy as np
import pytest

from surgeon_gui.base.colors import DARK, LIGHT, Theme
from surgeon_gui.base.theme import contrast, heat_color, ink_on
from tests.helpers.vision import VISIONS, perceived, smallest_distance

TEXT = 4.5  # WCAG 2.2, 1.4.3, level AA
GRAPHICS = 3.0  # 1.4.11: lines, dots, marks
MIN_DISTANCE = 0.1  # five times the just noticeable difference
SHARES = [step / 10 for step in range(11)]

# Text colors and their backgrounds. `faint` is the text of disabled controls, which
# 1.4.3 exempts; it has its own test below.
TEXTS = [
    *(("text", back) for back in ("surface", "window", "raised", "accent_soft")),
    ("text", "bad_soft"),
    *(("muted", back) for back in ("surface", "window", "raised", "bad_soft")),
    ("bad", "surface"),
    ("bad", "window"),
    ("bad", "bad_soft"),
    ("on_accent", "accent"),
    ("on_accent", "bad"),  # the sign in the disc of a step with a problem
    ("accent", "surface"),  # links
]
MARKS = [("accent", "surface"), ("accent", "raised"), ("bad", "surface")]

both_themes = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
all_visions = pytest.mark.parametrize("vision", VISIONS)


@both_themes
def test_texts_and_marks_have_enough_contrast(theme: Theme):
    for minimum, pairs in ((TEXT, TEXTS), (GRAPHICS, MARKS)):
        for front, back in pairs:
            found = contrast(getattr(theme, front), getattr(theme, back))
            assert found >= minimum, (front, back)
    for color in theme.series:
        assert contrast(color, theme.surface) >= GRAPHICS
    for back in (theme.surface, theme.window, theme.raised):
        assert 2.0 <= contrast(theme.faint, back) < contrast(theme.muted, back)


@both_themes
def test_heat_map_numbers_have_enough_contrast(theme: Theme):
    for share in np.linspace(0, 1, 101):
        color = heat_color(theme, float(share))
        assert contrast(ink_on(color).name(), color.name()) >= TEXT


@both_themes
def test_heat_contrast_grows_with_sparsity(theme: Theme):
    colors = [heat_color(theme, share).name() for share in SHARES]
    distance = [contrast(color, theme.surface) for color in colors]
    assert distance == sorted(distance)


@both_themes
@all_visions
def test_heat_lightness_is_monotonic(theme: Theme, vision):
    colors = [heat_color(theme, share).name() for share in SHARES]
    steps = np.diff(perceived(colors, vision)[:, 0])
    assert (np.abs(steps) >= 0.02).all()  # each step is noticeable
    assert len(set(np.sign(steps))) == 1  # all in the same direction


@both_themes
@all_visions
def test_eight_series_are_distinguishable(theme: Theme, vision):
    assert len(theme.series) == 8
    assert smallest_distance(list(theme.series), vision) >= MIN_DISTANCE
