"""Measures A and G one decoder block at a time, from the last to the first.

A backward through the whole model would keep every block's activations and factors at
once. Instead (1) one forward without a graph keeps only the input of each block and
how the block was called; the last block's output becomes a leaf, from which the loss
goes back through the head; (2) for each block, last to first, its forward is run again
with a graph, the gradient of its output goes back through it, and what arrives at its
input is the gradient of the block before. Weights are frozen: only activations get
gradients. The result equals that of a plain full backward.

The loss is the sum over tokens of the next-token loss, so that dy is the gradient of
one token's loss and what it causes later. Its labels are the text's own (the empirical
Fisher) or drawn from the model's prediction (the sampled one, which is the Fisher
itself). The gradient of the loss by W has a meaning for the text's own labels alone:
that of drawn ones is zero on average.

Where only A is wanted, a forward is enough (`input_covariances`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from surgeon_engine.api.config.pruning import Fisher
from surgeon_engine.api.errors import CurvatureError
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.model.not_finite import hint_for, is_broken, with_origin

Step = Callable[[], None]  # called after each batch of each block
Call = tuple[tuple[Any, ...], dict[str, Any]]  # what a block is called with, besides


def batches_to_do(windows: int, batch: int, blocks: int) -> int:
    """How often `block_factors` calls its `step`."""
    return -(-windows // batch) * (1 + blocks)


@dataclass(frozen=True, slots=True, eq=False)
class CurvatureRequest:
    """What is measured on what."""

    model: PreTrainedModel
    blocks: Sequence[nn.Module]
    layers: Sequence[PrunableLayer]  # those whose factors are wanted
    windows: Tensor  # windows x length, token ids
    batch: int  # windows at a time
    labels: Fisher = Fisher.EMPIRICAL
    seed: int = 0  # of what is drawn
    with_gradient: bool = False  # of the loss by W


def block_factors(
    task: CurvatureRequest, step: Step
) -> Iterator[dict[str, KroneckerFactors]]:
    """For each block, last to first: the factors of its wanted layers by name.

    Raises:
        CurvatureError: an activation or a gradient is not finite.
    """
    _check_no_shared_keys(task)
    record = _record_forward(task, step)
    for index in reversed(range(len(task.blocks))):
        wanted = [layer for layer in task.layers if layer.block == index]
        sums = _CovarianceSums(wanted, backward=True, with_gradient=task.with_gradient)
        with sums:
            for number, hidden in enumerate(record.inputs.pop()):
                gradient = record.output_gradients[number].to(task.model.device)
                call = record.calls[index][number]
                leaf = hidden.to(task.model.device).requires_grad_()
                output = _first(task.blocks[index](leaf, *call[0], **call[1]))
                (back,) = torch.autograd.grad(output, leaf, gradient)
                record.output_gradients[number] = back.to(hidden.device)
                sums.end_batch()
                step()
        factors = sums.means(tokens=task.windows.numel())
        _check_no_overflow(task, factors)
        yield factors


@dataclass(slots=True, eq=False)
class _Record:
    """What one forward leaves: lists per block, in them an entry per batch."""

    inputs: list[list[Tensor]]  # batch x length x hidden, on the host
    calls: list[list[Call]]  # without the hidden states; equal ones are held once
    output_gradients: list[Tensor] = field(default_factory=list)  # of the last block


@torch.no_grad()
def input_covariances(
    task: CurvatureRequest, step: Step
) -> dict[str, KroneckerFactors]:
    """A of the wanted layers by name, by a forward alone.

    Raises:
        CurvatureError: an activation is not finite.
    """
    sums = _CovarianceSums(task.layers, backward=False)
    # No block reads what the layers of another read: their inputs need not be held.
    hooks = [
        block.register_forward_hook(lambda *_: sums.end_batch())
        for block in task.blocks
    ]
    try:
        with sums:
            for tokens in task.windows.split(task.batch):
                tokens = tokens.to(task.model.device)
                logits = task.model(tokens, use_cache=False).logits
                _check_finite(task, tokens, logits)
                step()
    finally:
        for hook in hooks:
            hook.remove()
    factors = sums.means(tokens=task.windows.numel())
    _check_no_overflow(task, factors)
    return factors


def _record_forward(task: CurvatureRequest, step: Step) -> _Record:
    record = _Record([[] for _ in task.blocks], [[] for _ in task.blocks])
    latest: dict[tuple[int, int], Call] = {}  # by block and batch size
    generator = torch.Generator(task.model.device).manual_seed(task.seed)
    leaf: list[Tensor] = []

    def keep_input(index: int) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            kwargs = dict(kwargs)
            hidden, *others = args or (kwargs.pop("hidden_states"),)
            record.inputs[index].append(hidden.detach().cpu())
            call = (tuple(others), kwargs)
            key = (index, len(hidden))
            if not _are_equal(call, latest.get(key)):
                latest[key] = call
            record.calls[index].append(latest[key])

        return hook

    def cut(_: nn.Module, __: object, output: Any) -> Any:
        leaf[:] = [_first(output).detach().requires_grad_()]
        return (leaf[0], *output[1:]) if isinstance(output, tuple) else leaf[0]

    hooks = [
        block.register_forward_pre_hook(keep_input(index), with_kwargs=True)
        for index, block in enumerate(task.blocks)
    ]
    hooks.append(task.blocks[-1].register_forward_hook(cut))
    try:
        for tokens in task.windows.split(task.batch):
            tokens = tokens.to(task.model.device)
            logits = task.model(tokens, use_cache=False).logits
            predicted = logits[:, :-1].flatten(0, 1).float()
            _check_finite(task, tokens, predicted)
            labels = tokens[:, 1:].flatten()
            if task.labels is Fisher.SAMPLED:
                chances = predicted.detach().softmax(dim=1)
                labels = chances.multinomial(1, generator=generator).squeeze(1)
            loss = functional.cross_entropy(predicted, labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, leaf[0])
            record.output_gradients.append(gradient.cpu())
            step()
    finally:
        for hook in hooks:
            hook.remove()
    for index, inputs in enumerate(record.inputs):
        if len(inputs) != len(record.output_gradients):
            raise CurvatureError(
                f"Block {index} of the model does not run once for a text but "
                f"{len(inputs) / len(record.output_gradients):g} times: its gradients "
                "cannot be measured block by block.",
                "Choose a method without gradients, such as L-OBD or magnitude.",
            )
    return record


class _CovarianceSums:
    """Adds up a'a and dy'dy of the layers of one block, batch by batch.

    As a context, it listens to what passes through the layers.
    """

    def __init__(
        self,
        layers: Sequence[PrunableLayer],
        *,
        backward: bool,  # whether one follows: without, there is no G
        with_gradient: bool = False,  # of the loss by W, too
    ) -> None:
        self._layers = layers
        self._backward = backward
        self._with_gradient = with_gradient
        self._gradient: dict[str, Tensor] = {}
        self._A: dict[str, Tensor] = {}  # by the first layer that read the input
        self._G: dict[str, Tensor] = {}
        self._reads_like: dict[str, str] = {}  # layer -> first layer of its input
        # Held until the batch ends, so that no other input can get the same id.
        self._inputs: dict[tuple[int, bool], tuple[Tensor, str]] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> _CovarianceSums:
        for layer in self._layers:
            self._hooks.append(layer.module.register_forward_hook(self._hook(layer)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def end_batch(self) -> None:
        """Let go of the inputs of a batch in this block."""
        self._inputs.clear()

    def means(self, tokens: int) -> dict[str, KroneckerFactors]:
        """What was added up, by layer; layers that read the same input have the same A.

        Once: the sums become the means.

        Raises:
            CurvatureError: nothing passed through a layer, or no gradient came back.
        """
        for sums in (self._A, self._G, self._gradient):
            for total in sums.values():
                total.div_(tokens)
        result: dict[str, KroneckerFactors] = {}
        for layer in self._layers:
            A = self._A.get(self._reads_like.get(layer.name, ""))
            G = self._G.get(layer.name)
            if A is None or (self._backward and G is None):
                raise _unused(layer)
            result[layer.name] = KroneckerFactors(A, G, self._gradient.get(layer.name))
        return result

    def _hook(self, layer: PrunableLayer) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._add_input(layer, inputs[0])
            if output.requires_grad:
                output.register_hook(
                    lambda dy: self._add_gradient(layer, inputs[0], dy)
                )

        return hook

    def _add_input(self, layer: PrunableLayer, a: Tensor) -> None:
        key = (id(a), layer.has_bias)
        if key in self._inputs:
            self._reads_like[layer.name] = self._inputs[key][1]
            return
        self._inputs[key] = (a, layer.name)
        self._reads_like[layer.name] = layer.name
        a = _with_ones(layer, a)
        _add(self._A, layer.name, a, a)

    def _add_gradient(self, layer: PrunableLayer, a: Tensor, dy: Tensor) -> None:
        dy = dy.flatten(0, -2).float()
        _add(self._G, layer.name, dy, dy)
        if self._with_gradient:
            _add(self._gradient, layer.name, dy, _with_ones(layer, a))


def _are_equal(one: Any, other: Any) -> bool:
    """Whether two calls are the same, tensor by tensor."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_are_equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            _are_equal(one[key], other[key]) for key in one
        )
    return bool(one == other)


