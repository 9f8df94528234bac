"""What is predicted for a target, in sentences. Knows nothing of Qt."""

from __future__ import annotations

import math

import numpy as np

from surgeon_engine.api.messages.diagnosis import DiagnosedUnit
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.diagnosis.planner import Planner, RemovalPlan
from surgeon_gui.state.diagnosis.sensitivity import weights_of
from surgeon_gui.state.diagnosis.state import Known
from surgeon_gui.text import numbers

_LARGEST_LOSS = 20.0  # above it a perplexity says nothing


def describe_plan(known: Known, planner: Planner, plan: RemovalPlan | None) -> str:
    """What the target takes from where, and what that is predicted to cost."""
    if plan is None:
        return tr("The target of step 3 cannot be reached, so that nothing is planned.")
    prunable = known.costs.diagnosed.prunable
    if not plan.is_reached:
        return tr(
            "At most {most} of the prunable weights may go: the rest is protected, "
            "limited, or the last of its kind."
        ).format(most=numbers.percent(plan.most / prunable))
    words = [_where(known, plan)]
    if known.predicts_loss:
        words.append(_quality(known, plan))
    else:
        words.append(
            tr(
                "The costs of this method are an order, and no rise of the loss: "
                "quality cannot be predicted by them."
            )
        )
    return " ".join(words)


def part_name(unit: DiagnosedUnit) -> str:
    """What a unit is called in a sentence."""
    match unit.group:
        case "heads":
            return tr("the heads of block {block}").format(block=unit.layers[0].block)
        case "neurons":
            return tr("the neurons of block {block}").format(block=unit.layers[0].block)
    return unit.name


def _where(known: Known, plan: RemovalPlan) -> str:
    """How unevenly the removals lie."""
    units = known.costs.units
    weights = np.array([weights_of(known.costs, unit) for unit in units])
    shares = plan.weights / np.maximum(weights, 1)
    most = int(shares.argmax())
    whole = int((plan.weights == 0).sum())
    words = tr("{share} of the prunable weights would go, most of {name}: {most}.")
    said = words.format(
        share=numbers.percent(plan.removed / known.costs.diagnosed.prunable),
        name=part_name(units[most]),
        most=numbers.percent(float(shares[most]), decimals=0),
    )
    if not whole:
        return said
    untouched = ntr(
        "{n} of {all} parts would lose nothing.",
        "{n} of {all} parts would lose nothing.",
        whole,
    )
    return f"{said} {untouched.format(n=whole, all=len(units))}"


def _quality(known: Known, plan: RemovalPlan) -> str:
    baseline = known.costs.diagnosed.loss
    loss = baseline + plan.rise
    if loss > _LARGEST_LOSS:
        return tr("The prediction is that nothing useful is left.")
    return tr(
        "Predicted perplexity {predicted} (original {original}), roughly: in one shot "
        "and without the correction."
    ).format(
        predicted=numbers.perplexity(math.exp(loss)),
        original=numbers.perplexity(math.exp(baseline)),
    )
