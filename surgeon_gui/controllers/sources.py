"""What steps 1 and 2 ask of the engine: a download, and what a text can be read by."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QObject, Slot

from surgeon_engine.api.messages.commands import Cancel, DescribeText, DownloadModel
from surgeon_engine.api.messages.sources import ModelDownloaded
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import Step
from surgeon_gui.state.request import Request
from surgeon_gui.state.sources import download as download_state
from surgeon_gui.state.sources.resolver import has_columns


class DownloadController(QObject):
    """Fetches the model that is chosen; once it is there, it is looked at."""

    def __init__(self, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        self._last: ModelDownloaded | None = None
        session.changed.connect(self._on_changed)

    @Slot()
    def start(self) -> None:
        """Fetch the model from the Hub, or the rest of it."""
        session, state = self._session, self._session.state
        if state.download.is_open:
            return
        source, name = state.config.model.source, session.new_name("download")
        download = download_state.requested(state.download, source, name)
        session.put(replace(state, download=download))
        session.send(DownloadModel(run=name, source=source))

    @Slot()
    def cancel(self) -> None:
        """End the download; what has arrived is kept."""
        session, state = self._session, self._session.state
        if state.download.is_open and not state.download.is_cancelling:
            session.send(Cancel(run=state.download.request))
            download = download_state.cancelling(state.download)
            session.put(replace(state, download=download))

    @Slot()
    def _on_changed(self) -> None:
        state = self._session.state
        downloaded = state.download.downloaded
        if downloaded is None or downloaded is self._last:
            return
        self._last = downloaded
        # The model may have been given up for another in the meantime.
        if state.model_is_chosen and state.config.model.source == downloaded.source:
            self._session.choose_model(downloaded.source)


class TextDescriptionController(QObject):
    """Asks what can be chosen in a table or a data set, once for each."""

    def __init__(self, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        session.changed.connect(self._on_changed)

    @Slot()
    def _on_changed(self) -> None:
        session, state = self._session, self._session.state
        calibration = state.config.calibration
        if state.description.request or not has_columns(calibration.text):
            return
        if Step.CALIBRATION in state.problems:
            return
        name = session.new_name("describe")
        session.put(replace(state, description=Request(name)))
        session.send(DescribeText(run=name, calibration=calibration))
