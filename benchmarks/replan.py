"""How long a new target takes once a model has been diagnosed.

    python benchmarks/replan.py

Made-up costs of a model with 32 blocks and of one with 7 B weights, as heads and
neurons, as rows and columns and as single weights: reading, merging under other
protections, and a plan with the map that is drawn of it. The claim: a plan, which is
what dragging the target takes, needs less than 100 ms.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from surgeon_engine.api.messages.diagnosis import (
    Diagnosed,
    DiagnosedLayer,
    DiagnosedUnit,
)
from surgeon_gui.state.diagnosis.costs import read_costs
from surgeon_gui.state.diagnosis.planner import Planner, Rules
from surgeon_gui.state.diagnosis.sensitivity import planned_cells

BLOCKS, WIDTH, MLP = 32, 4096, 11_008  # of a model with 7 B weights
KINDS = [(WIDTH, WIDTH)] * 4 + [(MLP, WIDTH)] * 2 + [(WIDTH, MLP)]
LIMIT = 0.100  # seconds, for a plan
TARGETS = np.linspace(0.02, 0.9, 45)


def main() -> int:
    """Print the figures; 1 if the claim does not hold."""
    slow = False
    with tempfile.TemporaryDirectory() as folder:
        for name, made in (
            ("heads and neurons", neurons),
            ("rows and columns", rows_and_columns),
            ("single weights", single_weights),
        ):
            diagnosed = made(Path(folder) / "costs.npz")
            slow |= measured(name, diagnosed) > LIMIT
    return int(slow)


def measured(name: str, diagnosed: Diagnosed) -> float:
    """Print how long everything takes; the seconds of the slowest plan."""
    begun = time.perf_counter()
    costs = read_costs(diagnosed)
    read = time.perf_counter() - begun
    begun = time.perf_counter()
    planner = Planner(costs, Rules(protect=("block 0",), limits=("block 3=0.5",)))
    merged = time.perf_counter() - begun
    times = []
    for share in TARGETS:
        begun = time.perf_counter()
        plan = planner.plan(int(share * planner.most))
        planned_cells(costs, plan)
        times.append(time.perf_counter() - begun)
    entries = sum(unit.entries for unit in diagnosed.units)
    print(
        f"{name}: {entries:,} entries in {len(diagnosed.units)} parts; read in "
        f"{read * 1000:.0f} ms, merged anew in {merged * 1000:.0f} ms; a plan takes "
        f"{median(times) * 1000:.1f} ms, at most {max(times) * 1000:.1f} ms"
    )
    return max(times)


def neurons(path: Path) -> Diagnosed:
    """Each consumer with its producers."""
    parts = []
    for block in range(BLOCKS):
        for group, count in (("heads", 32), ("neurons", MLP)):
            layers = tuple(layer(block, n, KINDS[n], 3 * WIDTH) for n in range(3))
            weights = np.full(count - 1, 9 * WIDTH, dtype=np.int64)
            parts.append((group, layers, count, weights))
    return written(path, parts)


def rows_and_columns(path: Path) -> Diagnosed:
    """Each layer by itself."""
    parts = []
    for block in range(BLOCKS):
        for number, (rows, columns) in enumerate(KINDS):
            count = rows + columns
            weights = np.full(count - 2, rows * columns // count, dtype=np.int64)
            mine = (layer(block, number, (rows, columns)),)
            parts.append(("layer", mine, count, weights))
    return written(path, parts)


def single_weights(path: Path) -> Diagnosed:
    """Each layer by itself, its costs in some thousand bins."""
    generator = np.random.default_rng(0)
    units, bins, counts = [], [], []
    for block in range(BLOCKS):
        for number, (rows, columns) in enumerate(KINDS):
            filled = np.sort(generator.choice(8000, 5000, replace=False)) + 9000
            bins.append(filled.astype(np.int32))
            counts.append(np.full(5000, rows * columns // 5000, dtype=np.int64))
            mine = (layer(block, number, (rows, columns)),)
            units.append(
                DiagnosedUnit(mine[0].name, "layer", mine, 5000, rows * columns)
            )
    np.savez(path, bin=np.concatenate(bins), count=np.concatenate(counts))
    return answer(path, tuple(units))


def written(path: Path, parts: list) -> Diagnosed:
    """The parts with random costs, in a file."""
    generator = np.random.default_rng(0)
    costs, weights, units = [], [], []
    for group, layers, count, mine in parts:
        costs.append(np.sort(generator.lognormal(-18, 2, len(mine))))
        weights.append(mine)
        units.append(DiagnosedUnit(layers[0].name, group, layers, len(mine), count))
    cost, weight = np.concatenate(costs), np.concatenate(weights)
    is_row = np.zeros(len(cost), dtype=bool)
    np.savez(path, cost=cost, weights=weight, rise=cost * weight, is_row=is_row)
    return answer(path, tuple(units))


def layer(
    block: int, number: int, shape: tuple[int, int], each: int = 0
) -> DiagnosedLayer:
    """A layer of some kind."""
    rows, columns = shape
    name = f"model.layers.{block}.kind_{number}"
    return DiagnosedLayer(
        name, block, f"kind_{number}", rows, columns, rows * columns, each
    )


def answer(path: Path, units: tuple[DiagnosedUnit, ...]) -> Diagnosed:
    """What the engine would have told."""
    prunable = BLOCKS * sum(rows * columns for rows, columns in KINDS)
    return Diagnosed(str(path), units, prunable, 2.0, 32, 256, "", 16_384, "", 0.0)


if __name__ == "__main__":
    sys.exit(main())
