"""The job that is being set up: the draft in the window's state, and its edits.

The base of the session, which adds the run. It makes no widget itself.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import replace

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.presets import Preset
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.commands import Command, InspectModel, PreviewText
from surgeon_engine.api.model_info.header import model_facts
from surgeon_gui.controllers.engine_thread import EngineThread
from surgeon_gui.state import app as app_state
from surgeon_gui.state.app import AppState, Step
from surgeon_gui.state.job import checks
from surgeon_gui.state.job import resource_text as fits
from surgeon_gui.state.job.draft import Draft, Drafts
from surgeon_gui.state.request import Request

INSPECTION_DELAY_MS = 300  # after the last keystroke in the model's path


class JobEditor(QObject):
    """The state, and the ways in which its draft changes."""

    changed = Signal()

    def __init__(
        self, engine: EngineThread, state: AppState, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.state = state
        self._engine = engine
        self._numbers = itertools.count(1)
        self._inspection_timer = QTimer(self, singleShot=True)
        self._inspection_timer.setInterval(INSPECTION_DELAY_MS)
        self._inspection_timer.timeout.connect(self._inspect)

    def new_name(self, kind: str) -> str:
        """A name that no request has had: its answers come back under it."""
        return f"{kind}-{next(self._numbers)}"

    def send(self, command: Command) -> None:
        """Tell the engine something; whoever does hears of `events_arrived`."""
        self._engine.send(command)

    def load(self, config: RunConfig, job_file: str = "") -> None:
        """Take a whole job as the draft; nobody has agreed to replace anything yet."""
        before = app_state.draft_of(self.state)
        self._choose()
        self._accept(*Step)
        export = replace(config.export, replace=False)
        self.edit(replace(config, export=export), before)
        self._set(replace(self.state, job_file=job_file))

    @Slot(str)
    def choose_model(self, source: str) -> None:
        """Make the model at `source` the one to be pruned; empty: none.

        One that could not be read is looked at again.
        """
        if not source.strip():
            self._inspection_timer.stop()
            self._set(replace(self.state, model_is_chosen=False, inspection=Request()))
            return
        before = app_state.draft_of(self.state)
        self._choose()
        model = replace(self.state.config.model, source=source.strip())
        self.edit(replace(self.state.config, model=model), before)

    def edit(self, config: RunConfig, before: Draft | None = None) -> None:
        """Make `config` the draft; undoing it leads to the one `before`."""
        before = before or app_state.draft_of(self.state)
        self._become(app_state.with_config(self.state, config), before)
        self._inspect_soon()

    def go_to(self, draft: Draft, drafts: Drafts) -> None:
        """Show an earlier draft or a later one, and what comes before and after it."""
        state = app_state.with_draft(self.state, draft, drafts)
        self._set(self._checked(_with_facts(state)))
        self._inspect_soon()

    def drop_rejected(self) -> None:
        """Forget what pages hold that makes no job."""
        self._accept(*Step)
        self._set(self._checked(self.state))

    def set_own_presets(self, presets: tuple[Preset, ...]) -> None:
        """Offer these presets besides those that come with the program."""
        self._set(replace(self.state, own_presets=presets))

    @Slot(object)
    def choose_preset(self, preset: Preset | None) -> None:
        """Give the draft the settings of a preset, or those that it had before."""
        before = app_state.draft_of(self.state)
        if preset is None:
            self._become(app_state.without_preset(self.state), before)
        else:
            self._become(app_state.with_preset(self.state, preset), before)

    @Slot(object)
    def edit_calibration(self, calibration: CalibrationConfig) -> None:
        """Change one part of the draft."""
        self._accept(Step.CALIBRATION)
        self.edit(replace(self.state.config, calibration=calibration))

    @Slot(object)
    def edit_pruning(self, pruning: PruningConfig) -> None:
        """Change one part of the draft."""
        self._accept(Step.TARGET)
        self.edit(replace(self.state.config, pruning=pruning))

    @Slot(object)
    def edit_export(self, export: ExportConfig) -> None:
        """Change one part of the draft."""
        self._accept(Step.EXPORT)
        self.edit(replace(self.state.config, export=export))

    def reject_edit(self, step: Step, problem: str) -> None:
        """Remember that a page holds values that make no config, until it is edited."""
        refused = {**self.state.refused, step: problem}
        self._set(self._checked(replace(self.state, refused=refused)))

    @Slot(str)
    def set_run_parent(self, folder: str) -> None:
        """Put the folders of further runs into `folder`."""
        self._set(self._checked(replace(self.state, run_parent=folder)))

    def set_job_file(self, path: str) -> None:
        """Remember as what the draft was saved."""
        self._set(replace(self.state, job_file=path))

    @Slot()
    def preview_text(self) -> None:
        """Ask what would be measured."""
        config = self.state.config
        name = self.new_name("preview")
        self._set(replace(self.state, preview=Request(name)))
        self.send(
            PreviewText(run=name, model=config.model, calibration=config.calibration)
        )

    @Slot()
    def _inspect(self) -> None:
        if Step.MODEL in self.state.problems:
            return
        name = self.new_name("inspect")
        self._set(replace(self.state, inspection=Request(name)))
        self.send(InspectModel(run=name, model=self.state.config.model))

    def _inspect_soon(self) -> None:
        if self.state.model_is_chosen and not self.state.inspection.request:
            self._inspection_timer.start()

    def _become(self, state: AppState, before: Draft) -> None:
        """Take a state with another draft, and remember the one before."""
        after = app_state.draft_of(state)
        drafts = state.drafts.with_edit(before, after, time.monotonic())
        self._set(self._checked(_with_facts(replace(state, drafts=drafts))))

    def _choose(self) -> None:
        """A model is chosen; an inspection that has failed is as good as none."""
        inspection = self.state.inspection
        if inspection.problem is not None:
            inspection = Request()
        # Told by `edit`: until then the draft still names the model before.
        self.state = replace(self.state, model_is_chosen=True, inspection=inspection)

    def _checked(self, state: AppState) -> AppState:
        problems: Mapping[Step, str] = checks.problems(
            state.config, state.model, state.run_parent
        )
        return replace(
            state,
            problems={**problems, **state.refused},
            can_replace=checks.can_replace(state.config, state.run_parent),
            save_problem=checks.save_problem(state),
            fit=fits.fit_of_draft(state),
        )

    def _accept(self, *steps: Step) -> None:
        """What pages hold is a config again; told by whatever edits the draft."""
        refused = {s: p for s, p in self.state.refused.items() if s not in steps}
        self.state = replace(self.state, refused=refused)

    def _set(self, state: AppState) -> None:
        self.state = state
        self.changed.emit()


def _with_facts(state: AppState) -> AppState:
    """With what files say at once of a model that is new."""
    if not state.model_is_chosen or state.facts is not None:
        return state
    return replace(state, facts=model_facts(state.config.model.source))
