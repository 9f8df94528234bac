"""The disk space of the caches: reads it and deletes from it, in the background."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QObject, Signal

from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.base.background import Background
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state import storage
from surgeon_gui.state.runs.reading import RunOutcome
from surgeon_gui.state.storage import StoredItem


class StorageController(QObject):
    """Hold what is in the caches; None until it has been read."""

    changed = Signal()

    def __init__(self, session: Session, runs: RunsController) -> None:
        super().__init__(session)
        self._session, self.runs = session, runs
        self._report = session.store.report
        self._reading, self._deleting = Background(self), Background(self)
        self.items: tuple[StoredItem, ...] | None = None

    def read(self) -> None:
        """Read the sizes of the caches."""
        self._reading.start(storage.read_storage, self._on_read)

    def delete_obstacle(self, item: StoredItem) -> str:
        """Return why an item cannot be deleted; empty if it can."""
        state = self._session.state
        running = [
            record.config
            for record in self.runs.state.records
            if record.outcome is RunOutcome.RUNNING
        ]
        is_open = any(request.is_open for request in state.requests.values())
        is_busy = state.is_busy or is_open or bool(running)
        configs = [*running]
        if state.is_busy or is_open:
            configs += [state.run.config, state.shown_run.config, state.config]
        sources = {source for each in configs if each for source in _sources_of(each)}
        if state.download.is_open:
            sources.add(state.download.source)
        used = storage.paths_of_sources(sources)
        return storage.delete_obstacle(item, used, is_busy=is_busy)

    def delete(self, item: StoredItem) -> None:
        """Delete an item for good."""
        if obstacle := self.delete_obstacle(item):
            self._report(obstacle, tr("Wait until it ends, or cancel it."))
            return
        work = partial(storage.delete, item)
        self._deleting.start(work, self._on_deleted)

    def finish_deleting(self) -> None:
        """Wait for deletions in progress, before the window closes."""
        self._deleting.finish()

    def _on_read(self, items: tuple[StoredItem, ...]) -> None:
        self.items = items
        self.changed.emit()

    def _on_deleted(self, problem: str) -> None:
        if problem:
            message = tr("The files cannot be deleted: {reason}.")
            self._report(
                message.format(reason=problem),
                tr("Close other programs that use them, and try again."),
            )
        self._session.draft.recheck()  # the draft may name what was deleted
        self.read()


def _sources_of(config: RunConfig) -> tuple[str, ...]:
    return (config.model.source, *(text for _, text in config.texts))
