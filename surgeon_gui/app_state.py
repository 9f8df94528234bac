"""What the window knows: the job that is being set up, the engine, the run.

`apply` folds an event into it, the other functions what the user does. Answers to a
question that has been asked anew since are dropped. Knows nothing of Qt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Generic, TypeVar

from surgeon_engine.config import RunConfig
from surgeon_engine.events import (
    EngineReady,
    Envelope,
    Event,
    Exported,
    Failed,
    ModelInspected,
    ModelSummary,
    TextPreviewed,
)
from surgeon_engine.presets import Preset, presets
from surgeon_gui import run_state
from surgeon_gui.run_state import RunState

Answer = TypeVar("Answer", ModelSummary, TextPreviewed, Exported)


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
    GONE = "gone"  # it has been given up


@dataclass(frozen=True, slots=True)
class Inquiry(Generic[Answer]):
    """A question to the engine and what has come of it."""

    request: str = ""  # the name under which the answer will come
    answer: Answer | None = None
    problem: Failed | None = None

    @property
    def is_open(self) -> bool:
        """Whether the answer is still to come."""
        return bool(self.request) and self.answer is None and self.problem is None


@dataclass(frozen=True, slots=True)
class AppState:
    """Everything that the window shows."""

    config: RunConfig = field(default_factory=RunConfig)  # the draft
    model_is_chosen: bool = False
    run_parent: str = ""  # where folders of runs are made
    job_file: str = ""  # what the draft was last saved as or loaded from
    engine: Engine = Engine.STARTING
    ready: EngineReady | None = None
    inspection: Inquiry[ModelSummary] = Inquiry()
    preview: Inquiry[TextPreviewed] = Inquiry()
    copy: Inquiry[Exported] = Inquiry()
    problems: Mapping[Step, str] = field(default_factory=dict)  # of the draft
    refused: Mapping[Step, str] = field(default_factory=dict)  # what pages hold instead
    own: RunConfig | None = None  # the settings before a preset was chosen
    run: RunState = RunState()
    notice: Failed | None = None  # the error that is shown until it is dismissed

    @property
    def model(self) -> ModelSummary | None:
        """The model that is chosen, once it has been inspected."""
        return self.inspection.answer

    @property
    def shows_run(self) -> bool:
        """Whether there is or was a run to show."""
        return bool(self.run.run)


def apply(state: AppState, envelope: Envelope) -> AppState:
    """What the window knows after an event."""
    event = envelope.event
    if isinstance(event, EngineReady):
        return replace(state, engine=Engine.READY, ready=event)
    if not envelope.run:
        if isinstance(event, Failed):
            return replace(state, engine=Engine.GONE, notice=event)
        return state
    if envelope.run == state.inspection.request:
        return replace(state, inspection=_answered(state.inspection, event))
    if envelope.run == state.preview.request:
        return replace(state, preview=_answered(state.preview, event))
    if envelope.run == state.copy.request:
        copy = _answered(state.copy, event)
        return replace(state, copy=copy, notice=copy.problem or state.notice)
    run = run_state.apply(state.run, envelope)
    notice = run.error if run.error is not state.run.error else state.notice
    return replace(state, run=run, notice=notice)


def with_config(state: AppState, config: RunConfig) -> AppState:
    """The state after the draft was edited; what no longer fits it is forgotten."""
    old = state.config
    same_model = config.model == old.model
    same_text = same_model and config.calibration == old.calibration
    return replace(
        state,
        config=config,
        inspection=state.inspection if same_model else Inquiry(),
        preview=state.preview if same_text else Inquiry(),
        job_file=state.job_file if config == old else "",
    )


def with_preset(state: AppState, preset: Preset) -> AppState:
    """The state after a preset was chosen; settings of one's own are remembered."""
    own = _own_settings(state)
    config = preset.applied_to(own or state.config)
    return replace(with_config(_without_refused(state), config), own=own)


def without_preset(state: AppState) -> AppState:
    """The state after one's own settings were chosen again."""
    own = _own_settings(state)
    if own is None or preset_in(state) is None:
        return state
    return replace(with_config(_without_refused(state), own), own=None)


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
    return next((p for p in presets() if p.is_in(state.config)), None)


def with_run(state: AppState, run: RunState) -> AppState:
    """The state after a run was asked for."""
    return replace(state, run=run, copy=Inquiry(), notice=None)


def _without_refused(state: AppState) -> AppState:
    return replace(state, refused={})


def _answered(inquiry: Inquiry[Any], event: Event) -> Inquiry[Any]:
    """The inquiry after an event that came under its name."""
    match event:
        case ModelInspected(model=answer):
            return replace(inquiry, answer=answer)
        case TextPreviewed() | Exported():
            return replace(inquiry, answer=event)
        case Failed():
            return replace(inquiry, problem=event)
    return inquiry
