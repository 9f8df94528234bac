"""What is known before anything is cut, and what of it still holds.

A diagnosis stays until there is a better one. Targets, and what is protected or kept,
are planned with it without another measurement; what else has changed since makes it
out of date, by name. Knows nothing of Qt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

from surgeon_engine.api.config.fields import values_in_use, values_of, with_values
from surgeon_engine.api.config.pruning import (
    FileSize,
    Parameters,
    ParameterShare,
    PrunableShare,
    PruningConfig,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.messages.diagnosis import predicts_loss
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.planning.target_size import Goal, file_dtype, goal_of
from surgeon_gui.base.translation import tr
from surgeon_gui.state.diagnosis.costs import Costs
from surgeon_gui.state.request import Request
from surgeon_gui.state.run import RunState
from surgeon_gui.text.labels import FIELDS

# What costs and baseline are measured by. The rest is planned with, or comes later.
_MODEL = ("source", "dtype")
_TEXT = (
    "text",
    "validation_text",
    "windows",
    "validation_windows",
    "window_length",
    "seed",
)
_PRUNING = (
    "structure",
    "pattern",
    "method",
    "width_multiple",
    "fisher",
    "cost_basis",
    "damping",
    "cost_damping",
)
_PLANNED = (
    "target",
    "sparsity",
    "million_parameters",
    "megabytes",
    "protect",
    "min_density",
    "layer_min_density",
    "widths",
)
_MILLION = 1_000_000
_MAX_SHARE = 0.95  # that a config takes
# Where the bar of progress is when a stage begins; it never goes back.
_BEGIN = {
    Stage.LOAD: 0.0,
    Stage.TEXT: 0.05,
    Stage.BASELINE: 0.08,
    Stage.CURVATURE: 0.2,
    Stage.DAMPING: 0.7,
    Stage.SELECTION: 0.9,
}
_ENDS = (*list(_BEGIN.values())[1:], 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A diagnosis that is there."""

    config: RunConfig  # of the draft when it was asked for
    model: ModelSummary
    costs: Costs

    @property
    def predicts_loss(self) -> bool:
        """Whether its costs are rises of the loss."""
        return predicts_loss(self.config.pruning)


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """What a run has come to, beside what was predicted."""

    sparsity: float
    perplexity: float
    is_corrected: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """For what the diagnosis under way was asked."""

    config: RunConfig
    model: ModelSummary


class Phase(Enum):
    """What there is to see."""

    NONE = "none"
    FIRST = "first"  # being measured, and there is none yet
    AGAIN = "again"  # being measured, while an older one is there
    THERE = "there"
    OUT_OF_DATE = "out_of_date"


def phase_of(known: Known | None, request: Request, now: RunConfig) -> Phase:
    """How it stands with the diagnosis of a draft."""
    if request.is_open:
        return Phase.FIRST if known is None else Phase.AGAIN
    if known is None:
        return Phase.NONE
    return Phase.OUT_OF_DATE if changes_since(known.config, now) else Phase.THERE


def changes_since(then: RunConfig, now: RunConfig) -> tuple[str, ...]:
    """The labels of the settings that matter and have changed.

    Those that apply to one job alone follow from another that has changed.
    """
    changed = []
    for part, names in (
        ("model", _MODEL),
        ("calibration", _TEXT),
        ("pruning", _PRUNING),
    ):
        old = values_of(getattr(then, part))
        new = values_of(getattr(now, part))
        if part == "pruning":
            old, new = values_in_use(then.pruning), values_in_use(now.pruning)
        for name in names:
            if name in old and name in new and old[name] != new[name]:
                changed.append(FIELDS[f"{part}.{name}"].label)
    return tuple(changed)


def planned_config(known: Known, now: RunConfig) -> RunConfig:
    """The job that was diagnosed, with the target and the protections of the draft."""
    values = {k: v for k, v in values_of(now.pruning).items() if k in _PLANNED}
    try:
        pruning = with_values(known.config.pruning, values)
        return replace(known.config, pruning=pruning, export=now.export)
    except ConfigError:
        return known.config  # a target that its structure cannot have


