"""Why a layer was cut as much as it was, or is to be, in sentences.

Pure functions; knows nothing of Qt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surgeon_engine.api.config.layer_patterns import matches
from surgeon_engine.api.config.pruning import SPARSE, CostBasis, PruningConfig
from surgeon_engine.api.messages.diagnosis import DiagnosedUnit
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.architecture.state import Architecture, Layer, Source
from surgeon_gui.state.diagnosis.costs import Bins, Costs
from surgeon_gui.state.diagnosis.planner import (
    Plan,
    Planner,
    is_protected,
    share_to_keep,
)
from surgeon_gui.state.diagnosis.sensitivity import rises_of_first, weights_of
from surgeon_gui.state.diagnosis.state import Known
from surgeon_gui.state.diagnosis.text import part_name
from surgeon_gui.state.run import RunState
from surgeon_gui.text import numbers

_SAMPLE = 0.1  # of a part: the share by which parts are ranked


@dataclass(frozen=True, slots=True, eq=False)
class ReasonContext:
    """What reasons are taken from."""

    architecture: Architecture
    known: Known | None = None  # a diagnosis that holds
    planner: Planner | None = None
    plan: Plan | None = None
    run: RunState | None = None  # that is shown


def reasons(layer: Layer, grounds: ReasonContext) -> list[str]:
    """What went of a layer, why, and what it did to the loss."""
    said = [_what(layer, grounds.architecture)]
    found = None
    if grounds.known is not None:
        found = _unit_of(layer, grounds.known.costs)
    if grounds.architecture.source is Source.RUN:
        said += _of_run(layer, grounds)
    if found is not None:
        said += _of_diagnosis(layer, *found, grounds)
    elif grounds.known is not None:
        said.append(tr("Nothing of this layer goes in the structure that is set."))
    else:
        said.append(
            tr("Diagnose the model to see its costs against those of other layers.")
        )
    return said


def _what(layer: Layer, architecture: Architecture) -> str:
    if architecture.source is Source.MODEL:
        return tr("{weights} weights, {rows} rows by {columns} columns.").format(
            weights=numbers.count(layer.weights),
            rows=layer.before.rows,
            columns=layer.before.columns,
        )
    words = tr("{share} of its {weights} weights are gone.")
    if architecture.source is Source.PLAN:
        words = tr("{share} of its {weights} weights would go.")
    if not layer.removed:
        words = tr("All of its {weights} weights stay.")
    said = words.format(
        share=numbers.percent(layer.sparsity), weights=numbers.count(layer.weights)
    )
    if layer.groups:
        left = {
            "heads": ntr(
                "{kept} of {n} group of heads stays.",
                "{kept} of {n} groups of heads stay.",
                layer.groups_of,
            ),
            "neurons": ntr(
                "{kept} of {n} neuron stays.",
                "{kept} of {n} neurons stay.",
                layer.groups_of,
            ),
        }[layer.groups]
        said += " " + left.format(kept=layer.groups_kept, n=layer.groups_of)
    return said


def _of_run(layer: Layer, grounds: ReasonContext) -> list[str]:
    said = []
    if layer.cost and layer.cost_share is not None:
        total_cost = [x.cost for x in grounds.architecture.layers if x.cost]
        place = 1 + sum(cost > layer.cost for cost in total_cost)
        said.append(
            tr(
                "What went was predicted to cost {cost} nats, {share} of what all "
                "layers have paid: number {place} of {n}."
            ).format(
                cost=f"{layer.cost:.2g}",
                share=numbers.percent(layer.cost_share),
                place=place,
                n=len(total_cost),
            )
        )
    run = grounds.run
    if run is None or run.config is None or not run.history:
        return said
    threshold = run.history[-1].threshold
    if threshold is not None:
        words = f"{threshold:.3g} {_basis(run.config.pruning)}".strip()
        said.append(
            tr("The threshold of the last shot was {threshold}.").format(
                threshold=words
            )
        )
    return said


def _of_diagnosis(
    layer: Layer, number: int, unit: DiagnosedUnit, grounds: ReasonContext
) -> list[str]:
    known, planner, plan = grounds.known, grounds.planner, grounds.plan
    assert known is not None
    said = []
    if layer.name != unit.name:
        said.append(
            tr(
                "It has no costs of its own: its rows go with the columns of {name} "
                "that read them, whose costs decide."
            ).format(name=unit.name)
        )
    if planner is None or plan is None:
        return said
    if plan.threshold is not None and not isinstance(known.costs.found, Bins):
        said.append(_against_threshold(known, number, unit, plan))
    said.append(_rank(known.costs, number))
    said.append(_limited_by(number, unit, planner, plan))
    return said


def _against_threshold(
    known: Known, number: int, unit: DiagnosedUnit, plan: Plan
) -> str:
    """Its costs against what is paid."""
    found, threshold = known.costs.found, plan.threshold
    pruning = known.config.pruning
    assert not isinstance(found, Bins)
    assert threshold is not None
    mine = found.cost[found.start[number] : found.start[number + 1]]
    if not len(mine):
        return tr("It has nothing that could go.")
    below = int((mine <= threshold).sum())
    basis = _basis(pruning)
    return tr(
        "For the target that is set, a removal may cost up to {threshold}: {below} of "
        "{n} possible removals in {part} cost no more. They cost {least} to {most}."
    ).format(
        threshold=f"{numbers.three_figures(threshold)} {basis}".strip(),
        below=numbers.whole(below),
        n=numbers.whole(len(mine)),
        part=part_name(unit),
        least=numbers.three_figures(mine.min()),
        most=numbers.three_figures(mine.max()),
    )


def _basis(pruning: PruningConfig) -> str:
    """Of what a cost is."""
    per_weight = pruning.cost_basis is CostBasis.PER_PARAMETER
    return tr("a weight") if per_weight and pruning.kind not in SPARSE else ""


def _rank(costs: Costs, number: int) -> str:
    """How much it minds, among all parts, weight by weight."""
    weights = np.array([weights_of(costs, each) for each in costs.units])
    rises = rises_of_first(costs, _SAMPLE) / np.maximum(weights, 1)
    place = 1 + int((rises > rises[number]).sum())
    return tr(
        "By what the cheapest {share} of each part would cost for every weight, the "
        "dearest first, it is number {place} of {n} parts."
    ).format(
        share=numbers.percent(_SAMPLE),
        place=place,
        n=len(rises),
    )


def _limited_by(number: int, unit: DiagnosedUnit, planner: Planner, plan: Plan) -> str:
    """What keeps more of it from going."""
    taken, allowed = int(plan.taken[number]), int(planner.allowed[number])
    if is_protected(unit, planner.rules):
        return _protected_by(unit, planner)
    if taken < allowed:
        if planner.rules.has_same_widths:
            return tr("It loses as much as its likes in other blocks.")
        return tr("What stays of it costs more than that.")
    share = share_to_keep(unit, planner.rules)
    if share > 0:
        return tr("Its limit holds: at least {share} of it has to stay.").format(
            share=numbers.percent(share)
        )
    return tr("All of it would go that may: the last of its kind always stays.")


def _protected_by(unit: DiagnosedUnit, planner: Planner) -> str:
    patterns = [
        pattern
        for pattern in planner.rules.protect
        if any(matches(layer, pattern) for layer in unit.layers)
    ]
    return tr("It is protected by {patterns}: nothing of it may go.").format(
        patterns=", ".join(patterns)
    )


def _unit_of(layer: Layer, costs: Costs) -> tuple[int, DiagnosedUnit] | None:
    """The unit with which something of a layer goes."""
    for number, unit in enumerate(costs.units):
        if any(each.name == layer.name for each in unit.layers):
            return number, unit
    return None
