"""Progress of a request to the engine: phase, bar and Cancel button."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QWidget

from surgeon_gui.base.theme import GAP
from surgeon_gui.base.translation import tr
from surgeon_gui.state.export_text import phase_of, progress_of
from surgeon_gui.state.request import Request
from surgeon_gui.text.captions import CAPTIONS
from surgeon_gui.widgets.controls import (
    OnClick,
    button,
    is_focused,
    neighbor_in_focus_chain,
    set_enabled,
    text_label,
)
from surgeon_gui.widgets.layouts import in_row, vertical
from surgeon_gui.widgets.progress import ProgressBar


class TaskProgress(QWidget):
    """Progress of a request; hidden without one. Object names begin with `name`.

    If one of `starters`, the controls that start it, has the focus, Cancel has it
    meanwhile.
    """

    def __init__(self, name: str, on_cancel: OnClick, *starters: QWidget) -> None:
        super().__init__()
        self.setObjectName(f"{name}_progress")
        self._starters = list(starters)  # the last one that was used is first
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
        focused, was_open = self.window().focusWidget(), not self.isHidden()
        has_ended = was_open and not request.is_open and is_focused(self._cancel)
        set_enabled(self._cancel, is_enabled=request.can_cancel)
        self.setVisible(request.is_open)
        if request.is_open and focused in self._starters:
            self._starters.sort(key=lambda each: each is not focused)
            self._cancel.setFocus()
        elif has_ended:
            # Later, when the starters can be used again.
            QTimer.singleShot(0, self, self._return_focus)

    def _return_focus(self) -> None:
        """Give the focus to a starter that is in sight, the page, or the next control.

        A page takes the focus if it has a focus proxy that takes it.
        """
        for each in self._starters:
            if each.isVisible() and each.isEnabled():
                each.setFocus()
                return
        page = self.parentWidget()
        while page is not None and not _has_proxy(page):
            page = page.parentWidget()
        (page or neighbor_in_focus_chain(self._cancel, is_next=True)).setFocus()

    def show_share(self, share: float | None) -> None:
        """Show a more accurate progress, from 0 to 1; None: it is not known."""
        self._bar.show_share(share)


def _has_proxy(page: QWidget) -> bool:
    """Return whether a page has a focus proxy; areas that only scroll take no focus."""
    proxy = page.focusProxy()
    return proxy is not None and proxy.focusPolicy() is not Qt.FocusPolicy.NoFocus
