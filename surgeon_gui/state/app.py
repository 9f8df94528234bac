"""What the window knows: the job that is being set up, the engine, the run.

`apply` folds an event into it, the other functions what the user does. Answers to a
question that has been asked anew since are dropped. What was saved and measured of a
run stays until the next one. Knows nothing of Qt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import msgspec

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.presets import Preset, presets
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.benchmark import Measured
from surgeon_engine.api.messages.diagnosis import Diagnosed
from surgeon_engine.api.messages.events import EngineReady, Envelope, Event, Failed
from surgeon_engine.api.messages.machine import Machine, MachineProbed
from surgeon_engine.api.messages.run import Exported
from surgeon_engine.api.messages.sources import (
    ModelSummary,
    TextDescribed,
    TextPreviewed,
)
from surgeon_engine.api.model_info.header import ModelFacts
from surgeon_engine.api.planning.estimate import estimate
from surgeon_engine.api.planning.resource_check import ResourceCheck
from surgeon_gui.state import run as run_state
from surgeon_gui.state.job.draft import Draft, Drafts
from surgeon_gui.state.job.file_formats import another_format
from surgeon_gui.state.request import Request, with_response
from surgeon_gui.state.run import RunState
from surgeon_gui.state.sources.download import Download, followed

_SLOWEST = 4.0  # times as long as foreseen: more is chance, and no pace


class Step(Enum):
    """The steps of the way from a model to a pruned one."""

    MODEL = "model"
    CALIBRATION = "calibration"
    TARGET = "target"
    RUN = "run"
    EXPORT = "export"


class Engine(Enum):
    """Whether there is an engine."""

    STARTING = "starting"
    READY = "ready"
    UNAVAILABLE = "unavailable"  # it has been given up


@dataclass(frozen=True, slots=True)
class AppState:
    """Everything that the window shows."""

    config: RunConfig = field(default_factory=RunConfig)  # the draft
    model_is_chosen: bool = False
    run_parent: str = ""  # where folders of runs are made
    job_file: str = ""  # what the draft was last saved as or loaded from
    engine: Engine = Engine.STARTING
    ready: EngineReady | None = None
    machine: Machine | None = None  # as it was when it was last probed
    fit: ResourceCheck | None = None  # of the draft; None: not known
    facts: ModelFacts | None = None  # of the model, until it is inspected
    inspection: Request[ModelSummary] = Request()
    download: Download = Download()
    description: Request[TextDescribed] = Request()  # of the calibration text
    preview: Request[TextPreviewed] = Request()
    can_replace: bool = False  # the destination holds what may go if the user agrees
    another: ExportConfig = field(default_factory=ExportConfig)  # to save the run as
    save_problem: str = ""  # with where it is to go
    save: Request[Exported] = Request()
    saved: tuple[Exported, ...] = ()  # of the run, besides its own export
    measurement: Request[Measured] = Request()  # of the original and the export
    diagnosis: Request[Diagnosed] = Request()  # the last that was asked for
    problems: Mapping[Step, str] = field(default_factory=dict)  # of the draft
    refused: Mapping[Step, str] = field(default_factory=dict)  # what pages hold instead
    own: RunConfig | None = None  # the settings before a preset was chosen
    own_presets: tuple[Preset, ...] = ()
    drafts: Drafts = Drafts()
    run: RunState = RunState()
    looked_at: RunState | None = None  # an earlier run, while `run` is under way
    earlier: str = ""  # what the earlier run is called that is shown; empty: none is
    notice: Failed | None = None  # the error that is shown until it is dismissed

    @property
    def model(self) -> ModelSummary | None:
        """The model that is chosen, once it has been inspected."""
        return self.inspection.answer

    @property
    def shown_run(self) -> RunState:
        """The run whose charts are shown."""
        return self.run if self.looked_at is None else self.looked_at

    @property
    def shows_run(self) -> bool:
        """Whether there is or was a run to show."""
        return bool(self.run.run)

    @property
    def is_busy(self) -> bool:
        """Whether the engine is at work on something that takes its time."""
        asked = (self.save, self.measurement, self.diagnosis)
        return any(x.is_open for x in asked) or self.run.status.is_busy


def apply(state: AppState, envelope: Envelope) -> AppState:
    """What the window knows after an event."""
    event = envelope.event
    if isinstance(event, MachineProbed):
        return _with_machine(state, event.machine)
    if not envelope.run:
        return _with_engine(state, event)
    if envelope.run == state.download.request:
        return replace(state, download=followed(state.download, event))
    for name in ("inspection", "description", "preview"):
        asked = getattr(state, name)
        if envelope.run == asked.request:
            change: dict[str, Any] = {name: with_response(asked, event)}
            return replace(state, **change)
    if envelope.run == state.save.request:
        return _with_save(state, with_response(state.save, event))
    for name in ("measurement", "diagnosis"):
        asked = getattr(state, name)
        if envelope.run == asked.request:
            after = with_response(asked, event)
            change = {name: after, "notice": after.problem or state.notice}
            return replace(state, **change)
    return _with_progress(state, run_state.apply(state.run, envelope))


def _with_machine(state: AppState, machine: Machine) -> AppState:
    """What has been learned of the machine's pace outlasts a probe."""
    pace = state.machine.pace if state.machine is not None else 1.0
    return replace(state, machine=msgspec.structs.replace(machine, pace=pace))


