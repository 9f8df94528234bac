"""Refit the remaining weights, layer after layer, to the original's outputs.

Block after block and forwards, each pruned layer is fitted by least squares: its inputs
X come from the pruned model as it is by then, its targets Y are the outputs of the
original's layer on the same text. A layer that adds its output to the residual stream
also makes up for the error that all layers before it have left there:

    W' = argmin |X W'^T - (y + h - h')|^2 + d |W' - W|^2

with y the original's output, h and h' the residual streams of the original and of the
pruned model before the layer. The fit is closed-form, needs the activations of one
block, and chooses its ridge d for each layer on held-out windows (`least_squares.py`).
A layer whose held-out error does not fall stays as it was. The rows of the user's
windows are weighted (`RecoveryText.weights`).

Sequential refits of pruned layers to dense outputs follow SparseGPT (Frantar and
Alistarh, arXiv 2301.00774) and, for structures, SlimGPT (arXiv 2412.18110); the
residual term is error feedback across layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from surgeon_engine.model.block_runner import Stopped, hooked, run_until_stopped
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.block_pair import BlockPair
from surgeon_engine.recovery.least_squares import FitResult, NormalEquations, fit
from surgeon_engine.runtime import ranks
from surgeon_engine.runtime.shares import divided

_TOLERANCE = 1e-2  # relative, of the probe for outputs that reach the residual stream


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A layer to refit, and its counterpart in the original."""

    layer: PrunableLayer
    original: PrunableLayer
    zeros: Tensor  # mask of its removed weights
    is_empty: bool  # nothing of it remains; layers after it make up for it


def targets_of(state: PruningState, original: LoadedModel, block: int) -> list[Target]:
    """Return the layers of a block's units, with their counterparts in the original.

    The masks are as large as the layers: masks of all blocks would fill a GPU.
    """
    by_name = {layer.name: layer for layer in original.layers}
    return [
        Target(
            unit.measured,
            by_name[unit.measured.name],
            zeros,
            bool(state.removed[unit.measured.name].all()),
        )
        for unit in state.units
        if unit.measured.block == block
        for layer, zeros in unit.zeros(state.removed[unit.measured.name])
        if layer is unit.measured
    ]


@torch.no_grad()
def refit_block(pair: BlockPair, targets: Sequence[Target]) -> dict[str, FitResult]:
    """Refit the layers of a block, and compute the original's states after it.

    Raises:
        RunCancelled: the user has cancelled.
    """
    return _BlockRefit(pair, targets).run()


