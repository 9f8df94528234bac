"""What the centre shows before a model is chosen: a place to drop one, and the demo."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from surgeon_gui.theme import GAP, MARGIN, RADIUS, theme_of
from surgeon_gui.translation import tr
from surgeon_gui.widgets.controls import bold, button, heading, text_label

_TITLE_SCALE = 1.5
_WIDTH = 620


class EmptyState(QWidget):
    """An invitation. Files may be dropped anywhere on the window, not only here."""

    demo_clicked = Signal()
    folder_clicked = Signal()
    gguf_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("empty_state")
        title = heading(tr("Drop a language model here"))
        title.setFont(bold(title.font(), _TITLE_SCALE))
        what = text_label(
            tr(
                "A folder with config.json and safetensors, or a .gguf file. Nothing "
                "leaves this computer."
            ),
            quiet=True,
        )
        trial = text_label(
            tr(
                "No model at hand? The demo is a small model that is pruned in about a "
                "minute."
            ),
            quiet=True,
        )
        for label in (title, what, trial):
            label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        demo = button("empty_demo_button", primary=True)
        folder, gguf = button("empty_folder_button"), button("empty_gguf_button")
        for made in (demo, folder, gguf):
            made.setMinimumHeight(34)
        demo.clicked.connect(self.demo_clicked)
        folder.clicked.connect(self.folder_clicked)
        gguf.clicked.connect(self.gguf_clicked)

        open_row = QHBoxLayout()
        open_row.addStretch()
        open_row.addWidget(folder)
        open_row.addWidget(gguf)
        open_row.addStretch()
        demo_row = QHBoxLayout()
        demo_row.addStretch()
        demo_row.addWidget(demo)
        demo_row.addStretch()
        column = QWidget()
        column.setFixedWidth(_WIDTH)
        inside = QVBoxLayout(column)
        inside.setSpacing(MARGIN)
        inside.addWidget(title)
        inside.addWidget(what)
        inside.addLayout(open_row)
        inside.addSpacing(3 * GAP)
        inside.addWidget(trial)
        inside.addLayout(demo_row)
        middle = QHBoxLayout()
        middle.addStretch()
        middle.addWidget(column)
        middle.addStretch()
        outer = QVBoxLayout(self)
        outer.addStretch()
        outer.addLayout(middle)
        outer.addStretch()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the dashed edge of the place to drop on."""
        theme = theme_of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(theme.border), 1.5, Qt.PenStyle.DashLine))
        painter.setBrush(QColor(theme.surface))
        edge = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        painter.drawRoundedRect(edge, RADIUS, RADIUS)
