"""Run the decoder blocks of a model one at a time.

The caller keeps the hidden states between blocks. The other arguments of each block are
recorded: once if they depend only on the number and length of the windows, as masks and
positions do; for each batch while its block is run if they depend on the tokens. Keys,
values and the like that a block writes for later ones are kept, too.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from surgeon_engine.base.errors import ModelError
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


@dataclass(frozen=True, slots=True)
class _Chain:
    """The data flow between the blocks of a model, for any text."""

    dim: int  # dimension of the windows in hidden states
    others: int | None  # outputs beside hidden states; None: blocks return a tensor
    written: tuple[tuple[Entry, ...], ...]  # entries that each block writes


# Chains of models whose blocks have been run, with the ids of the blocks.
_CHAINS: weakref.WeakKeyDictionary[PreTrainedModel, tuple[list[int], _Chain]] = (
    weakref.WeakKeyDictionary()
)


class BlockRunner:
    """The blocks of a model, for batches of windows.

    A block may be run on a batch when the blocks before it have been. The model runs
    once, on one window, to see that its blocks follow each other.
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
            counts: further numbers of windows to run at once, of the first batch's
                length; one window is enough to probe a block.
            store: keeps tensors that blocks write, and arguments that depend on tokens.
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
        # The last hidden states of the first window; None: it was not run.
        self.probe: Tensor | None = None
        ids, chain = _CHAINS.get(model, ([], None))
        if chain is None or ids != [*map(id, blocks)]:
            chain = self._find_chain(batches[0][:1])
        self._chain = chain
        # By block: the arguments that depend on the tokens.
        self._of_tokens: list[set[int | str]] = [set() for _ in blocks]
        length = batches[0].shape[1]
        windows = torch.cat([x for x in batches if x.shape[1] == length])
        by_shape = {x.shape: x for x in (*(windows[:n] for n in counts), *batches)}
        self._calls = {shape: self._calls_of(x) for shape, x in by_shape.items()}
        # Tensors that blocks have written, by the block, the entry and the batch.
        self._states: dict[tuple[int, Entry, int], list[Tensor]] = {}
        # The arguments of the present block that depend on the tokens, by batch.
        self._present = 0
        self._own: dict[int, dict[int | str, Tensor]] = {}

    def writes(self, index: int) -> bool:
        """Return whether a block writes something for later ones."""
        return bool(self._chain.written[index])

    def embedded(self) -> Iterator[Tensor]:
        """Yield the input of the first block for each batch: windows x ... x hidden."""
        for tokens in self._batches:
            yield self._inputs(tokens)[0][0]

    def run(
        self, index: int, hidden: Tensor, batch: int = 0, rows: slice = ALL
    ) -> Tensor:
        """Return the output of a block for hidden states, windows x ... x hidden.

        Products may take 16-bit inputs where that is fast. `hidden` is for the windows
        `rows` of a batch.
        """
        with fast_products(self._model):
            found = self.run_exactly(index, hidden, batch, rows)
        return found.to(self._model.dtype)

    def run_exactly(
        self, index: int, hidden: Tensor, batch: int = 0, rows: slice = ALL
    ) -> Tensor:
        """Return the output of a block like `run`, as the whole model computes it."""
        args, kwargs = call = self._call(index, len(hidden), batch, rows)
        given = hidden.to(self._model.device).movedim(0, self._chain.dim)
        output = self._blocks[index](given, *args, **kwargs)
        if len(hidden) == len(self._batches[batch]):
            self._keep_written(index, batch, call)
        return first_of(output).movedim(self._chain.dim, 0)

    def finish(self, hidden: Tensor, batch: int = 0) -> Tensor:
        """Return the last hidden states for the output of the last block on a batch.

        They come from the last norm, or in some models from a projection behind it.
        """
        given = hidden.to(self._model.device).movedim(0, self._chain.dim)

        def forward(*_: Any, **__: Any) -> Any:
            return self._as_output(given)

        with replaced_forward(self._blocks, forward), left_on_host(self._blocks):
            return self._run_body(self._batches[batch])

    def _call(self, index: int, count: int, batch: int, rows: slice) -> Call:
        """Return the arguments of a block for some windows of a batch."""
        shape = torch.Size((count, self._batches[batch].shape[1]))
        call, device = self._calls[shape][index], self._model.device
        if self._of_tokens[index]:
            own = self._arguments_of_tokens(index, batch)
            call = replaced(call, {n: x[rows].to(device) for n, x in own.items()})
        writers = {
            entry: writer
            for writer in range(index)
            for entry in self._chain.written[writer]
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
        for entry in self._chain.written[index]:
            found = entries_of(call)[entry]
            if kept := self._states.get((index, entry, batch)):
                for x, new in zip(kept, found, strict=True):
                    x.copy_(new)
            else:
                kept = [self._store.keep(x) for x in found]
                self._states[index, entry, batch] = kept

    def _calls_of(self, windows: Tensor) -> list[Call]:
        """Return the arguments of the blocks for windows of this number and length."""
        (_, calls), (_, others) = map(self._inputs, (windows, windows.roll(1, dims=1)))
        for index, pair in enumerate(zip(calls, others, strict=True)):
            one, other = map(by_name, pair)
            for name, x in one.items():
                if are_equal(x, other.get(name)):
                    continue
                if not isinstance(x, Tensor) or len(x) != len(windows):
                    raise self._not_of_tokens_alone()
                self._of_tokens[index].add(name)
        return calls

    @torch.no_grad()
    def _find_chain(self, window: Tensor) -> _Chain:
        """Run the model on a window, and check that its blocks follow each other."""
        dim, calls = 0, list[Call]()
        written: list[tuple[Entry, ...]] = [() for _ in self._blocks]
        others: int | None = None

        def called(_: int, hidden: Tensor, call: Call) -> None:
            nonlocal dim
            if not calls:
                dim = _windows_dimension(hidden, window)
            calls.append(call)

        def wrote(index: int, entries: Entries) -> None:
            written[index] = tuple(entries)

        def note(_: nn.Module, __: object, output: Any) -> None:
            nonlocal others
            is_several = isinstance(output, tuple | list)
            others = len(output) - 1 if is_several else None

        hooks = record_calls(self._blocks, called, wrote)
        hooks.append(self._blocks[-1].register_forward_hook(note))
        with hooked(hooks):
            # Logits are not needed.
            tokens = window.to(self._model.device)
            try:
                self.probe = body_of(self._model)(input_ids=tokens, use_cache=False)[0]
            except NotChainedError:
                raise ModelError(
                    "The blocks of this model do not simply follow each other, so "
                    "that they cannot be run one at a time.",
                    self._hint,
                ) from None
        if len(calls) != len(self._blocks):
            raise ModelError(
                "The {blocks} blocks of this model run {calls} times for a text, "
                "so that they cannot be run one at a time.",
                self._hint,
                blocks=len(self._blocks),
                calls=len(calls),
            )
        self._chain = _Chain(dim, others, tuple(written))
        _, without_blocks = self._inputs(window)
        if not are_equal([*map(by_name, calls)], [*map(by_name, without_blocks)]):
            raise self._not_of_tokens_alone()
        _CHAINS[self._model] = [*map(id, self._blocks)], self._chain
        return self._chain

    def _not_of_tokens_alone(self) -> ModelError:
        return ModelError(
            "The blocks of this model get arguments that depend on what earlier "
            "blocks compute, so that they cannot be run one at a time.",
            self._hint,
        )

    @torch.no_grad()
    def _inputs(self, tokens: Tensor) -> tuple[list[Tensor], list[Call]]:
        """Return the inputs of the blocks if each block returns its input."""
        hidden: list[Tensor] = []
        calls: list[Call] = []

        def note(*args: Any, **kwargs: Any) -> Any:
            states, call = split_hidden(args, kwargs)
            hidden.append(states.movedim(self._chain.dim, 0))
            calls.append(with_entries(call, {}))
            return self._as_output(states)

        # Their hooks may be recording.
        with _replaced(self._blocks, "_compiled_call_impl", note):
            self._run_body(tokens)
        return hidden, calls

    def _as_output(self, hidden: Tensor) -> Any:
        """Return hidden states as a block does."""
        if self._chain.others is None:
            return hidden
        return hidden, *[None] * self._chain.others

    def _run_body(self, tokens: Tensor) -> Tensor:
        tokens = tokens.to(self._model.device)
        return body_of(self._model)(input_ids=tokens, use_cache=False)[0]


def share_chain(
    model: PreTrainedModel, original: PreTrainedModel, blocks: Sequence[nn.Module]
) -> None:
    """Let a runner of an original know what runners of a model made from it have found.

    Nothing is known if the model has lost whole blocks.
    """
    ids, chain = _CHAINS.get(model, ([], None))
    if chain is not None and len(ids) == len(blocks):
        _CHAINS[original] = [*map(id, blocks)], chain


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


def replaced_forward(
    modules: Iterable[nn.Module], forward: Callable[..., Any]
) -> AbstractContextManager[None]:
    """Let modules compute something else for the length of a block of code."""
    return _replaced(modules, "forward", forward)


@contextmanager
def _replaced(
    modules: Iterable[nn.Module], name: str, function: Callable[..., Any]
) -> Iterator[None]:
    """Let modules have another function for the length of a block of code.

    `name` is `forward`, or `_compiled_call_impl`, which is called without hooks. The
    modules have no attribute of their own under it.
    """
    modules = tuple(modules)
    for module in modules:
        setattr(module, name, function)
    try:
        yield
    finally:
        for module in modules:
            delattr(module, name)


def _windows_dimension(hidden: Tensor, windows: Tensor) -> int:
    """Return the dimension of the windows.

    In Gemma 3n there are streams before it, in XLNet tokens.
    """
    places = range(hidden.ndim - 1)
    if hidden.shape[:2] == windows.shape[::-1] != windows.shape:
        return 1
    return next((n for n in places if hidden.shape[n : n + 2] == windows.shape), 0)
