"""Refit the experts that remain, one after another, to the original's hidden states.

Without some experts the router sends their tokens to others. An expert adds its output,
times the weight g that the router gives it, to the residual stream. On its tokens, its
last layer W is fitted by least squares to the missing part:

    W' = argmin |X W'^T - (X W^T + t - z)|^2 + d |W' - W|^2

with X the inputs of W times g, and t and z the hidden states after the block: t in the
original, z in the pruned model as it is by then. All experts together would be one
problem with as many unknowns as they have; one after another, each sees the changes of
the experts before it. The ridge d is chosen on held-out windows (`least_squares.py`),
and an expert whose held-out error does not fall stays as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surgeon_engine.model.block_runner import hooked
from surgeon_engine.model.experts import has_common_form, inner_states, last_weight
from surgeon_engine.model.layers import ExpertsLayer
from surgeon_engine.planning.constants import EXPERT_TOKENS
from surgeon_engine.recovery.block_pair import BlockPair
from surgeon_engine.recovery.least_squares import FitResult, NormalEquations, fit
from surgeon_engine.runtime import ranks

_LEAST_TOKENS = 32  # fewest tokens that an expert is fitted to
# Relative error of the probe for an output that reaches the stream; in 16 bits, too.
_TOLERANCE = 3e-2


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """Inputs and missing outputs of a block's experts on this process's tokens."""

    states: Tensor  # tokens x hidden: their inputs
    chosen: Tensor  # tokens x chosen: numbers of experts
    weights: Tensor  # tokens x chosen
    missing: Tensor  # tokens x hidden, float32: t - z
    is_held_out: Tensor  # tokens
    roots: Tensor  # tokens x 1: roots of their weights in the fit
    energy: float  # sum of the squared outputs for the held-out tokens


@torch.no_grad()
def refit_experts(pair: BlockPair, layer: ExpertsLayer) -> FitResult | None:
    """Refit the experts of the pruned model's block.

    The original's states after the block must be known. Return the largest ridge, and
    the held-out errors of all experts together; None: the module has another form, or
    does not add its output to the residual stream.

    Raises:
        RunCancelled: the user has cancelled.
    """
    module: Any = layer.module
    if not ranks.agree(
        lambda: has_common_form(module) and _adds_to_residual(pair, module)
    ):
        return None
    seen = _seen(pair, module)
    before = _held_out_error(seen)
    ridges = []
    for expert in range(layer.columns):
        pair.context.raise_if_cancelled()
        ridge = _refit(module, expert, seen)
        if ridge is not None:
            ridges.append(ridge)
    return FitResult(max(ridges, default=None), before, _held_out_error(seen))


def _refit(module: Any, expert: int, seen: _Seen) -> float | None:
    """Refit an expert; return its ridge, or None if it stays as it was."""
    token, place = torch.where(seen.chosen == expert)
    held_out = seen.is_held_out[token]
    counts = [int(ranks.added(float(x.sum()))) for x in (~held_out, held_out)]
    if counts[0] < _LEAST_TOKENS or not counts[1]:
        return None
    weight = last_weight(module, expert)
    W = weight.to(torch.float32, copy=True)
    sums = fitted, judging = [
        NormalEquations.zeros(W.shape[1], W.shape[0], W.device) for _ in range(2)
    ]
    for each, is_part in zip(sums, (~held_out, held_out), strict=True):
        for rows, X in _inputs(module, expert, seen, token[is_part], place[is_part]):
            roots = seen.roots[rows]
            each.add(X * roots, (X @ W.T + seen.missing[rows]) * roots)
    NormalEquations.add_up(sums)
    found, result = fit(W, torch.zeros_like(W, dtype=torch.bool), fitted, judging)
    if result.ridge is None:
        return None
    weight.copy_(found)
    change = (W - weight.float()).T
    for rows, X in _inputs(module, expert, seen, token, place):
        seen.missing.index_add_(0, rows, X @ change)
    return result.ridge


def _inputs(
    module: nn.Module, expert: int, seen: _Seen, token: Tensor, place: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield some tokens of an expert, and X, its last layer's inputs times g.

    `place` is the place of the expert among the chosen ones of each token.
    """
    for rows, places in zip(
        token.split(EXPERT_TOKENS), place.split(EXPERT_TOKENS), strict=True
    ):
        X = inner_states(module, expert, seen.states[rows]).float()
        yield rows, X * seen.weights[rows, places].float().unsqueeze(1)


def _seen(pair: BlockPair, module: nn.Module) -> _Seen:
    """Run the pruned block on all batches."""
    count = sum(math.prod(x.shape[:-1]) for x in pair.of_pruned)
    large: dict[str, Tensor] = {}  # not held twice, as parts and as a whole
    names = "chosen", "weights", "is_held_out", "roots"
    small: dict[str, list[Tensor]] = {name: [] for name in names}
    energies: list[Tensor] = []
    start = 0

    def put(name: str, x: Tensor) -> None:
        if name not in large:
            large[name] = x.new_empty(count, x.shape[1])
        large[name][start : start + len(x)] = x

    def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        states, chosen, weights = inputs
        put("states", states)
        small["chosen"].append(chosen)
        small["weights"].append(weights)
        if pair.is_held_out[number]:
            energies.append(output.float().square().sum())

    with hooked([module.register_forward_hook(note)]):
        for number, hidden in enumerate(pair.of_pruned):
            pair.context.raise_if_cancelled()
            after = pair.run_pruned(hidden.to(_device(module)), number)
            missing = pair.after[number].to(after.device).float() - after.float()
            put("missing", missing.flatten(0, -2))
            is_held_out = torch.tensor(pair.is_held_out[number], device=after.device)
            rows = math.prod(hidden.shape[:-1])
            small["is_held_out"].append(is_held_out.expand(rows))
            roots = pair.root_weights(number, rows)
            roots = torch.ones(rows, 1) if roots is None else roots
            small["roots"].append(roots.to(after.device))
            start += rows
    energy = float(torch.stack(energies).sum()) if energies else 0.0
    others = {name: torch.cat(parts) for name, parts in small.items()}
    return _Seen(**large, **others, energy=ranks.added(energy))


def _held_out_error(seen: _Seen) -> float:
    """Return the squared error of the held-out tokens, relative to the output."""
    parts = (x.split(EXPERT_TOKENS) for x in (seen.missing, seen.is_held_out))
    squares = [
        (missing.square().sum(dim=1) * is_held_out).sum()
        for missing, is_held_out in zip(*parts, strict=True)
    ]
    error = ranks.added(float(torch.stack(squares).sum()))
    return error / seen.energy if seen.energy else math.inf


def _adds_to_residual(pair: BlockPair, module: nn.Module) -> bool:
    """Return whether the output of the experts arrives unchanged in the stream."""
    hidden = pair.of_pruned[0][:1].to(_device(module))
    width = len(last_weight(module, 0))
    if hidden.ndim > 3 or hidden.shape[-1] != width:  # several streams
        return False
    generator = torch.Generator().manual_seed(pair.index)
    scale = max(1.0, float(hidden.float().std()))  # so that it is not rounded away
    noise = (scale * torch.randn(hidden.shape, generator=generator)).to(hidden)

    def run(added: Tensor) -> Tensor:
        def replace(_: nn.Module, __: object, output: Tensor) -> Tensor:
            return added.view_as(output)

        with hooked([module.register_forward_hook(replace)]):
            return pair.run_pruned(hidden, 0, slice(1)).float()

    arrived = run(noise) - run(torch.zeros_like(noise))
    difference = (arrived - noise.float()).norm()
    return bool(difference < _TOLERANCE * noise.float().norm())


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
