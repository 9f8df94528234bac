"""Choose the windows of the user's texts that the epochs of a training read.

Each calibration window has windows of its own text that take its place, so that each
epoch has as many of each text as the refit.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

_MOST_TOKENS = 1_500_000  # with the refit's tokens: they travel in one message


def later_windows(
    drawn: Sequence[tuple[Tensor, int]], held_out: Sequence[Tensor], epochs: int
) -> list[Tensor]:
    """Return the windows that take the place of each calibration window, in order.

    Args:
        drawn: All windows of each text, and how many of them calibrate, the first ones.
        held_out: Windows that are left out.
        epochs: How many windows of each place are read at most.
    """
    texts = [windows[:count] for windows, count in drawn]
    size = sum(text.numel() for text in texts)
    size_held_out = sum(windows.numel() for windows in held_out)
    most = min(epochs, (_MOST_TOKENS - size - size_held_out) // size)
    if most <= 0:
        return []
    taken = {tuple(x) for part in (*texts, *held_out) for x in part.tolist()}
    found: list[Tensor] = []
    for windows, count in drawn:
        rest = windows[count:]
        left = [n for n, x in enumerate(rest.tolist()) if tuple(x) not in taken]
        found += [rest[left[place::count][:most]] for place in range(count)]
    return found
