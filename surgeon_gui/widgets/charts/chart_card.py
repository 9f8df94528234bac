"""The frame of a chart: title, its own controls, and saving as PNG, SVG or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QBuffer, QIODevice, QPoint, QRect, QSize, Qt, Signal, Slot
from PySide6.QtGui import QAction, QImage, QPainter, QRegion
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import QFrame, QHBoxLayout, QMenu, QVBoxLayout, QWidget

from surgeon_engine.api.files import write_atomically
from surgeon_gui.base.theme import GAP, MARGIN
from surgeon_gui.base.translation import tr
from surgeon_gui.widgets.charts.legend import Legend, LegendEntry
from surgeon_gui.widgets.controls import button, explained, heading, text_label
from surgeon_gui.widgets.dialogs import ask_new_file

_PICTURE_SCALE = 2  # pictures are for documents: twice the pixels of the screen
FORMATS = ("png", "svg", "csv")


class ChartCard(QFrame):
    """A card around a plot. Subclasses fill `body` and give `rows`.

    ┌ title ─────────────── controls  Save ┐
    │ legend                               │
    │ plot, or a line that says what comes │
    └──────────────────────────────────────┘

    Pictures hold the title, the legend and the plot, but nothing to be clicked.
    """

    save_failed = Signal(str)
    min_legend_entries = 2  # with fewer the legend is hidden

    def __init__(self, name: str, title: str, when_empty: str) -> None:
        super().__init__()
        self.setObjectName(f"{name}_chart")
        self.setProperty("card", "true")
        self.setAccessibleName(title)
        self._name = name
        self._title = heading(title)
        self._empty = text_label(when_empty, quiet=True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._body: QWidget | None = None
        self.legend = Legend()
        self.legend.hide()
        self.controls = QHBoxLayout()
        self.controls.setSpacing(GAP)
        self._save = button(f"{name}_save_button")
        self._save.setMenu(self._menu())
        top = QHBoxLayout()
        top.addWidget(self._title)
        top.addStretch()
        top.addLayout(self.controls)
        top.addWidget(self._save)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        self._layout.setSpacing(GAP // 2)
        self._layout.addLayout(top)
        self._layout.addWidget(self.legend)
        self._layout.addWidget(self._empty, 1)

    def set_body(self, body: QWidget) -> None:
        """Put the plot in; it stays hidden until there is something on it."""
        self._body = body
        self._layout.addWidget(body, 1)
        self.show_as_empty(True)

    def explain(self, meaning: str) -> None:
        """Say what the chart means, to the mouse over its title and to a reader."""
        explained(self._title, meaning)
        self.setAccessibleDescription(meaning)

    def show_as_empty(self, is_empty: bool) -> None:
        """Show the plot, or the line that says what will be there."""
        self._empty.setVisible(is_empty)
        self._save.setEnabled(not is_empty)
        self._show_or_hide_legend()
        if self._body is not None:
            self._body.setVisible(not is_empty)

    def show_legend(self, entries: tuple[LegendEntry, ...]) -> None:
        """Show these names with their colours between the title and the plot."""
        self.legend.show_entries(entries)
        self._show_or_hide_legend()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to see and to save."""
        return not self._save.isEnabled()

    def rows(self) -> list[tuple[object, ...]]:
        """The figures behind the chart, names of columns first."""
        raise NotImplementedError

    def save_picture(self, path: Path) -> None:
        """Write the chart to `path`, in the format that its ending names."""
        if path.suffix == ".csv":
            text = io.StringIO()
            csv.writer(text).writerows(self.rows())
            write_atomically(path, text.getvalue().encode())
        elif path.suffix == ".svg":
            write_atomically(path, self._svg())
        else:
            write_picture(self.size(), self, path, self._paint)

    def forget_mouse(self) -> None:
        """Take away what is told of the place under the mouse; no picture has it."""

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
        return bytes(buffer.data().data())

    def _menu(self) -> QMenu:
        menu = QMenu(self)
        for ending in FORMATS:
            action = menu.addAction(tr("As {format}…").format(format=ending.upper()))
            action.setObjectName(f"{self._name}_{ending}_action")
            action.setData(ending)
        menu.triggered.connect(self._on_menu_triggered)
        return menu

    @Slot(QAction)
    def _on_menu_triggered(self, action: QAction) -> None:
        ending = action.data()
        name = f"{self._name}.{ending}"
        ask_new_file(self, tr("Save the chart"), name, self._on_file_selected)

    @Slot(str)
    def _on_file_selected(self, path: str) -> None:
        try:
            self.save_picture(Path(path))
        except OSError as error:
            self.save_failed.emit(
                tr("The chart cannot be written: {error}.").format(error=error)
            )


def save_widget(widget: QWidget, path: Path) -> None:
    """Write a picture of `widget` as it is now.

    Raises:
        OSError: it cannot be written there.
    """

    def paint(painter: QPainter) -> None:
        widget.render(painter, QPoint())

    write_picture(widget.size(), widget, path, paint)


def write_picture(
    size: QSize, widget: QWidget, path: Path, paint: Callable[[QPainter], None]
) -> None:
    """Write what `paint` paints, on the background of `widget`, to `path`.

    Raises:
        OSError: it cannot be written there.
    """
    image = QImage(size * _PICTURE_SCALE, QImage.Format.Format_ARGB32)
    image.setDevicePixelRatio(_PICTURE_SCALE)
    image.fill(widget.palette().window().color())
    painter = QPainter(image)
    paint(painter)
    painter.end()
    write_atomically(path, image_bytes(image, path.suffix[1:]))


def image_bytes(image: QImage, form: str = "png") -> bytes:
    """A picture as the bytes of a file in the format that its ending names.

    Raises:
        OSError: there is no such format.
    """
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    if not image.save(buffer, form):  # type: ignore[call-overload]
        raise OSError(tr("{format} is no format of pictures").format(format=form))
    return bytes(buffer.data().data())
