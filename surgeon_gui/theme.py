"""Colours and distances, light and dark: for the palette, a little QSS and the plots.

Qt's own switch does nothing on several platforms, so the colours are set here, over
the Fusion style. Widgets that paint themselves ask `theme_of` for the colours that
hold and repaint when their palette changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication, QWidget

from surgeon_gui.settings import ThemeChoice

GAP = 8  # pixels between things that belong together
MARGIN = 12  # inside cards
RADIUS = 8  # of cards and of the drop zone


@dataclass(frozen=True, slots=True)
class Theme:
    """One set of colours."""

    name: str
    window: str
    surface: str  # cards, inputs, plots
    raised: str  # buttons, headers under the mouse
    border: str
    text: str
    muted: str  # text of lesser weight
    faint: str  # text of what cannot be used
    accent: str
    on_accent: str  # text on the accent
    accent_soft: str  # the accent as a background
    bad: str
    bad_soft: str
    good: str
    warning: str
    grid: str  # lines in plots
    heat: tuple[str, ...]  # none removed to all removed
    series: tuple[str, ...]  # lines and dots of several runs, told apart by everyone
    doubt: tuple[str, ...]  # behind text: models that differ little to very much


LIGHT = Theme(
    name="light",
    window="#f4f6f8",
    surface="#ffffff",
    raised="#eef1f4",
    border="#d3dae2",
    text="#18212b",
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
    window="#14191f",
    surface="#1c232b",
    raised="#27303a",
    border="#36414d",
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


def chosen(choice: ThemeChoice) -> Theme:
    """The theme that a choice comes to on this system."""
    if choice is ThemeChoice.SYSTEM:
        scheme = QGuiApplication.styleHints().colorScheme()
        return DARK if scheme is Qt.ColorScheme.Dark else LIGHT
    return DARK if choice is ThemeChoice.DARK else LIGHT


def apply_theme(application: QApplication, choice: ThemeChoice) -> None:
    """Give the whole application its colours; windows that are open follow."""
    theme = chosen(choice)
    application.setPalette(_palette(theme))
    application.setStyleSheet(_stylesheet(theme))


def dress(widget: QWidget, theme: Theme) -> None:
    """Give one widget, with all that is in it, colours of its own."""
    # One by one, and by a rule: the palette of the application is stronger than that
    # of a parent as long as the application has a style sheet.
    for each in (widget, *widget.findChildren(QWidget)):
        each.setPalette(_palette(theme))
    words = f"QLabel {{ color: {theme.text}; }}"
    widget.setStyleSheet(words + _stylesheet(theme))


def theme_of(widget: QWidget) -> Theme:
    """The theme whose colours a widget has."""
    return DARK if widget.palette().window().color().lightness() < 128 else LIGHT


def contrast(front: str, back: str) -> float:
    """How far two colours stand out from each other, from 1 to 21 (WCAG 2.2)."""
    low, high = sorted((_luminance(QColor(front)), _luminance(QColor(back))))
    return (high + 0.05) / (low + 0.05)


def ink_on(background: QColor) -> QColor:
    """Black or white, whichever reads better on a colour; one of them always does."""
    inks = ("#000000", "#ffffff")
    return QColor(max(inks, key=lambda ink: contrast(ink, background.name())))


def heat_colour(theme: Theme, share: float) -> QColor:
    """The colour of a share, between the steps of the theme's heat."""
    place = min(1.0, max(0.0, share)) * (len(theme.heat) - 1)
    index = min(int(place), len(theme.heat) - 2)
    low, high = QColor(theme.heat[index]), QColor(theme.heat[index + 1])
    part = place - index
    return QColor(
        round(low.red() + part * (high.red() - low.red())),
        round(low.green() + part * (high.green() - low.green())),
        round(low.blue() + part * (high.blue() - low.blue())),
    )


def _luminance(colour: QColor) -> float:
    parts = (colour.redF(), colour.greenF(), colour.blueF())
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    weights = (0.2126, 0.7152, 0.0722)
    return sum(weight * part for weight, part in zip(weights, linear, strict=True))


