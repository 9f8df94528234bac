"""Choose the windows of the user's texts that later epochs of a training read.

Each epoch has as many windows of each text as the first. When a text has no more, it
begins again, each window in its place.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import torch
from torch import Tensor


def later_windows(
    drawn: Sequence[tuple[Tensor, int]], taken: Sequence[Tensor]
) -> list[Tensor]:
    """Return the windows of each epoch after the first, until all have been read.

    Args:
        drawn: All windows of each text, and how many of them the first epoch reads.
        taken: Windows that are left out: those of the first epoch, and for validation.
    """
    known = {tuple(window) for part in taken for window in part.tolist()}
    cycles = [
        [windows[:count], *_further(windows[count:], count, known)]
        for windows, count in drawn
    ]
    epochs = range(1, max(map(len, cycles)))
    return [torch.cat([text[n % len(text)] for text in cycles]) for n in epochs]


def _further(
    windows: Tensor, count: int, taken: Set[tuple[int, ...]]
) -> tuple[Tensor, ...]:
    """Return `count` windows at a time; none that is taken, and no smaller rest."""
    left = [n for n, each in enumerate(windows.tolist()) if tuple(each) not in taken]
    whole = len(left) // count * count if count else 0
    return windows[left[:whole]].split(count) if whole else ()
