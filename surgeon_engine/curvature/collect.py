"""Measure A and G one decoder block at a time, from the last to the first.

A backward through the whole model would hold the activations and factors of all blocks
at once. Instead (1) one forward without a graph keeps only the input of each block and
the arguments of its call; the output of the last block becomes a leaf, to which the
loss is propagated back through the head; (2) for each block, last to first, the forward
is repeated with a graph and the gradient of the output propagated back to the input,
where it is the gradient of the previous block's output. Weights are frozen: only
activations get gradients. The result equals that of a full backward. Inputs are kept on
the device, on the host or in files, as memory allows.

The loss is the sum of the next-token losses, so that dy is the gradient of the loss of
a token and of later ones that it affects. The labels are those of the text (empirical
Fisher) or drawn from the model's prediction (sampled Fisher, the Fisher itself).

If only A is needed, a forward is enough (`input_covariances`). Several processes share
the windows (`runtime/ranks.py`); each then has the result of all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from typing_extensions import override

from surgeon_engine.api.config.pruning import Fisher
from surgeon_engine.base.errors import CurvatureError
from surgeon_engine.curvature.factors import KroneckerFactors
from surgeon_engine.curvature.gates import Gate, GateGradients
from surgeon_engine.model.block_runner import (
    Call,
    Compared,
    are_equal,
    first_of,
    split_hidden,
)
from surgeon_engine.model.head import head_logits, last_hidden, logit_parts
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.model.not_finite import hint_for, is_broken, with_origin
from surgeon_engine.model.offload import on_device
from surgeon_engine.planning.constants import GRADIENT_LOGITS_AT_ONCE
from surgeon_engine.runtime import devices, ranks
from surgeon_engine.runtime.hidden_store import HiddenStore

# Called after the forward of each batch, and after each of its backwards in each block.
Step = Callable[[], None]


def step_count(windows: int, batch: int, blocks: int, draws: int = 1) -> int:
    """Return how often `block_factors` or `block_gates` calls its `step`.

    With `blocks` 0, it is that of `input_covariances`.
    """
    windows = -(-windows // ranks.size())
    return -(-windows // batch) * (1 + blocks * draws)


@dataclass(frozen=True, slots=True, eq=False)
class CurvatureRequest:
    """The layers to measure, and the text to measure them on."""

    model: PreTrainedModel
    blocks: Sequence[nn.Module]
    layers: Sequence[PrunableLayer]  # to measure
    windows: Tensor  # windows x length, token ids
    batch: int  # windows at a time
    labels: Fisher = Fisher.EMPIRICAL
    seed: int = 0  # of drawn labels
    draws: int = 1  # of the labels of each window, where they are drawn

    @property
    def backwards(self) -> int:
        """How many labels each token has, and so backwards each batch."""
        return self.draws if self.labels is Fisher.SAMPLED else 1

    @property
    def steps(self) -> int:
        """How often `block_factors` and `block_gates` call their `step`."""
        return step_count(
            len(self.windows), self.batch, len(self.blocks), self.backwards
        )

    @property
    def measured_tokens(self) -> int:
        """The tokens of all windows, those of each draw counted."""
        return self.windows.numel() * self.backwards


def block_factors(
    request: CurvatureRequest, step: Step
) -> Iterator[dict[str, KroneckerFactors]]:
    """Yield the factors of the layers of each block by name, last block to first.

    Raises:
        CurvatureError: an activation or a gradient is not finite.
    """
    for layers, backward in _blocks_backward(request, step):
        sums = CovarianceSums(layers, backward=True)
        with sums:
            for _ in backward:
                sums.end_batch()
        sums.add_up(request.model.device)
        factors = sums.means(tokens=request.measured_tokens)
        _check_no_overflow(request, factors)
        yield factors


def block_gates(
    request: CurvatureRequest, kinds: Collection[Gate], step: Step
) -> Iterator[dict[str, GateGradients]]:
    """Yield the gate gradients of the layers of each block by name, last to first.

    Raises:
        CurvatureError: an activation or a gradient is not finite.
    """
    for layers, backward in _blocks_backward(request, step):
        sums = _GateSums(request, layers, kinds)
        with sums:
            for _ in backward:
                pass
        gates = sums.gates()
        _check_gates_finite(request, gates)
        yield gates


def _blocks_backward(
    request: CurvatureRequest, step: Step
) -> Iterator[tuple[list[PrunableLayer], Iterator[None]]]:
    """Yield the layers of each block, last to first, and its backward.

    The backward is an iterator that must be exhausted: each of its steps is the forward
    and backward of a batch.
    """
    _check_no_shared_keys(request)
    with HiddenStore(request.model.device) as store:
        record = _record_forward(request, store, step)
        for index in reversed(range(len(request.blocks))):
            layers = [layer for layer in request.layers if layer.block == index]
            with on_device(request.blocks[index]):
                yield layers, _backward(request, record, index, step)
            store.drop(record.inputs.pop())


def _backward(
    request: CurvatureRequest, record: _Record, index: int, step: Step
) -> Iterator[None]:
    for number, hidden in enumerate(record.inputs[index]):
        call = record.calls[index][number]
        leaf = hidden.detach().to(request.model.device).requires_grad_()
        output = first_of(request.blocks[index](leaf, *call[0], **call[1]))
        gradients = record.output_gradients[number]
        for draw, gradient in enumerate(gradients):
            is_last = draw == len(gradients) - 1
            (back,) = torch.autograd.grad(
                output, leaf, gradient.to(leaf.device), retain_graph=not is_last
            )
            gradient.copy_(back)
            step()
        yield


@dataclass(slots=True, eq=False)
class _Record:
    """The inputs of a forward: lists per block, with an entry per batch."""

    inputs: list[list[Tensor]]  # batch x length x hidden, in the store
    calls: list[list[Call]]  # equal ones are held once
    # Of the last block, for each draw of the labels; in the store, too.
    output_gradients: list[list[Tensor]] = field(default_factory=list)


@torch.no_grad()
def input_covariances(
    request: CurvatureRequest, step: Step
) -> dict[str, KroneckerFactors]:
    """Measure A of the layers by name, by a forward alone.

    Raises:
        CurvatureError: an activation is not finite.
    """
    sums = CovarianceSums(request.layers, backward=False)
    # Layers of different blocks share no inputs, so that these need not be held.
    hooks = [
        block.register_forward_hook(lambda *_: sums.end_batch())
        for block in request.blocks
    ]
    try:
        with sums:
            for tokens in ranks.own_batches(request.windows, request.batch):
                tokens = tokens.to(request.model.device)
                _check_finite(request, tokens, last_hidden(request.model, tokens))
                step()
    finally:
        for hook in hooks:
            hook.remove()
    sums.add_up(request.model.device)
    factors = sums.means(tokens=request.windows.numel())
    _check_no_overflow(request, factors)
    return factors


def _record_forward(
    request: CurvatureRequest, store: HiddenStore, step: Step
) -> _Record:
    record = _Record([[] for _ in request.blocks], [[] for _ in request.blocks])
    latest: dict[tuple[int, int], Call] = {}  # by block and batch size
    compared: Compared = {}  # tensors of a batch
    leaf: list[Tensor] = []

    def keep_input(index: int) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden, call = split_hidden(args, kwargs)
            record.inputs[index].append(store.keep(hidden.detach()))
            key = (index, len(hidden))
            if not are_equal(call, latest.get(key), compared):
                latest[key] = call
            record.calls[index].append(latest[key])

        return hook

    def make_leaf(_: nn.Module, __: object, output: Any) -> Any:
        leaf[:] = [first_of(output).detach().requires_grad_()]
        return (leaf[0], *output[1:]) if isinstance(output, tuple) else leaf[0]

    hooks = [
        block.register_forward_pre_hook(keep_input(index), with_kwargs=True)
        for index, block in enumerate(request.blocks)
    ]
    hooks.append(request.blocks[-1].register_forward_hook(make_leaf))
    try:
        batches = ranks.own_batches(request.windows, request.batch)
        drawn = ranks.own_batches(_numbers(request), request.batch)
        for tokens, numbers in zip(batches, drawn, strict=True):
            tokens = tokens.to(request.model.device)
            numbers = numbers.to(request.model.device)
            compared.clear()
            hidden = last_hidden(request.model, tokens)
            of_hidden = _head_gradients(request, tokens, hidden.detach(), numbers)
            gradients = []
            for gradient in of_hidden:
                (back,) = torch.autograd.grad(
                    hidden, leaf[0], gradient, retain_graph=True
                )
                gradients.append(store.keep(back))
            record.output_gradients.append(gradients)
            step()
    finally:
        for hook in hooks:
            hook.remove()
    for index, inputs in enumerate(record.inputs):
        if len(inputs) != len(record.output_gradients):
            raise CurvatureError(
                f"Block {index} of the model does not run once for a batch but "
                f"{len(inputs) / len(record.output_gradients):g} times, so that "
                "gradients cannot be measured block by block.",
                "Choose a method without gradients, such as L-OBD or magnitude.",
            )
    return record


def _numbers(request: CurvatureRequest) -> Tensor:
    """Return numbers from 0 to 1 that draw the labels: windows x draws x length.

    Those of a window depend on its place in the text alone, and not on the batch or the
    process that it is in.
    """
    count, length = request.windows.shape
    if request.labels is not Fisher.SAMPLED:
        return torch.empty(count, 0, length)
    found = torch.empty(count, request.draws, length)
    for number, of_window in enumerate(found):
        (mixed,) = np.random.SeedSequence((request.seed, number)).generate_state(1)
        of_window.uniform_(generator=torch.Generator().manual_seed(int(mixed)))
    return found


def _head_gradients(
    request: CurvatureRequest, tokens: Tensor, hidden: Tensor, numbers: Tensor
) -> list[Tensor]:
    """Return the gradient of the loss of a batch by what the head reads.

    Args:
        request: says how labels are chosen.
        tokens: windows x length.
        hidden: windows x length x hidden.
        numbers: draw the labels, windows x draws x length.

    Returns:
        For each draw of the labels: windows x length x hidden.
    """
    hidden.requires_grad_()
    found = [torch.zeros_like(hidden) for _ in range(request.backwards)]
    labels = tokens[:, 1:]
    for part in logit_parts(request.model, labels, GRADIENT_LOGITS_AT_ONCE):
        logits = head_logits(request.model, hidden[:, :-1][:, part])
        predicted = logits.detach().flatten(0, 1).float()
        _check_finite(request, tokens, predicted)
        q = predicted.softmax(dim=1)
        del predicted
        drawn = _labels(request, labels[:, part], q, numbers[:, :, part])
        for gradient, of_draw in zip(found, drawn, strict=True):
            index = of_draw.unsqueeze(1)
            of_labels = q.gather(1, index)
            # The gradient of -log q by the logits is q, less 1 at the label.
            q.scatter_(1, index, of_labels - 1)
            of_logits = q.view_as(logits).to(logits.dtype)
            (back,) = torch.autograd.grad(logits, hidden, of_logits, retain_graph=True)
            gradient += back
            q.scatter_(1, index, of_labels)
    return found


def _labels(
    request: CurvatureRequest, labels: Tensor, q: Tensor, numbers: Tensor
) -> Iterator[Tensor]:
    """Yield the labels of a part of a batch, once or for each draw.

    Args:
        request: says how labels are chosen.
        labels: those of the text, windows x tokens.
        q: the model's probabilities, tokens x vocabulary.
        numbers: from 0 to 1, at which the sum of the probabilities is read: windows x
            draws x tokens, and perhaps one more.
    """
    if request.labels is Fisher.EMPIRICAL:
        yield labels.flatten()
        return
    sums = q.cumsum(dim=1)
    for of_draw in numbers[:, :, : labels.shape[1]].unbind(dim=1):
        places = of_draw.reshape(-1, 1) * sums[:, -1:]
        drawn = torch.searchsorted(sums, places, right=True).squeeze(1)
        yield drawn.clamp(max=sums.shape[1] - 1)


class _Sums:
    """Sums over the layers of one block.

    As a context manager, it measures what passes through the layers.
    """

    def __init__(self, layers: Sequence[PrunableLayer]) -> None:
        self._layers = layers
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        for layer in self._layers:
            self._hooks.append(layer.module.register_forward_hook(self._hook(layer)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _hook(self, layer: PrunableLayer) -> Callable[..., None]:
        """Return the hook that measures a layer."""
        raise NotImplementedError


class CovarianceSums(_Sums):
    """Sums of a'a and dy'dy of the layers of one block, batch by batch.

    As a context manager, it adds up what passes through the layers.
    """

    def __init__(
        self,
        layers: Sequence[PrunableLayer],
        *,
        backward: bool,  # whether a backward follows; if not, there is no G
    ) -> None:
        super().__init__(layers)
        self._backward = backward
        self._A: dict[str, Tensor] = {}  # by the first layer that read the input
        self._G: dict[str, Tensor] = {}
        self._reads_like: dict[str, str] = {}  # layer -> first layer of its input
        # Held until the batch ends, so that no other input can get the same id.
        self._inputs: dict[tuple[int, bool], tuple[Tensor, str]] = {}

    def end_batch(self) -> None:
        """Release the inputs of a batch."""
        self._inputs.clear()

    def add_up(self, device: torch.device) -> None:
        """Add the sums of all ranks, of which some may have had no window.

        Args:
            device: of the sums.
        """
        if ranks.size() == 1:
            return
        of_first = self._reads_like, tuple(self._A), tuple(self._G)
        self._reads_like, of_inputs, of_gradients = ranks.agree(lambda: of_first)
        layers = {layer.name: layer for layer in self._layers}
        for sums, names in ((self._A, of_inputs), (self._G, of_gradients)):
            for name in names:
                if name not in sums:
                    layer = layers[name]
                    columns = layer.columns + layer.has_bias
                    side = columns if sums is self._A else layer.rows
                    sums[name] = torch.zeros(side, side, device=device)
            ranks.add(sums[name] for name in names)

    def means(self, tokens: int) -> dict[str, KroneckerFactors]:
        """Return the mean over tokens, by layer; layers with the same input share A.

        Call it once: the sums are divided in place.

        Raises:
            CurvatureError: nothing passed through a layer, or no gradient came back.
        """
        for sums in (self._A, self._G):
            for total in sums.values():
                total.div_(tokens)
        result: dict[str, KroneckerFactors] = {}
        for layer in self._layers:
            A = self._A.get(self._reads_like.get(layer.name, ""))
            G = self._G.get(layer.name)
            if A is None or (self._backward and G is None):
                raise _unused(layer)
            result[layer.name] = KroneckerFactors(A, G)
        return result

    @override
    def _hook(self, layer: PrunableLayer) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._add_input(layer, inputs[0])
            if output.requires_grad:
                output.register_hook(lambda dy: self._add_gradient(layer, dy))

        return hook

    def _add_input(self, layer: PrunableLayer, a: Tensor) -> None:
        key = (id(a), layer.has_bias)
        if key in self._inputs:
            self._reads_like[layer.name] = self._inputs[key][1]
            return
        self._inputs[key] = (a, layer.name)
        self._reads_like[layer.name] = layer.name
        a = layer.inputs(a)
        _add(self._A, layer.name, a)

    def _add_gradient(self, layer: PrunableLayer, dy: Tensor) -> None:
        dy = dy.flatten(0, -2).float()
        _add(self._G, layer.name, dy)


class _GateSums(_Sums):
    """The gate gradients of the layers of one block, batch by batch.

    As a context manager, it measures what passes through the layers.
    """

    def __init__(
        self,
        request: CurvatureRequest,
        layers: Sequence[PrunableLayer],
        kinds: Collection[Gate],
    ) -> None:
        super().__init__(layers)
        self._request = request
        self._count, self._length = request.windows.shape
        self._kinds = kinds
        # Of each batch, for each draw: windows x features.
        self._windows: dict[tuple[str, Gate], list[Tensor]] = {}
        self._squares: dict[str, Tensor] = {}  # of single weights

    def gates(self) -> dict[str, GateGradients]:
        """Return what was measured on all windows, by all ranks.

        Raises:
            CurvatureError: no gradient came back to a layer.
        """
        result = {}
        for layer in self._layers:
            rows, columns = (
                self._joined(layer, kind, width) if kind in self._kinds else None
                for kind, width in (
                    (Gate.ROWS, layer.rows),
                    (Gate.COLUMNS, layer.columns),
                )
            )
            squares = self._added(layer) if Gate.WEIGHTS in self._kinds else None
            result[layer.name] = GateGradients(
                self._request.measured_tokens, rows, columns, squares
            )
        return result

    def _joined(self, layer: PrunableLayer, kind: Gate, width: int) -> Tensor:
        """Return the gradients of all windows: windows x width, for each draw."""
        parts = self._windows.get((layer.name, kind))
        if parts is None and self._has_windows:
            raise _unused(layer)
        device, draws = self._request.model.device, self._request.backwards
        found = torch.empty(0, draws, width, device=device)
        if parts is not None:
            batches = range(0, len(parts), draws)
            found = torch.cat([torch.stack(parts[n : n + draws], 1) for n in batches])
        return ranks.joined(found, self._count).flatten(0, 1)

    def _added(self, layer: PrunableLayer) -> Tensor:
        """Return the sum of squares over all windows, in the shape of W."""
        squares = self._squares.get(layer.name)
        if squares is None:
            if self._has_windows:
                raise _unused(layer)
            shape, device = (layer.rows, layer.columns), self._request.model.device
            squares = torch.zeros(*shape, device=device)
        ranks.add([squares])
        return squares

    @property
    def _has_windows(self) -> bool:
        return len(ranks.own(self._request.windows)) > 0

    @override
    def _hook(self, layer: PrunableLayer) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if output.requires_grad:
                a, y = inputs[0].detach(), output.detach()
                output.register_hook(lambda dy: self._add(layer, a, y, dy))

        return hook

    def _add(self, layer: PrunableLayer, a: Tensor, y: Tensor, dy: Tensor) -> None:
        """Add the gradients of a batch: a, y, dy are windows x length x features.

        Some models join the first two dimensions.
        """
        a, y, dy = (
            x.float().reshape(-1, self._length, x.shape[-1]) for x in (a, y, dy)
        )
        if Gate.ROWS in self._kinds:
            self._append(layer, Gate.ROWS, (dy * y).sum(dim=1))
        if Gate.COLUMNS in self._kinds:
            W = layer.matrix.float()
            self._append(layer, Gate.COLUMNS, ((dy @ W) * a).sum(dim=1))
        if Gate.WEIGHTS in self._kinds:
            zeros = dy.new_zeros(layer.rows, layer.columns)
            squares = self._squares.setdefault(layer.name, zeros)
            for of_window, inputs in zip(dy, a, strict=True):
                squares += (of_window.T @ inputs).square_()

    def _append(self, layer: PrunableLayer, kind: Gate, gradients: Tensor) -> None:
        self._windows.setdefault((layer.name, kind), []).append(gradients)


def _add(sums: dict[str, Tensor], name: str, x: Tensor) -> None:
    """Add x'x to the sum of that name, in float32 also where layers multiply less."""
    exact = torch.autocast(x.device.type, enabled=False)
    with exact, devices.tf32_products(x.device):
        if name in sums:
            sums[name].addmm_(x.T, x)
        else:
            sums[name] = x.T @ x


