"""The arguments of decoder blocks, and the tensors that blocks write for later ones.

Some models share keys and values: all their blocks get one mapping, some write tensors
into it, and later ones read them. A recorded call has a copy of the mapping without
these, so that a block can run again with others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Call = tuple[tuple[Any, ...], dict[str, Any]]  # without the hidden states
# Whether two tensors are equal, by their ids; holds them, so that no others get these.
Compared = dict[tuple[int, int], tuple[bool, Tensor, Tensor]]
# The name of an argument that is a mapping, and a key in it.
Entry = tuple[str, Any]
Entries = Mapping[Entry, Sequence[Tensor]]


class NotChainedError(Exception):
    """A block gets other hidden states than the block before it returns, or more."""


def record_calls(
    blocks: Sequence[nn.Module],
    called: Callable[[int, Tensor, Call], None],
    wrote: Callable[[int, Entries], None],
) -> list[RemovableHandle]:
    """Return hooks that report the calls of blocks, and the entries that they write.

    Args:
        blocks: all decoder blocks.
        called: gets the number of a block, its hidden states and its other arguments,
            without entries that earlier blocks have written.
        wrote: gets the number of a block that has written entries, and the entries.

    A block may run on several batches before the next one does. The hooks raise
    NotChainedError.
    """
    output: Tensor | None = None  # from the block that ran last
    latest = -1
    runs = [0] * len(blocks)  # forwards of each block so far
    given: dict[Entry, Any] = {}  # entries that the present block gets
    written: set[Entry] = set()  # entries that earlier blocks have written

    def before(
        index: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        nonlocal given, output
        if index == 0:
            written.clear()
        hidden, call = split_hidden(args, kwargs)
        is_next = index == latest + 1 and runs[index] + 1 == runs[latest]
        if is_next and not _is_same(hidden, output):
            raise NotChainedError
        output = None
        given = entries_of(call)
        called(index, hidden, _without(call, written))

    def after(
        index: int,
        _: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        returned: Any,
    ) -> None:
        nonlocal output, latest
        latest = index
        runs[index] += 1
        if hasattr(returned, "_fields"):  # Reformer passes on two streams
            raise NotChainedError
        output = None if index == len(blocks) - 1 else first_of(returned)
        found = entries_of((args, kwargs))
        if new := {k: x for k, x in found.items() if x is not given.get(k)}:
            written.update(new)
            wrote(index, new)

    pairs = [
        (block, partial(before, n), partial(after, n)) for n, block in enumerate(blocks)
    ]
    return [
        handle
        for block, first, last in pairs
        for handle in (
            block.register_forward_pre_hook(first, with_kwargs=True),
            block.register_forward_hook(last, with_kwargs=True),
        )
    ]


def split_hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Call]:
    """Split the arguments of a block into the hidden states and the rest."""
    kwargs = dict(kwargs)
    hidden, *others = args or (kwargs.pop("hidden_states"),)
    return hidden, (tuple(others), kwargs)


def first_of(output: Any) -> Tensor:
    """Return the hidden states from the output of a block."""
    return output[0] if isinstance(output, tuple | list) else output


def by_name(call: Call) -> dict[int | str, Any]:
    """Return the arguments of a call by their places or names."""
    args, kwargs = call
    return dict(enumerate(args)) | kwargs


def replaced(call: Call, others: Mapping[int | str, Any]) -> Call:
    """Return a call with other values for some arguments, by places or names."""
    args, kwargs = call
    return tuple(others.get(n, x) for n, x in enumerate(args)), {
        name: others.get(name, x) for name, x in kwargs.items()
    }


def to_device(call: Call, device: torch.device) -> Call:
    """Return a call whose tensors are on a device."""
    tensors = {n: x for n, x in by_name(call).items() if isinstance(x, Tensor)}
    return replaced(call, {n: x.to(device) for n, x in tensors.items()})


def entries_of(call: Call) -> dict[Entry, Any]:
    """Return the entries of all mappings among the named arguments of a block."""
    return {
        (name, key): value
        for name, mapping in call[1].items()
        if isinstance(mapping, MutableMapping)
        for key, value in mapping.items()
    }


def with_entries(call: Call, entries: Entries) -> Call:
    """Return a call whose mappings are copies with some more entries."""
    args, kwargs = _without(call, ())
    for (name, key), tensors in entries.items():
        kwargs[name][key] = tuple(tensors)
    return args, kwargs


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
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(
            are_equal(one[key], other[key], compared) for key in one
        )
    return bool(one == other)


def _is_same(hidden: Tensor, output: Tensor | None) -> bool:
    """Return whether a block gets the output of the block before it, if it is known."""
    if output is None or hidden is output:
        return True
    return hidden.shape == output.shape and torch.equal(hidden, output.to(hidden))


def _without(call: Call, entries: Container[Entry]) -> Call:
    """Return a call whose mappings are copies without some of their entries."""
    args, kwargs = call
    kwargs = dict(kwargs)
    for name, mapping in kwargs.items():
        if isinstance(mapping, MutableMapping):
            kwargs[name] = copy.copy(mapping)
            for key in mapping:
                if (name, key) in entries:
                    del kwargs[name][key]
    return args, kwargs
