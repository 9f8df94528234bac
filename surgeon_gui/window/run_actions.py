"""The actions for a run behind the buttons and the menu."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QMainWindow

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.model_info.source_names import without_number_format
from surgeon_engine.api.run_folder import plain_name
from surgeon_gui.base.background import Background
from surgeon_gui.base.lm_studio import Stopped, add_file, models_folder
from surgeon_gui.base.paths import with_tilde
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.queue import QueueController
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.job.purposes import fitted_to
from surgeon_gui.state.job.targets import target_of
from surgeon_gui.state.queue.text import stop_note
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import cancel_note
from surgeon_gui.state.runs.reading import has_saved_state
from surgeon_gui.text.problems import PASSING
from surgeon_gui.views.question import Question
from surgeon_gui.widgets.controls import finish_typing

_NOTHING_LOST = 30.0  # seconds of reading after which a run is more than begun


class RunActions(QObject):
    """Start, cancel or repeat a run, or copy its file to LM Studio."""

    started = Signal()
    copying = Signal(bool)  # the file to LM Studio

    def __init__(
        self,
        session: Session,
        queue: QueueController,
        window: QMainWindow,
        start: Callable[[], None],
    ) -> None:
        super().__init__(window)
        self._start, self._queue = start, queue
        self._wanted: RunConfig | None = None  # to start once it has been read
        session.changed.connect(self._go_on)
        session.changed.connect(self._follow_question)
        self._session, self._window = session, window
        self._background = Background(self)
        self._is_closing = threading.Event()  # a copy then ends
        self._question = Question("cancel", tr("Cancel the run"), window)

    @Slot()
    def start(self) -> None:
        """Start a run with what the inputs show, once they have been read."""
        finish_typing(self._window.focusWidget())
        self._wanted = self._session.state.config
        self._go_on()

    @Slot()
    def _go_on(self) -> None:
        """Start the job that is wanted, unless it has changed or cannot be started."""
        if self._wanted is None:
            return
        state, obstacle = self._session.state, self._session.start_obstacle()
        is_same = state.config == self._wanted
        if state.model is not None and not is_same:  # it may have been read since
            is_fitted = state.config == fitted_to(self._wanted, state.model)
            wanted = target_of(self._wanted.pruning)
            is_same = is_fitted and target_of(state.config.pruning) == wanted
        if is_same and obstacle is not None and obstacle.kind in PASSING:
            return
        self._wanted = None
        if is_same and obstacle is None:
            self._start()
            self.started.emit()

    @Slot()
    def cancel(self) -> None:
        """Cancel the run; ask first if that loses something."""
        run = self._session.state.run
        if not run.status.can_cancel:
            return
        now = time.time()
        has_begun = run.model is not None or run.seconds(now) >= _NOTHING_LOST
        if not has_begun and not stop_note(self._queue.state):
            self._session.cancel()
        else:
            self._ask(run, now)

    @Slot()
    def _follow_question(self) -> None:
        """Keep an open question true, as the run goes on."""
        if self._question.is_open:
            run = self._session.state.run
            if run.status.can_cancel:
                self._ask(run, time.time())
            else:
                self._question.close()

    def _ask(self, run: RunState, now: float) -> None:
        is_saved = not run.computer and has_saved_state(run.folder)
        details = cancel_note(run, now, is_saved=is_saved)
        details = f"{details} {stop_note(self._queue.state)}".strip()
        on_yes = partial(self._on_confirmed, run.folder)
        self._question.ask(tr("Cancel the run?"), details, on_yes)

    def _on_confirmed(self, folder: str) -> None:
        if folder == self._session.state.run.folder:
            self._session.cancel()

    @Slot(str)
    def add_to_lm_studio(self, file: str) -> None:
        """Copy the file of the run in view to the models of LM Studio."""
        run, models = self._session.state.shown_run, models_folder()
        if models is None or run.exported is None or run.config is None:
            return
        model = without_number_format(plain_name(run.config.model.source))
        megabytes = round(run.exported.weight_bytes / 1e6)
        name = f"{model}-{run.exported.dtype.label}-{megabytes}MB"
        self.copying.emit(True)
        work = partial(_added, Path(file), models, name, self._is_closing.is_set)
        self._background.start(work, self._on_added)

    def finish(self) -> None:
        """Stop a copy, and wait until nothing of it is left."""
        self._is_closing.set()
        self._background.finish()

    def _on_added(self, found: Path | Failed | None) -> None:
        self.copying.emit(False)
        if found is None:
            return
        if isinstance(found, Failed):
            self._session.store.show_problem(found)
            return
        text = tr("Added to LM Studio: {path}.")
        text = text.format(path=with_tilde(found))
        self._session.store.note(text, str(found))


def _added(
    file: Path, models: Path, name: str, is_stopped: Callable[[], bool]
) -> Path | Failed | None:
    """Return where the file lies now, or why it could not be copied; None: stopped."""
    try:
        return add_file(file, models, name, is_stopped)
    except Stopped:
        return None
    except OSError as error:
        message = tr("The file cannot be copied to {folder}: {reason}.")
        return Failed(
            message.format(folder=models, reason=error.strerror or error),
            tr("Nothing was left there. Free space, or copy the file yourself."),
        )
