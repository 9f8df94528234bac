"""Work that the processes of a run share: each does its part, all have the result.

Window n of a text, and what belongs to block n, is the part of process n modulo their
number. A process that computes alone does everything. `ranks.py` connects them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from surgeon_engine.runtime import ranks

_T = TypeVar("_T")
_R = TypeVar("_R")
_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """The batches of this process; there may be none."""

    windows: Tensor  # the windows of all processes, windows x ...
    size: int  # windows of a batch

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._own.split(self.size)[: len(self)])

    def __len__(self) -> int:
        return -(-len(self._own) // self.size)

    @property
    def _own(self) -> Tensor:
        return self.windows[ranks.rank() :: ranks.size()]

    def places_of(self, windows: Iterable[int]) -> list[tuple[int, int]]:
        """Return the batch, and the place in it, of each window of this process."""
        return [divmod(n // ranks.size(), self.size) for n in windows if owns(n)]

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Return the rows of all windows in their order.

        `parts` are the rows of each batch of this process.
        """
        if ranks.size() == 1:
            return torch.cat([*parts])
        count = len(self.windows)
        if count < ranks.size():  # some have no window, and need the shape of a row
            nothing = ranks.agree(lambda: parts[0][:0])
            parts = parts or [nothing]
        own = torch.cat([*parts])
        # Memory that is short is noticed before the ranks meet: later all would wait.
        padded = own.new_zeros((-(-count // ranks.size()), *own.shape[1:]))
        padded[: len(own)] = own
        return torch.stack(ranks.gathered(padded), dim=1).flatten(0, 1)[:count]

    def share_of(
        self, chosen: Sequence[int], rows: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Divide some windows evenly; return the share of this process, and its rows.

        The rows of each batch of this process go where they are needed.
        """
        found: list[Tensor] = []
        for place, window in enumerate(chosen):
            own = self.places_of([window])
            row = rows[own[0][0]][own[0][1]] if own else None
            if (place - window) % ranks.size():
                row = ranks.passed_on(row, window % ranks.size())
            if owns(place):
                assert row is not None
                found.append(row)
        return Batches(self.windows[chosen], self.size)._own, found


def owns(number: int) -> bool:
    """Return whether a window or a block is a part of this process."""
    return number % ranks.size() == ranks.rank()


def add_sums(sums: dict[_Key, Tensor], device: torch.device) -> None:
    """Add up tensors of the same name over all processes, in place.

    A process without windows has none; the first one always has windows.
    """
    if ranks.size() == 1:
        return
    for name, shape in ranks.agree(lambda: {x: sums[x].shape for x in sums}).items():
        if name not in sums:
            sums[name] = torch.zeros(shape, device=device)
    ranks.add(sums.values())


def divided(
    items: Iterable[_T], place: Callable[[_T], int], work: Callable[[_T], _R]
) -> Iterator[tuple[_T, _R]]:
    """Yield each item with a result, which one process computes and passes on.

    The items are the same in all processes. Those at places that follow each other are
    computed at the same time; a place is the number of an item's block or layer.
    """
    if ranks.size() == 1:
        for item in items:
            yield item, work(item)
        return
    for _, group in itertools.groupby(items, lambda x: place(x) // ranks.size()):
        members = list(group)
        found = [work(item) if owns(place(item)) else None for item in members]
        for number, item in enumerate(members):
            result, found[number] = found[number], None
            yield item, ranks.passed_on(result, place(item) % ranks.size())  # type: ignore[misc]
