"""Refit the remaining weights, layer after layer, to what the original computes.

Block after block and forwards, each pruned layer is fitted by least squares: its inputs
X are those of the pruned model as it is by then, its targets Y what the original's
layer computes on the same text. A layer that adds its output to the residual stream
also makes up for the error that all layers before it have left there:

    W' = argmin |X W'^T - (y + h - h')|^2 + d |W' - W|^2

with y the original's output, h and h' the residual streams of the original and of the
pruned model before the layer. The fit is closed-form, needs the activations of one
block, and chooses its ridge d for each layer on held-out windows (`least_squares.py`).
A layer whose held-out error does not fall stays as it was.

Sequential refits of pruned layers to dense outputs are those of SparseGPT (Frantar and
Alistarh, arXiv 2301.00774) and, for structures, of SlimGPT (arXiv 2412.18110); the
residual term is that of error feedback across layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surgeon_engine.api.messages.run import Stage
from surgeon_engine.model.block_runner import (
    BlockRunner,
    Stopped,
    run_until_stopped,
)
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.least_squares import FitResult, NormalEquations, fit
from surgeon_engine.runtime.run_context import RunContext

_TOLERANCE = 1e-2  # relative, of the probe for outputs that reach the residual stream


@dataclass(frozen=True, slots=True, eq=False)
class RecoveryText:
    """Windows of tokens: those to fit, and those that judge."""

    fitted: Tensor  # windows x length
    held_out: Tensor  # windows x length

    def batches(self, size: int) -> list[tuple[Tensor, bool]]:
        """Return batches of at most `size` windows, and whether each is held out."""
        return [
            (batch, is_held_out)
            for windows, is_held_out in ((self.fitted, False), (self.held_out, True))
            for batch in windows.split(size)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    """A layer to refit, and its counterpart in the original."""

    layer: PrunableLayer
    original: PrunableLayer
    zeros: Tensor  # mask of its removed weights


@dataclass(frozen=True, slots=True, eq=False)
class Refit:
    """The fit of each layer, and what the original computed on the way."""

    fits: dict[str, FitResult]  # by layer
    # The original's last hidden states on the fitted windows, per batch: windows x
    # length x hidden, on the host. None: the refit was stopped.
    hidden: list[Tensor] | None

    @property
    def changed(self) -> int:
        """The layers whose weights changed."""
        return sum(fit.ridge is not None for fit in self.fits.values())


@torch.no_grad()
def refit(
    state: PruningState,
    original: LoadedModel,
    text: RecoveryText,
    context: RunContext,
    shot: int = 0,
) -> Refit:
    """Refit the layers of all units of the pruned model.

    Stop ends it after a block; the blocks after it stay as they were.

    Args:
        state: the pruned model.
        original: the model before anything was removed.
        text: the windows.
        context: receives the progress.
        shot: the shot after which it comes; 0: the end of the run.

    Raises:
        ModelError: the blocks of the model cannot be run one at a time.
        RunCancelled: the user has cancelled.
    """
    batches = text.batches(state.config.calibration.batch)
    windows = [tokens for tokens, _ in batches]
    teacher = BlockRunner(original.model, original.blocks, windows)
    student = BlockRunner(state.loaded.model, state.loaded.blocks, windows)
    hidden = teacher.embedded()
    of_student = [x.clone() for x in hidden]
    targets = _targets(state, original)
    results: dict[str, FitResult] = {}
    with context.stage(Stage.REFIT, shot, len(original.blocks)) as step:
        for index in range(len(original.blocks)):
            if context.stops_after_shot:
                break
            block = _Block(index, teacher, student, hidden, of_student, context)
            chosen = [x for x in targets if x.layer.block == index]
            results |= block.refit(chosen, [is_held_out for _, is_held_out in batches])
            step()
        else:
            fitted = sum(not is_held_out for _, is_held_out in batches)
            return Refit(results, teacher.finish(hidden)[:fitted])
    return Refit(results, None)


def _targets(state: PruningState, original: LoadedModel) -> list[_Target]:
    by_name = {layer.name: layer for layer in original.layers}
    return [
        _Target(unit.measured, by_name[unit.measured.name], zeros)
        for unit in state.units
        for layer, zeros in unit.zeros(state.removed[unit.measured.name])
        if layer is unit.measured
    ]


class _Block:
    """A block of both models, with the hidden states before it; it replaces them."""

    def __init__(
        self,
        index: int,
        teacher: BlockRunner,
        student: BlockRunner,
        hidden: list[Tensor],
        of_student: list[Tensor],
        context: RunContext,
    ) -> None:
        self._index = index
        self._teacher, self._student = teacher, student
        self._hidden, self._of_student = hidden, of_student
        self._context = context

    def refit(
        self, targets: Sequence[_Target], is_held_out: Sequence[bool]
    ) -> dict[str, FitResult]:
        """Refit the layers of the block, then run it in both models."""
        groups = self._in_order(targets)
        direct = {t.layer.name for t in targets if self._adds_to_residual(t, targets)}
        after, outputs = self._run_teacher(targets)
        results: dict[str, FitResult] = {}
        done: list[_Target] = []  # whose outputs reach the residual stream
        for group in groups:
            sums = self._sums(group, done, direct, outputs, is_held_out)
            for target in group:
                W, zeros = target.layer.weight(), target.zeros
                W, result = fit(W, zeros.to(W.device), *sums[target.layer.name])
                if result.ridge is not None:
                    target.layer.write(W)
                results[target.layer.name] = result
                if target.layer.name in direct:
                    done.append(target)
        for number, hidden in enumerate(self._of_student):
            self._context.raise_if_cancelled()
            output = self._student.run(self._index, hidden)
            self._of_student[number] = output.to(hidden.device)
        self._hidden[:] = after
        return results

    def _in_order(self, targets: Sequence[_Target]) -> list[list[_Target]]:
        """Return the layers in the order of their calls, grouped by their input."""
        called: list[tuple[int, _Target]] = []
        held: list[Tensor] = []  # so that no other input can get the same id

        def note(target: _Target) -> Callable[..., None]:
            def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                held.append(inputs[0])
                called.append((id(inputs[0]), target))

            return hook

        with _hooked((t.original.module, note(t), True) for t in targets):
            self._teacher.run(self._index, self._hidden[0][:1])
        groups = itertools.groupby(called, key=lambda entry: entry[0])
        return [[target for _, target in group] for _, group in groups]

    def _adds_to_residual(self, target: _Target, targets: Sequence[_Target]) -> bool:
        """Return whether the output of a layer is added to that of the block.

        With the other outputs set to zero, a change of this one must arrive unchanged.
        """
        hidden = self._hidden[0][:1]
        if target.original.rows != hidden.shape[-1]:
            return False
        noise = torch.randn(
            hidden.shape, generator=torch.Generator().manual_seed(self._index)
        ).to(hidden)

        def run(added: Tensor) -> Tensor:
            def hook(of: _Target) -> Callable[..., Tensor]:
                def replace(_: nn.Module, __: object, output: Tensor) -> Tensor:
                    mine = added.to(output).view_as(output)
                    return mine if of is target else torch.zeros_like(output)

                return replace

            others = [t for t in targets if t.original.rows == target.original.rows]
            with _hooked((t.original.module, hook(t), False) for t in others):
                return self._teacher.run(self._index, hidden).float().cpu()

        arrived = run(noise) - run(torch.zeros_like(noise))
        difference = (arrived - noise.float().cpu()).norm()
        return bool(difference < _TOLERANCE * noise.float().norm())

    def _run_teacher(
        self, targets: Sequence[_Target]
    ) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
        """Return the outputs of the block and of its layers, batch by batch."""
        outputs: dict[str, list[Tensor]] = {t.layer.name: [] for t in targets}

        def keep(name: str) -> Callable[..., None]:
            def hook(_: nn.Module, __: object, output: Tensor) -> None:
                # Some models add to it in place.
                outputs[name].append(output.to("cpu", copy=True))

            return hook

        after = []
        with _hooked((t.original.module, keep(t.layer.name), False) for t in targets):
            for hidden in self._hidden:
                self._context.raise_if_cancelled()
                after.append(self._teacher.run(self._index, hidden).cpu())
        return after, outputs

    def _sums(
        self,
        group: Sequence[_Target],
        done: Sequence[_Target],
        direct: set[str],
        outputs: dict[str, list[Tensor]],
        is_held_out: Sequence[bool],
    ) -> dict[str, tuple[NormalEquations, NormalEquations]]:
        """Return the sums of each layer of a group: of the text to fit, of the rest."""
        first, device = group[0].layer, group[0].layer.module.weight.device
        width = first.columns + first.has_bias
        sums = {
            t.layer.name: tuple(
                NormalEquations.zeros(width, t.layer.rows, device) for _ in range(2)
            )
            for t in group
        }
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            def hook(_: nn.Module, __: object, output: Tensor) -> None:
                seen[name] = output.clone()

            return hook

        def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[""] = inputs[0]
            raise Stopped

        hooks: list[tuple[nn.Module, Callable[..., Any], bool]] = [
            (t.layer.module, keep(t.layer.name), False) for t in done
        ]
        with _hooked([*hooks, (first.module, stop, True)]):
            for number, hidden in enumerate(self._of_student):
                self._context.raise_if_cancelled()
                run_until_stopped(self._student.run, self._index, hidden)
                X = first.inputs(seen[""])
                error = (self._hidden[number] - hidden).to(device).float().flatten(0, 1)
                for t in done:
                    computed = seen[t.layer.name].flatten(0, -2).float()
                    error = error + _rows(outputs, t, number, device) - computed
                for t in group:
                    Y = _rows(outputs, t, number, device)
                    if t.layer.name in direct:
                        Y = Y + error
                    sums[t.layer.name][is_held_out[number]].add(X, Y)
        return sums  # type: ignore[return-value]


def _rows(
    outputs: dict[str, list[Tensor]], of: _Target, number: int, device: torch.device
) -> Tensor:
    """Return what the original's layer computed for a batch, a row for each token."""
    return outputs[of.layer.name][number].to(device).flatten(0, -2).float()


class _hooked:
    """Hooks of modules, for the length of a block of code."""

    def __init__(
        self, hooks: Iterator[tuple[nn.Module, Callable[..., Any], bool]] | Any
    ) -> None:
        self._handles = [
            module.register_forward_pre_hook(hook)
            if is_before
            else module.register_forward_hook(hook)
            for module, hook, is_before in hooks
        ]

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
