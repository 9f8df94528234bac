"""Apply the light or the dark theme to palette, style sheet and plots.

Qt's own color scheme has no effect on several platforms, so the colors are set here,
on top of the Fusion style. Widgets that paint themselves get their colors from
`theme_of` and repaint when their palette changes.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication, QWidget

from surgeon_gui.base.colors import DARK, LIGHT, Theme
from surgeon_gui.base.settings import ThemeChoice

# Spacing on a grid of four pixels.
GAP = 8  # between related widgets
MARGIN = 12  # inside narrow cards
ROOM = 20  # inside the cards of a page, and between them
PAGE = 32  # around a page
RADIUS = 12  # corners of cards, menus and the drop zone
CONTROL_RADIUS = 8  # corners of buttons and inputs

# The type scale: font sizes relative to body text.
TITLE = 1.7  # page titles
LARGE = 1.3  # the most important line of a card


def chosen(choice: ThemeChoice) -> Theme:
    """Return the theme of a choice on this system."""
    if choice is ThemeChoice.SYSTEM:
        scheme = QGuiApplication.styleHints().colorScheme()
        return DARK if scheme is Qt.ColorScheme.Dark else LIGHT
    return DARK if choice is ThemeChoice.DARK else LIGHT


def apply_theme(application: QApplication, choice: ThemeChoice) -> None:
    """Set the colors of the application, including open windows."""
    theme = chosen(choice)
    # Where a style sheet replaces another, Qt polishes each widget once for each widget
    # around it, which takes seconds; where there was none, it polishes each once.
    application.setStyleSheet("")
    application.setPalette(_palette(theme))
    application.setStyleSheet(_stylesheet(theme))


def apply_theme_to(widget: QWidget, theme: Theme) -> None:
    """Set the colors of one widget and its descendants."""
    # Each widget on its own and by a rule, because the palette of the application takes
    # precedence over a parent's palette if the application has a style sheet.
    for each in (widget, *widget.findChildren(QWidget)):
        each.setPalette(_palette(theme))
    labels = f"QLabel {{ color: {theme.text}; }}"
    widget.setStyleSheet(labels + _stylesheet(theme))


def theme_of(widget: QWidget) -> Theme:
    """Return the theme of a widget."""
    return DARK if widget.palette().window().color().lightness() < 128 else LIGHT


def contrast(front: str, back: str) -> float:
    """Return the contrast ratio of two colors, from 1 to 21 (WCAG 2.2)."""
    low, high = sorted((_luminance(QColor(front)), _luminance(QColor(back))))
    return (high + 0.05) / (low + 0.05)


def ink_on(background: QColor) -> QColor:
    """Return black or white, whichever has more contrast to `background`."""
    inks = ("#000000", "#ffffff")
    return QColor(max(inks, key=lambda ink: contrast(ink, background.name())))


def heat_color(theme: Theme, share: float) -> QColor:
    """Return the color of a share from 0 to 1, interpolated in `theme.heat`."""
    position = min(1.0, max(0.0, share)) * (len(theme.heat) - 1)
    index = min(int(position), len(theme.heat) - 2)
    low, high = QColor(theme.heat[index]), QColor(theme.heat[index + 1])
    part = position - index
    return QColor(
        round(low.red() + part * (high.red() - low.red())),
        round(low.green() + part * (high.green() - low.green())),
        round(low.blue() + part * (high.blue() - low.blue())),
    )


def _luminance(color: QColor) -> float:
    parts = (color.redF(), color.greenF(), color.blueF())
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    weights = (0.2126, 0.7152, 0.0722)
    return sum(weight * part for weight, part in zip(weights, linear, strict=True))


def _palette(theme: Theme) -> QPalette:
    roles = QPalette.ColorRole
    colors = {
        roles.Window: theme.window,
        roles.WindowText: theme.text,
        roles.Base: theme.surface,
        roles.AlternateBase: theme.window,
        roles.Text: theme.text,
        roles.PlaceholderText: theme.muted,
        roles.Button: theme.raised,
        roles.ButtonText: theme.text,
        roles.BrightText: theme.bad,
        roles.Highlight: theme.accent,
        roles.HighlightedText: theme.on_accent,
        roles.Accent: theme.accent,
        roles.Link: theme.accent,
        roles.LinkVisited: theme.accent,
        roles.ToolTipBase: theme.surface,
        roles.ToolTipText: theme.text,
    }
    palette = QPalette(QColor(theme.raised), QColor(theme.window))
    for role, color in colors.items():
        palette.setColor(role, QColor(color))
    for role in (roles.Text, roles.WindowText, roles.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(theme.faint))
    disabled = QPalette.ColorGroup.Disabled
    palette.setColor(disabled, roles.Highlight, QColor(theme.border))
    return palette


# Their words in the style sheet; names of files have hyphens and the theme.
_PICTURES = ("tick", "arrow_down", "arrow_right", "arrow_up")


@cache
def _stylesheet(theme: Theme) -> str:
    resources = Path(str(files("surgeon_resources")))
    template = Template((resources / "themes" / "surgeon.qss").read_text("utf-8"))
    colors = {
        item.name: getattr(theme, item.name)
        for item in fields(theme)
        if isinstance(getattr(theme, item.name), str)
    }
    folder = (resources / "pictures").as_posix()
    pictures = {
        name: f"{folder}/{name.replace('_', '-')}-{theme.name}.svg"
        for name in _PICTURES
    }
    sizes = {"radius": RADIUS, "control": CONTROL_RADIUS}
    return template.substitute(colors, **sizes, **pictures)
