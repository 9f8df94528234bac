"""What the engine does for a question, how far it is, and a button that ends it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.state.export_text import phase_of, progress_of
from surgeon_gui.state.request import Request
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import button, text_label

_FULL = 1000  # steps of the progress bar


class TaskProgress(QWidget):
    """Takes no room while nothing is done. `name` begins the names of its parts."""

    cancel_clicked = Signal()

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setObjectName(f"{name}_progress")
        self._phase = text_label(quiet=True)
        self._phase.setObjectName(f"{name}_phase_label")
        self._bar = QProgressBar(maximum=_FULL, textVisible=False)
        self._bar.setObjectName(f"{name}_progress_bar")
        what = CAPTIONS[f"{name}_button"].spoken
        self._bar.setAccessibleName(tr("Progress: {what}").format(what=what))
        self._cancel = button(f"{name}_cancel_button")
        self._cancel.setAccessibleName(tr("Cancel: {what}").format(what=what))
        self._cancel.clicked.connect(self.cancel_clicked)
        row = QHBoxLayout()
        row.setSpacing(GAP)
        row.addWidget(self._bar, 1)
        row.addWidget(self._cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP // 2)
        column.addWidget(self._phase)
        column.addLayout(row)
        self.hide()

    def show_request(self, request: Request[Any]) -> None:
        """Show how far the engine is with a question."""
        self._phase.setText(phase_of(request))
        self._bar.setValue(round(progress_of(request) * _FULL))
        self._cancel.setEnabled(request.can_cancel)
        self.setVisible(request.is_open)

    def show_share(self, share: float) -> None:
        """Show how much is done where that is known better, from 0 to 1."""
        self._bar.setValue(round(share * _FULL))
