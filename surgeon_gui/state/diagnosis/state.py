"""The result of a diagnosis, whether it still applies to the draft, and its texts.

A diagnosis is kept until the next one is finished. Targets, protections and limits are
planned from it without another measurement; a change of any other setting makes it out
of date, and the change is named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np

from surgeon_engine.api.config.calibration import TEXT_SETTINGS
from surgeon_engine.api.config.fields import values_in_use, values_of
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.diagnosis import DiagnosedUnit
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.planning.automatic_settings import with_width_multiple
from surgeon_engine.planning.rounding import floor_share
from surgeon_engine.planning.target_size import Goal
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.diagnosis.costs import Costs
from surgeon_gui.state.diagnosis.planner import RemovalPlan
from surgeon_gui.state.diagnosis.sensitivity import prunable_weights
from surgeon_gui.state.job.targets import TARGET_FIELDS, goal_or_none
from surgeon_gui.state.request import Request
from surgeon_gui.text import numbers
from surgeon_gui.text.labels import FIELDS

# Settings on which costs and baseline depend.
_MODEL = ("source", "dtype")
_TEXT = (
    *TEXT_SETTINGS,
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
    *TARGET_FIELDS,
    "vocabulary",
    "vocabulary_tokens",
    "protect",
    "min_density",
    "layer_min_density",
    "widths",
    "dropped_blocks",
    "dropped_sublayers",
)
# Progress at the start of each stage; it never decreases.
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
class DiagnosisResult:
    """A finished diagnosis."""

    config: RunConfig  # the draft at the time of the request
    model: ModelSummary
    costs: Costs

    @property
    def predicts_loss(self) -> bool:
        """True if its costs estimate the increase of the loss."""
        return self.config.pruning.measures_gradients


class DiagnosisPhase(Enum):
    """State of the diagnosis of a draft."""

    NONE = "none"
    MEASURING = "measuring"  # the first one is in progress
    REMEASURING = "remeasuring"  # in progress, while an older result is shown
    READY = "ready"
    OUT_OF_DATE = "out_of_date"


def phase_of(
    known: DiagnosisResult | None, now: RunConfig, is_measuring: bool
) -> DiagnosisPhase:
    """Return the state of the diagnosis of a draft."""
    if known is None:
        return DiagnosisPhase.MEASURING if is_measuring else DiagnosisPhase.NONE
    if is_measuring:
        return DiagnosisPhase.REMEASURING
    is_old = changes_since(known, now)
    return DiagnosisPhase.OUT_OF_DATE if is_old else DiagnosisPhase.READY


def changes_since(known: DiagnosisResult, now: RunConfig) -> tuple[str, ...]:
    """Return the labels of the changed settings on which the costs depend.

    Settings that only one of the configs has are ignored: the choice on which they
    depend has changed. A width multiple also changes with the form of the file.
    """
    changed = []
    then, now = (
        with_width_multiple(config, known.model, on_cuda=False)
        for config in (known.config, now)
    )
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


def planned_config(known: DiagnosisResult, now: RunConfig) -> RunConfig:
    """Return the diagnosed job with the target and the protections of the draft."""
    pruning = with_width_multiple(now, known.model, on_cuda=False).pruning
    values = {k: v for k, v in values_of(pruning).items() if k in _PLANNED}
    try:
        pruning = replace(known.config.pruning, **values)
        return replace(known.config, pruning=pruning, export=now.export)
    except ConfigError:
        return known.config  # a target that its structure does not support


def planned_goal(known: DiagnosisResult, now: RunConfig) -> Goal | None:
    """Return the goal of the draft's target, or None if it cannot be reached."""
    return goal_or_none(planned_config(known, now), known.model)


def progress_of(request: Request[Any], before: float) -> float:
    """Return the progress of a diagnosis, from 0 to 1; never less than `before`."""
    if not request.is_open:
        return 0.0
    if request.stage not in _BEGIN:
        return before
    begin = _BEGIN[request.stage]
    end = _ENDS[list(_BEGIN).index(request.stage)]
    fraction = min(1.0, request.done / request.total) if request.total else 0.0
    return max(before, begin + fraction * (end - begin))


