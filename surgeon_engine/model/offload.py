"""Keep the weights of the blocks on the host; move one block at a time to the device.

    with on_device(block):                  # its weights are on the device
    with on_device(block, changes=True):    # and changed weights return to the host

The forward of an offloaded block does the first by itself. On CUDA, the weights of the
next block are copied from pinned memory while a block computes. Blocks may follow each
other forwards or backwards: the next one is guessed from the last two.

Where the host is short of memory, or is the device itself, weights stay in the
memory-mapped files of the model and take no memory of their own: the system reads the
files of the next block while a block computes. Weights that change go to temporary
files. A block that is not offloaded is always on the device.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from surgeon_engine.runtime.mapped_tensors import MappedTensors, read_ahead

_OF_BLOCK: weakref.WeakKeyDictionary[nn.Module, tuple[OffloadedBlocks, int]] = (
    weakref.WeakKeyDictionary()
)


def on_device(
    block: nn.Module, *, changes: bool = False
) -> AbstractContextManager[None]:
    """Return a context in which the weights of a block are on the device.

    With `changes`, the weights may change.
    """
    found = _OF_BLOCK.get(block)
    if found is None:
        return nullcontext()
    blocks, index = found
    return blocks.on_device(index, changes=changes)


def are_offloaded(blocks: Iterable[nn.Module]) -> bool:
    """Return whether the weights of blocks are on the host, or in files."""
    return any(block in _OF_BLOCK for block in blocks)


def adopt(
    block: nn.Module, new: Iterable[nn.Parameter], old: Iterable[nn.Parameter]
) -> None:
    """Keep new weights of a block where its others are, if it is offloaded.

    The caller no longer needs the `old` ones that the `new` ones replace.
    """
    if (found := _OF_BLOCK.get(block)) is not None:
        found[0].adopt(new, old)


def left_on_host(blocks: Iterable[nn.Module]) -> AbstractContextManager[None]:
    """Let blocks be called without their weights, which nothing reads meanwhile."""
    return _without("are_read", blocks)


def one_at_a_time(blocks: Iterable[nn.Module]) -> AbstractContextManager[None]:
    """Copy no block ahead: where each is worked on for long, that saves no time."""
    return _without("copies_ahead", blocks)


@contextmanager
def _without(attribute: str, blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Set an attribute of the offloaded models of these blocks to false meanwhile."""
    found = (_OF_BLOCK.get(block) for block in blocks)
    offloaded = {blocks for blocks, _ in filter(None, found)}
    for each in offloaded:
        setattr(each, attribute, False)
    try:
        yield
    finally:
        for each in offloaded:
            setattr(each, attribute, True)


@dataclass(slots=True)
class _Visit:
    """The stay of a block on the device."""

    depth: int = 0
    changes: bool = False
    homes: list[tuple[nn.Parameter, Tensor]] = field(default_factory=list)


