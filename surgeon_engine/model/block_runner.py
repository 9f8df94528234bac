"""Run the decoder blocks of a model one at a time.

The caller keeps the hidden states between blocks. The other arguments of each block are
recorded: those that depend on the number and length of the windows alone, such as masks
and positions, once; those that depend on the tokens, for each batch while its block is
run. What a block writes for later ones, such as shared keys and values, is kept, too.
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
from surgeon_engine.model.block_calls import (
    Call,
    Entries,
    Entry,
    NotChainedError,
    are_equal,
    by_name,
    entries_of,
    first_of,
    record_calls,
    replaced,
    split_hidden,
    with_entries,
)
from surgeon_engine.model.layers import body_of
from surgeon_engine.model.offload import left_on_host
from surgeon_engine.model.products import fast_products
from surgeon_engine.runtime.hidden_store import HiddenStore

ALL = slice(None)  # windows of a batch


class Stopped(Exception):
    """A forward was stopped at a layer, because the rest of it is not needed."""


class BlockRunner:
    """The blocks of a model, for windows of one length.

    A block may be run on a batch when the blocks before it have been.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        blocks: Sequence[nn.Module],
        batches: Sequence[Tensor],
        counts: Iterable[int] = (1,),
        store: HiddenStore | None = None,
        hint: str = "",
    ) -> None:
        """Record the arguments of the blocks.

        Args:
            model: the model.
            blocks: its decoder blocks.
            batches: token ids, windows x length each.
            counts: the numbers of windows that are run at once beside those of the
                batches; one window is enough to probe a block.
            store: keeps what blocks write for later ones, and what depends on tokens.
            hint: what a user can do if the blocks cannot be run one at a time.

        Raises:
            ModelError: the arguments of a block depend on what blocks compute, or the
                blocks do not run once each, on the output of the block before.
        """
        self._hint = hint
        self._model = model
        self._blocks = blocks
        self._batches = batches  # windows x length each, token ids
        self._store = store or HiddenStore(model.device)
        self._windows = torch.cat(list(batches))
        # By block: the arguments that depend on the tokens; what it writes.
        self._of_tokens: list[set[int | str]] = [set() for _ in blocks]
        self._written: list[list[Entry]] = [[] for _ in blocks]
        self._dim = -1  # of the windows in hidden states
        # By the number of windows. A single one, the first, tells the dimension: as
        # many windows as tokens would not.
        self._calls = {
            count: self._calls_of(count)
            for count in sorted({*counts, *map(len, batches)})
        }
        # What blocks have written for each batch, by the number of the block.
        self._states: dict[tuple[int, Entry, int], list[Tensor]] = {}
        # The arguments of the present block that depend on the tokens, by batch.
        self._present = 0
        self._own: dict[int, dict[int | str, Tensor]] = {}

    def embedded(self) -> Iterator[Tensor]:
        """Yield what the first block gets of each batch: windows x ... x hidden."""
        for tokens in self._batches:
            yield self._inputs(tokens)[0][0]

    def run(
        self, index: int, hidden: Tensor, batch: int = 0, rows: slice = ALL
    ) -> Tensor:
        """Return the output of a block for hidden states, windows x ... x hidden.

        Products may take 16-bit inputs where that is fast.

        Args:
            index: the number of the block.
            hidden: the hidden states before it.
            batch: the number of their batch.
            rows: the windows of the batch that they are of.
        """
        args, kwargs = call = self._call(index, len(hidden), batch, rows)
        with fast_products(self._model):
            given = hidden.to(self._model.device).movedim(0, self._dim)
            output = self._blocks[index](given, *args, **kwargs)
        if len(hidden) == len(self._batches[batch]):
            self._keep_written(index, batch, call)
        return first_of(output).movedim(self._dim, 0).to(self._model.dtype)

    @torch.no_grad()
    def finish(self, hidden: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield what the model makes of the outputs of its last block, batch by batch.

        That is the last norm, and in some models a projection behind it. The first
        batches are enough.
        """
        for tokens, states in zip(self._batches, hidden, strict=False):
            given = states.to(self._model.device).movedim(0, self._dim)
            yield self._run_without_blocks(tokens, given)

    def _call(self, index: int, count: int, batch: int, rows: slice) -> Call:
        """Return the arguments of a block for some windows of a batch."""
        call, device = self._calls[count][index], self._model.device
        if self._of_tokens[index]:
            own = self._arguments_of_tokens(index, batch)
            call = replaced(call, {n: x[rows].to(device) for n, x in own.items()})
        writers = {
            entry: writer for writer in range(index) for entry in self._written[writer]
        }
        return with_entries(
            call,
            {
                entry: [x[rows].to(device) for x in self._states[writer, entry, batch]]
                for entry, writer in writers.items()
            },
        )

    def _arguments_of_tokens(self, index: int, batch: int) -> dict[int | str, Tensor]:
        if index != self._present:
            for own in self._own.values():
                self._store.drop(list(own.values()))
            self._present, self._own = index, {}
        if batch not in self._own:
            _, calls = self._inputs(self._batches[batch])
            found = by_name(calls[index])
            self._own[batch] = {
                name: self._store.keep(found[name]) for name in self._of_tokens[index]
            }
        return self._own[batch]

    @torch.no_grad()
    def _keep_written(self, index: int, batch: int, call: Call) -> None:
        for entry in self._written[index]:
            found = entries_of(call)[entry]
            if kept := self._states.get((index, entry, batch)):
                for x, new in zip(kept, found, strict=True):
                    x.copy_(new)
            else:
                kept = [self._store.keep(x) for x in found]
                self._states[index, entry, batch] = kept

    def _calls_of(self, count: int) -> list[Call]:
        """Return the arguments of the blocks for so many windows."""
        windows = self._windows[:count]
        calls, others = self._record(windows), self._record(windows.roll(1, dims=1))
        for index, pair in enumerate(zip(calls, others, strict=True)):
            one, other = map(by_name, pair)
            self._of_tokens[index] |= {
                name for name, x in one.items() if not are_equal(x, other.get(name))
            }
        if any(self._of_tokens):
            self._check_of_tokens_alone(windows, calls)
        return calls

    def _check_of_tokens_alone(self, windows: Tensor, calls: Sequence[Call]) -> None:
        """Check that arguments do not depend on what blocks compute."""
        _, without_blocks = self._inputs(windows)
        for names, call, other in zip(
            self._of_tokens, calls, without_blocks, strict=True
        ):
            for name in names:
                x = by_name(call)[name]
                is_tensor = isinstance(x, Tensor) and len(x) == len(windows)
                if not is_tensor or not are_equal(x, by_name(other)[name]):
                    raise ModelError(
                        say(
                            "The blocks of this model get arguments that depend on "
                            "what earlier blocks compute, so that they cannot be run "
                            "one at a time."
                        ),
                        self._hint,
                    )

    @torch.no_grad()
    def _record(self, windows: Tensor) -> list[Call]:
        calls: list[Call] = []

        def called(index: int, hidden: Tensor, call: Call) -> None:
            if self._dim < 0:
                self._dim = _windows_dimension(hidden, windows)
            calls.append(call)

        def wrote(index: int, entries: Entries) -> None:
            self._written[index] = list(entries)

        def note(_: nn.Module, __: object, output: Any) -> None:
            self._returns_tuples = isinstance(output, tuple | list)
            self._others = [None] * (len(output) - 1) if self._returns_tuples else []

        hooks = record_calls(self._blocks, called, wrote)
        hooks.append(self._blocks[-1].register_forward_hook(note))
        with hooked(hooks):
            # Logits of many windows would not fit, and are not needed.
            tokens = windows.to(self._model.device)
            try:
                body_of(self._model)(input_ids=tokens, use_cache=False)
            except NotChainedError:
                raise ModelError(
                    say(
                        "The blocks of this model do not simply follow each other, so "
                        "that they cannot be run one at a time."
                    ),
                    self._hint,
                ) from None
        if len(calls) != len(self._blocks):
            raise ModelError(
                say(
                    "The {blocks} blocks of this model run {calls} times for a text, "
                    "so that they cannot be run one at a time.",
                    blocks=len(self._blocks),
                    calls=len(calls),
                ),
                self._hint,
            )
        return calls

    @torch.no_grad()
    def _inputs(self, tokens: Tensor) -> tuple[list[Tensor], list[Call]]:
        """Return what blocks get if those before them change nothing."""
        hidden: list[Tensor] = []
        calls: list[Call] = []

        def called(_: int, states: Tensor, call: Call) -> None:
            hidden.append(states.movedim(self._dim, 0))
            calls.append(call)

        with hooked(record_calls(self._blocks, called, lambda *_: None)):
            self._run_without_blocks(tokens)
        return hidden, calls

    def _run_without_blocks(
        self, tokens: Tensor, given: Tensor | None = None
    ) -> Tensor:
        """Run the model with blocks that return `given`, or what they get."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden = split_hidden(args, kwargs)[0] if given is None else given
            return (hidden, *self._others) if self._returns_tuples else hidden

        with replaced_forward(self._blocks, forward), left_on_host(self._blocks):
            tokens = tokens.to(self._model.device)
            return body_of(self._model)(input_ids=tokens, use_cache=False)[0]


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


def _windows_dimension(hidden: Tensor, windows: Tensor) -> int:
    """Return the dimension of the windows.

    In Gemma 3n there are streams before it, in XLNet tokens.
    """
    places = range(hidden.ndim - 1)
    if hidden.shape[:2] == windows.shape[::-1] != windows.shape:
        return 1
    return next((n for n in places if hidden.shape[n : n + 2] == windows.shape), 0)