def _with_ones(layer: PrunableLayer, a: Tensor) -> Tensor:
    """The inputs as rows, in float32 whatever the model's format; bias: a one more."""
    a = a.detach().flatten(0, -2).float()
    if layer.has_bias:
        a = torch.cat([a, a.new_ones(len(a), 1)], dim=1)
    return a


def _add(sums: dict[str, Tensor], name: str, x: Tensor, y: Tensor) -> None:
    """Add x'y."""
    if name in sums:
        sums[name].addmm_(x.T, y)
    else:
        sums[name] = x.T @ y


def _unused(layer: PrunableLayer) -> CurvatureError:
    return CurvatureError(
        f"Nothing passed through {layer.name}.",
        "The model does not use this layer on plain text.",
    )


def _check_no_shared_keys(task: CurvatureRequest) -> None:
    """Blocks that read keys of earlier ones send them a gradient past their output."""
    config = task.model.config.get_text_config()
    if sharing := getattr(config, "num_kv_shared_layers", 0):
        raise CurvatureError(
            f"The last {sharing} blocks of this model read keys and values of earlier "
            "ones: gradients cannot be measured block by block.",
            "Choose a method without gradients, such as L-OBD or magnitude.",
        )


def _check_finite(task: CurvatureRequest, tokens: Tensor, logits: Tensor) -> None:
    if is_broken(logits):
        words = "The model's predictions on the calibration text are not finite."
        raise CurvatureError(
            with_origin(words, task.model, tokens), hint_for(task.model)
        )


def _check_no_overflow(
    task: CurvatureRequest, factors: dict[str, KroneckerFactors]
) -> None:
    """Of gradients the last layer is named, through which they come first."""
    names = [name for name, _ in task.model.named_modules() if name in factors]
    inputs = [("inputs", name, factors[name].A) for name in names]
    gradients = [("gradients", name, factors[name].G) for name in reversed(names)]
    for what, name, M in (*inputs, *gradients):
        if M is not None and not bool(M.isfinite().all()):
            words = f"The {what} of {name} are not finite, or their products are not."
            tokens = task.windows[: task.batch]
            raise CurvatureError(
                with_origin(words, task.model, tokens), hint_for(task.model)
            )


def _first(output: Any) -> Tensor:
    """The hidden states among what a block returns."""
    return output[0] if isinstance(output, tuple) else output
