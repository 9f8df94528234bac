"""Purposes of a job, and the structure that each removes of a model.

The window offers them, presets name them, and a job that names no structure has the
first.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum

from surgeon_engine.api.config.pruning import PruningConfig, Structure, methods_for


class Purpose(StrEnum):
    """The purposes of a job."""

    SMALLER = "smaller"  # a smaller file
    FASTER = "faster"


# The last is for architectures whose heads and neurons are not known.
_OF_DENSE = (
    Structure.HEADS_AND_NEURONS,
    Structure.NEURONS,
    Structure.ROWS_AND_COLUMNS,
)
# Structures to remove for a purpose: the first that the model has.
_WANTED: dict[Purpose, tuple[Structure, ...]] = {
    Purpose.SMALLER: (Structure.EXPERTS_AND_NEURONS, Structure.EXPERTS, *_OF_DENSE),
    # Experts alone save no time.
    Purpose.FASTER: (Structure.EXPERTS_HEADS_AND_NEURONS, *_OF_DENSE),
}


def structure_for(purpose: Purpose, kinds: Collection[Structure]) -> Structure:
    """Return what a purpose removes of a model that supports these structures."""
    wanted = (kind for kind in _WANTED[purpose] if kind in kinds)
    return next(wanted, _OF_DENSE[0])


def with_method_for(kind: Structure, pruning: PruningConfig) -> PruningConfig:
    """Return the settings with the default method if theirs does not remove `kind`."""
    if pruning.method in methods_for(kind):
        return pruning
    plain = PruningConfig()
    return replace(pruning, method=plain.method, damping=plain.damping)
