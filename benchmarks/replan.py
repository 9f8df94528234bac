"""Measure how long the window needs to plan for a new target after a diagnosis.

    python benchmarks/replan.py

Uses random costs of a model with 32 blocks and 7 B weights, as heads and neurons, as
rows and columns and as single weights. Measures reading the costs, merging them under
other protections, and making a plan with its heat map. The limit: a plan, which is made
whenever the target slider moves, takes less than 100 ms.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.diagnosis import (
    Diagnosed,
    DiagnosedLayer,
    DiagnosedUnit,
)
from surgeon_gui.state.diagnosis.costs import read_costs
from surgeon_gui.state.diagnosis.planner import Planner
from surgeon_gui.state.diagnosis.sensitivity import planned_cells

BLOCKS, WIDTH, MLP = 32, 4096, 11_008  # sizes of a model with 7 B weights
KINDS = [(WIDTH, WIDTH)] * 4 + [(MLP, WIDTH)] * 2 + [(WIDTH, MLP)]
MAX_PLAN_S = 0.100
TARGETS = np.linspace(0.02, 0.9, 45)


def main() -> int:
    """Print the figures; return 1 if a plan takes too long."""
    slow = False
    with tempfile.TemporaryDirectory() as folder:
        for name, make_costs in (
            ("heads and neurons", neurons),
            ("rows and columns", rows_and_columns),
            ("single weights", single_weights),
        ):
            diagnosed = make_costs(Path(folder) / "costs.npz")
            slow |= measure(name, diagnosed) > MAX_PLAN_S
    return int(slow)


def measure(name: str, diagnosed: Diagnosed) -> float:
    """Measure and print the times; return the seconds of the slowest plan."""
    begun = time.perf_counter()
    costs = read_costs(diagnosed)
    read = time.perf_counter() - begun
    begun = time.perf_counter()
    pruning = PruningConfig(protect=("block 0",), layer_min_density=("block 3=0.5",))
    planner = Planner(costs, pruning)
    merged = time.perf_counter() - begun
    times = []
    for share in TARGETS:
        begun = time.perf_counter()
        plan = planner.plan(int(share * planner.max_removable))
        planned_cells(costs, plan)
        times.append(time.perf_counter() - begun)
    entries = sum(unit.entries for unit in diagnosed.units)
    print(
        f"{name}: {entries:,} entries in {len(diagnosed.units)} parts; read in "
        f"{read * 1000:.0f} ms, merged in {merged * 1000:.0f} ms; a plan takes "
        f"{median(times) * 1000:.1f} ms, at most {max(times) * 1000:.1f} ms"
    )
    return max(times)


def neurons(path: Path) -> Diagnosed:
    """Write costs of heads and neurons, coupled over their layers."""
    parts = []
    for block in range(BLOCKS):
        for group, count in (("heads", 32), ("neurons", MLP)):
            layers = tuple(layer(block, n, KINDS[n], 3 * WIDTH) for n in range(3))
            weights = np.full(count - 1, 9 * WIDTH, dtype=np.int64)
            parts.append((group, layers, count, weights))
    return write_costs(path, parts)


def rows_and_columns(path: Path) -> Diagnosed:
    """Write costs of the rows and columns of each layer."""
    parts = []
    for block in range(BLOCKS):
        for number, (rows, columns) in enumerate(KINDS):
            count = rows + columns
            weights = np.full(count - 2, rows * columns // count, dtype=np.int64)
            layers = (layer(block, number, (rows, columns)),)
            parts.append(("layer", layers, count, weights))
    return write_costs(path, parts)


def single_weights(path: Path) -> Diagnosed:
    """Write costs of single weights, in 5,000 bins per layer."""
    generator = np.random.default_rng(0)
    units, bins, counts = [], [], []
    for block in range(BLOCKS):
        for number, (rows, columns) in enumerate(KINDS):
            filled = np.sort(generator.choice(8000, 5000, replace=False)) + 9000
            bins.append(filled.astype(np.int32))
            counts.append(np.full(5000, rows * columns // 5000, dtype=np.int64))
            own = layer(block, number, (rows, columns))
            units.append(DiagnosedUnit(own.name, "layer", (own,), 5000, rows * columns))
    np.savez(path, bin=np.concatenate(bins), count=np.concatenate(counts))
    return response(path, tuple(units))


def write_costs(path: Path, parts: list[tuple[Any, ...]]) -> Diagnosed:
    """Write random costs of `parts` to a file."""
    generator = np.random.default_rng(0)
    costs, weights, units = [], [], []
    for group, layers, count, unit_weights in parts:
        costs.append(np.sort(generator.lognormal(-18, 2, len(unit_weights))))
        weights.append(unit_weights)
        units.append(
            DiagnosedUnit(layers[0].name, group, layers, len(unit_weights), count)
        )
    cost, weight = np.concatenate(costs), np.concatenate(weights)
    is_row = np.zeros(len(cost), dtype=bool)
    np.savez(path, cost=cost, weights=weight, rise=cost * weight, is_row=is_row)
    return response(path, tuple(units))


def layer(
    block: int, number: int, shape: tuple[int, int], each: int = 0
) -> DiagnosedLayer:
    """Return a layer; `each` is the number of weights of one candidate."""
    rows, columns = shape
    name = f"model.layers.{block}.kind_{number}"
    return DiagnosedLayer(
        name, block, f"kind_{number}", rows, columns, rows * columns, each=each
    )


def response(path: Path, units: tuple[DiagnosedUnit, ...]) -> Diagnosed:
    """Return the response of the engine to a diagnosis."""
    prunable = BLOCKS * sum(rows * columns for rows, columns in KINDS)
    return Diagnosed(str(path), units, prunable, 16_384)


if __name__ == "__main__":
    sys.exit(main())
