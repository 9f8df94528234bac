"""Describe the plan for a target in sentences."""

from __future__ import annotations

import numpy as np

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.diagnosis import DiagnosedUnit
from surgeon_engine.planning.rounding import floor_share
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.diagnosis.planner import RemovalPlan
from surgeon_gui.state.diagnosis.sensitivity import prunable_weights
from surgeon_gui.state.diagnosis.state import DiagnosisResult
from surgeon_gui.text import numbers


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