def _with_engine(state: AppState, event: Event) -> AppState:
    """After an event of the engine itself, which belongs to no request."""
    if isinstance(event, EngineReady):
        return replace(state, engine=Engine.READY, ready=event)
    if isinstance(event, Failed):
        return replace(state, engine=Engine.UNAVAILABLE, notice=event)
    return state


def with_config(state: AppState, config: RunConfig) -> AppState:
    """The state after the draft was edited; what no longer fits it is forgotten."""
    old = state.config
    same_model = config.model.source == old.model.source
    same_text = same_model and config.calibration == old.calibration
    return replace(
        state,
        config=config,
        inspection=state.inspection if same_model else Request(),
        facts=state.facts if same_model else None,
        description=state.description if _same_table(old, config) else Request(),
        preview=state.preview if same_text else Request(),
        job_file=state.job_file if config == old else "",
    )


def _same_table(one: RunConfig, other: RunConfig) -> bool:
    """Whether two jobs read the same table, though perhaps another column of it."""
    first, second = one.calibration, other.calibration
    return (first.text, first.dataset_config, first.split) == (
        second.text,
        second.dataset_config,
        second.split,
    )


def with_preset(state: AppState, preset: Preset) -> AppState:
    """The state after a preset was chosen; settings of one's own are remembered."""
    own = _own_settings(state)
    config = preset.applied_to(own or state.config)
    return replace(with_config(_without_rejected(state), config), own=own)


def without_preset(state: AppState) -> AppState:
    """The state after one's own settings were chosen again."""
    own = _own_settings(state)
    if own is None or preset_in(state) is None:
        return state
    return replace(with_config(_without_rejected(state), own), own=None)


def with_pace(state: AppState) -> AppState:
    """The state after a run: how long the next one takes is known better.

    A run that was stopped early has done less than was foreseen.
    """
    run, machine = state.run, state.machine
    if run.result is None or run.result.stopped_early or machine is None:
        return state
    if run.config is None or run.model is None:
        return state
    unhurried = msgspec.structs.replace(machine, pace=1.0)
    foreseen = estimate(run.config, run.model, unhurried).seconds
    if foreseen is None:
        return state
    pace = min(max(run.result.seconds / foreseen, _SLOWEST**-1), _SLOWEST)
    return replace(state, machine=msgspec.structs.replace(machine, pace=pace))


def _own_settings(state: AppState) -> RunConfig | None:
    """The job as it would be without its preset; None: not known.

    What a preset has not set may have been changed since it was chosen.
    """
    preset = preset_in(state)
    if preset is None:
        return state.config
    if state.own is None:
        return None
    before = {name: getattr(state.own.calibration, name) for name in preset.calibration}
    return replace(
        state.config,
        pruning=state.own.pruning,
        calibration=replace(state.config.calibration, **before),
    )


def preset_in(state: AppState) -> Preset | None:
    """The preset that the page of the target shows; None: one's own settings."""
    if Step.TARGET in state.refused:
        return None
    return next((p for p in all_presets(state) if p.is_in(state.config)), None)


def all_presets(state: AppState) -> tuple[Preset, ...]:
    """Those that come with the program, then the user's own."""
    return (*presets(), *state.own_presets)


def draft_of(state: AppState) -> Draft:
    """What undo brings back."""
    return Draft(state.config, state.own, state.model_is_chosen)


def with_draft(state: AppState, draft: Draft, drafts: Drafts) -> AppState:
    """The state as it was with an earlier draft, or a later one.

    What somebody had agreed to have replaced has to be agreed to again.
    """
    export = replace(draft.config.export, replace=False)
    config = replace(draft.config, export=export)
    return replace(
        with_config(_without_rejected(state), config),
        own=draft.own,
        model_is_chosen=draft.model_is_chosen,
        drafts=drafts,
    )


def with_run(state: AppState, run: RunState) -> AppState:
    """The state after a run was asked for."""
    # What may be replaced at the destination of one run may not at that of the next.
    export = replace(state.config.export, replace=False)
    return replace(
        state,
        run=run,
        looked_at=None,
        earlier="",
        config=replace(state.config, export=export),
        another=ExportConfig(),
        save=Request(),
        saved=(),
        measurement=Request(),
        notice=None,
    )


def with_earlier(state: AppState, run: RunState, name: str) -> AppState:
    """The state after an earlier run was opened again.

    It is only looked at while the engine is at work: what is under way stays what it
    is. Otherwise it is as if it had ended just now.
    """
    if state.is_busy:
        return replace(state, looked_at=run, earlier=name)
    shown = replace(with_run(state, run), earlier=name, notice=run.error)
    if run.exported is not None:
        another = ExportConfig(format=another_format(run.exported))
        shown = replace(shown, another=another)
    return shown


def without_earlier(state: AppState) -> AppState:
    """The state after an earlier run was closed: what was there before it, if it is."""
    if state.looked_at is not None:
        return replace(state, looked_at=None, earlier="")
    return with_run(state, RunState()) if state.earlier else state


def _with_save(state: AppState, save: Request[Exported]) -> AppState:
    is_new = save.answer is not None and state.save.answer is None
    saved = (*state.saved, save.answer) if is_new and save.answer else state.saved
    return replace(state, save=save, saved=saved, notice=save.problem or state.notice)


def _with_progress(state: AppState, run: RunState) -> AppState:
    notice = run.error if run.error is not state.run.error else state.notice
    another = state.another
    if run.exported is not None and run.exported is not state.run.exported:
        another = ExportConfig(format=another_format(run.exported))
    return replace(state, run=run, notice=notice, another=another)


def _without_rejected(state: AppState) -> AppState:
    return replace(state, refused={})
