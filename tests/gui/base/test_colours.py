"""Everything that is written can be read, and colours mean something to everyone."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtGui import QColor

from surgeon_gui.base.colours import DARK, LIGHT, Theme
from surgeon_gui.base.theme import contrast, heat_colour, ink_on
from tests.helpers.vision import VISIONS, closest, seen

TEXT = 4.5  # WCAG 2.2, 1.4.3, level AA
GRAPHICS = 3.0  # 1.4.11: lines, dots, marks
TOLD_APART = 0.1  # five times what can just be noticed
SHARES = [step / 10 for step in range(11)]

# What is written in which colour on which. `faint` is the text of controls that cannot
# be used, which 1.4.3 exempts; it has a rule of its own below.
WRITTEN = [
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
DRAWN = [("accent", "surface"), ("accent", "raised"), ("bad", "surface")]

both_themes = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
all_visions = pytest.mark.parametrize("vision", VISIONS)


@both_themes
@pytest.mark.parametrize(("front", "back"), WRITTEN)
def test_text_stands_out_from_what_is_behind_it(theme: Theme, front, back):
    assert contrast(getattr(theme, front), getattr(theme, back)) >= TEXT


@both_themes
@pytest.mark.parametrize(("front", "back"), DRAWN)
def test_marks_stand_out_from_what_is_behind_them(theme: Theme, front, back):
    assert contrast(getattr(theme, front), getattr(theme, back)) >= GRAPHICS


@both_themes
def test_what_cannot_be_used_is_fainter_than_the_rest_but_seen(theme: Theme):
    for back in (theme.surface, theme.window, theme.raised):
        assert 2.0 <= contrast(theme.faint, back) < contrast(theme.muted, back)


@both_themes
def test_the_number_in_each_cell_of_the_map_can_be_read(theme: Theme):
    for share in np.linspace(0, 1, 101):
        colour = heat_colour(theme, float(share))
        assert contrast(ink_on(colour).name(), colour.name()) >= TEXT


@both_themes
def test_more_sparsity_moves_away_from_the_surface(theme: Theme):
    colours = [heat_colour(theme, share).name() for share in SHARES]
    distance = [contrast(colour, theme.surface) for colour in colours]
    assert distance == sorted(distance)


@both_themes
@all_visions
def test_the_map_reads_by_lightness_alone(theme: Theme, vision):
    colours = [heat_colour(theme, share).name() for share in SHARES]
    steps = np.diff(seen(colours, vision)[:, 0])
    assert (np.abs(steps) >= 0.02).all()  # each step can be noticed
    assert len(set(np.sign(steps))) == 1  # and goes the same way


@both_themes
@all_visions
def test_eight_lines_are_told_apart(theme: Theme, vision):
    assert len(theme.series) == 8
    assert closest(list(theme.series), vision) >= TOLD_APART


@both_themes
def test_each_line_stands_out_from_the_plot(theme: Theme):
    for colour in theme.series:
        assert contrast(colour, theme.surface) >= GRAPHICS


@both_themes
def test_the_first_line_has_the_accent_colour(theme: Theme):
    assert QColor(theme.series[0]) == QColor(theme.accent)
