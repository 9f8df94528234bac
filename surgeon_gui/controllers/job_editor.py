"""The draft of the next job and the requests to the engine: the base of `Session`."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.presets import Preset
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.config.run import Device, ModelConfig, RunConfig
from surgeon_engine.api.config.samples import SamplesConfig
from surgeon_engine.api.messages.commands import (
    Cancel,
    Command,
    InspectModel,
    PreviewText,
)
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.model_info.header import model_facts
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.paths import check_path
from surgeon_gui.base import offline
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.state import app as app_state
from surgeon_gui.state.app import AppState, Step
from surgeon_gui.state.job import checks, editing
from surgeon_gui.state.job.draft import Draft, DraftHistory
from surgeon_gui.state.job.resource_text import check_draft
from surgeon_gui.state.request import NO_REQUEST, Request, RequestKind

INSPECTION_DELAY_MS = 300  # after the last keystroke in the model's path


class JobEditor(QObject):
    """Hold the state, edit its draft, send commands to the engine."""

    changed = Signal()

    def __init__(
        self, engine: EngineThread, state: AppState, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.state = state
        self._engine = engine
        self._numbers = itertools.count(1)
        self._token = uuid.uuid4().hex[:8]
        self._inspection_timer = QTimer(self, singleShot=True)
        self._inspection_timer.setInterval(INSPECTION_DELAY_MS)
        self._inspection_timer.timeout.connect(self._inspect)

    # requests

    def new_id(self, prefix: str, *, is_unique: bool = False) -> str:
        """Return an unused id for a command and its events.

        Windows give the same ids, unless one has to be unique.
        """
        number = next(self._numbers)
        return f"{prefix}-{self._token}-{number}" if is_unique else f"{prefix}-{number}"

    def send(self, command: Command) -> None:
        """Send a command to the engine; its events come with `events_arrived`."""
        self._engine.send(command)

    def start_request(
        self,
        kind: RequestKind,
        make_command: Callable[..., Command],
        request: Request[Any] = NO_REQUEST,
    ) -> None:
        """Send `make_command(run=...)` with a new id; the state follows its events.

        `request` is stored with that id; the last request of the kind is obsolete.
        """
        request = replace(request, id=self.new_id(kind.value))
        self._set(app_state.with_request(self.state, kind, request))
        self.send(make_command(run=request.id))

    def cancel_request(self, kind: RequestKind) -> None:
        """Cancel the latest request of a kind, if it is in progress."""
        request = self.state.request(kind)
        if request.can_cancel:
            self.send(Cancel(run=request.id))
            self._set(app_state.with_request(self.state, kind, request.cancelling()))

    def forget_request(self, kind: RequestKind) -> None:
        """Cancel the latest request of a kind and forget its response."""
        self.cancel_request(kind)
        self._set(app_state.without_requests(self.state, kind))

    @contextmanager
    def showing_errors(self) -> Iterator[None]:
        """Show the error of a setting in the block, which ends there."""
        try:
            yield
        except ConfigError as error:
            problem = Failed(error.message, error.hint)
            self._set(replace(self.state, notice=problem))

    # the draft

    def load(self, config: RunConfig, job_file: str = "") -> None:
        """Make a whole job the draft."""
        before = editing.draft_of(self.state)
        self._choose()
        self._accept(*Step)
        self.state = replace(self.state, may_replace=False)
        self.edit(config, before)
        self._set(replace(self.state, job_file=job_file))

    @Slot(str)
    def choose_model(self, source: str) -> None:
        """Choose the model at `source`; empty: none.

        A model that could not be read is inspected again.
        """
        if not source.strip():
            self._inspection_timer.stop()
            state = app_state.without_requests(self.state, RequestKind.INSPECTION)
            self._set(replace(state, model_is_chosen=False))
            return
        with self.showing_errors():
            model = replace(self.state.config.model, source=source.strip())
            before = editing.draft_of(self.state)
            self._choose()
            self.edit(replace(self.state.config, model=model), before)

    def edit(self, config: RunConfig, before: Draft | None = None) -> None:
        """Make `config` the draft; undo restores `before`, by default the last one."""
        before = before or editing.draft_of(self.state)
        self._set_draft(editing.with_config(self.state, config), before)
        self._inspect_soon()

    def go_to(self, draft: Draft, history: DraftHistory) -> None:
        """Show an earlier or later draft with its own undo history."""
        state = editing.with_draft(self.state, draft, history)
        self._set(self._checked(_with_facts(state)))
        self._inspect_soon()

    def drop_rejected(self) -> None:
        """Forget the page values that make no valid config."""
        self._accept(*Step)
        self._set(self._checked(self.state))

    def set_own_presets(self, presets: tuple[Preset, ...]) -> None:
        """Offer these presets besides the built-in ones."""
        self._set(replace(self.state, own_presets=presets))

    @Slot(object)
    def choose_preset(self, preset: Preset | None) -> None:
        """Apply a preset to the draft; None: restore the user's own settings."""
        before = editing.draft_of(self.state)
        if preset is None:
            self._set_draft(editing.without_preset(self.state), before)
        else:
            self._set_draft(editing.with_preset(self.state, preset), before)

    @Slot(object)
    def edit_calibration(self, calibration: CalibrationConfig) -> None:
        """Change the calibration of the draft."""
        self._accept(Step.CALIBRATION)
        self.edit(replace(self.state.config, calibration=calibration))

    @Slot(object)
    def edit_evaluation(self, evaluation: EvaluationConfig) -> None:
        """Change the texts that judge the model of the draft."""
        self._accept(Step.CALIBRATION)
        self.edit(replace(self.state.config, evaluation=evaluation))

    @Slot(object)
    def edit_pruning(self, pruning: PruningConfig) -> None:
        """Change the pruning settings of the draft."""
        self._accept(Step.TARGET)
        self.edit(replace(self.state.config, pruning=pruning))

    @Slot(object)
    def edit_recovery(self, recovery: RecoveryConfig) -> None:
        """Change the recovery settings of the draft."""
        self._accept(Step.TARGET)
        self.edit(replace(self.state.config, recovery=recovery))

    @Slot(object)
    def edit_samples(self, samples: SamplesConfig) -> None:
        """Change the samples of the draft."""
        self.edit(replace(self.state.config, samples=samples))

    @Slot(object)
    def edit_export(self, export: ExportConfig) -> None:
        """Change the export settings of the draft."""
        self._accept(Step.EXPORT)
        self.edit(replace(self.state.config, export=export))

    def allow_to_replace(self, is_allowed: bool) -> None:
        """Remember whether the next run may replace an export at its destination."""
        self._set(self._checked(replace(self.state, may_replace=is_allowed)))

    def reject_edit(self, step: Step, problem: str) -> None:
        """Remember that a page holds invalid values, until it is edited."""
        rejected = {**self.state.rejected, step: problem}
        self._set(self._checked(replace(self.state, rejected=rejected)))

    def set_default_device(self, device: Device) -> None:
        """Set the device of new jobs; the draft follows unless it has another one."""
        old, model = self.state.default_device, self.state.config.model
        self._set(replace(self.state, default_device=device))
        if model.device is old and device is not old:
            model = replace(model, device=device)
            self.edit(replace(self.state.config, model=model))

    def set_offline(self, is_offline: bool) -> None:
        """Set whether the Hub may be contacted; the engine follows once it is idle."""
        offline.use(is_offline)
        if not self.state.computer:
            self._engine.restart_when_idle()
        self.recheck()

    def recheck(self) -> None:
        """Check the draft again, after something outside of it has changed."""
        self._set(self._checked(self.state))

    def new_config(self, source: str = DEMO) -> RunConfig:
        """Return the config of a new job."""
        return RunConfig(ModelConfig(source, device=self.state.default_device))

    @Slot(str)
    def set_run_parent(self, folder: str) -> None:
        """Create the folders of further runs in `folder`."""
        self._set(self._checked(replace(self.state, run_parent=folder)))

    @Slot(str)
    def set_runs_folder(self, folder: str) -> None:
        """Create the folders of further runs in `folder` of the engine's computer."""
        with self.showing_errors():
            check_path(tr("The runs folder"), folder)
            if self.state.computer:
                self._set(replace(self.state, remote_runs=folder))
            else:
                self.set_run_parent(folder)

    def set_job_file(self, path: str) -> None:
        """Remember the file to which the draft was saved."""
        self._set(replace(self.state, job_file=path))

    @Slot()
    def preview_text(self) -> None:
        """Request a preview of the windows of all texts."""
        config = self.state.config
        self.start_request(
            RequestKind.PREVIEW,
            partial(
                PreviewText,
                model=config.model,
                calibration=config.calibration,
                own_windows=config.own_windows,
            ),
        )

    @Slot()
    def _inspect(self) -> None:
        if Step.MODEL in self.state.problems:
            return
        command = partial(InspectModel, model=self.state.config.model)
        self.start_request(RequestKind.INSPECTION, command)

    def _inspect_soon(self) -> None:
        is_requested = bool(self.state.request(RequestKind.INSPECTION).id)
        if self.state.model_is_chosen and not is_requested:
            self._inspection_timer.start()

    def _set_draft(self, state: AppState, before: Draft) -> None:
        """Take a state with another draft and add the one before to the history."""
        after = editing.draft_of(state)
        history = state.draft_history.with_edit(before, after, time.monotonic())
        state = replace(state, draft_history=history)
        self._set(self._checked(_with_facts(state)))

    def _choose(self) -> None:
        """Mark a model as chosen and forget a failed inspection.

        Emits no signal: until `edit`, the draft still names the model before.
        """
        state = self.state
        if state.request(RequestKind.INSPECTION).error is not None:
            state = app_state.without_requests(state, RequestKind.INSPECTION)
        self.state = replace(state, model_is_chosen=True)

    def _checked(self, state: AppState) -> AppState:
        problems: Mapping[Step, str] = checks.find_problems(
            state.config,
            state.model,
            state.run_parent,
            on_cuda=state.on_cuda,
            is_remote=bool(state.computer),
            may_replace=state.may_replace,
        )
        state = replace(
            state,
            problems={**problems, **state.rejected},
            can_replace=checks.can_replace(
                state.config, state.run_parent, is_remote=bool(state.computer)
            ),
            save_problem=checks.save_problem(state),
        )
        return replace(state, resource_check=check_draft(state))

    def _accept(self, *steps: Step) -> None:
        """Forget the rejected values of these pages; the caller emits `changed`."""
        rejected = {s: p for s, p in self.state.rejected.items() if s not in steps}
        self.state = replace(self.state, rejected=rejected)

    def _set(self, state: AppState) -> None:
        self.state = state
        self.changed.emit()


def _with_facts(state: AppState) -> AppState:
    """Return the state with the facts that the files of a new model show at once."""
    if not state.model_is_chosen or state.facts is not None or state.computer:
        return state
    return replace(state, facts=model_facts(state.config.model.source))
