"""Requests of previews of a smaller vocabulary."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer, Slot

from surgeon_gui.controllers.session import Session
from surgeon_gui.state.request import RequestKind
from surgeon_gui.text.problems import Step

_DELAY_MS = 700  # after the last edit


class VocabularyController(QObject):
    """Request a preview once the user pauses; the latest settings count."""

    def __init__(self, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        self._settings: object = None  # of the last change
        self._timer = QTimer(self, singleShot=True, interval=_DELAY_MS)
        self._timer.timeout.connect(self._request)
        session.changed.connect(self._on_changed)

    @property
    def _is_due(self) -> bool:
        state = self._session.state
        return (
            state.config.pruning.removes_tokens
            and state.model is not None
            and not state.is_busy
            and not state.request(RequestKind.VOCABULARY).id
            and not {Step.TARGET, Step.CALIBRATION} & set(state.problems)
        )

    @Slot()
    def _on_changed(self) -> None:
        config = self._session.state.config
        settings = (config.model.source, config.calibration, config.pruning.vocabulary)
        if settings != self._settings or not self._timer.isActive():
            self._settings = settings
            if self._is_due:
                self._timer.start()

    @Slot()
    def _request(self) -> None:
        if self._is_due:
            self._session.draft.preview_vocabulary()
