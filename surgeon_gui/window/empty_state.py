"""What the centre shows before a model is chosen: a place to drop one, and samples."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, Qt, Signal, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from surgeon_gui.base.theme import GAP, MARGIN, RADIUS, theme_of
from surgeon_gui.base.translation import tr
from surgeon_gui.state.sources.samples import SMOLLM2, smollm2
from surgeon_gui.state.sources.text import how_to_get_sample
from surgeon_gui.text.captions.sources import MAX_RECENT_SHOWN
from surgeon_gui.text.labels import source_name
from surgeon_gui.widgets.controls import (
    AnyWidget,
    bold,
    button,
    described,
    heading,
    text_label,
)

_TITLE_SCALE = 1.5
_WIDTH = 620
_BUTTON_HEIGHT = 34


class EmptyState(QWidget):
    """An invitation. Files may be dropped anywhere on the window, not only here."""

    demo_clicked = Signal()
    sample_clicked = Signal()
    folder_clicked = Signal()
    gguf_clicked = Signal()
    source_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("empty_state")
        self._hub = described(QLineEdit(), "empty_hub_edit")
        self._hub.setPlaceholderText(
            tr("or the name of a model on the Hugging Face Hub")
        )
        self._hub.setAcceptDrops(False)
        self._hub.returnPressed.connect(self._on_hub)
        self._recent_title = _centred(tr("Opened before"))
        self._recent = [
            button(f"empty_recent_button_{number + 1}")
            for number in range(MAX_RECENT_SHOWN)
        ]
        self._recent_sources: Sequence[str] = ()
        column = QWidget()
        column.setFixedWidth(_WIDTH)
        inside = QVBoxLayout(column)
        inside.setSpacing(MARGIN)
        self._add_ways_to_open(inside)
        inside.addWidget(self._recent_title)
        inside.addLayout(self._recent_rows())
        inside.addSpacing(2 * GAP)
        self._add_samples(inside)
        outer = QVBoxLayout(self)
        outer.addStretch()
        outer.addLayout(_middle(column))
        outer.addStretch()
        self.show_recent(())

    def show_recent(self, sources: Sequence[str]) -> None:
        """Offer the models that were opened before."""
        self._recent_sources = tuple(sources[:MAX_RECENT_SHOWN])
        self._recent_title.setVisible(bool(sources))
        for place, made in enumerate(self._recent):
            is_used = place < len(self._recent_sources)
            made.setVisible(is_used)
            if is_used:
                source = self._recent_sources[place]
                _name(made, source)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the dashed edge of the place to drop on."""
        theme = theme_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(theme.border), 1.5, Qt.PenStyle.DashLine))
        painter.setBrush(QColor(theme.surface))
        edge = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        painter.drawRoundedRect(edge, RADIUS, RADIUS)

    @Slot()
    def _on_hub(self) -> None:
        if self._hub.text().strip():
            self.source_chosen.emit(self._hub.text())

    @Slot()
    def _on_recent(self) -> None:
        place = self._recent.index(self.sender())  # type: ignore[arg-type]
        self.source_chosen.emit(self._recent_sources[place])

    def _add_ways_to_open(self, inside: QVBoxLayout) -> None:
        title = heading(tr("Drop a language model here"))
        title.setFont(bold(title.font(), _TITLE_SCALE))
        title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        what = tr(
            "A folder with config.json and safetensors, or a .gguf file. Nothing "
            "leaves this computer."
        )
        folder = _tall(button("empty_folder_button"))
        gguf = _tall(button("empty_gguf_button"))
        look_up = _tall(button("empty_hub_button"))
        folder.clicked.connect(self.folder_clicked)
        gguf.clicked.connect(self.gguf_clicked)
        look_up.clicked.connect(self._on_hub)
        hub_row = QHBoxLayout()
        hub_row.setSpacing(GAP)
        hub_row.addWidget(_tall(self._hub), 1)
        hub_row.addWidget(look_up)
        inside.addWidget(title)
        inside.addWidget(_centred(what))
        inside.addLayout(_middle(folder, gguf))
        inside.addLayout(hub_row)

    def _add_samples(self, inside: QVBoxLayout) -> None:
        demo = _tall(button("empty_demo_button", primary=True))
        sample = _tall(button("empty_sample_button"))
        demo.clicked.connect(self.demo_clicked)
        sample.clicked.connect(self.sample_clicked)
        inside.addWidget(_centred(_samples_line()))
        inside.addLayout(_middle(demo, sample))
        sample.setVisible(bool(smollm2()))
        if not smollm2():
            inside.addWidget(_centred(how_to_get_sample()))

    def _recent_rows(self) -> QVBoxLayout:
        """Two models side by side."""
        rows = QVBoxLayout()
        rows.setSpacing(GAP)
        for place in range(0, MAX_RECENT_SHOWN, 2):
            rows.addLayout(_middle(*self._recent[place : place + 2]))
        for made in self._recent:
            made.clicked.connect(self._on_recent)
        return rows


def _name(made: QPushButton, source: str) -> None:
    """Write a model on its button, whole if there is room, and its path in the tip."""
    name = source_name(source)
    width = _WIDTH // 2 - 6 * GAP
    shown = made.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, width)
    made.setText(shown.replace("&", "&&"))
    made.setToolTip(source)
    made.setAccessibleName(name)


def _samples_line() -> str:
    if smollm2():
        return tr(
            "No model at hand? The demo is pruned in a minute or two; {sample} is a "
            "real pretrained model and takes longer."
        ).format(sample=SMOLLM2)
    return tr(
        "No model at hand? The demo is a small model that is pruned in a minute or two."
    )


def _tall(widget: AnyWidget) -> AnyWidget:
    widget.setMinimumHeight(_BUTTON_HEIGHT)
    return widget


def _centred(words: str) -> QWidget:
    label = text_label(words, quiet=True)
    label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
    return label


def _middle(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(GAP)
    row.addStretch()
    for widget in widgets:
        row.addWidget(widget)
    row.addStretch()
    return row