def _unused(layer: PrunableLayer) -> CurvatureError:
    return CurvatureError(
        f"Nothing passed through {layer.name}.",
        "The model does not use this layer on plain text.",
    )


def _check_no_shared_keys(request: CurvatureRequest) -> None:
    """Check for blocks that read keys of others, whose gradient bypasses the output."""
    config = request.model.config.get_text_config()
    if sharing := getattr(config, "num_kv_shared_layers", 0):
        raise CurvatureError(
            f"The last {sharing} blocks of this model read keys and values of earlier "
            "ones, so that gradients cannot be measured block by block.",
            "Choose a method without gradients, such as L-OBD or magnitude.",
        )


def _check_finite(request: CurvatureRequest, tokens: Tensor, found: Tensor) -> None:
    if is_broken(found):
        message = "The model's predictions on the calibration text are not finite."
        raise CurvatureError(
            with_origin(message, request.model, tokens), hint_for(request.model)
        )


def _check_no_overflow(
    request: CurvatureRequest, factors: dict[str, KroneckerFactors]
) -> None:
    """Check the factors; for gradients, name the last layer, which they reach first."""
    names = [name for name, _ in request.model.named_modules() if name in factors]
    inputs = [("inputs", name, factors[name].A) for name in names]
    gradients = [("gradients", name, factors[name].G) for name in reversed(names)]
    for what, name, M in (*inputs, *gradients):
        if M is not None and not bool(M.isfinite().all()):
            message = f"The {what} of {name} are not finite, or their products are not."
            tokens = request.windows[: request.batch]
            raise CurvatureError(
                with_origin(message, request.model, tokens), hint_for(request.model)
            )


def _check_gates_finite(
    request: CurvatureRequest, gates: dict[str, GateGradients]
) -> None:
    for name, found in gates.items():
        for x in (found.rows, found.columns, found.weight_squares):
            if x is not None and not bool(x.isfinite().all()):
                message = f"The gradients of {name} are not finite."
                tokens = request.windows[: request.batch]
                raise CurvatureError(
                    with_origin(message, request.model, tokens), hint_for(request.model)
                )