class OffloadedBlocks:
    """The decoder blocks of a model whose weights are on the host."""

    def __init__(
        self,
        model: PreTrainedModel,
        blocks: Sequence[nn.Module],
        device: torch.device,
        *,
        in_files: bool,
    ) -> None:
        """Move all but the weights of the blocks to the device.

        With `in_files`, the weights stay in files, and are not copied to pinned memory.
        """
        self.are_read = True  # the forwards of the blocks read their weights
        self.copies_ahead = True
        self._blocks, self._device = tuple(blocks), device
        self._visits = [_Visit() for _ in blocks]
        self._pending: dict[int, _Copies] = {}
        self._latest = -1
        self._files = MappedTensors() if in_files else None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        own = {id(p) for block in blocks for p in block.parameters()}
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                if id(parameter) not in own:
                    set_data(parameter, parameter.data.to(device))
                elif not in_files:
                    self.adopt([parameter])
            for name, buffer in module.named_buffers(recurse=False):
                module._buffers[name] = buffer.to(device)
        for index, block in enumerate(blocks):
            _OF_BLOCK[block] = self, index
            block.register_forward_pre_hook(partial(self._before, index))
            block.register_forward_hook(partial(self._after, index), always_call=True)

    @contextmanager
    def on_device(self, index: int, *, changes: bool = False) -> Iterator[None]:
        """Keep the weights of a block on the device; visits may be nested."""
        self._enter(index, changes=changes)
        try:
            yield
        finally:
            self._leave(index)

    def adopt(
        self, new: Iterable[nn.Parameter], old: Iterable[nn.Parameter] = ()
    ) -> None:
        """Move new weights to pinned memory or to temporary files; drop old ones."""
        if self._files is not None:
            for parameter in old:
                self._files.drop(parameter.data)
        for parameter in new:
            if self._files is not None:
                set_data(parameter, self._files.keep(parameter.data))
            elif self._stream is not None:
                set_data(parameter, parameter.data.pin_memory())

    def _before(self, index: int, *_: object) -> None:
        if self.are_read:
            self._enter(index)

    def _after(self, index: int, *_: object) -> None:
        if self.are_read:
            self._leave(index)

    def _enter(self, index: int, *, changes: bool = False) -> None:
        visit = self._visits[index]
        visit.depth += 1
        if visit.depth == 1:
            visit.homes = [
                (p, p.data)
                for p in self._blocks[index].parameters()
                if p.device.type == "cpu"  # low-rank adapters are on the device
            ]
            self._move_in(index, [p for p, _ in visit.homes])
            self._look_ahead(index)
        if changes and not visit.changes:
            visit.changes = True
            self._give_files(visit)

    def _move_in(self, index: int, parameters: list[nn.Parameter]) -> None:
        if self._device.type == "cpu":
            return
        if self._stream is None:
            for parameter in parameters:
                set_data(parameter, parameter.data.to(self._device))
            return
        copies = self._pending.pop(index, None)
        if copies is None or not copies.are_of(parameters):
            copies = _Copies(parameters, self._stream)
        for parameter, copy in zip(parameters, copies.wait(), strict=True):
            set_data(parameter, copy)

    def _look_ahead(self, index: int) -> None:
        """Begin to copy the block that is expected next, or to read its files."""
        step = index - self._latest
        self._latest = index
        following = index + step
        self._pending.clear()  # a wrong guess
        is_there = abs(step) == 1 and following in range(len(self._blocks))
        if not is_there or self._visits[following].depth:
            return
        block = self._blocks[following]
        parameters = [p for p in block.parameters() if p.device.type == "cpu"]
        if self._files is not None:
            read_ahead(p.data for p in parameters)
        elif self._stream is not None and self.copies_ahead:
            self._pending[following] = _Copies(parameters, self._stream)

    def _give_files(self, visit: _Visit) -> None:
        """Give temporary files to weights that are in the files of the model.

        Beside a device they are written when the visit ends.
        """
        if self._files is None:
            return
        for number, (parameter, home) in enumerate(visit.homes):
            if self._files.holds(home):
                continue
            if self._device.type == "cpu":
                kept = self._files.keep(home)
                set_data(parameter, kept)
            else:
                kept = self._files.zeros(home.shape, home.dtype)
            visit.homes[number] = parameter, kept

    def _leave(self, index: int) -> None:
        visit = self._visits[index]
        visit.depth -= 1
        if visit.depth:
            return
        for parameter, home in visit.homes:
            found = parameter.data
            if visit.changes and found.data_ptr() != home.data_ptr():
                home.copy_(found)
            set_data(parameter, home)
        self._visits[index] = _Visit()


class _Copies:
    """Copies of parameters on the device, which may still be on their way."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], stream: torch.cuda.Stream
    ) -> None:
        self._versions = [(id(p), p._version) for p in parameters]
        with torch.cuda.stream(stream):
            self._tensors = [
                p.data.to(stream.device, non_blocking=True) for p in parameters
            ]
            self._done = stream.record_event()

    def are_of(self, parameters: Sequence[nn.Parameter]) -> bool:
        """Return whether these are copies of the parameters as they are now."""
        return self._versions == [(id(p), p._version) for p in parameters]

    def wait(self) -> list[Tensor]:
        """Return the copies, for the current stream."""
        stream = torch.cuda.current_stream()
        stream.wait_event(self._done)
        for x in self._tensors:
            x.record_stream(stream)
        return self._tensors


def set_data(parameter: nn.Parameter, data: Tensor) -> None:
    """Let a parameter have other numbers, perhaps on another device."""
    parameter.data = data