def headline(
    known: DiagnosisResult | None, phase: DiagnosisPhase, now: RunConfig
) -> str:
    """Describe the state of the diagnosis in a sentence or two."""
    match phase:
        case DiagnosisPhase.NONE:
            return tr(
                "Measure the cost of removing each part, without pruning anything. "
                "Then any target can be tried instantly."
            )
        case DiagnosisPhase.MEASURING:
            return tr("Measuring the model. Nothing is pruned.")
        case DiagnosisPhase.REMEASURING:
            return tr("Measuring the model again. The previous result is shown below.")
    assert known is not None
    if phase is DiagnosisPhase.OUT_OF_DATE:
        changed = changes_since(known, now)
        return tr("Out of date. Changed since then: {settings}.").format(
            settings=", ".join(dict.fromkeys(changed))
        )
    found = known.costs.diagnosed
    costs = tr("Costs of the first shot, measured on {tokens} tokens.").format(
        tokens=numbers.whole(found.calibration_tokens)
    )
    if found.cost_damping is None:
        return costs
    if found.damping_tried:
        damping = tr(
            "The damping {damping} was chosen for the target at that time; a run "
            "chooses its own."
        )
    else:
        damping = tr("The damping is {damping}, as set.")
    return f"{costs} {damping.format(damping=numbers.short(found.cost_damping))}"


def describe_plan(
    known: DiagnosisResult, plan: RemovalPlan | None, pruning: PruningConfig
) -> str:
    """Describe where the target of the draft removes weights."""
    if plan is None:
        return tr("The target cannot be reached, so there is no plan.")
    described = _described(known, plan)
    if not pruning.drops_depth:
        return described
    note = tr(
        "Blocks, attentions and MLPs that are removed as a whole are not taken into "
        "account: the plan removes heads and neurons alone."
    )
    return f"{described} {note}"


def _described(known: DiagnosisResult, plan: RemovalPlan) -> str:
    prunable = known.costs.diagnosed.prunable
    if not plan.is_reached:
        return tr(
            "At most {maximum} of the prunable weights can be removed: the rest is "
            "protected, limited, needed by the number format, or the last of its kind."
        ).format(
            maximum=numbers.percent(
                floor_share(1000, plan.max_removable / prunable) / 1000
            )
        )
    if known.predicts_loss:
        return _removals(known, plan)
    note = tr(
        "The costs of this method rank the weights, but do not estimate the loss: "
        "quality cannot be predicted from them."
    )
    return f"{_removals(known, plan)} {note}"


def part_name(unit: DiagnosedUnit) -> str:
    """Return the name of a unit for use in a sentence."""
    match unit.group:
        case "heads":
            return tr("the heads of block {block}").format(block=unit.layers[0].block)
        case "neurons":
            return tr("the neurons of block {block}").format(block=unit.layers[0].block)
        case "experts":
            return tr("the experts of block {block}").format(block=unit.layers[0].block)
    return unit.name


def _removals(known: DiagnosisResult, plan: RemovalPlan) -> str:
    """Describe the total, and how unevenly the parts are pruned."""
    units = known.costs.units
    weights = np.array([prunable_weights(known.costs, unit) for unit in units])
    shares = plan.weights / np.maximum(weights, 1)
    highest = int(shares.argmax())
    untouched = int((plan.weights == 0).sum())
    total = tr(
        "{share} of the prunable weights would be removed, the largest share from "
        "{name}: {maximum}."
    ).format(
        share=numbers.percent(plan.removed / known.costs.diagnosed.prunable),
        name=part_name(units[highest]),
        maximum=numbers.percent(float(shares[highest]), decimals=0),
    )
    if not untouched:
        return total
    unpruned = ntr(
        "{n} of {all} parts would lose nothing.",
        "{n} of {all} parts would lose nothing.",
        untouched,
    ).format(n=untouched, all=len(units))
    return f"{total} {unpruned}"
