"""Measure A and G one decoder block at a time, from the last to the first.

A backward through the whole model would hold the activations and factors of all blocks
at once. Instead (1) one forward without a graph keeps only the input of each block and
the arguments of its call; the output of the last block becomes a leaf, to which the
loss is propagated back through the head; (2) for each block, last to first, the forward
is repeated with a graph and the gradient of the output propagated back to the input,
where it is the gradient of the previous block's output. Weights are frozen: only
activations get gradients. The result equals a full backward's. Inputs are kept on
the device, on the host or in files, as memory allows.

The loss is the sum of the next-token losses, so that dy is the gradient of the loss of
a token and of later ones that it affects. The labels come from the text (empirical
Fisher) or drawn from the model's prediction (sampled Fisher, the Fisher itself).

If only A is needed, a forward is enough (`input_covariances`). Several processes share
the windows; each then has the result of all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from surgeon_engine.api.config.pruning import Fisher
from surgeon_engine.base.errors import CurvatureError
from surgeon_engine.base.sentences import say
from surgeon_engine.curvature.measured import (
    Gate,
    GateGradients,
    KroneckerFactors,
    RoutedOutputs,
)
from surgeon_engine.curvature.recorded_blocks import BlockRecorder, RecordedBlock
from surgeon_engine.curvature.routed import RoutedSums
from surgeon_engine.curvature.sums import CovarianceSums, GateSums
from surgeon_engine.model.block_calls import NotChainedError, first_of
from surgeon_engine.model.block_runner import hooked
from surgeon_engine.model.forwards import Forwards
from surgeon_engine.model.head import head_logits, logit_parts
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.model.not_finite import hint_for, is_broken, with_origin
from surgeon_engine.model.offload import on_device
from surgeon_engine.planning.constants import GRADIENT_LOGITS_AT_ONCE
from surgeon_engine.runtime.hidden_store import HiddenStore
from surgeon_engine.runtime.shares import Batches

# Called after the forward of each batch, and after each of its backwards in each block.
Step = Callable[[], None]

_WITHOUT_GRADIENTS = say(
    "Choose a method without gradients, such as L-OBD or magnitude."
)


@dataclass(frozen=True, slots=True, eq=False)
class CurvatureRequest:
    """The layers to measure, and the text to measure them on."""

    model: PreTrainedModel
    blocks: Sequence[nn.Module]
    layers: Sequence[PrunableLayer]
    windows: Tensor  # windows x length, token ids
    batch: int  # windows at a time
    labels: Fisher = Fisher.EMPIRICAL
    seed: int = 0  # for drawn labels
    draws: int = 1  # draws of the labels of each window, if they are drawn

    @property
    def backwards(self) -> int:
        """How many labels each token has, and so backwards each batch."""
        return self.draws if self.labels is Fisher.SAMPLED else 1

    @property
    def batches(self) -> Batches:
        """The windows, a batch at a time; `input_covariances` takes a step for each."""
        return Batches(self.windows, self.batch)

    @property
    def steps(self) -> int:
        """How often `block_factors` and `block_gates` call their `step`."""
        return len(self.batches) * (1 + len(self.blocks) * self.backwards)


def block_factors(
    request: CurvatureRequest, step: Step
) -> Iterator[dict[str, KroneckerFactors]]:
    """Yield the factors of the layers of each block by name, last block to first.

    Raises:
        CurvatureError: an activation or a gradient is not finite.
    """
    for layers, backward in _blocks_backward(request, step):
        sums = CovarianceSums(layers, backward=True)
        with hooked(sums.hooks()):
            for _ in backward:
                sums.end_batch()
        sums.add_up(request.model.device)
        factors = sums.means(tokens=request.windows.numel() * request.backwards)
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
        sums = GateSums(layers, kinds, request.batches, request.backwards)
        with hooked(sums.hooks()):
            for _ in backward:
                pass
        gates = sums.gates(request.model.device)
        _check_gates_finite(request, gates)
        yield gates


def _blocks_backward(
    request: CurvatureRequest, step: Step
) -> Iterator[tuple[list[PrunableLayer], Iterator[None]]]:
    """Yield the layers of each block, last to first, and its backward.

    The backward is an iterator that must be exhausted: each of its steps is the forward
    and backward of a batch.
    """
    with HiddenStore(request.model.device) as store:
        recorded, gradients = _record_forward(request, store, step)

        def backward(
            block: nn.Module, batches: Sequence[RecordedBlock]
        ) -> Iterator[None]:
            device = request.model.device
            for of_batch, of_output in zip(batches, gradients, strict=True):
                for _ in of_batch.backward(block, of_output, device, store):
                    step()
                yield

        for index in reversed(range(len(request.blocks))):
            layers = [layer for layer in request.layers if layer.block == index]
            block, batches = request.blocks[index], recorded.pop()
            with on_device(block):
                yield layers, backward(block, batches)
            for of_batch in batches:
                store.drop(of_batch.kept())


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
    def hooks() -> Iterator[RemovableHandle]:
        for block in request.blocks:
            yield block.register_forward_hook(lambda *_: sums.end_batch())
        yield from sums.hooks()

    _run_finite(request, hooks, step)
    sums.add_up(request.model.device)
    factors = sums.means(tokens=request.windows.numel())
    _check_no_overflow(request, factors)
    return factors


@torch.no_grad()
def routed_outputs(request: CurvatureRequest, step: Step) -> dict[str, RoutedOutputs]:
    """Measure how the experts of layers are used by name, by a forward alone.

    Raises:
        CurvatureError: an activation is not finite.
    """
    sums = RoutedSums(request.layers)
    _run_finite(request, sums.hooks, step)
    return sums.outputs(request.model.device)


def _run_finite(
    request: CurvatureRequest,
    hooks: Callable[[], Iterable[RemovableHandle]],
    step: Step,
) -> None:
    """Run the model on all batches, and check its predictions."""
    forwards = Forwards(request.model, request.batches, step, hooks=hooks)
    for tokens, hidden in zip(request.batches, forwards, strict=True):
        _check_finite(request, tokens, hidden)


def _record_forward(
    request: CurvatureRequest, store: HiddenStore, step: Step
) -> tuple[list[list[RecordedBlock]], list[list[Tensor]]]:
    """Run the model on all batches.

    Return the records of each block for each batch; and the gradients by the output of
    the last block, for each batch and draw of the labels, in the store.
    """
    recorder = BlockRecorder(request.blocks, store)
    output_gradients: list[list[Tensor]] = []
    leaf: list[Tensor] = []

    def make_leaf(_: nn.Module, __: object, output: Any) -> Any:
        leaf[:] = [first_of(output).detach().requires_grad_()]
        several = isinstance(output, tuple | list)
        return (leaf[0], *output[1:]) if several else leaf[0]

    forwards = Forwards(
        request.model, request.batches, step, hooks=recorder.hooks, store=store
    )
    drawn = Batches(_numbers(request), request.batch)
    # The head reads the output of the last block, also where that has been kept.
    with hooked([request.blocks[-1].register_forward_hook(make_leaf)]):
        for tokens, numbers, hidden in _chained(request.batches, drawn, forwards):
            if not leaf:
                raise CurvatureError(
                    "The last block of the model does not run on text alone, so that "
                    "gradients cannot be measured block by block.",
                    _WITHOUT_GRADIENTS,
                )
            tokens = tokens.to(request.model.device)
            numbers = numbers.to(request.model.device)
            of_hidden = _head_gradients(request, tokens, hidden.detach(), numbers)
            gradients = []
            for gradient in of_hidden:
                (back,) = torch.autograd.grad(
                    hidden, leaf[0], gradient, retain_graph=True
                )
                gradients.append(store.keep(back))
            output_gradients.append(gradients)
            leaf.clear()
    for index, batches in enumerate(recorder.found):
        if len(batches) != len(output_gradients):
            raise CurvatureError(
                "Block {index} of the model does not run once for a batch but "
                "{inputs:g} times, so that gradients cannot be measured block by "
                "block.",
                _WITHOUT_GRADIENTS,
                index=index,
                inputs=len(batches) / len(output_gradients),
            )
    return recorder.found, output_gradients


def _chained(
    batches: Batches, drawn: Batches, forwards: Forwards
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield tokens, numbers and last hidden states of each batch."""
    try:
        yield from zip(batches, drawn, forwards, strict=True)
    except NotChainedError:
        raise CurvatureError(
            "The blocks of this model do not simply follow each other, so that "
            "gradients cannot be measured block by block.",
            _WITHOUT_GRADIENTS,
        ) from None


