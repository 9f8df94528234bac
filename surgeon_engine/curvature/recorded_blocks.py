"""The inputs and outputs of blocks in a forward, and the gradients that they pass back.

A block passes its hidden states to the next one. In some models it also writes tensors
for later ones, such as keys and values. Each of their readers adds its gradient to
them, and the block that wrote them propagates the sum with the gradient of its hidden
states. Tensors of a batch are kept on the device, on the host or in files, as memory
allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from surgeon_engine.model.block_calls import (
    Call,
    Compared,
    Entries,
    Entry,
    are_equal,
    by_name,
    entries_of,
    first_of,
    record_calls,
    replaced,
    to_device,
    with_entries,
)
from surgeon_engine.runtime.hidden_store import HiddenStore


@dataclass(slots=True, eq=False)
class Shared:
    """Tensors that a block has written for later ones, of one batch."""

    tensors: list[Tensor]  # in the store
    # For each draw of the labels, the sum over the readers so far; in the store, too.
    gradients: list[list[Tensor]] = field(default_factory=list)

    def add(
        self, draw: int, gradients: Sequence[Tensor | None], store: HiddenStore
    ) -> None:
        """Add the gradients of a reader; None: it has not read that tensor."""
        if all(x is None for x in gradients):
            return
        if draw == len(self.gradients):
            zeros = map(torch.zeros_like, self.tensors)
            self.gradients.append([store.keep(x) for x in zeros])
        for total, x in zip(self.gradients[draw], gradients, strict=True):
            if x is not None:
                total += x.to(total.device)


@dataclass(slots=True, eq=False)
class RecordedBlock:
    """A block in the forward of a batch."""

    hidden: Tensor  # its input: batch x length x hidden, in the store
    call: Call  # its other arguments; equal ones are held once
    own: list[Tensor]  # arguments of this batch alone, in the store
    read: dict[Entry, Shared]  # tensors that earlier blocks have written
    written: dict[Entry, Shared] = field(default_factory=dict)

    def backward(
        self,
        block: nn.Module,
        gradients: Sequence[Tensor],
        device: torch.device,
        store: HiddenStore,
    ) -> Iterator[None]:
        """Run the block again; yield after its backward for each draw of the labels.

        `gradients` are the gradients of its output, for each draw. In place, they
        become the gradients of its input.
        """
        leaf = _leaf(self.hidden, device)
        leaves = {
            entry: [_leaf(x, device) for x in shared.tensors]
            for entry, shared in self.read.items()
        }
        args, kwargs = call = with_entries(to_device(self.call, device), leaves)
        outputs = [first_of(block(leaf, *args, **kwargs))]
        inputs = [leaf, *(x for tensors in leaves.values() for x in tensors)]
        written, found = entries_of(call), []
        for entry, shared in self.written.items():
            if shared.gradients:  # a block has read it
                outputs += written[entry]
                found.append(shared)
        for draw, gradient in enumerate(gradients):
            of_written = [x for shared in found for x in shared.gradients[draw]]
            back, *of_read = torch.autograd.grad(
                outputs,
                inputs,
                [x.to(device) for x in (gradient, *of_written)],
                retain_graph=draw < len(gradients) - 1,
                allow_unused=bool(leaves),
            )
            gradient.copy_(back)
            rest = iter(of_read)
            for shared in self.read.values():
                shared.add(draw, [*islice(rest, len(shared.tensors))], store)
            yield

    def kept(self) -> list[Tensor]:
        """Return its tensors in the store."""
        found = [self.hidden, *self.own]
        for shared in self.written.values():
            found += shared.tensors
            found += [x for gradients in shared.gradients for x in gradients]
        return found


class BlockRecorder:
    """Records the blocks in forwards, which may go on to the next block together."""

    def __init__(self, blocks: Sequence[nn.Module], store: HiddenStore) -> None:
        self.found: list[list[RecordedBlock]] = [[] for _ in blocks]  # x batches
        self._blocks, self._store = blocks, store
        self._first: dict[tuple[int, torch.Size], Call] = {}  # by block and shape
        # The tensors that have been compared, of the present batch.
        self._batch = 0
        self._compared: Compared = {}
        # Tensors that the blocks have written so far, by batch.
        self._written: list[dict[Entry, Shared]] = []

    def hooks(self) -> list[RemovableHandle]:
        """Return the hooks that record."""
        return record_calls(self._blocks, self._called, self._wrote)

    def _called(self, index: int, hidden: Tensor, call: Call) -> None:
        batch = len(self.found[index])
        if batch != self._batch:
            self._compared.clear()
        self._batch = batch
        while batch >= len(self._written):
            self._written.append({})
        first = self._first.setdefault((index, hidden.shape), call)
        own: list[Tensor] = []
        if are_equal(call, first, self._compared):
            call = first
        else:
            call, own = self._own(call, first)
        kept = self._store.keep(hidden.detach())
        read = dict(self._written[batch])
        self.found[index].append(RecordedBlock(kept, call, own, read))

    def _own(self, call: Call, first: Call) -> tuple[Call, list[Tensor]]:
        """Return a call with arguments of the first or in the store, and the latter."""
        earlier, arguments, own = by_name(first), by_name(call), []
        for name, x in arguments.items():
            if are_equal(x, earlier.get(name), self._compared):
                arguments[name] = earlier[name]
            elif isinstance(x, Tensor):
                arguments[name] = self._store.keep(x)
                own.append(arguments[name])
        return replaced(call, arguments), own

    def _wrote(self, index: int, entries: Entries) -> None:
        written = {
            entry: Shared([self._store.keep(x) for x in tensors])
            for entry, tensors in entries.items()
        }
        self.found[index][-1].written = written
        self._written[len(self.found[index]) - 1] |= written


def _leaf(x: Tensor, device: torch.device) -> Tensor:
    return x.detach().to(device).requires_grad_()
