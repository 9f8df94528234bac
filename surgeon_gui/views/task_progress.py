"""Progress of a request to the engine: phase, bar and Cancel button."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QWidget

from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.state.export_text import phase_of, progress_of
from surgeon_gui.state.request import Request
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import OnClick, button, set_enabled, text_label
from surgeon_gui.widgets.layouts import in_row, vertical
from surgeon_gui.widgets.progress import ProgressBar


class TaskProgress(QWidget):
    """Progress of a request; hidden without one. Object names begin with `name`.

    If `starter`, the button that starts it, has the focus, Cancel has it meanwhile.
    """

    def __init__(
        self, name: str, on_cancel: OnClick, starter: QWidget | None = None
    ) -> None:
        super().__init__()
        self.setObjectName(f"{name}_progress")
        self._starter = starter
        self._phase = text_label(quiet=True, name=f"{name}_phase_label")
        task = CAPTIONS[f"{name}_button"].spoken
        spoken = tr("Progress: {task}").format(task=task)
        self._bar = ProgressBar(f"{name}_progress_bar", spoken)
        self._cancel = button(f"{name}_cancel_button", on_cancel)
        self._cancel.setAccessibleName(tr("Cancel: {task}").format(task=task))
        row = in_row((self._bar, 1), self._cancel)
        vertical(self, self._phase, row, spacing=GAP // 2)
        self.hide()

    def show_request(self, request: Request[Any]) -> None:
        """Show the progress of a request."""
        self._phase.setText(phase_of(request))
        self.show_share(progress_of(request) if request.total else None)
        focused = self.window().focusWidget()
        set_enabled(self._cancel, is_enabled=request.can_cancel)
        self.setVisible(request.is_open)
        if request.is_open and focused is not None and focused is self._starter:
            self._cancel.setFocus()
        elif not request.is_open and focused is self._cancel and self._starter:
            # Later, when it can be used again.
            QTimer.singleShot(0, self._starter, self._starter.setFocus)

    def show_share(self, share: float | None) -> None:
        """Show a more accurate progress, from 0 to 1; None: it is not known."""
        self._bar.show_share(share)