def _palette(theme: Theme) -> QPalette:
    roles = QPalette.ColorRole
    colours = {
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
    for role, colour in colours.items():
        palette.setColor(role, QColor(colour))
    for role in (roles.Text, roles.WindowText, roles.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(theme.faint))
    disabled = QPalette.ColorGroup.Disabled
    palette.setColor(disabled, roles.Highlight, QColor(theme.border))
    return palette


def _stylesheet(theme: Theme) -> str:
    """Only what a palette cannot say: cards, quiet labels, the buttons' shape."""
    tick = Path(str(files("surgeon_resources"))) / "pictures" / f"tick-{theme.name}.svg"
    return f"""
    QToolTip {{
        color: {theme.text}; background: {theme.surface};
        border: 1px solid {theme.border}; padding: 4px;
    }}
    QFrame[card="true"] {{
        background: {theme.surface}; border: 1px solid {theme.border};
        border-radius: {RADIUS}px;
    }}
    QFrame[card="error"] {{
        background: {theme.bad_soft}; border: 1px solid {theme.bad};
        border-radius: {RADIUS}px;
    }}
    QLabel[quiet="true"] {{ color: {theme.muted}; }}
    QLabel[problem="true"] {{ color: {theme.bad}; }}
    QPushButton {{
        background: {theme.raised}; color: {theme.text};
        border: 1px solid {theme.border}; border-radius: 5px; padding: 4px 10px;
    }}
    QPushButton:hover {{ border-color: {theme.accent}; }}
    QPushButton:focus {{ border-color: {theme.accent}; }}
    QPushButton:pressed, QPushButton:checked {{ background: {theme.accent_soft}; }}
    QPushButton:disabled {{ color: {theme.faint}; background: {theme.window}; }}
    QPushButton::menu-indicator {{ width: 0px; }}
    QPushButton[primary="true"] {{
        background: {theme.accent}; color: {theme.on_accent};
        border-color: {theme.accent}; font-weight: 600;
    }}
    QPushButton[primary="true"]:focus {{ border: 2px solid {theme.text}; }}
    QPushButton[primary="true"]:disabled {{
        background: {theme.raised}; color: {theme.faint}; border-color: {theme.border};
    }}
    QRadioButton::indicator {{
        width: 12px; height: 12px; border: 1px solid {theme.muted};
        background: {theme.surface};
    }}
    QRadioButton::indicator {{ border-radius: 7px; }}
    QRadioButton::indicator:checked {{
        border: 1px solid {theme.accent};
        background: qradialgradient(cx:0.5, cy:0.5, radius:0.5, fx:0.5, fy:0.5,
            stop:0 {theme.accent}, stop:0.55 {theme.accent},
            stop:0.65 {theme.surface}, stop:1 {theme.surface});
    }}
    QRadioButton::indicator:disabled {{ border-color: {theme.border}; }}
    QLineEdit, QPlainTextEdit {{
        background: {theme.surface}; border: 1px solid {theme.border};
        border-radius: 5px; padding: 4px 6px;
    }}
    QLineEdit:focus, QPlainTextEdit:focus {{ border-color: {theme.accent}; }}
    QAbstractSpinBox QLineEdit {{ border: none; padding: 0; background: none; }}
    QTreeView, QTableView {{
        background: {theme.surface}; alternate-background-color: {theme.window};
        border: 1px solid {theme.border}; border-radius: 5px;
    }}
    QFrame[card="true"] QTableView {{ border: none; }}
    QTreeView::item {{ padding: 4px 2px; }}
    QTreeView::indicator {{
        width: 12px; height: 12px; border: 1px solid {theme.muted};
        border-radius: 3px; background: {theme.surface};
    }}
    QTreeView::indicator:checked {{
        background: {theme.text}; image: url("{tick.as_posix()}");
    }}
    QTreeView::indicator:indeterminate {{
        background: qlineargradient(x1:0, y1:0, x2:1, y2:1,
            stop:0 {theme.text}, stop:0.49 {theme.text},
            stop:0.51 {theme.surface}, stop:1 {theme.surface});
    }}
    QHeaderView {{ background: transparent; border: none; }}
    QHeaderView::section {{
        background: {theme.surface}; color: {theme.muted}; border: none;
        border-bottom: 1px solid {theme.border}; padding: 4px 6px;
    }}
    QScrollBar:vertical {{ background: transparent; width: 10px; margin: 0; }}
    QScrollBar:horizontal {{ background: transparent; height: 10px; margin: 0; }}
    QScrollBar::handle {{
        background: {theme.border}; border-radius: 4px; margin: 1px;
    }}
    QScrollBar::handle:hover {{ background: {theme.faint}; }}
    QScrollBar::handle:vertical {{ min-height: 28px; }}
    QScrollBar::handle:horizontal {{ min-width: 28px; }}
    QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
    QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
    QTabWidget::pane {{ border: none; padding-top: {GAP // 2}px; }}
    QTabBar {{ background: transparent; }}
    QTabBar::tab {{
        background: transparent; color: {theme.muted}; border: none;
        border-bottom: 2px solid transparent; padding: 6px 14px;
    }}
    QTabBar::tab:selected {{
        color: {theme.text}; border-bottom-color: {theme.accent};
    }}
    QTabBar::tab:hover {{ color: {theme.text}; }}
    QTabBar::tab:focus {{ background: {theme.accent_soft}; }}
    QTreeView, QTableView {{
        background: {theme.surface}; border: 1px solid {theme.border};
        border-radius: 5px;
    }}
    QTreeView::item, QTableView::item {{ padding: 3px 4px; }}
    QTreeView::item:disabled {{ color: {theme.faint}; }}
    QHeaderView::section {{
        background: {theme.window}; color: {theme.muted}; border: none;
        border-bottom: 1px solid {theme.border}; padding: 4px 6px;
    }}
    QToolButton {{
        background: transparent; border: 1px solid transparent;
        border-radius: 5px; padding: 3px 4px;
    }}
    QToolButton:hover {{ background: {theme.raised}; }}
    QToolButton:focus {{ border-color: {theme.accent}; }}
    QProgressBar {{
        background: {theme.raised}; border: none; border-radius: 4px;
        min-height: 8px; max-height: 8px;
    }}
    QProgressBar::chunk {{ background: {theme.accent}; border-radius: 4px; }}
    """
