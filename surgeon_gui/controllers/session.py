"""The window's mind: it holds the state, talks to the engine and says when to redraw.

Widgets call its methods and draw `state` whenever `changed` fires, which is once for
each batch of events, however many events that is. It makes no widget itself.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.benchmark import BenchmarkSettings
from surgeon_engine.api.messages.commands import (
    Cancel,
    Diagnose,
    ExportRun,
    MeasureModels,
    Pause,
    ProbeMachine,
    Resume,
    StartRun,
    StopAndKeep,
)
from surgeon_engine.api.messages.events import Envelope, Failed
from surgeon_engine.api.run_folder import new_run_folder
from surgeon_gui.base import paths
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.controllers.job_editor import JobEditor
from surgeon_gui.state import app as app_state
from surgeon_gui.state import run as run_state
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job import checks
from surgeon_gui.state.request import Request, cancelling
from surgeon_gui.state.run import RunState

CLOCK_MS = 500  # elapsed and remaining time move while nothing else does


class Session(JobEditor):
    """The draft, the run, and what is done with its result."""

    events_arrived = Signal(object)  # list[Envelope], for all who have asked
    model_recognised = Signal(str)  # its source
    run_ended = Signal(object)  # RunState
    save_ended = Signal(object)  # Inquiry[Exported]

    def __init__(
        self, engine: EngineThread, run_parent: Path, parent: QObject | None = None
    ) -> None:
        super().__init__(engine, AppState(run_parent=str(run_parent)), parent)
        self._clock = QTimer(self)
        self._clock.setInterval(CLOCK_MS)
        self._clock.timeout.connect(self.changed)
        engine.listen(self._on_events_received)

    # the run

    def start_run(self, folder: Path | None = None) -> None:
        """Start the draft as a run, in `folder` or in one with a name of its own."""
        config = self.state.config
        try:
            folder = folder or self._new_folder(config)
        except OSError as error:
            message = tr("{run_parent} cannot be used: {strerror}.").format(
                run_parent=self.state.run_parent, strerror=error.strerror
            )
            self.show_problem(Failed(message, tr("Choose another runs folder.")))
            return
        if checks.covers(config, folder):
            message = tr("{folder} is the run's own folder, or holds it.").format(
                folder=config.export.folder
            )
            self.show_problem(Failed(message, tr("Choose another destination.")))
            return
        name = self.new_name("run")
        run = run_state.requested(name, config, str(folder), time.time())
        self.send(StartRun(run=name, config=config, folder=str(folder)))
        self._clock.start()
        self._set(app_state.with_run(self.state, run))

    @Slot()
    def stop_and_keep(self) -> None:
        """End the run after the shot that is under way."""
        if self.state.run.can_stop:
            self.send(StopAndKeep(run=self.state.run.run))
            self._set_run(run_state.stopping(self.state.run))

    @Slot()
    def pause_or_resume(self) -> None:
        """Let the run wait, with its model in memory, or go on."""
        run = self.state.run
        if run.status.can_pause:
            self.send(Pause(run=run.run))
            self._set_run(run_state.pausing(run))
        elif run.status.can_resume:
            self.send(Resume(run=run.run))
            self._set_run(run_state.resuming(run))

    @Slot()
    def cancel(self) -> None:
        """End the run at once."""
        if self.state.run.status.can_cancel:
            self.send(Cancel(run=self.state.run.run))
            self._set_run(run_state.cancelling(self.state.run))

    # runs of before

    def reopen(self, run: RunState, name: str) -> None:
        """Show an earlier run, which is called `name`, with all that came of it."""
        # A name of its own: that of its events may be the name of another one today.
        earlier = replace(run, run=self.new_name("earlier"))
        state = app_state.with_earlier(self.state, earlier, name)
        self._set(self._checked(state))

    @Slot()
    def close_earlier(self) -> None:
        """Show what was shown before an earlier run was opened."""
        self._set(self._checked(app_state.without_earlier(self.state)))

    # what is done with its result

    @Slot(object)
    def edit_another(self, another: ExportConfig) -> None:
        """Change in which form, and where to, the result is to be saved once more."""
        self._set(self._checked(replace(self.state, another=another)))

    def save(self, *, may_replace: bool = False) -> None:
        """Write the pruned model of the run once more.

        What stands at the destination goes only if it `may_replace`.
        """
        if checks.save_obstacle(self.state):
            return
        name = self.new_name("save")
        folder = str(checks.save_destination(self.state))
        export = replace(self.state.another, folder=folder, replace=may_replace)
        self._set(replace(self.state, save=Request(name)))
        self.send(ExportRun(run=name, folder=self.state.run.folder, export=export))

    @Slot()
    def cancel_save(self) -> None:
        """End the writing; nothing of it is left."""
        if self.state.save.is_open and not self.state.save.is_cancelling:
            self.send(Cancel(run=self.state.save.request))
            self._set(replace(self.state, save=cancelling(self.state.save)))

    @Slot()
    def measure(self) -> None:
        """Take the times of the original and of what the run has exported."""
        config, exported = self.state.run.config, self.state.run.exported
        if checks.measure_obstacle(self.state) or config is None or exported is None:
            return
        name = self.new_name("measure")
        sources = (config.model.source, exported.folder)
        settings = BenchmarkSettings(
            dtype=config.model.dtype, device=config.model.device
        )
        self._set(replace(self.state, measurement=Request(name)))
        self.send(MeasureModels(run=name, sources=sources, settings=settings))

    @Slot()
    def cancel_measurement(self) -> None:
        """End the measurement; nothing of it is left."""
        measurement = self.state.measurement
        if measurement.is_open and not measurement.is_cancelling:
            self.send(Cancel(run=measurement.request))
            self._set(replace(self.state, measurement=cancelling(measurement)))

    # for the parts of the window that ask the engine something of their own

    def diagnose(self, folder: Path) -> None:
        """Measure what everything in the draft's model would cost to remove."""
        if checks.diagnosis_obstacle(self.state):
            return
        name = self.new_name("diagnose")
        self._set(replace(self.state, diagnosis=Request(name)))
        config = self.state.config
        self.send(Diagnose(run=name, config=config, folder=str(folder)))

    @Slot()
    def cancel_diagnosis(self) -> None:
        """End the diagnosis; what was known before stays."""
        diagnosis = self.state.diagnosis
        if diagnosis.is_open and not diagnosis.is_cancelling:
            self.send(Cancel(run=diagnosis.request))
            self._set(replace(self.state, diagnosis=cancelling(diagnosis)))

    def put(self, state: AppState) -> None:
        """Hold another state; for whoever has asked and keeps the answer in it."""
        self._set(state)

    # what went wrong

    def show_problem(self, problem: Failed) -> None:
        """Show an error that has come up in the window itself."""
        self._set(replace(self.state, notice=problem))

    @Slot()
    def dismiss_problem(self) -> None:
        """Take the error away that is shown."""
        self._set(replace(self.state, notice=None))

    def start_obstacle(self) -> str:
        """Why a run cannot be started; empty if it can."""
        return checks.start_obstacle(self.state)

    @Slot(object)
    def _on_events_received(self, batch: list[Envelope]) -> None:
        before = self.state
        state = before
        for envelope in batch:
            state = app_state.apply(state, envelope)
        if state.model is not before.model or state.machine is not before.machine:
            state = self._checked(state)
        self.events_arrived.emit(batch)
        if state is not before:
            self._set(state)
        if state.ready is not before.ready:
            self._probe()
        if state.model is not None and state.model is not before.model:
            self.model_recognised.emit(state.config.model.source)
        if before.run.status.is_busy and not state.run.status.is_busy:
            self._on_run_ended(state.run)
        if before.save.is_open and not state.save.is_open:
            self.save_ended.emit(state.save)

    def _on_run_ended(self, run: RunState) -> None:
        self._clock.stop()
        # Its export now stands where it went.
        self._set(self._checked(app_state.with_pace(self.state)))
        self._probe()  # what is free has changed as well
        self.run_ended.emit(run)

    def _probe(self) -> None:
        self.send(ProbeMachine(run=self.new_name("probe")))

    def _new_folder(self, config: RunConfig) -> Path:
        parent = paths.expanded(self.state.run_parent)
        return new_run_folder(parent, config.model.source)

    def _set_run(self, run: RunState) -> None:
        self._set(replace(self.state, run=run))
