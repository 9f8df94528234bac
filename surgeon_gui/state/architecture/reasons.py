"""Explain why a layer was pruned or kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surgeon_engine.api.config.layer_patterns import matches
from surgeon_engine.api.config.pruning import SPARSE, CostBasis, PruningConfig
from surgeon_engine.api.messages.diagnosis import DiagnosedUnit
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.architecture.state import Architecture, Block, Layer, Source
from surgeon_gui.state.diagnosis.costs import Bins, Costs
from surgeon_gui.state.diagnosis.planner import (
    Planner,
    RemovalPlan,
    is_protected,
)
from surgeon_gui.state.diagnosis.sensitivity import loss_rises, prunable_weights
from surgeon_gui.state.diagnosis.state import DiagnosisResult, part_name
from surgeon_gui.state.experts import EXPERTS
from surgeon_gui.state.run import RunState
from surgeon_gui.text import numbers

_RANKED_SHARE = 0.1  # parts are ranked by the cost of removing this share


@dataclass(frozen=True, slots=True, eq=False)
class ReasonContext:
    """The data from which reasons are derived."""

    architecture: Architecture
    known: DiagnosisResult | None = None  # None: no result is up to date
    planner: Planner | None = None
    plan: RemovalPlan | None = None
    run: RunState | None = None  # the run shown


def reasons(layer: Layer, context: ReasonContext) -> list[str]:
    """Explain what was removed from a layer, why, and the effect on the loss."""
    sentences = [_summary(layer, context.architecture)]
    found = None
    if context.known is not None:
        found = _unit_of(layer, context.known.costs)
    if context.architecture.source is Source.RUN:
        sentences += _run_reasons(layer, context)
    if found is not None:
        sentences += _diagnosis_reasons(layer, *found, context)
    elif context.known is not None:
        sentences.append(tr("The chosen structure removes nothing from this layer."))
    else:
        sentences.append(tr("Measure the model to compare its costs to other layers."))
    return sentences


def block_reasons(block: Block, architecture: Architecture) -> list[str]:
    """Explain what was removed from a block, layer by layer."""
    n = len(block.layers)
    sentences = [_removed(block, architecture)]
    if architecture.source is Source.MODEL:
        text = ntr(
            "{weights} weights in {n} layer.", "{weights} weights in {n} layers.", n
        )
        sentences = [text.format(weights=numbers.count(block.weights), n=n)]
    if block.removed == block.weights:
        sentences.append(tr("Nothing of the block is left: it passes its input on."))
    elif block.removed:
        shares = (
            f"{x.kind}: {numbers.percent(x.sparsity, decimals=0)}" for x in block.layers
        )
        sentences.append("\n".join(shares))
    if block.cost_share is not None:
        text = tr("Its removals have {share} of the total cost.")
        sentences.append(text.format(share=numbers.percent(block.cost_share)))
    protected = sum(layer.is_effectively_protected for layer in block.layers)
    if protected:
        text = ntr(
            "{n} of its {all} layers is protected in the next run.",
            "{n} of its {all} layers are protected in the next run.",
            protected,
        )
        sentences.append(text.format(n=protected, all=n))
    return sentences


def _summary(layer: Layer, architecture: Architecture) -> str:
    if architecture.source is Source.MODEL and layer.is_experts:
        return tr("{weights} weights in {n} experts.").format(
            weights=numbers.count(layer.weights), n=layer.before.columns
        )
    if architecture.source is Source.MODEL:
        return tr("{weights} weights, {rows} rows by {columns} columns.").format(
            weights=numbers.count(layer.weights),
            rows=layer.before.rows,
            columns=layer.before.columns,
        )
    summary = _removed(layer, architecture)
    if (groups := layer.groups) is not None:
        remaining = {
            "heads": ntr(
                "{kept} of {n} group of heads is kept.",
                "{kept} of {n} groups of heads are kept.",
                groups.of,
            ),
            "neurons": ntr(
                "{kept} of {n} neuron is kept.",
                "{kept} of {n} neurons are kept.",
                groups.of,
            ),
            "experts": ntr(
                "{kept} of {n} expert is kept.",
                "{kept} of {n} experts are kept.",
                groups.of,
            ),
        }[groups.kind]
        summary += " " + remaining.format(kept=groups.kept, n=groups.of)
    if (neurons := layer.neurons) is not None:
        text = tr("Each of these keeps {kept} of {n} neurons.")
        summary += " " + text.format(kept=neurons.kept, n=neurons.of)
    return summary


def _removed(part: Block | Layer, architecture: Architecture) -> str:
    """Return which share of a block or layer a run has removed, or would remove."""
    template = tr("{share} of its {weights} weights are removed.")
    if architecture.source is Source.PLAN:
        template = tr("{share} of its {weights} weights would be removed.")
    if not part.removed:
        template = tr("All of its {weights} weights are kept.")
    return template.format(
        share=numbers.percent(part.sparsity), weights=numbers.count(part.weights)
    )


def _run_reasons(layer: Layer, context: ReasonContext) -> list[str]:
    sentences = []
    if layer.cost and layer.cost_share is not None:
        costs = [x.cost for x in context.architecture.layers if x.cost]
        rank = 1 + sum(cost > layer.cost for cost in costs)
        config = context.run.config if context.run is not None else None
        template = tr(
            "Predicted loss increase of its removals: {cost} nats, {share} of the "
            "total; rank {rank} of {n} layers."
        )
        if config is not None and not config.pruning.measures_gradients:
            template = tr(
                "Cost of its removals: {share} of the total; rank {rank} of {n} layers."
            )
        sentences.append(
            template.format(
                cost=numbers.significant(layer.cost, 2),
                share=numbers.percent(layer.cost_share),
                rank=rank,
                n=len(costs),
            )
        )
    run = context.run
    if run is None or run.config is None or not run.history:
        return sentences
    threshold = run.history[-1].threshold
    if threshold is not None:
        basis = _basis(run.config.pruning)
        value = f"{numbers.significant(threshold, 3)} {basis}".strip()
        sentences.append(
            tr("The threshold of the last shot was {threshold}.").format(
                threshold=value
            )
        )
    return sentences


def _diagnosis_reasons(
    layer: Layer, number: int, unit: DiagnosedUnit, context: ReasonContext
) -> list[str]:
    known, planner, plan = context.known, context.planner, context.plan
    assert known is not None
    sentences = []
    if layer.name != unit.name:
        sentences.append(
            tr(
                "It has no costs of its own: its rows are removed together with the "
                "columns of {name} that read them."
            ).format(name=unit.name)
        )
    if planner is None or plan is None:
        return sentences
    if plan.threshold is not None and not isinstance(known.costs.found, Bins):
        sentences.append(_compared_to_threshold(known, number, unit, plan))
    sentences.append(_rank(known.costs, number))
    sentences.append(_limit(number, unit, planner, plan))
    return sentences


def _compared_to_threshold(
    known: DiagnosisResult, number: int, unit: DiagnosedUnit, plan: RemovalPlan
) -> str:
    found, threshold = known.costs.found, plan.threshold
    pruning = known.config.pruning
    assert not isinstance(found, Bins)
    assert threshold is not None
    costs = found.cost[found.start[number] : found.start[number + 1]]
    if not len(costs):
        return tr("It has nothing that can be removed.")
    below = int((costs <= threshold).sum())
    basis = _basis(pruning)
    return tr(
        "The threshold for the current target is {threshold}: {below} of {n} possible "
        "removals in {part} cost no more. Their costs: {minimum} to {maximum}."
    ).format(
        threshold=f"{numbers.significant(threshold, 3)} {basis}".strip(),
        below=numbers.whole(below),
        n=numbers.whole(len(costs)),
        part=part_name(unit),
        minimum=numbers.significant(np.min(costs), 3),
        maximum=numbers.significant(np.max(costs), 3),
    )


def _basis(pruning: PruningConfig) -> str:
    """Return the unit of a cost; empty for the total."""
    per_weight = pruning.cost_basis is CostBasis.PER_PARAMETER
    return tr("per weight") if per_weight and pruning.structure not in SPARSE else ""


def _rank(costs: Costs, number: int) -> str:
    """Rank a unit by its sensitivity per weight."""
    weights = np.array([prunable_weights(costs, each) for each in costs.units])
    rises = loss_rises(costs, _RANKED_SHARE) / np.maximum(weights, 1)
    rank = 1 + int((rises > rises[number]).sum())
    return tr(
        "Sensitivity (cost per weight of removing the cheapest {share}): rank {rank} "
        "of {n} parts."
    ).format(
        share=numbers.percent(_RANKED_SHARE),
        rank=rank,
        n=len(rises),
    )


def _limit(
    number: int, unit: DiagnosedUnit, planner: Planner, plan: RemovalPlan
) -> str:
    """Explain why no more of a unit is removed."""
    removals, allowed = int(plan.removals[number]), int(planner.allowed[number])
    if is_protected(unit, planner.pruning):
        return _protected_by(unit, planner)
    if removals < allowed:
        if planner.pruning.has_same_widths:
            return tr("It loses as much as layers of its kind in other blocks.")
        return tr("Its remaining parts cost more than the threshold.")
    share = planner.pruning.share_to_keep(unit.layers)
    if share > 0:
        return tr("Its limit is reached: at least {share} of it is kept.").format(
            share=numbers.percent(share)
        )
    if unit.group == EXPERTS:
        return tr("As many experts are kept as a token uses.")
    return tr("Everything removable would be removed: the last of its kind is kept.")


def _protected_by(unit: DiagnosedUnit, planner: Planner) -> str:
    patterns = [
        pattern
        for pattern in planner.pruning.protect
        if any(matches(layer, pattern) for layer in unit.layers)
    ]
    return tr("It is protected by {patterns}.").format(patterns=", ".join(patterns))


def _unit_of(layer: Layer, costs: Costs) -> tuple[int, DiagnosedUnit] | None:
    """Return the unit that prunes a layer, and its index."""
    for number, unit in enumerate(costs.units):
        if any(each.name == layer.name for each in unit.layers):
            return number, unit
    return None
