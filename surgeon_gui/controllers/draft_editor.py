"""The draft of the next job: edits of the user, and the inspection of its model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from PySide6.QtCore import QObject, QTimer, Slot

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.config.presets import Preset
from surgeon_engine.api.config.run import Device, RunConfig
from surgeon_engine.api.messages.commands import (
    InspectModel,
    PreviewText,
    PreviewVocabulary,
)
from surgeon_engine.api.model_info.header import model_facts
from surgeon_engine.base.paths import check_path
from surgeon_gui.base import offline
from surgeon_gui.base.translation import tr
from surgeon_gui.controllers.store import Store
from surgeon_gui.state import app as app_state
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job import editing
from surgeon_gui.state.job.checks import STEPS
from surgeon_gui.state.job.draft import Draft, DraftHistory
from surgeon_gui.state.job.purposes import unfitted
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.sources.reading import source_problem
from surgeon_gui.state.sources.shares import with_texts
from surgeon_gui.text.problems import Kind, Problem, Step

INSPECTION_DELAY_MS = 300  # after the last keystroke in the model's path


class DraftEditor(QObject):
    """Edit the draft."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._store = store
        self._inspection_timer = QTimer(
            self, singleShot=True, interval=INSPECTION_DELAY_MS
        )
        self._inspection_timer.timeout.connect(self._inspect)

    @property
    def _state(self) -> AppState:
        return self._store.state

    def load(self, config: RunConfig, job_file: str = "") -> None:
        """Make a whole job the draft."""
        before = editing.draft_of(self._state)
        self._choose()
        self._accept(*Step)
        self._store.state = replace(self._state, may_replace=False, is_fitting=False)
        self.edit(config, before)
        self._store.set(replace(self._state, job_file=job_file))

    def restore(self, config: RunConfig) -> None:
        """Make the job of the last session the draft, which is no edit to undo."""
        self.load(config)
        self._store.set(replace(self._state, draft_history=DraftHistory()))

    @Slot(str)
    def choose_model(self, source: str) -> None:
        """Choose the model at `source`; empty: none.

        A model that could not be read is inspected again.
        """
        if not source.strip():
            self._inspection_timer.stop()
            state = app_state.without_requests(self._state, RequestKind.INSPECTION)
            self._store.set(replace(state, model_is_chosen=False))
            return
        with self._store.showing_errors():
            before, config = editing.draft_of(self._state), self._state.config
            config = unfitted(config, self._state.model)
            model = replace(config.model, source=source.strip())
            self._choose()
            self._store.state = replace(self._state, is_fitting=True)
            self.edit(replace(config, model=model), before)

    def edit(self, config: RunConfig, before: Draft | None = None) -> None:
        """Make `config` the draft; undo restores `before`, by default the last one."""
        before = before or editing.draft_of(self._state)
        self._set_draft(editing.with_config(self._state, config), before)
        self.inspect_soon()

    def go_to(self, draft: Draft, history: DraftHistory) -> None:
        """Show an earlier or later draft with its own undo history."""
        state = editing.with_draft(self._state, draft, history)
        self._store.set_checked(_with_facts(state))
        self.inspect_soon()

    def drop_rejected(self) -> None:
        """Forget the page values that make no valid config."""
        self._accept(*Step)
        self._store.set_checked(self._state)

    def set_own_presets(self, presets: tuple[Preset, ...]) -> None:
        """Offer these presets besides the built-in ones."""
        self._store.set(replace(self._state, own_presets=presets))

    @Slot(object)
    def choose_preset(self, preset: Preset | None) -> None:
        """Apply a preset to the draft; None: restore the user's own settings."""
        before = editing.draft_of(self._state)
        if preset is None:
            self._set_draft(editing.without_preset(self._state), before)
        else:
            self._set_draft(editing.with_preset(self._state, preset), before)

    @Slot(object)
    def edit_part(self, part: Any) -> None:
        """Change one part of the draft: its calibration, its export or another."""
        config = self._state.config
        names = (x.name for x in fields(config))
        name = next(x for x in names if type(getattr(config, x)) is type(part))
        self._accept(STEPS[name])
        self.edit(replace(config, **{name: part}))

    def choose_texts(self, texts: Sequence[str]) -> None:
        """Calibrate on these texts alone; none: on the built-in text."""
        with self._store.showing_errors():
            calibration = self._state.config.calibration
            chosen = tuple(texts) or (BUILTIN_TEXT,)
            self.edit_part(with_texts(calibration, chosen))

    def allow_to_replace(self, is_allowed: bool) -> None:
        """Remember whether the next run may replace an export at its destination."""
        self._store.set_checked(replace(self._state, may_replace=is_allowed))

    def reject_edit(self, step: Step, message: str) -> None:
        """Remember that a page holds invalid values, until it is edited."""
        problem = Problem(Kind.ERROR, {"message": message, "hint": ""}, step)
        rejected = {**self._state.rejected, step: (problem,)}
        self._store.set_checked(replace(self._state, rejected=rejected))

    def set_default_device(self, device: Device) -> None:
        """Set the device of new jobs; the draft follows unless it has another one."""
        old, model = self._state.default_device, self._state.config.model
        self._store.set(replace(self._state, default_device=device))
        if model.device is old and device is not old:
            model = replace(model, device=device)
            self.edit(replace(self._state.config, model=model))

    def set_offline(self, is_offline: bool) -> None:
        """Set whether the Hub may be contacted; the engine follows once it is idle."""
        offline.use(is_offline)
        if not self._state.computer:
            self._store.engine.restart_when_idle()
        self.recheck()

    def recheck(self) -> None:
        """Check the draft again, after something outside of it has changed."""
        self._store.set_checked(self._state)

    @Slot(str)
    def set_run_parent(self, folder: str) -> None:
        """Create the folders of further runs in `folder`."""
        self._store.set_checked(replace(self._state, run_parent=folder))

    @Slot(str)
    def set_runs_folder(self, folder: str) -> None:
        """Create the folders of further runs in `folder` of the engine's computer."""
        with self._store.showing_errors():
            check_path(tr("The runs folder"), folder)
            if self._state.computer:
                self._store.set(replace(self._state, remote_runs=folder))
            else:
                self.set_run_parent(folder)

    def set_job_file(self, path: str) -> None:
        """Remember the file to which the draft was saved."""
        self._store.set(replace(self._state, job_file=path))

    @Slot()
    def preview_text(self) -> None:
        """Request a preview of the windows of all texts."""
        config = self._state.config
        self._store.start_request(
            RequestKind.PREVIEW,
            partial(
                PreviewText,
                model=config.model,
                calibration=config.calibration,
                own_windows=config.own_windows,
            ),
        )

    @Slot()
    def preview_vocabulary(self) -> None:
        """Request what fewer tokens mean for the texts."""
        config = self._state.config
        if not config.pruning.removes_tokens:
            return
        command = partial(
            PreviewVocabulary,
            model=config.model,
            calibration=config.calibration,
            tokens=config.pruning.tokens_to_keep,
            kept_texts=config.pruning.kept_texts,
        )
        self._store.start_request(RequestKind.VOCABULARY, command)

    @Slot()
    def _inspect(self) -> None:
        if source_problem(self._state) is not None:
            return
        command = partial(InspectModel, model=self._state.config.model)
        self._store.start_request(RequestKind.INSPECTION, command)

    def inspect_soon(self) -> None:
        """Inspect a chosen model that has not been, after a moment."""
        is_requested = bool(self._state.request(RequestKind.INSPECTION).id)
        if self._state.model_is_chosen and not is_requested:
            self._inspection_timer.start()

    def _set_draft(self, state: AppState, before: Draft) -> None:
        """Take a state with another draft and add the one before to the history."""
        after = editing.draft_of(state)
        history = state.draft_history.with_edit(before, after, time.monotonic())
        state = replace(state, draft_history=history)
        self._store.set_checked(_with_facts(state))

    def _choose(self) -> None:
        """Mark a model as chosen; forget a failed inspection and the error of a task.

        Emits no signal: until `edit`, the draft still names the model before.
        """
        state = self._state
        if any(each.error is state.notice for each in state.requests.values()):
            state = replace(state, notice=None)
        if state.request(RequestKind.INSPECTION).error is not None:
            state = app_state.without_requests(state, RequestKind.INSPECTION)
        self._store.state = replace(state, model_is_chosen=True)

    def _accept(self, *steps: Step) -> None:
        """Forget the rejected values of these pages; the caller emits `changed`."""
        rejected = {s: p for s, p in self._state.rejected.items() if s not in steps}
        self._store.state = replace(self._state, rejected=rejected)


def _with_facts(state: AppState) -> AppState:
    """Return the state with the facts that the files of a new model show at once."""
    if not state.model_is_chosen or state.facts is not None or state.computer:
        return state
    return replace(state, facts=model_facts(state.config.model.source))
