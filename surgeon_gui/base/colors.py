"""Colors of the light and the dark theme."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Theme:
    """Colors of a theme, as #rrggbb."""

    name: str
    window: str
    surface: str  # cards, inputs, plots
    raised: str  # buttons, hovered headers
    border: str
    text: str
    muted: str  # secondary text
    faint: str  # text of disabled controls
    accent: str
    on_accent: str  # text on the accent
    accent_soft: str  # the accent as a background
    bad: str
    bad_soft: str
    good: str
    warning: str
    grid: str  # lines in plots
    heat: tuple[str, ...]  # from nothing removed to everything removed
    series: tuple[str, ...]  # lines of several runs, distinct for color-blind users
    doubt: tuple[str, ...]  # behind text, from a small to a large difference of models


LIGHT = Theme(
    name="light",
    window="#f6f7f8",
    surface="#ffffff",
    raised="#eef1f4",
    border="#dde2e7",
    text="#14191f",
    muted="#566270",
    faint="#98a3b0",
    accent="#0f766e",
    on_accent="#ffffff",
    accent_soft="#dcf0ed",
    bad="#b3261e",
    bad_soft="#fcebe9",
    good="#1b6e3a",
    warning="#8a5300",
    grid="#dfe4ea",
    heat=("#f1f6f6", "#9fd4cc", "#3f9d94", "#0b5d57", "#062f2c"),
    series=(
        *("#0f766e", "#c86913", "#8478ee", "#5a0417"),
        *("#ad86a1", "#4a3e7a", "#7f4302", "#7b42ba"),
    ),
    doubt=("#fff3dc", "#ffe0a8", "#fdc56b", "#f3a32e", "#dd8410"),
)
DARK = Theme(
    name="dark",
    window="#12161b",
    surface="#1a2027",
    raised="#27303a",
    border="#303944",
    text="#e6ebf1",
    muted="#9eabba",
    faint="#667382",
    accent="#2cc5b4",
    on_accent="#06211e",
    accent_soft="#17403b",
    bad="#ff8f85",
    bad_soft="#45211f",
    good="#6bd596",
    warning="#f0b94a",
    grid="#2d3641",
    heat=("#232c35", "#1c564f", "#1f8a7f", "#4fcfc0", "#c9f5ee"),
    series=(
        *("#2cc5b4", "#c78837", "#9e8ef8", "#c1435e"),
        *("#f7f3a5", "#6e65b1", "#f6c402", "#95f1fc"),
    ),
    doubt=("#33291b", "#4d3715", "#664510", "#7f510a", "#945c06"),
)
