"""Diagnose a model: measure the costs of all candidates without removing any.

    model, text -> baseline -> curvature and damping of a run's first shot
      -> removals of all units -> an .npz file

The damping comes from the first shot of a run, which leaves protected units out. The
costs cover all units, protected ones included, so that a user can try out protections.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.diagnosis import (
    BIN_BITS,
    Diagnosed,
    DiagnosedLayer,
    DiagnosedUnit,
)
from surgeon_engine.api.messages.run import Routing, Stage
from surgeon_engine.api.messages.sources import LayerSummary
from surgeon_engine.base.errors import RunFolderError
from surgeon_engine.base.files import write_atomically
from surgeon_engine.base.path_problems import unwritable
from surgeon_engine.planning.target_size import share_of_goal
from surgeon_engine.pruning.cost_accounting import raw_costs
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.experts_neurons import (
    ExpertRemovals,
    ExpertsUnit,
    experts_in_step,
)
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.pruning.structures.rows_columns import RowsOrColumns
from surgeon_engine.pruning.structures.units import units_of
from surgeon_engine.pruning.threshold import ElementCosts, Removals, check_not_nan
from surgeon_engine.run.prepare import prepare
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.damping import with_damping
from surgeon_engine.shots.selection import Costs
from surgeon_engine.shots.shot import curvature, evaluate_original, routing_of
from surgeon_engine.shots.steps import ShotPlan

Arrays = dict[str, np.ndarray]  # arrays of one unit, or of all units joined


def diagnose(config: RunConfig, folder: Path, context: RunContext) -> Diagnosed:
    """Measure the costs of all candidates, as in the first shot of a run.

    The folder receives the costs, `costs.npz`.

    Raises:
        EngineError: something that the user can act on.
        RunCancelled: the user has cancelled; nothing is written.
    """
    state = prepare(config, context)
    evaluate_original(state, context)
    unprotected = _unprotected(state)
    arrays, units, damping = _costs(state, unprotected, context)
    path = folder / "costs.npz"
    _write(path, arrays)
    return _diagnosed(state, unprotected, (path, units, damping))


def _unprotected(state: PruningState) -> PruningState:
    """Return a state of the same model without protection and limits."""
    pruning = replace(
        state.config.pruning, protect=(), min_density=0.0, layer_min_density=()
    )
    units = units_of(pruning, state.loaded.model)
    return state.with_pruning(pruning, units)


def _costs(
    state: PruningState, unprotected: PruningState, context: RunContext
) -> tuple[Arrays, tuple[DiagnosedUnit, ...], tuple[float | None, int]]:
    """Return the arrays of all units, the units, and the damping with its trials."""
    settings = state.config.pruning
    share = share_of_goal(1 / settings.shots, settings.schedule)
    first = ShotPlan(1, share, previous_damping=None)
    layers = [unit.measured for unit in unprotected.units]
    factors, choice = curvature(state, first, context, layers)
    pruning, damping = unprotected.config.pruning, None
    if choice is not None:
        damping = choice.cost
        pruning = with_damping(pruning, choice.cost, choice.update)
    parts: dict[str, Arrays] = {}
    waiting: Costs = {}  # experts, whose steps may depend on other blocks
    routing: dict[str, Routing | None] = {}
    with context.stage(Stage.SELECTION, total=len(unprotected.units)) as step:
        for unit in unprotected.units:
            name = unit.measured.name
            # Factors are released once the costs of their unit are known, and costs of
            # single weights once they are counted.
            measured = factors.pop(name)
            removals = unit.removals(measured, unprotected.removed[name], pruning)
            check_not_nan(name, removals.cost)
            parts[name] = _arrays(unit, removals, pruning)
            if isinstance(removals, ExpertRemovals):
                waiting[name] = removals
            routing[name] = routing_of(unit, measured, pruning)
            del removals
            step()
    if pruning.has_same_widths:
        in_step = experts_in_step(waiting, pruning.cost_basis)
        for unit in unprotected.units:
            name = unit.measured.name
            if name in in_step:
                parts[name] = _arrays(unit, in_step[name], pruning)
    summaries = {layer.name: layer for layer in state.original.layers}
    units = [
        msgspec.structs.replace(
            _unit(unit, len(next(iter(parts[unit.measured.name].values()))), summaries),
            routing=routing[unit.measured.name],
        )
        for unit in unprotected.units
    ]
    tried = choice.tried if choice is not None else 0
    names = next(iter(parts.values()))
    arrays = {x: np.concatenate([part[x] for part in parts.values()]) for x in names}
    return arrays, tuple(units), (damping, tried)


def _arrays(
    unit: Unit, removals: Removals | ElementCosts, pruning: PruningConfig
) -> Arrays:
    if isinstance(removals, ElementCosts):
        return _binned(removals)
    rows = unit.measured.rows if isinstance(unit, RowsOrColumns) else 0
    rows = unit.coupled.groups if isinstance(unit, ExpertsUnit) else rows
    return {
        "cost": removals.cost.numpy(),
        "weights": removals.weights.numpy(),
        "rise": raw_costs(removals, pruning.cost_basis).numpy(),
        "is_row": (removals.candidate < rows).numpy(),
    }


def _binned(elements: ElementCosts) -> Arrays:
    """Return the histogram of the costs of a layer's weights, without empty bins."""
    cost = elements.cost[elements.cost < torch.inf] + 0.0  # turns -0.0 into 0.0
    bits = cost.view(torch.int32) >> (32 - BIN_BITS)
    count = torch.bincount(bits, minlength=1)
    filled = count.nonzero().squeeze(1)
    return {"bin": filled.int().numpy(), "count": count[filled].numpy()}


def _unit(
    unit: Unit, entries: int, summaries: Mapping[str, LayerSummary]
) -> DiagnosedUnit:
    group = unit.coupled.kind.value if isinstance(unit, CoupledUnit) else "layer"
    one = torch.zeros(unit.candidates, dtype=torch.bool)
    one[0] = True
    is_coupled = isinstance(unit, CoupledUnit)
    each = {x.name: x.count(removed) * is_coupled for x, removed in unit.zeros(one)}
    layers = tuple(
        DiagnosedLayer(**msgspec.structs.asdict(summaries[x.name]), each=each[x.name])
        for x in unit.layers
    )
    found = DiagnosedUnit(unit.measured.name, group, layers, entries, unit.candidates)
    if not isinstance(unit, CoupledUnit):
        return found
    return msgspec.structs.replace(
        found,
        candidates=unit.coupled.groups,
        least=unit.coupled.least,
        classes=unit.coupled.classes,
        neurons=unit.neurons.groups if isinstance(unit, ExpertsUnit) else 0,
    )


def _write(path: Path, arrays: Arrays) -> None:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, file.getbuffer())
    except OSError as error:
        raise RunFolderError(
            unwritable(path, error),
            "Free some disk space, or choose a folder that you may write to.",
        ) from error


def _diagnosed(
    state: PruningState,
    unprotected: PruningState,
    rest: tuple[Path, tuple[DiagnosedUnit, ...], tuple[float | None, int]],
) -> Diagnosed:
    path, units, (damping, tried) = rest
    pruning = state.config.pruning
    groups = any(isinstance(unit, CoupledUnit) for unit in unprotected.units)
    return Diagnosed(
        path=str(path),
        units=units,
        prunable=state.goal.prunable,
        calibration_tokens=state.windows.calibration.numel(),
        atom=pruning.n_m.removed if pruning.n_m is not None else 1,
        bundle=max(1, pruning.width_multiple) if groups else 1,
        cost_damping=damping,
        damping_tried=tried,
    )