class _BlockRefit:
    def __init__(self, pair: BlockPair, targets: Sequence[Target]) -> None:
        self._pair, self._targets = pair, targets
        self._has_after = False  # the states of the original after the block

    def run(self) -> dict[str, FitResult]:
        """Refit the layers in the order of their calls."""
        order, direct, are_all = ranks.agree(self._examined)
        self._direct = set(direct)
        # The stream after this layer is the output of the block.
        self._last = direct[-1] if are_all else ""
        by_name = {t.layer.name: t for t in self._targets}
        groups = [[by_name[name] for name in names] for names in order]
        results: dict[str, FitResult] = {}
        done: list[Target] = []  # whose outputs reach the residual stream
        for group in groups:
            results |= self._refit(group, done)
            done += [t for t in group if t.layer.name in self._direct]
        if not self._has_after:
            self._pair.compute_after()
        return results

    def _refit(
        self, group: Sequence[Target], done: Sequence[Target]
    ) -> dict[str, FitResult]:
        """Refit the layers that read the same input."""
        fitted = [target for target in group if not target.is_empty]
        sums = self._sums(fitted, done) if fitted else {}
        results: dict[str, FitResult] = {}

        def fit_one(place: int) -> tuple[Tensor, FitResult]:
            target = fitted[place]
            W, zeros = target.layer.weight(), target.zeros
            W, result = fit(W, zeros.to(W.device), *sums[target.layer.name])
            return W.to(target.layer.module.weight.dtype), result

        for place, (W, result) in divided(range(len(fitted)), int, fit_one):
            target = fitted[place]
            if result.ridge is not None:
                target.layer.write(W)
            results[target.layer.name] = result
        return results

    def _examined(self) -> tuple[list[list[str]], list[str], bool]:
        """Return the layers in the order of their calls, grouped by their input.

        Also return the layers whose output is added to the block's output, in order,
        and whether the block adds nothing else to its input.
        """
        groups = self._in_order()
        direct = [t for group in groups for t in group if self.adds_to_residual(t)]
        hidden = self._pair.before[0][:1].cpu()
        are_all = direct and torch.equal(self._run_with_outputs(direct, {}), hidden)
        names = [[t.layer.name for t in group] for group in groups]
        return names, [t.layer.name for t in direct], bool(are_all)

    def _in_order(self) -> list[list[Target]]:
        called: list[tuple[int, Target]] = []
        held: list[Tensor] = []  # so that no other input can get the same id

        def note(of: Target, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            held.append(inputs[0])
            called.append((id(inputs[0]), of))

        with hooked(
            t.original.module.register_forward_pre_hook(partial(note, t))
            for t in self._targets
        ):
            self._pair.run_original(0, slice(1))
        groups = itertools.groupby(called, key=lambda entry: entry[0])
        return [[target for _, target in group] for _, group in groups]

    def adds_to_residual(self, target: Target) -> bool:
        """Return whether the output of a layer is added to the block's output.

        With the other outputs set to zero, a change of this one must arrive unchanged.
        """
        hidden = self._pair.before[0][:1]
        if target.original.rows != hidden.shape[-1] or hidden.ndim > 3:
            return False
        noise = torch.randn(
            hidden.shape, generator=torch.Generator().manual_seed(self._pair.index)
        ).to(hidden)
        rows = target.original.rows
        others = [t for t in self._targets if t.original.rows == rows]

        def run(added: Tensor) -> Tensor:
            return self._run_with_outputs(others, {target.layer.name: added}).float()

        arrived = run(noise) - run(torch.zeros_like(noise))
        difference = (arrived - noise.float().cpu()).norm()
        return bool(difference < _TOLERANCE * noise.float().norm())

    def _run_with_outputs(
        self, targets: Sequence[Target], outputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Run the original's block on a window, on the host.

        `outputs`, by name, replace the outputs of `targets`; without one, zeros do.
        """

        def replace(of: Target, _: nn.Module, __: object, output: Tensor) -> Tensor:
            given = outputs.get(of.layer.name)
            if given is None:
                return torch.zeros_like(output)
            return given.to(output).view_as(output)

        with hooked(
            t.original.module.register_forward_hook(partial(replace, t))
            for t in targets
        ):
            return self._pair.run_original(0, slice(1)).cpu()

    def _sums(
        self, group: Sequence[Target], done: Sequence[Target]
    ) -> dict[str, tuple[NormalEquations, NormalEquations]]:
        """Return each layer's sums over the text to fit, and over the held-out text."""
        pair = self._pair
        first, device = group[0].layer, group[0].layer.module.weight.device
        sums = _zero_sums(group, device)
        seen: dict[str, Tensor] = {}

        def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[""] = inputs[0]
            raise Stopped

        has_direct = any(t.layer.name in self._direct for t in group)
        stops = self._stops_before(group, done)
        handles = [first.module.register_forward_pre_hook(stop)]
        handles += _keeping_outputs(done if has_direct else (), seen)
        with hooked(handles):
            for number, hidden in enumerate(pair.of_pruned):
                pair.context.raise_if_cancelled()
                expected = self._expected(group, number)
                hidden = hidden.to(device)
                run_until_stopped(pair.run_pruned, hidden, number)
                X = first.inputs(seen[""])
                stream = _stream_before(hidden, seen, done) if has_direct else hidden
                roots = pair.root_weights(number, len(X))
                if roots is not None:
                    roots = roots.to(X.device)
                    X = X * roots
                for t in group:
                    Y = expected.pop(t.layer.name).to(device).flatten(0, -2).float()
                    if t.layer.name in self._direct:
                        Y = Y - stream
                    if roots is not None:
                        Y *= roots  # no other tensor
                    found = sums[t.layer.name][pair.is_held_out[number]]
                    if t is group[0]:
                        found.add(X, Y)
                    else:
                        found.add_targets(X, Y)
                if stops:
                    pair.stop_before(first.module, number, seen[""], stream)
        self._has_after = True
        NormalEquations.add_up([each for pair in sums.values() for each in pair])
        NormalEquations.move_to_host([held_out for _, held_out in sums.values()])
        return sums

    def _stops_before(self, group: Sequence[Target], done: Sequence[Target]) -> bool:
        """Return whether the block stops before the layer of a group, its last one.

        The states after the block must be the sum of the residual stream before the
        layer and its output, with the same bits.
        """
        pair, added = self._pair, [*done, *group]
        if [t.layer.name for t in group] != [self._last] or not pair.may_stop:
            return False
        hidden, seen = pair.of_pruned[0][:1], dict[str, Tensor]()
        with hooked(_keeping_outputs(added, seen)):
            found = pair.run_pruned(hidden, 0, slice(1))
        return torch.equal(found.flatten(0, 1), _stream_before(hidden, seen, added))

    def _expected(self, group: Sequence[Target], number: int) -> dict[str, Tensor]:
        """Return the original's targets for a batch, by the names of layers.

        A target is the output of a layer or, if it is added to the residual stream, the
        stream after it. The block is run for each group: the outputs of all layers for
        all windows would take several times the memory of the hidden states. The run
        for the first group goes on to the states after the block.
        """
        pair, names = self._pair, [t.layer.name for t in group]
        if self._has_after and names == [self._last]:
            return {self._last: pair.after[number]}
        found: dict[str, Tensor] = {}
        stream = torch.empty(0)

        def begin(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            nonlocal stream
            stream = inputs[0]

        def note(name: str, _: nn.Module, __: object, output: Tensor) -> None:
            nonlocal stream
            if name in self._direct:
                stream = stream + output.view_as(stream)
            if name in names:
                found[name] = stream if name in self._direct else output.clone()
            if self._has_after and name == names[-1]:
                raise Stopped

        handles = [pair.original_blocks[pair.index].register_forward_pre_hook(begin)]
        for t in self._targets:
            hook = partial(note, t.layer.name)
            handles.append(t.original.module.register_forward_hook(hook))
        with hooked(handles):
            if self._has_after:
                run_until_stopped(pair.run_original, number)
            else:
                pair.after[number].copy_(pair.run_original(number))
        return found


def _keeping_outputs(
    targets: Iterable[Target], seen: dict[str, Tensor]
) -> Iterator[RemovableHandle]:
    """Let the pruned layers put their outputs into `seen`, by name."""

    def keep(name: str, _: nn.Module, __: object, output: Tensor) -> None:
        seen[name] = output.clone()

    for t in targets:
        yield t.layer.module.register_forward_hook(partial(keep, t.layer.name))


def _stream_before(
    hidden: Tensor, seen: Mapping[str, Tensor], done: Sequence[Target]
) -> Tensor:
    """Return the pruned model's residual stream before a layer, a row per token.

    `seen` are the outputs of its layers, by name; layers of `done` have added to the
    stream.
    """
    stream = hidden.float().flatten(0, 1)
    for t in done:
        stream = stream + seen[t.layer.name].flatten(0, -2).float()
    return stream


def _zero_sums(
    group: Sequence[Target], device: torch.device
) -> dict[str, tuple[NormalEquations, NormalEquations]]:
    """Return sums over nothing of layers that read the same input, by name."""
    first = group[0].layer
    width = first.columns + first.has_bias
    fitted, held_out = (
        NormalEquations.zeros(width, first.rows, device) for _ in range(2)
    )
    sums = {first.name: (fitted, held_out)}
    for t in group[1:]:
        rows = t.layer.rows
        sums[t.layer.name] = (
            fitted.with_same_inputs(rows),
            held_out.with_same_inputs(rows),
        )
    return sums
