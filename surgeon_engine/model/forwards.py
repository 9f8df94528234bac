"""The last hidden states of a model for many batches of windows.

Where the blocks of a model are offloaded, a forward reads the weights of all of them.
Each block then runs on all batches before the next one does, so that its weights are
read once, and the hidden states of all batches are kept between blocks. A model whose
blocks cannot be run one at a time runs batch by batch, like one that is on the device.
The numbers are the same to the last bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.block_runner import BlockRunner, hooked
from surgeon_engine.model.head import last_hidden
from surgeon_engine.model.layers import find_blocks
from surgeon_engine.model.offload import are_offloaded, on_device
from surgeon_engine.runtime.hidden_store import HiddenStore

Step = Callable[[], None]


class Forwards:
    """Forwards of a model, whose results can be asked for in the order of the batches.

    Each is what `last_hidden` returns: windows x length x hidden, on the device.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        batches: Iterable[Tensor],
        step: Step = lambda: None,
        *,
        steps: int | None = None,
        hooks: Callable[[], Iterable[RemovableHandle]] = tuple,
        store: HiddenStore | None = None,
    ) -> None:
        """Run nothing yet.

        Args:
            model: the model.
            batches: token ids, windows x length each.
            step: called evenly, the last time before the last batch is yielded.
            steps: how often it is called; None: as often as there are batches.
            hooks: registers hooks on modules inside the blocks, or on the blocks, for
                the forwards of the batches alone.
            store: keeps hidden states between blocks; None: a new one.
        """
        self._model = model
        self._batches = [tokens.cpu() for tokens in batches]
        self._step, self._hooks = step, hooks
        self._store = store or HiddenStore(model.device)
        count = len(self._batches)
        self._steps = count if steps is None else steps
        self._done, self._units = 0, count
        self._runner: BlockRunner | None = None
        # By batch: what follows the last block, until it is asked for.
        self._states: dict[int, Tensor] = {}
        self._has_begun = False

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the last hidden states of all batches."""
        return self.of(range(len(self._batches)))

    def of(self, numbers: Iterable[int]) -> Iterator[Tensor]:
        """Yield the last hidden states of these batches, which need not be all."""
        if not self._has_begun:
            self._has_begun = True
            self._run_blocks()
        with hooked(() if self._runner else self._hooks()):
            for number in numbers:
                if self._runner is None:
                    tokens = self._batches[number].to(self._model.device)
                    found = last_hidden(self._model, tokens)
                else:
                    states = [self._states.pop(number)]
                    found = self._runner.finish(states[0], number)
                    self._store.drop(states)
                self._count()
                yield found

    def _count(self) -> None:
        """Count a unit of work, and call `step` as often as that makes it due."""
        self._done += 1
        due = self._done * self._steps // self._units
        for _ in range(due - (self._done - 1) * self._steps // self._units):
            self._step()

    @torch.no_grad()
    def _run_blocks(self) -> None:
        """Run the blocks one at a time on all batches, if that saves time."""
        if len(self._batches) < 2:
            return
        try:
            blocks = find_blocks(self._model)
            if not are_offloaded(blocks):
                return
            self._runner = BlockRunner(
                self._model, blocks, self._batches, counts=(), store=self._store
            )
        except ModelError:  # they cannot be run one at a time
            return
        self._units *= 1 + len(blocks)  # the last one is what follows the blocks
        states = [self._store.keep(x) for x in self._runner.embedded()]
        with hooked(self._hooks()):
            for index, block in enumerate(blocks):
                with on_device(block):
                    for number, hidden in enumerate(states):
                        found = self._runner.run_exactly(index, hidden, number)
                        states[number] = _replaced(self._store, hidden, found)
                        self._count()
        self._states = dict(enumerate(states))


def hidden_of_window(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Return the last hidden states of a window: 1 x length x hidden.

    Where blocks are offloaded, a runner of the blocks learns from this forward how they
    follow each other, and need not read them for that.
    """
    blocks = find_blocks(model)
    if are_offloaded(blocks):
        with contextlib.suppress(ModelError):
            probe = BlockRunner(model, blocks, [tokens], counts=()).probe
            if probe is not None:
                return probe
    return last_hidden(model, tokens)


def _replaced(store: HiddenStore, kept: Tensor, new: Tensor) -> Tensor:
    """Return new hidden states in a store, in place of others."""
    if kept.shape == new.shape and kept.dtype == new.dtype:
        return kept.copy_(new)
    store.drop([kept])
    return store.keep(new)
