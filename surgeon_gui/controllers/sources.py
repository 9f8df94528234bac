"""Requests of the first two steps: searches, downloads, descriptions of texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from PySide6.QtCore import QObject, QTimer, Slot
from typing_extensions import override

from surgeon_engine.api.messages.commands import DescribeText, DownloadModel, SearchHub
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.sources.download import next_download
from surgeon_gui.state.sources.reading import is_text_due
from surgeon_gui.state.sources.resolver import has_columns
from surgeon_gui.state.sources.search import HubSearch, search_of
from surgeon_gui.text.problems import Step

_CHECK_DELAY_MS = 700  # after the last edit
_SEARCH_DELAY_MS = 500  # after the last key press


class DownloadController(QObject):
    """Download the chosen model, then have it inspected."""

    def __init__(self, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        session.request_ended.connect(self._on_request_ended)

    @Slot()
    def start(self) -> None:
        """Download the model from the Hub, or the rest of it."""
        state = self._session.state
        if state.download.is_open:
            return
        source = state.config.model.source
        self._session.store.start_request(
            RequestKind.DOWNLOAD,
            partial(DownloadModel, source=source),
            next_download(state.download, source),
        )

    @Slot()
    def cancel(self) -> None:
        """Cancel the download; files that have arrived are kept."""
        self._session.store.cancel_request(RequestKind.DOWNLOAD)

    @Slot(object, object)
    def _on_request_ended(self, kind: RequestKind, request: Request[Any]) -> None:
        if kind is not RequestKind.DOWNLOAD or request.response is None:
            return
        state, source = self._session.state, request.response.source
        # Another model may have been chosen in the meantime.
        if state.model_is_chosen and state.config.model.source == source:
            self._session.draft.choose_model(source)


class HubSearchController(QObject):
    """Search the Hub for typed words, once the user pauses; the latest words count."""

    def __init__(self, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        self._words = ""
        self._timer = QTimer(self, singleShot=True, interval=_SEARCH_DELAY_MS)
        self._timer.timeout.connect(self.search_now)

    def set_words(self, typed: str) -> None:
        """Search for these words soon; without words, forget the last search."""
        words = " ".join(typed.split())
        if words == self._words:
            return
        self._words = words
        self._timer.stop()
        if words:
            self._session.store.cancel_request(RequestKind.SEARCH)
            self._timer.start()
        else:
            self._session.store.forget_request(RequestKind.SEARCH)

    @Slot()
    def search_now(self) -> None:
        """Search for the words, unless that search is in progress or has responded."""
        self._timer.stop()
        search = search_of(self._session.state)
        is_latest = search.query == self._words and search.error is None
        if not self._words or (is_latest and not search.is_cancelling):
            return
        self._session.store.cancel_request(RequestKind.SEARCH)
        self._session.store.start_request(
            RequestKind.SEARCH,
            partial(SearchHub, query=self._words),
            HubSearch(query=self._words),
        )

    @Slot()
    def stop(self) -> None:
        """Cancel the search and forget what it has found."""
        self._timer.stop()
        self._session.store.forget_request(RequestKind.SEARCH)


class PreviewController(QObject):
    """Call `request` once the user pauses, if a preview `is_due` of a free engine."""

    def __init__(
        self,
        session: Session,
        parent: QObject,
        is_due: Callable[[AppState], bool],
        request: Callable[[], None],
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._is_due, self._request = is_due, request
        self._timer = QTimer(self, singleShot=True, interval=_CHECK_DELAY_MS)
        self._timer.timeout.connect(self._ask)
        session.changed.connect(self._on_changed)

    @property
    def _is_engine_free(self) -> bool:
        state = self._session.state
        return state.model is not None and not state.is_busy

    @property
    def is_soon(self) -> bool:
        """True if a preview is requested once the user pauses."""
        return self._is_engine_free and self._is_due(self._session.state)

    @Slot()
    def _on_changed(self) -> None:
        if self.is_soon:
            self._timer.start()

    @Slot()
    def _ask(self) -> None:
        if self.is_soon:
            self._request()


class TextController(PreviewController):
    """Request what is shown of the chosen texts.

    The columns and splits of a table or a dataset are requested once for each. Small
    files of this computer are read, so that a text that is too short, or that cannot be
    read, is a problem before the start.
    """

    def __init__(self, session: Session, parent: QObject) -> None:
        self._was_free = False
        request = session.draft.preview_text
        super().__init__(session, parent, _is_text_unread, request)

    @Slot()
    @override
    def _on_changed(self) -> None:
        self._describe()
        was_free, self._was_free = self._was_free, self._is_engine_free
        if was_free:
            super()._on_changed()
        else:  # before the queue begins its next run
            self._ask()

    def _describe(self) -> None:
        state = self._session.state
        calibration = state.config.calibration
        is_requested = bool(state.request(RequestKind.DESCRIPTION).id)
        if is_requested or not has_columns(calibration.text):
            return
        if Step.CALIBRATION not in state.problems:
            command = partial(DescribeText, calibration=calibration)
            self._session.store.start_request(RequestKind.DESCRIPTION, command)


def _is_text_unread(state: AppState) -> bool:
    return (
        not state.request(RequestKind.PREVIEW).id
        and Step.CALIBRATION not in state.problems
        and is_text_due(state)
    )