def _numbers(request: CurvatureRequest) -> Tensor:
    """Return numbers from 0 to 1 that draw the labels: windows x draws x length.

    The numbers of a window depend on its place in the text alone, and not on its batch
    or process.
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
    """Return gradients of the loss of a batch by the input of the head.

    There is one for each draw of the labels: windows x length x hidden. `numbers` draw
    the labels, windows x draws x length.
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
    """Yield the labels of a part of a batch, once or for each draw."""
    if request.labels is Fisher.EMPIRICAL:
        yield labels.flatten()
        return
    sums = q.cumsum(dim=1)
    for of_draw in numbers[:, :, : labels.shape[1]].unbind(dim=1):
        places = of_draw.reshape(-1, 1) * sums[:, -1:]
        drawn = torch.searchsorted(sums, places, right=True).squeeze(1)
        yield drawn.clamp(max=sums.shape[1] - 1)


def _check_finite(request: CurvatureRequest, tokens: Tensor, found: Tensor) -> None:
    if is_broken(found):
        message = say("The model's predictions on the calibration text are not finite.")
        raise _not_finite(request, message, tokens)


def _check_no_overflow(
    request: CurvatureRequest, factors: dict[str, KroneckerFactors]
) -> None:
    """Check the factors; for gradients, name the last layer, which they reach first."""
    names = [name for name, _ in request.model.named_modules() if name in factors]
    inputs = [(say("inputs"), name, factors[name].A) for name in names]
    gradients = [(say("gradients"), name, factors[name].G) for name in reversed(names)]
    for what, name, M in (*inputs, *gradients):
        if M is not None and not bool(M.isfinite().all()):
            message = say(
                "The {what} of {name} are not finite, or their products are not.",
                what=what,
                name=name,
            )
            raise _not_finite(request, message)


def _check_gates_finite(
    request: CurvatureRequest, gates: dict[str, GateGradients]
) -> None:
    for name, found in gates.items():
        squares = (found.weight_squares, found.neurons)
        for x in (found.rows, found.columns, *squares):
            if x is not None and not bool(x.isfinite().all()):
                raise _not_finite(
                    request, say("The gradients of {name} are not finite.", name=name)
                )


def _not_finite(
    request: CurvatureRequest, message: str, tokens: Tensor | None = None
) -> CurvatureError:
    """Return an error for `tokens` or, if they are unknown, the first batch."""
    if tokens is None:
        tokens = request.windows[: request.batch]
    message = with_origin(message, request.model, tokens)
    return CurvatureError(message, hint_for(request.model))
