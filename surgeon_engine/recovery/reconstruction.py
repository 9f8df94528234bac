"""Train a pruned block to reproduce the output of the original's block.

    h'   windows x length x hidden   the pruned model's hidden states before the block
    t    windows x length x hidden   the original's after it

The loss is |f(h') - t|^2 / |t|^2: the block learns to make up for its own removed parts
and for the error of the blocks before it. Held-out windows pick the best epoch, and a
block whose held-out error does not fall stays as it was.

The window is a whole block. Attention and MLP would be smaller ones, but the hidden
states between them exist only where they follow each other: in some families they run
side by side, and in others a norm stands between a layer and the residual stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from surgeon_engine.planning.constants import RECONSTRUCTION_EPOCHS, STEP_WINDOWS
from surgeon_engine.recovery.block_pair import BlockPair
from surgeon_engine.recovery.least_squares import EXACT
from surgeon_engine.recovery.weight_training import WeightTraining, rate_at
from surgeon_engine.runtime import ranks

_RATE = 0.2  # divided by the hidden size: a step changes outputs as much in any width


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """The relative held-out errors of a block before and after its training."""

    before: float
    after: float


def reconstruct(pair: BlockPair, weights: WeightTraining, seed: int) -> Reconstruction:
    """Train the weights of a block, unless that makes its held-out error worse.

    Stop ends the training after a step; the best weights so far are kept.

    Raises:
        RunCancelled: the user has cancelled; the weights are then the best so far.
    """
    return _Reconstruction(pair, weights, seed).run()


class _Reconstruction:
    def __init__(self, pair: BlockPair, weights: WeightTraining, seed: int) -> None:
        self._pair, self._weights = pair, weights
        self._generator = torch.Generator().manual_seed(seed)
        count = len(pair.fitted.windows)
        self._steps = list(_steps(count, pair.fitted.size))
        self._numbers = pair.after[0][0].numel()  # per window
        energies = (x.float().square().sum() for x in pair.after[: len(pair.fitted)])
        energy = ranks.added(sum(map(float, energies)))
        self._energy = energy / (count * self._numbers) or 1.0

    def run(self) -> Reconstruction:
        """Train epoch by epoch, and keep the best."""
        before = best = self._held_out_error()
        if before < EXACT or not self._weights.parameters:
            return Reconstruction(before, before)
        start = [x.clone() for x in self._weights.parameters]
        self._weights.start()
        try:
            for epoch in range(RECONSTRUCTION_EPOCHS):
                self._train(epoch)
                error = self._held_out_error()
                if error < best:
                    best = error
                    self._weights.remember()
                if self._pair.context.stops_after_shot:
                    break
        finally:
            self._weights.finish()
        after = self._held_out_error()  # with weights in their own dtype
        if after < before:
            return Reconstruction(before, after)
        for parameter, value in zip(self._weights.parameters, start, strict=True):
            parameter.data.copy_(value)
        return Reconstruction(before, before)

    @torch.enable_grad()
    def _train(self, epoch: int) -> None:
        """Make a step for each part of the text, in a random order."""
        count = len(self._steps)
        order = torch.randperm(count, generator=self._generator).tolist()
        for done, chosen in enumerate(order, start=epoch * count):
            self._pair.context.raise_if_cancelled()
            windows = self._steps[chosen]
            if own := self._pair.fitted.places_of(windows):
                (number, first), (_, last) = own[0], own[-1]
                rows = slice(first, last + 1)
                before = self._pair.of_pruned[number][rows]
                after = self._pair.after[number][rows]
                found = self._pair.run_pruned(before, number, rows)
                expected = after.to(found.device)
                error = (found.float() - expected.float()).square().sum()
                mean = error / (len(windows) * self._numbers)
                (mean / self._energy).backward()
            rate = _RATE / self._pair.after[0].shape[-1]
            self._weights.step(
                rate_at(rate, done, done / (RECONSTRUCTION_EPOCHS * count))
            )
            if self._pair.context.stops_after_shot:
                break

    @torch.no_grad()
    def _held_out_error(self) -> float:
        error = energy = 0.0
        for number, is_held_out in enumerate(self._pair.is_held_out):
            if is_held_out:
                self._pair.context.raise_if_cancelled()
                found = self._pair.run_pruned(self._pair.of_pruned[number], number)
                expected = self._pair.after[number].to(found.device).float()
                error += float((found.float() - expected).square().sum())
                energy += float(expected.square().sum())
        error, energy = ranks.added(error), ranks.added(energy)
        return error / (energy or 1.0)


def _steps(count: int, batch: int) -> Iterator[range]:
    """Yield the windows of each step; none has windows of two batches."""
    for start in range(0, count, batch):
        end = min(start + batch, count)
        for first in range(start, end, STEP_WINDOWS):
            yield range(first, min(first + STEP_WINDOWS, end))
