"""Run the decoder blocks of a model one at a time.

The caller keeps the hidden states between blocks. The other arguments of each block,
such as masks and positions, are recorded from forwards of whole windows; they depend on
the number and length of the windows, and not on their tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.sentences import say
from surgeon_engine.model.layers import body_of
from surgeon_engine.model.offload import left_on_host
from surgeon_engine.runtime import devices

Call = tuple[tuple[Any, ...], dict[str, Any]]  # without the hidden states
# Whether two tensors are equal, by their ids; holds them, so that no others get these.
Compared = dict[tuple[int, int], tuple[bool, Tensor, Tensor]]


class Stopped(Exception):
    """A forward was stopped at a layer, because the rest of it is not needed."""


class BlockRunner:
    """The blocks of a model, for windows of one length."""

    def __init__(
        self,
        model: PreTrainedModel,
        blocks: Sequence[nn.Module],
        batches: Sequence[Tensor],
        counts: Iterable[int] = (1,),
    ) -> None:
        """Record the arguments of the blocks.

        Args:
            model: the model.
            blocks: its decoder blocks.
            batches: token ids, windows x length each.
            counts: the numbers of windows that are run at once beside those of the
                batches; one window is enough to probe a block.

        Raises:
            ModelError: the arguments of a block depend on the tokens.
        """
        self._model = model
        self._blocks = blocks
        self._batches = batches  # windows x length each, token ids
        self._windows = torch.cat(list(batches))
        # By the number of windows.
        self._calls = {
            count: self._calls_of(count) for count in {*counts, *map(len, batches)}
        }

    @torch.no_grad()
    def embedded(self) -> Iterator[Tensor]:
        """Yield the inputs of the first block for each batch."""
        found: list[Tensor] = []

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found.append(split_hidden(args, kwargs)[0])
            raise Stopped

        first = self._blocks[0]
        with hooked([first.register_forward_pre_hook(keep, with_kwargs=True)]):
            for tokens in self._batches:
                with left_on_host(self._blocks):
                    run_until_stopped(
                        self._model, tokens.to(self._model.device), use_cache=False
                    )
                yield found.pop()

    def run(self, index: int, hidden: Tensor) -> Tensor:
        """Return the output of a block for hidden states, windows x length x hidden.

        Products may take 16-bit inputs where that is fast.
        """
        args, kwargs = self._calls[len(hidden)][index]
        device, dtype = self._model.device, self._model.dtype
        with devices.fast_products(device, dtype):
            output = self._blocks[index](hidden.to(device), *args, **kwargs)
        return first_of(output).to(dtype)

    @torch.no_grad()
    def finish(self, hidden: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield what the model makes of the outputs of its last block, batch by batch.

        That is the last norm, and in some models a projection behind it. The first
        batches are enough.
        """
        body, device = body_of(self._model), self._model.device
        given = hidden[0]

        def forward(*_: Any, **__: Any) -> Any:
            return (given, *self._others) if self._returns_tuples else given

        with replaced_forward(self._blocks, forward):
            for tokens, states in zip(self._batches, hidden, strict=False):
                given = states.to(device)
                with left_on_host(self._blocks):
                    found = body(input_ids=tokens.to(device), use_cache=False)[0]
                yield found

    def _calls_of(self, count: int) -> list[Call]:
        """Return the arguments of the blocks for so many windows."""
        first, last = self._windows[:count], self._windows[-count:]
        calls = self._record(first)
        if not all(map(are_equal, calls, self._record(last))):
            raise ModelError(
                say(
                    "The blocks of this model get arguments that depend on the "
                    "tokens, so that they cannot be run one at a time."
                ),
                say("Switch recovery off."),
            )
        return calls

    @torch.no_grad()
    def _record(self, windows: Tensor) -> list[Call]:
        calls: list[Call] = []

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls.append(split_hidden(args, kwargs)[1])

        def note(_: nn.Module, __: object, output: Any) -> None:
            self._returns_tuples = isinstance(output, tuple)
            self._others = [None] * (len(output) - 1) if self._returns_tuples else []

        hooks = [
            block.register_forward_pre_hook(keep, with_kwargs=True)
            for block in self._blocks
        ]
        hooks.append(self._blocks[-1].register_forward_hook(note))
        with hooked(hooks):
            # Logits of many windows would not fit, and are not needed.
            tokens = windows.to(self._model.device)
            body_of(self._model)(input_ids=tokens, use_cache=False)
        return calls


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Keep hooks for the length of a block of code."""
    handles = list(handles)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run_until_stopped(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Call a function that a hook may stop."""
    try:
        function(*args, **kwargs)
    except Stopped:
        pass


@contextmanager
def replaced_forward(
    modules: Iterable[nn.Module], forward: Callable[..., Any]
) -> Iterator[None]:
    """Let modules compute something else for the length of a block of code."""
    modules = tuple(modules)
    for module in modules:
        module.forward = forward
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def first_of(output: Any) -> Tensor:
    """Return the hidden states from the output of a block."""
    return output[0] if isinstance(output, tuple) else output


def are_equal(one: Any, other: Any, compared: Compared | None = None) -> bool:
    """Return True if two calls have equal arguments, tensor by tensor.

    Args:
        one: a call, or a part of it.
        other: another one.
        compared: earlier results: the blocks of a forward share tensors, and a
            comparison waits for the device.
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        compared = {} if compared is None else compared
        pair = id(one), id(other)
        if pair not in compared:
            compared[pair] = torch.equal(one, other), one, other
        return compared[pair][0]
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(
            are_equal(*pair, compared) for pair in zip(one, other, strict=True)
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            are_equal(one[key], other[key], compared) for key in one
        )
    return bool(one == other)


def split_hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Call]:
    """Split the arguments of a block into the hidden states and the rest."""
    kwargs = dict(kwargs)
    hidden, *others = args or (kwargs.pop("hidden_states"),)
    return hidden, (tuple(others), kwargs)
