"""Measures what everything in a model would cost, and cuts nothing.

    model, text -> baseline -> the curvature and the damping of a run's first shot
      -> the removals of all units -> an .npz file

The damping is that which the first shot of the run would find, with what is protected
left alone; the costs are then those of all units, protected ones included, so that
whoever plans can try what to protect.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from surgeon_engine.api.config.pruning import NM, PruningConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import RunFolderError
from surgeon_engine.api.files import write_atomically
from surgeon_engine.api.messages.diagnosis import (
    BIN_BITS,
    Diagnosed,
    DiagnosedLayer,
    DiagnosedUnit,
)
from surgeon_engine.api.messages.run import Evaluation, Stage
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.pipeline import prepare
from surgeon_engine.pruning.cost_accounting import raw_costs
from surgeon_engine.pruning.schedule import share_of_goal
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.pruning.structures.rows_columns import RowsOrColumns
from surgeon_engine.pruning.structures.units import units_of
from surgeon_engine.pruning.threshold import Elements, Removals, check_not_nan
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.damping import with_damping
from surgeon_engine.shots.shot import ShotPlan, curvature, evaluation

Arrays = dict[str, np.ndarray]  # of one unit, or of all


def diagnose(config: RunConfig, folder: Path, context: RunContext) -> Diagnosed:
    """The costs of all removals, as the first shot of a run would see them.

    Raises:
        EngineError: something that the user can act on.
        RunCancelled: the user has cancelled; nothing is written.
    """
    begun = context.clock()
    state = prepare(config, context)
    baseline = evaluation(state, context, Stage.BASELINE)
    whole = _whole(state)
    arrays, units, damping = _costs(state, whole, context)
    path = folder / "costs.npz"
    _write(path, arrays)
    seconds = context.clock() - begun
    return _diagnosed(state, whole, baseline, (path, units, damping, seconds))


def _whole(state: PruningState) -> PruningState:
    """The same model with nothing protected and nothing that has to stay."""
    pruning = replace(
        state.config.pruning, protect=(), layer_min_density=(), min_density=0.0
    )
    units = units_of(pruning, state.loaded.model)
    removed = {
        u.measured.name: torch.zeros(u.candidates, dtype=torch.bool) for u in units
    }
    config = replace(state.config, pruning=pruning)
    return replace(state, config=config, units=units, removed=removed)


def _costs(
    state: PruningState, whole: PruningState, context: RunContext
) -> tuple[Arrays, tuple[DiagnosedUnit, ...], tuple[float | None, int]]:
    """The arrays of all units; whose they are; the damping, and of how many it is."""
    wanted = state.config.pruning
    share = share_of_goal(1 / wanted.shots, wanted.schedule)
    first = ShotPlan(1, share, before=None)
    factors, choice = curvature(state, first, context, measured=whole)
    pruning, damping = whole.config.pruning, None
    if choice is not None:
        damping = choice.cost
        pruning = with_damping(pruning, choice.cost, choice.update)
    parts: list[Arrays] = []
    units: list[DiagnosedUnit] = []
    with context.stage(Stage.SELECTION, total=len(whole.units)) as step:
        for unit in whole.units:
            name = unit.measured.name
            # Once its costs are known, nobody needs a unit's factors any more.
            removals = unit.removals(factors.pop(name), whole.removed[name], pruning)
            check_not_nan(name, removals.cost)
            parts.append(_arrays(unit, removals, pruning))
            units.append(_unit(unit, entries=len(next(iter(parts[-1].values())))))
            step()
    tried = choice.tried if choice is not None else 0
    return _joined(parts), tuple(units), (damping, tried)


def _arrays(
    unit: Unit, removals: Removals | Elements, pruning: PruningConfig
) -> Arrays:
    if isinstance(removals, Elements):
        return _binned(removals)
    return {
        "cost": removals.cost.numpy(),
        "weights": removals.weights.numpy(),
        "rise": raw_costs(removals, pruning.cost_basis).numpy(),
        "is_row": _is_row(unit, removals).numpy(),
    }


def _is_row(unit: Unit, removals: Removals) -> torch.Tensor:
    """Which removals are rows of the measured layer."""
    if isinstance(unit, RowsOrColumns):
        return removals.candidate < unit.measured.rows
    return torch.zeros(len(removals.candidate), dtype=torch.bool)


def _binned(elements: Elements) -> Arrays:
    """How many weights of a layer have costs in which bin, empty bins left out."""
    cost = elements.cost[elements.cost < torch.inf] + 0.0  # makes -0.0 a plain zero
    bits = cost.view(torch.int32) >> (32 - BIN_BITS)
    count = torch.bincount(bits, minlength=1)
    filled = count.nonzero().squeeze(1)
    return {"bin": filled.int().numpy(), "count": count[filled].numpy()}


def _joined(parts: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _unit(unit: Unit, entries: int) -> DiagnosedUnit:
    is_coupled = isinstance(unit, CoupledUnit)
    group = unit.coupled.kind.value if isinstance(unit, CoupledUnit) else "layer"
    one = torch.zeros(unit.candidates, dtype=torch.bool)
    one[0] = True
    each = {x.name: int(removed.sum()) * is_coupled for x, removed in unit.zeros(one)}
    layers = tuple(_layer(layer, each[layer.name]) for layer in unit.layers)
    return DiagnosedUnit(unit.measured.name, group, layers, entries, unit.candidates)


def _layer(layer: PrunableLayer, each: int) -> DiagnosedLayer:
    return DiagnosedLayer(
        layer.name,
        layer.block,
        layer.kind,
        layer.rows,
        layer.columns,
        layer.weights,
        each,
    )


def _write(path: Path, arrays: Arrays) -> None:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, file.getbuffer())
    except OSError as error:
        raise RunFolderError(
            f"{path} cannot be written: {error.strerror}.",
            "Make room, or choose a folder that you may write to.",
        ) from error


def _diagnosed(
    state: PruningState,
    whole: PruningState,
    baseline: Evaluation,
    rest: tuple[Path, tuple[DiagnosedUnit, ...], tuple[float | None, int], float],
) -> Diagnosed:
    path, units, (damping, tried), seconds = rest
    pruning = state.config.pruning
    groups = any(isinstance(unit, CoupledUnit) for unit in whole.units)
    return Diagnosed(
        path=str(path),
        units=units,
        prunable=state.goal.prunable,
        loss=baseline.loss,
        windows=baseline.windows,
        window_length=baseline.window_length,
        text=baseline.text,
        calibration_tokens=state.windows.calibration.numel(),
        device=devices.in_words(state.loaded.device),
        seconds=seconds,
        atom=_atom(pruning),
        bundle=pruning.width_multiple if groups else 1,
        cost_damping=damping,
        damping_tried=tried,
    )


def _atom(pruning: PruningConfig) -> int:
    return pruning.structure.removed if isinstance(pruning.structure, NM) else 1
