"""The card around a chart: title, controls, and a menu to enlarge, zoom and save."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from PySide6.QtCore import (
    QBuffer,
    QEvent,
    QIODevice,
    QObject,
    QPoint,
    QRect,
    QSize,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QAction, QImage, QPainter, QRegion, QResizeEvent, QWheelEvent
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from surgeon_engine.base.files import write_atomically
from surgeon_gui.base.colors import Theme
from surgeon_gui.base.theme import GAP, MARGIN, theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.widgets.charts.enlarging import Enlarging
from surgeon_gui.widgets.charts.legend import Legend, LegendEntry
from surgeon_gui.widgets.controls import (
    button,
    explained,
    give_menu,
    heading,
    text_label,
)
from surgeon_gui.widgets.dialogs import ask_new_file
from surgeon_gui.widgets.layouts import STRETCH, add_parts, in_row, stack

_PICTURE_SCALE = 2  # for documents: twice the resolution of the screen
FORMATS = ("png", "svg", "csv")
MEASURE_LENGTH = 11  # characters, of a box with measures of quality


class ChartCard(QFrame):
    """A card around a plot. Subclasses set the body and implement `rows`.

    ┌ title ───────── controls  More  Back ┐
    │ legend                    Reset zoom │
    │ plot, or a line while it is empty    │
    └──────────────────────────────────────┘

    In a narrow card, the controls are below the title.
    A double click on the title enlarges the card over the whole view. Saved pictures
    contain the title, the legend and the plot, but no controls.
    """

    save_failed = Signal(str)
    saved = Signal(str, str)  # a sentence, the path of the file
    min_legend_entries = 2  # with fewer the legend is hidden
    _theme: Theme | None = None  # theme of the plot
    _body: QWidget | None = None  # the plot

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__()
        self.setObjectName(f"{name}_chart")
        self.setProperty("card", "true")
        self.setAccessibleName(title)
        self._name = name
        self._title = heading(title)
        self._empty = text_label(when_empty, quiet=True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.legend = Legend()
        self.legend.hide()
        self._controls = in_row()
        self._enlarging = Enlarging(self, self.shrink)
        self._back = button(f"{name}_return_button", self.shrink)
        self._back.hide()
        self._top = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._below = QHBoxLayout()
        self._more = button(f"{name}_more_button")
        self._menu = QMenu(self)
        self._add_action("enlarge", tr("Enlarge")).triggered.connect(self.enlarge)
        self._menu.addSeparator()
        self._add_actions()
        give_menu(self._more, self._menu)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        self._layout.setSpacing(GAP // 2)
        for row in self._rows_above():
            self._layout.addLayout(row)
        self._layout.addWidget(self._empty, 1)
        self._more.setEnabled(False)

    @override
    def changeEvent(self, event: QEvent) -> None:
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            theme = theme_of(self)
            if theme is not self._theme:  # Qt sends several events for one change
                self._theme = theme
                self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        """Apply the colors of the theme to a plot; may come during construction."""

    def _rows_above(self) -> tuple[QBoxLayout, QHBoxLayout]:
        self._title.installEventFilter(self)
        right = in_row(STRETCH, self._controls, self._more, self._back, spacing=None)
        add_parts(self._top, (self._title, 1), right)
        add_parts(self._below, (self.legend, 1), STRETCH)
        return self._top, self._below

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        parts = (self._title, self._controls, self._more)
        # More than one line needs at least, so that a card at that width can shrink.
        needed = sum(x.sizeHint().width() + GAP for x in parts) + 2 * MARGIN + GAP
        stack(self._top, is_stacked=event.size().width() < needed)

    def add_control(self, control: QWidget) -> None:
        """Add a control beside the title."""
        self._controls.addWidget(control)
        # From the last on: Qt does not move the first widget behind the last one.
        for each in reversed(self._last_buttons()):
            QWidget.setTabOrder(control, each)

    def set_body(self, body: QWidget) -> None:
        """Set the plot; it stays hidden while the chart is empty."""
        self._body = body
        body.hide()
        self._layout.insertWidget(self._layout.indexOf(self._empty) + 1, body, 1)

    @property
    def place(self) -> QWidget:
        """The widget that stands for the card in the layout of its view."""
        return self._enlarging.stand_in or self

    @property
    def is_enlarged(self) -> bool:
        """True if the card covers its view."""
        return self._enlarging.stand_in is not None

    @Slot()
    def enlarge(self) -> None:
        """Cover the whole view with the card, until Esc or `shrink`."""
        if not self.is_enlarged and not self.is_empty:
            self._enlarging.start()
            self._back.show()
            self._back.setFocus()

    @Slot()
    def shrink(self) -> None:
        """Put an enlarged card back into its place."""
        if self.is_enlarged:
            self._back.hide()
            self._enlarging.end()
            self._more.setFocus()

    @Slot()
    def reset_zoom(self) -> None:
        """Show the whole chart again; without zoom, do nothing."""

    def show_title(self, title: str) -> None:
        """Change the title of the card."""
        self._title.setText(title)

    def show_empty_text(self, text: str) -> None:
        """Set the line that an empty chart shows."""
        self._empty.setText(text)

    def explain(self, meaning: str) -> None:
        """Explain the chart in the tooltip of its title and to screen readers."""
        explained(self._title, meaning)
        self.setAccessibleDescription(meaning)

    def show_as_empty(self, is_empty: bool) -> None:
        """Show the plot, or the line for an empty chart."""
        self._empty.setVisible(is_empty)
        self._more.setEnabled(not is_empty)
        self._show_or_hide_legend()
        if is_empty:
            self.reset_zoom()
            self.shrink()
        if self._body is not None:
            self._body.setVisible(not is_empty)

    def show_legend(self, entries: tuple[LegendEntry, ...]) -> None:
        """Show these entries between the title and the plot."""
        self.legend.show_entries(entries)
        self._show_or_hide_legend()

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to show and to save."""
        return not self._more.isEnabled()

    def rows(self) -> list[tuple[object, ...]]:
        """Return the data of the chart for CSV; the first row has the column names."""
        raise NotImplementedError

    def save_picture(self, path: Path) -> None:
        """Write the chart to `path`; the suffix gives the format.

        Raises:
            OSError: If the file cannot be written.
        """
        if path.suffix == ".csv":
            text = io.StringIO()
            csv.writer(text).writerows(self.rows())
            write_atomically(path, text.getvalue().encode())
        elif path.suffix == ".svg":
            write_atomically(path, self._svg())
        else:
            write_picture(self.size(), self, path, self._paint)

    @contextmanager
    def resized(self, size: QSize) -> Iterator[None]:
        """Give the card a size for a picture, or the least that it can have.

        Without it, a hidden card gets the size of its layout while it is drawn.
        """
        least, most = self.minimumSize(), self.maximumSize()
        self.setFixedSize(size.expandedTo(least))
        try:
            yield
        finally:
            self.setMaximumSize(most)
            self.setMinimumSize(least)

    def forget_mouse(self) -> None:
        """Hide the values under the mouse; pictures do not contain them."""

    def _paint(self, painter: QPainter) -> None:
        """Paint the card without its controls."""
        self.forget_mouse()
        flags = QWidget.RenderFlag
        self.render(painter, QPoint(), QRegion(), flags.DrawWindowBackground)
        for part in (self._title, self.legend, self._body):
            if part is not None and part.isVisibleTo(self):
                painter.save()
                painter.translate(part.pos())
                # A graphics view has a `render` of its own, for its scene alone.
                QWidget.render(part, painter, QPoint(), QRegion(), flags.DrawChildren)
                painter.restore()

    def _show_or_hide_legend(self) -> None:
        has_enough = len(self.legend.names) >= self.min_legend_entries
        self.legend.setVisible(has_enough and not self.is_empty)

    def _svg(self) -> bytes:
        buffer = QBuffer()
        generator = QSvgGenerator()
        generator.setOutputDevice(buffer)
        generator.setTitle(self._title.text())
        generator.setSize(self.size())
        generator.setViewBox(QRect(QPoint(0, 0), self.size()))
        painter = QPainter(generator)
        self._paint(painter)
        painter.end()
        # Browsers know no family such as "Sans Serif", which Qt may name.
        drawn = bytes(buffer.data().data())
        return re.sub(
            rb'font-family="([^"]*)"', rb'font-family="\1, sans-serif"', drawn
        )

    @override
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() is QEvent.Type.MouseButtonDblClick:  # on the title
            if self.is_enlarged:
                self.shrink()
            else:
                self.enlarge()
            return True
        return super().eventFilter(watched, event)

    @override
    def wheelEvent(self, event: QWheelEvent) -> None:
        # The page behind an enlarged card does not scroll.
        event.setAccepted(self.is_enlarged)

    def _add_action(self, name: str, text: str) -> QAction:
        action = self._menu.addAction(text)
        action.setObjectName(f"{self._name}_{name}_action")
        return action

    def _last_buttons(self) -> list[QPushButton]:
        """Return the buttons that Tab reaches after the controls."""
        return [self._more, self._back]

    def _add_actions(self) -> None:
        for suffix in FORMATS:
            text = tr("Save as {format}…").format(format=suffix.upper())
            added = self._add_action(suffix, text)
            added.triggered.connect(partial(self._ask_where_to_save, suffix))

    def _ask_where_to_save(self, suffix: str) -> None:
        name = f"{self._name}.{suffix}"
        ask_new_file(self, tr("Save the chart"), name, self._on_file_selected)

    @Slot(str)
    def _on_file_selected(self, path: str) -> None:
        try:
            self.save_picture(Path(path))
        except OSError as error:
            self.save_failed.emit(
                tr("The chart cannot be written: {error}.").format(error=error)
            )
            return
        text = tr("The chart was saved to {path}.").format(path=path)
        self.saved.emit(text, path)


def save_widget(widget: QWidget, path: Path) -> None:
    """Save a picture of `widget`; the suffix of `path` gives the format.

    Raises:
        OSError: If the file cannot be written.
    """

    def paint(painter: QPainter) -> None:
        widget.render(painter, QPoint())

    write_picture(widget.size(), widget, path, paint)


def write_picture(
    size: QSize, widget: QWidget, path: Path, paint: Callable[[QPainter], None]
) -> None:
    """Save what `paint` draws, on the background color of `widget`.

    Raises:
        OSError: If the file cannot be written.
    """
    image = QImage(size * _PICTURE_SCALE, QImage.Format.Format_ARGB32)
    image.setDevicePixelRatio(_PICTURE_SCALE)
    image.fill(widget.palette().window().color())
    painter = QPainter(image)
    paint(painter)
    painter.end()
    write_atomically(path, image_bytes(image, path.suffix[1:]))


def image_bytes(image: QImage, image_format: str = "png") -> bytes:
    """Encode an image.

    Raises:
        OSError: If Qt does not support the format.
    """
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    if not image.save(buffer, image_format):  # type: ignore[call-overload]
        message = tr("{format} is not an image format")
        raise OSError(message.format(format=image_format))
    return bytes(buffer.data().data())
