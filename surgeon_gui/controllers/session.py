"""The controller of the application: holds the state and talks to the engine.

Widgets call its methods and draw `state` whenever `changed` fires, once for each batch
of events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath, PurePosixPath

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from surgeon_engine.api.client import EngineClient
from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.run import Device, RunConfig
from surgeon_engine.api.messages.benchmark import BenchmarkSettings, Measured
from surgeon_engine.api.messages.commands import (
    Cancel,
    Command,
    ExportRun,
    Judge,
    MeasureModels,
    Pause,
    ProbeMachine,
    Resume,
    ResumeRun,
    StartRun,
    StopAndKeep,
    Watch,
)
from surgeon_engine.api.messages.events import Cancelled, Envelope
from surgeon_engine.api.messages.judgment import Judged, JudgeSettings
from surgeon_engine.api.messages.run import Estimate, Stage
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.api.run_folder import new_run_folder
from surgeon_engine.base.files import expand_path
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.draft_editor import DraftEditor
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.controllers.store import Store, checked
from surgeon_gui.state import app as app_state
from surgeon_gui.state import run as run_state
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job import checks
from surgeon_gui.state.job.editing import fitted, new_config
from surgeon_gui.state.job.targets import with_step
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.runs.reading import saved_place
from surgeon_gui.text.problems import Problem

CLOCK_MS = 500  # interval at which elapsed and remaining time are redrawn


class Session(QObject):
    """Start and control runs, save and measure their results."""

    events_arrived = Signal(object)  # list[Envelope]
    request_ended = Signal(object, object)  # RequestKind, Request
    run_ended = Signal(object)  # RunState
    job_reused = Signal()  # the draft has the settings of a run

    def __init__(
        self,
        engine: EngineThread,
        run_parent: Path,
        parent: QObject | None = None,
        *,
        pace: float = 1.0,
        device: Device = Device.AUTO,
        computer: str = "",
    ) -> None:
        config = new_config(DEMO, device)
        state = AppState(config, default_device=device, pace=pace)
        state = replace(state, run_parent=str(run_parent), computer=computer)
        super().__init__(parent)
        self.store = Store(engine, state, self)
        self.changed = self.store.changed
        self.draft = DraftEditor(self.store)
        self.runs_go_on = False  # further runs, when the window is closed
        self._marker = ""  # ends the events of the engine before
        self._clock = QTimer(self, interval=CLOCK_MS)
        self._clock.timeout.connect(self._on_clock_ticked)
        engine.listen(self._on_events_received)

    @property
    def state(self) -> AppState:
        """The state of the window."""
        return self.store.state

    # the run

    def start_run(
        self, folder: PurePath | None = None, expected: Estimate | None = None
    ) -> None:
        """Start the draft as a run in `folder`, by default in a new one.

        `expected`: the KL of its file, as the user has seen it.
        """
        config = self.state.config
        try:
            folder = folder or self._new_folder(config)
        except OSError as error:
            message = tr("{run_parent} cannot be used: {strerror}.").format(
                run_parent=self.state.run_parent, strerror=error.strerror
            )
            self.store.report(message, tr("Choose another runs folder."))
            return
        check = self.state.resource_check
        planned = check.estimate.seconds_of_stages if check is not None else {}
        may_replace = self.state.may_replace
        run = self._start(
            config, folder, planned, may_replace=may_replace, expected=expected
        )
        self.store.set(app_state.with_run(self.state, run))

    def resume_run(
        self, earlier: RunState, *, may_replace: bool = False, of_queue: bool = False
    ) -> None:
        """Resume an interrupted run from the state in its folder."""
        if earlier.computer != self.state.computer:
            message = tr("The run is on another computer than the engine.")
            hint = tr("Choose its computer first (File > Computers).")
            self.store.report(message, hint)
            return
        current = self.state.run
        if current.status.is_busy and current.folder == earlier.folder:
            return  # a second click
        if self.state.is_busy:
            message = tr("Something else is in progress.")
            self.store.report(message, tr("Resume the run after it has ended."))
            return
        run = self._resume(earlier, may_replace=may_replace)
        self.store.set(app_state.with_run(self.state, run, of_queue=of_queue))

    def start_queued_run(
        self,
        config: RunConfig,
        folder: Path,
        planned: Mapping[Stage, float],
        *,
        may_replace: bool,
    ) -> None:
        """Start a job of the queue; `planned`: the seconds of each stage."""
        run = self._start(config, folder, planned, may_replace=may_replace)
        self.store.set(app_state.with_run(self.state, run, of_queue=True))

    @Slot()
    def stop_and_keep(self) -> None:
        """End the run after the current shot, or the first, and export the result."""
        run = self.state.run
        is_open = run.status.can_cancel and run.status is not Status.STOPPING
        if is_open and not run.is_exporting:
            self.store.send(StopAndKeep(run=run.run))
            self._set_status(Status.STOPPING)

    @Slot()
    def pause_or_resume(self) -> None:
        """Pause the run, with its model in memory, or resume it."""
        run = self.state.run
        if run.status.can_pause:
            self.store.send(Pause(run=run.run))
            self._set_status(Status.PAUSING)
        elif run.status is Status.PAUSED:
            self.store.send(Resume(run=run.run))
            self._set_status(Status.RUNNING)  # its clock waits for `Resumed`

    @Slot()
    def cancel(self) -> None:
        """Cancel the run."""
        if self.state.run.status.can_cancel:
            self.store.send(Cancel(run=self.state.run.run))
            self._set_status(Status.CANCELLING)

    def follow_run(
        self, folder: str, config: RunConfig, read: RunState | None = None
    ) -> None:
        """Show a run that is in progress, wherever it was started, until it ends.

        `read`: the run as its log has it, if that was read.
        """
        run_id = self.store.new_id("run", is_unique=True)
        run = read or run_state.requested(run_id, config, folder, time.time())
        self.store.send(Watch(run=run_id, folder=folder))  # the log shows all events
        self._clock.start()
        place = self.state.computer
        run = replace(run, run=run_id, computer=place, goes_on=True)
        self.store.set(app_state.with_run(self.state, run))

    # earlier runs

    def reopen(self, run: RunState, name: str) -> None:
        """Show an earlier run under `name`."""
        # A new id: its events may have the id of a run of this session.
        run = replace(run, run=self.store.new_id("earlier"), name=name)
        self.store.set_checked(app_state.with_opened_run(self.state, run))

    @Slot()
    def use_settings(self) -> None:
        """Make the settings of the run that is shown the draft."""
        if (config := self.state.shown_run.config) is not None:
            self.use_job(config)

    def use_next_step(self, *, is_smaller: bool) -> None:
        """Make these settings the draft, with a smaller target or a gentler one."""
        if (config := self.state.shown_run.config) is not None:
            self.use_job(with_step(config, is_smaller=is_smaller))

    def use_job(self, config: RunConfig) -> None:
        """Load a job into the draft, and say that it comes from a run."""
        self.draft.load(config)
        self.job_reused.emit()

    @Slot()
    def close_opened_run(self) -> None:
        """Show the current run in place of an earlier one."""
        self.store.set_checked(app_state.without_opened_run(self.state))

    def forget_run(self, folder: str) -> None:
        """Stop showing the run in a folder, which was deleted."""
        self.store.set_checked(app_state.without_run(self.state, folder))

    # the result of the run

    @Slot(object)
    def edit_save_config(self, config: ExportConfig) -> None:
        """Change the format and the destination of another export."""
        self.store.set(replace(self.state, save_draft=config))

    def save(self, *, may_replace: bool = False) -> None:
        """Export the pruned model of the run again.

        An export at the destination is only replaced if `may_replace`.
        """
        if checks.save_obstacle(self.state):
            return
        destination = str(checks.save_destination(self.state))
        export = replace(self.state.save_config, folder=destination)
        folder = self.state.shown_run.folder
        command = partial(ExportRun, folder=folder, export=export, replace=may_replace)
        self.store.start_request(RequestKind.SAVE, command, Request(folder=folder))

    @Slot()
    def measure(self) -> None:
        """Measure speed and memory of the original and of the exported model."""
        run = self.state.shown_run
        config, sources = run.config, checks.measured_models(run)
        if checks.measure_obstacle(self.state) or config is None:
            return
        settings = BenchmarkSettings(
            dtype=config.model.dtype, device=config.model.device
        )
        command = partial(
            MeasureModels, sources=sources, settings=settings, folder=run.folder
        )
        request: Request[Measured] = Request(folder=run.folder)
        self.store.start_request(RequestKind.MEASUREMENT, command, request)

    @Slot()
    def judge(self, prompts: str = "") -> None:
        """Judge what the exported model has lost, with a file of further prompts."""
        run = self.state.shown_run
        if checks.judge_obstacle(self.state) or run.config is None:
            return
        settings = JudgeSettings(prompts, device=run.config.model.device)
        command = partial(Judge, target=run.folder, settings=settings)
        request: Request[Judged] = Request(folder=run.folder)
        self.store.start_request(RequestKind.JUDGMENT, command, request)

    # another computer

    def use_computer(
        self,
        computer: str,
        client: Callable[[], EngineClient] | None,
        pace: float = 1.0,
    ) -> None:
        """Use the engine of another computer; `client` None: of this one.

        A run that is in progress on another computer goes on there. `pace`: actual
        over estimated seconds of the runs so far on the computer.
        """
        self._clock.stop()
        self._marker = self.store.new_id("switch")
        self.store.engine.switch(client, self._marker)
        self.store.set_checked(app_state.with_computer(self.state, computer, pace))
        self.draft.inspect_soon()

    @Slot()
    def reconnect(self) -> None:
        """Try at once to connect with the other computer again."""
        self.store.engine.reconnect()

    # errors

    @Slot()
    def dismiss_problem(self) -> None:
        """Hide the error that is shown."""
        self.store.set(replace(self.state, notice=None))

    def start_obstacle(self) -> Problem | None:
        """Return why a run cannot be started; None if it can."""
        return checks.start_obstacle(self.state)

    @Slot()
    def _on_clock_ticked(self) -> None:
        # A new object even if nothing but the time has changed: see
        # `app_state.only_run_progressed`.
        now = self.state.time_of_run(time.time())
        self._set_run(replace(run_state.advanced(self.state.run, now)))

    @Slot(object)
    def _on_events_received(self, batch: list[Envelope]) -> None:
        batch = self._of_current_engine(batch)
        before = self.state
        state = before
        for envelope in batch:
            state = app_state.apply(state, envelope)
        if state.model is not before.model or state.machine is not before.machine:
            state = checked(fitted(state))
        self.events_arrived.emit(batch)
        if state is not before:
            self.store.set(state)
        if state.ready is not before.ready:
            self._probe()
        if before.run.status.is_busy and not state.run.status.is_busy:
            self._on_run_ended(state.run)
        for kind, request in state.requests.items():
            if before.request(kind).is_open and not request.is_open:
                self.request_ended.emit(kind, request)

    def _of_current_engine(self, batch: list[Envelope]) -> list[Envelope]:
        """Remove the events of an engine that is no longer used.

        Only the ends of its commands remain.
        """
        if not self._marker:
            return batch
        names = [envelope.run for envelope in batch]
        is_over = self._marker in names
        end = names.index(self._marker) if is_over else len(batch)
        ended = [each for each in batch[:end] if isinstance(each.event, Cancelled)]
        if not is_over:
            return ended
        self._marker = ""
        return [*ended, *batch[end + 1 :]]

    def _on_run_ended(self, run: RunState) -> None:
        self._clock.stop()
        place = None if run.computer else saved_place(run.folder)
        ended = replace(run, resumes_at=place)
        state = replace(app_state.with_pace(self.state), run=ended)
        # The checks of the destinations find the new export.
        self.store.set_checked(state)
        self._probe()  # the free memory has changed
        self.run_ended.emit(ended)

    def _start(
        self,
        config: RunConfig,
        folder: PurePath,
        planned: Mapping[Stage, float],
        *,
        may_replace: bool,
        expected: Estimate | None = None,
    ) -> RunState:
        path = folder.as_posix() if self.state.computer else str(folder)
        run = run_state.requested("", config, path, time.time(), planned=planned)
        command = partial(
            StartRun,
            config=config,
            folder=path,
            replace=may_replace,
            expected=expected,
            planned=dict(planned),
        )
        return self._sent(command, run)

    def _resume(self, earlier: RunState, *, may_replace: bool) -> RunState:
        now = time.time()
        if self._goes_on:  # all of its events come again
            assert earlier.config is not None
            run = run_state.requested("", earlier.config, earlier.folder, now)
        else:
            place = earlier.resumes_at
            seconds = earlier.seconds(now) if place is None else place.seconds
            run = run_state.resume_requested("", earlier, now, seconds)
        command = partial(ResumeRun, folder=earlier.folder, replace=may_replace)
        return self._sent(command, run)

    def _sent(self, make_command: Callable[..., Command], run: RunState) -> RunState:
        """Send the command that begins a run; return the run with its id."""
        goes_on = self._goes_on
        run_id = self.store.new_id("run", is_unique=goes_on)
        self.store.send(make_command(run=run_id, detached=goes_on))
        self._clock.start()
        return replace(run, run=run_id, computer=self.state.computer, goes_on=goes_on)

    @property
    def _goes_on(self) -> bool:
        return self.runs_go_on or bool(self.state.computer)

    def _probe(self) -> None:
        self.store.send(ProbeMachine(run=self.store.new_id("probe")))

    def _new_folder(self, config: RunConfig) -> PurePath:
        if self.state.computer:
            name = new_run_folder(Path(), config).name
            return PurePosixPath(self.state.runs_folder) / name
        parent = expand_path(self.state.run_parent)
        return new_run_folder(parent, config)

    def _set_status(self, status: Status) -> None:
        """Show what was requested, until the engine says that it has happened."""
        # What the user asks for changes the remaining time at once.
        self._set_run(replace(self.state.run, status=status, countdown=None))

    def _set_run(self, run: RunState) -> None:
        self.store.set(replace(self.state, run=run))
