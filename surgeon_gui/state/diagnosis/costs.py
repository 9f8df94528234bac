"""Read the costs of a diagnosis into arrays from which any target can be planned.

    n   removals of all units, unit by unit
    U   units
    B   cost bins, for unstructured pruning

Everything that does not depend on the target is summed here once. Removals are in the
same order as in surgeon_engine/pruning/threshold.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surgeon_engine.api.messages.diagnosis import BIN_BITS, Diagnosed, DiagnosedUnit

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ByCost:
    """All removals sorted by cost; ties keep the order of the units."""

    cost: Floats  # n
    weights: Ints  # n
    rise: Floats  # n, increase of the loss
    owner: NDArray[np.int32]  # n, index of the unit
    place: NDArray[np.int32]  # n, rank within the unit, from 0


@dataclass(frozen=True, slots=True, eq=False)
class StructureCosts:
    """Costs of what is removed as a whole: rows, columns, heads, neurons, experts."""

    cost: Floats  # n, ascending within a unit
    weights: Ints  # n, newly removed by each
    rise: Floats  # n, increase of the loss
    by_cost: ByCost
    start: Ints  # U+1, offset of each unit
    weights_so_far: Ints  # n, cumulative within the unit, inclusive
    rise_so_far: Floats  # n, cumulative within the unit, inclusive
    rows_so_far: Ints  # n, cumulative within the unit, inclusive


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Histogram of the costs of single weights."""

    cost: Floats  # B, center of each bin, ascending
    so_far: Ints  # U x B, weights of a unit up to and including this bin


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """A diagnosis with its costs."""

    diagnosed: Diagnosed
    found: StructureCosts | Bins

    @property
    def units(self) -> tuple[DiagnosedUnit, ...]:
        """The units, in the order of the arrays."""
        return self.diagnosed.units


def read_costs(diagnosed: Diagnosed) -> Costs:
    """Read the costs from the file of a diagnosis.

    Raises:
        OSError, KeyError, ValueError, BadZipFile: the file is missing or is not a costs
            file.
    """
    with np.load(Path(diagnosed.path), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    entries = np.array([unit.entries for unit in diagnosed.units], dtype=np.int64)
    start = np.concatenate([[0], entries.cumsum()])
    found = _bins(arrays, start) if "bin" in arrays else _removals(arrays, start)
    return Costs(diagnosed, found)


def _removals(arrays: dict[str, NDArray[Any]], start: Ints) -> StructureCosts:
    owner = np.repeat(np.arange(len(start) - 1, dtype=np.int32), np.diff(start))
    place = (np.arange(len(owner)) - start[owner]).astype(np.int32)
    order = np.argsort(arrays["cost"], kind="stable")
    return StructureCosts(
        cost=arrays["cost"],
        weights=arrays["weights"],
        rise=arrays["rise"],
        by_cost=ByCost(
            arrays["cost"][order],
            arrays["weights"][order],
            arrays["rise"][order],
            owner[order],
            place[order],
        ),
        start=start,
        weights_so_far=_within_units(arrays["weights"], owner, start),
        rise_so_far=_within_units(arrays["rise"], owner, start),
        rows_so_far=_within_units(arrays["is_row"].astype(np.int64), owner, start),
    )


def _within_units(
    values: NDArray[Any], owner: NDArray[np.int32], start: Ints
) -> NDArray[Any]:
    sums = np.concatenate([np.zeros(1, values.dtype), values.cumsum()])
    return sums[1:] - sums[start[:-1]][owner]


def _bins(arrays: dict[str, NDArray[Any]], start: Ints) -> Bins:
    number = arrays["bin"].astype(np.int64)
    filled, column = np.unique(number, return_inverse=True)
    counts = np.zeros((len(start) - 1, len(filled)), dtype=np.int64)
    counts[np.repeat(np.arange(len(start) - 1), np.diff(start)), column] = arrays[
        "count"
    ]
    middle = (filled << (32 - BIN_BITS)) + (1 << (31 - BIN_BITS))
    cost = middle.astype(np.int32).view(np.float32).astype(np.float64)
    return Bins(cost, counts.cumsum(axis=1))
