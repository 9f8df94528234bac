"""Whole blocks, attentions and MLPs: their costs are measured, not predicted.

A sub-layer, the attention or the MLP of a block, adds its output to the residual
stream. Without it the stream passes unchanged. Its cost is the rise of the KL to the
original, in nats per token, when the model runs without it on held-out windows of the
calibration text. For the cost of a block, it runs without both sub-layers.

The gates of heads and neurons (`curvature/measured.py`) estimate the same quantity, in
the same unit, from gradients at the present weights. For removals as large as a sub-
layer such an estimate is too low, mostly by half, so that the two are not compared: the
settings say how many blocks and sub-layers are removed, and costs choose among them.

Each block before the missing one computes what it did before, so that only the blocks
after it run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from surgeon_engine.api.config.pruning import CostBasis, Coupling
from surgeon_engine.base.errors import PruningError
from surgeon_engine.base.sentences import say
from surgeon_engine.evaluation.fidelity import Reference, compare_unchecked
from surgeon_engine.model.block_runner import BlockRunner, hooked
from surgeon_engine.model.image_blocks import image_blocks
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.offload import on_device
from surgeon_engine.planning.constants import DEPTH_TOKENS
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit

_TOLERANCE = 1e-3  # maximum relative change by a block without sub-layers


@dataclass(frozen=True, slots=True, eq=False)
class Sublayers:
    """A candidate: a whole block, or one of its sub-layers."""

    block: int
    units: tuple[CoupledUnit, ...]  # both of a block, or one
    left: int  # prunable weights that are removed with it now

    @property
    def label(self) -> str:
        """Its name in a sentence, such as "block 3" or "the MLP of block 3"."""
        block = f"block {self.block}"
        if len(self.units) > 1:
            return block
        is_attention = self.units[0].coupled.kind is Coupling.HEADS
        return f"the {'attention' if is_attention else 'MLP'} of {block}"

    @property
    def weights(self) -> int:
        """The number of its prunable weights, with those removed before."""
        return sum(unit.all_weights for unit in self.units)


@dataclass(frozen=True, slots=True, eq=False)
class Depth:
    """The parts that may be removed as a whole, and how many are removed."""

    blocks: tuple[Sublayers, ...]  # whole blocks that may be removed
    sublayers: tuple[Sublayers, ...]  # each alone
    dropped_blocks: int
    dropped_sublayers: int
    others: int  # parameters of the dropped blocks beside their layers, as of norms

    @classmethod
    def of(cls, state: PruningState) -> Depth:
        """Return the removable parts of a model, and how many were removed.

        Protected layers have no units. A minimum density keeps layers.
        """
        loaded, removed, pruning = state.loaded, state.removed, state.config.pruning
        blocks, sublayers = [], []
        dropped, others = [0, 0], 0
        for index in range(len(loaded.blocks)):
            coupled = [
                unit
                for unit in state.units
                if isinstance(unit, CoupledUnit) and unit.measured.block == index
            ]
            empty = [u for u in coupled if bool(removed[u.measured.name].all())]
            is_whole = can_drop(loaded, index, coupled)
            if empty:
                is_dropped = is_whole and len(empty) == len(coupled)
                dropped[0 if is_dropped else 1] += 1
                others += is_dropped * _others(loaded, index)
                continue
            left = {
                u: u.all_weights - u.removed_weights(removed[u.measured.name])
                for u in coupled
            }
            may = [u for u in coupled if not pruning.share_to_keep(u.layers)]
            sublayers += [Sublayers(index, (unit,), left[unit]) for unit in may]
            if is_whole and len(may) == len(coupled):
                blocks.append(Sublayers(index, tuple(coupled), sum(left.values())))
        return cls(tuple(blocks), tuple(sublayers), dropped[0], dropped[1], others)


def _others(loaded: LoadedModel, block: int) -> int:
    """Return the number of parameters of a block that are in no prunable layer."""
    parameters = sum(each.numel() for each in loaded.blocks[block].parameters())
    return parameters - sum(x.weights for x in loaded.layers if x.block == block)


def can_drop(loaded: LoadedModel, block: int, units: Sequence[Unit]) -> bool:
    """Return whether the block can be dropped when nothing of its units remains."""
    names = {layer.name for unit in units for layer in unit.layers}
    is_whole = all(x.name in names for x in loaded.layers if x.block == block)
    return is_whole and block >= image_blocks(loaded.model.config)


class SkipCosts:
    """Measures the rise of the KL without single candidates."""

    def __init__(self, loaded: LoadedModel, reference: Reference) -> None:
        """Prepare to run the blocks of a model one at a time.

        `reference` has held-out windows, and the original's hidden states.

        Raises:
            ModelError: the blocks cannot be run one at a time.
        """
        self._loaded, self._reference = loaded, reference
        batches = [tokens for tokens, _ in reference.batches()]
        self._runner = BlockRunner(
            loaded.model,
            loaded.blocks,
            batches,
            hint=say(
                "Set {blocks:choice} and {sublayers:choice} to 0.",
                blocks="pruning.dropped_blocks",
                sublayers="pruning.dropped_sublayers",
            ),
        )

    @torch.no_grad()
    def measure(
        self, candidates: Sequence[Sublayers], step: Callable[[], None]
    ) -> list[float]:
        """Return the cost of each candidate alone, in nats per token.

        It is infinite if the model computes no finite logits without the candidate.

        `candidates` are in the order of their blocks. `step` is called for each block
        that has run, with all batches.

        Raises:
            PruningError: a block without its sub-layers changes the residual stream.
        """
        hidden = list(self._runner.embedded())
        found: list[float] = []
        for index in range(len(self._loaded.blocks)):
            for each in candidates:
                if each.block == index:
                    found.append(self._divergence_without(each, hidden, step))
            hidden = self._run(index, hidden, step)
        whole = self._divergence(hidden)
        if not math.isfinite(whole):
            return [math.inf] * len(found)
        return [nats - whole for nats in found]

    def _divergence_without(
        self, candidate: Sublayers, hidden: list[Tensor], step: Callable[[], None]
    ) -> float:
        before = hidden
        with without_outputs(candidate.units):
            hidden = self._run(candidate.block, hidden, step)
        layers = [x for x in self._loaded.layers if x.block == candidate.block]
        if sum(len(unit.layers) for unit in candidate.units) == len(layers):
            self._check_unchanged(candidate.block, before[0], hidden[0])
        for index in range(candidate.block + 1, len(self._loaded.blocks)):
            hidden = self._run(index, hidden, step)
        return self._divergence(hidden)

    def _run(
        self, index: int, hidden: list[Tensor], step: Callable[[], None]
    ) -> list[Tensor]:
        with on_device(self._loaded.blocks[index]):
            result = [
                self._runner.run(index, x, number).cpu()
                for number, x in enumerate(hidden)
            ]
        step()
        return result

    def _divergence(self, hidden: list[Tensor]) -> float:
        model = self._loaded.model
        last = (self._runner.finish(x, number) for number, x in enumerate(hidden))
        found = compare_unchecked(model, self._reference, lambda: None, hidden=last)
        nats = found.divergence
        return nats if math.isfinite(nats) else math.inf

    def _check_unchanged(self, block: int, before: Tensor, after: Tensor) -> None:
        change = (after.float() - before.float()).norm() / before.float().norm()
        if not float(change) < _TOLERANCE:
            raise PruningError(
                "Block {block} of {model_type} changes the residual stream even "
                "without attention and MLP, so that it cannot be removed as a whole.",
                "Remove heads and neurons alone: set {setting:choice} to 0.",
                setting="pruning.dropped_blocks",
                block=block,
                model_type=type(self._loaded.model).__name__,
            )


def without_outputs(units: Sequence[CoupledUnit]) -> AbstractContextManager[None]:
    """Let the consumers of some units compute zeros, for the length of a block."""

    def zeros(_: nn.Module, __: object, output: Tensor) -> Tensor:
        return torch.zeros_like(output)

    return hooked(x.measured.module.register_forward_hook(zeros) for x in units)


Ranked = list[tuple[Sublayers, float]]  # with the costs in nats per token


def choose(
    measured: SkipCosts,
    ranked: Ranked,
    basis: CostBasis,
    count: int,
    room: int,
    check: Callable[[], None],
) -> Ranked:
    """Return candidates of different blocks, each with its cost after the others.

    What a removal costs depends on those before it. Costs seldom fall by them, so that
    one that was measured earlier is a lower bound: only a candidate that would be
    chosen by it is measured again. `ranked` has the candidates with the cost of each
    alone, the cheapest first. At most `count` are chosen, which remove at most `room`
    weights. `check` is called while costs are measured, and may raise to stop.
    """
    known = {candidate: 0 for candidate, _ in ranked}  # number chosen when measured
    chosen: Ranked = []
    while ranked and len(chosen) < count:
        (candidate, cost), *ranked = ranked
        is_taken = candidate.block in [each.block for each, _ in chosen]
        if is_taken or candidate.left > room:
            continue
        if known[candidate] < len(chosen):
            units = [unit for each, _ in chosen for unit in each.units]
            with without_outputs(units):
                (cost,) = measured.measure((candidate,), check)
            known[candidate] = len(chosen)
            ranked = in_order_of_removal([*ranked, (candidate, cost)], basis)
            continue
        chosen.append((candidate, cost))
        room -= candidate.left
    return chosen


def held_out_part(reference: Reference) -> Reference:
    """Return the first windows of a reference, so many that costs can be compared."""
    count = max(1, DEPTH_TOKENS // reference.windows.shape[1])
    windows = reference.windows[:count]
    batches = zip(windows.split(reference.batch), reference.hidden, strict=False)
    hidden = [rows[: len(tokens)] for tokens, rows in batches]
    return replace(reference, windows=windows, hidden=hidden)


def in_order_of_removal(
    costs: Iterable[tuple[Sublayers, float]], basis: CostBasis
) -> Ranked:
    """Return candidates with their costs, in the order of their removal."""

    def key(entry: tuple[Sublayers, float]) -> float:
        candidate, cost = entry
        per_weight = basis is CostBasis.PER_PARAMETER
        return cost / candidate.weights if per_weight else cost

    return sorted(costs, key=key)
