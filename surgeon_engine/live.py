"""What a run tells of itself as it goes: pauses, memory, and what its removals cost.

    cost    the rise of the loss that a method predicts for one removal, by itself
    paid    the sum of the costs of what went; the joint rise is not their sum, but
            the parts of it that layers bear can be compared

Imports neither torch nor Qt.
"""

from __future__ import annotations

import msgspec


class Paused(msgspec.Struct, frozen=True, tag=True):
    """The run waits at a safe point; its model stays where it is."""


class Resumed(msgspec.Struct, frozen=True, tag=True):
    """The run goes on after a pause."""


class MemorySampled(msgspec.Struct, frozen=True, tag=True):
    """How much memory the engine uses at this moment."""

    process_bytes: int  # in RAM, of the engine's process
    device_bytes: int = 0  # on the GPU, of its tensors; 0: there is none
    device_total: int = 0  # of that GPU


class CostHistogram(msgspec.Struct, frozen=True):
    """The costs of all that could have gone in a shot, and what of it went.

    The bins are equally wide on a log scale: bin i reaches from `edges[i]` to
    `edges[i + 1]`. What costs less than the first edge is counted in the first bin.
    """

    edges: tuple[float, ...]  # one more than there are bins
    removed: tuple[int, ...]  # candidates that went
    kept: tuple[int, ...]  # those that could have gone, and stay
    removed_weights: tuple[int, ...]  # how many weights went with them
    kept_weights: tuple[int, ...]


class GroupsLeft(msgspec.Struct, frozen=True):
    """How many heads or neurons are left in the part that a layer belongs to."""

    kind: str  # "heads" (with the query heads that share one) or "neurons"
    kept: int
    of: int