def goal_then(known: Known, now: RunConfig) -> Goal | None:
    """What the draft's target comes to; None where it cannot be reached."""
    config = planned_config(known, now)
    try:
        dtype = file_dtype(config, known.model)
        return goal_of(config.pruning, known.model, dtype)
    except ConfigError:
        return None


def with_share(config: RunConfig, model: ModelSummary, share: float) -> PruningConfig:
    """The settings of a draft, its target moved to `share` of the prunable weights.

    The target stays given in the way it was.
    """
    pruning = config.pruning
    share = min(_MAX_SHARE, max(0.001, round(share, 3)))
    plain = replace(pruning, target=PrunableShare(share))
    try:
        goal = goal_of(plain, model, file_dtype(config, model))
    except ConfigError:
        return pruning
    match pruning.target:
        case PrunableShare():
            return plain
        case ParameterShare():
            whole = min(_MAX_SHARE, max(0.001, round(goal.parameter_share, 3)))
            return replace(pruning, target=ParameterShare(whole))
        case Parameters():
            millions = round(goal.parameters / _MILLION, 6)
            return replace(pruning, target=Parameters(millions))
        case FileSize():
            megabytes = round(goal.weight_bytes / _MILLION, 6)
            return replace(pruning, target=FileSize(megabytes))


def progress_of(request: Request, before: float) -> float:
    """How much of a diagnosis is done, from 0 to 1; never less than `before`."""
    if not request.is_open:
        return 0.0
    if request.stage not in _BEGIN:
        return before
    begin = _BEGIN[request.stage]
    end = _ENDS[list(_BEGIN).index(request.stage)]
    fraction = min(1.0, request.done / request.total) if request.total else 0.0
    return max(before, begin + fraction * (end - begin))


def is_comparable(known: Known, config: RunConfig | None) -> bool:
    """Whether what a run has measured can stand beside the predictions.

    The same model and text, and the same structure and method; how many shots it
    takes, and what it does besides, is what the comparison is about.
    """
    if config is None:
        return False
    then = known.config
    same = all(
        getattr(getattr(then, part), name) == getattr(getattr(config, part), name)
        for part, names in (("model", ("source",)), ("calibration", _TEXT))
        for name in names
    )
    one, other = values_of(then.pruning), values_of(config.pruning)
    names = ("structure", "pattern", "method")
    return same and all(one.get(name) == other.get(name) for name in names)


def points_of(run: RunState) -> tuple[MeasuredPoint, ...]:
    """What a run has measured so far: after each shot, and after the correction."""
    points = [
        MeasuredPoint(shot.sparsity, shot.evaluation.perplexity)
        for shot in run.history
        if math.isfinite(shot.evaluation.perplexity)
    ]
    if run.corrected is not None and run.history:
        perplexity = run.corrected.evaluation.perplexity
        points.append(MeasuredPoint(run.history[-1].sparsity, perplexity, True))
    return tuple(points)


def headline(known: Known | None, phase: Phase, now: RunConfig) -> str:
    """How it stands, in a sentence or two."""
    match phase:
        case Phase.NONE:
            return tr(
                "A diagnosis measures once what every part would cost to remove, and "
                "cuts nothing. Any target can then be tried at once."
            )
        case Phase.FIRST:
            return tr("The model is being diagnosed. Nothing is cut.")
        case Phase.AGAIN:
            return tr("The model is being diagnosed anew; below is what was known.")
    assert known is not None
    if phase is Phase.OUT_OF_DATE:
        changed = changes_since(known.config, now)
        return tr("Out of date. Changed since: {settings}.").format(
            settings=", ".join(dict.fromkeys(changed))
        )
    found = known.costs.diagnosed
    words = tr("Costs of the first shot, on {tokens} tokens.").format(
        tokens=f"{found.calibration_tokens:,}"
    )
    if found.cost_damping is None:
        return words
    if found.damping_tried:
        chosen = tr(
            "Their damping, {damping}, was chosen for the target that was set then; a "
            "run chooses its own."
        )
        return f"{words} {chosen.format(damping=f'{found.cost_damping:g}')}"
    given = tr("Their damping is {damping}, as given.")
    return f"{words} {given.format(damping=f'{found.cost_damping:g}')}"
