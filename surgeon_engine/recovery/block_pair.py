"""The original and the pruned model side by side, one block at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from surgeon_engine.base.sentences import say
from surgeon_engine.model.block_runner import ALL, BlockRunner
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.products import fast_products
from surgeon_engine.planning.constants import STEP_WINDOWS
from surgeon_engine.runtime.hidden_store import HiddenStore
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.shares import Batches

_USERS_SHARE = 0.3  # least share of the weights of a fit


@dataclass(frozen=True, slots=True, eq=False)
class RecoveryText:
    """Windows of tokens to fit, and held-out ones that judge."""

    fitted: Batches
    held_out: Batches
    users: int = 0  # number of the user's windows, the first ones to fit
    shipped: int = 0  # number of windows of the shipped text, the last ones to fit
    # The same text in the tokens of the original; None: the tokens are the same.
    in_original_tokens: RecoveryText | None = None

    @property
    def in_original(self) -> RecoveryText:
        """The windows in the tokens of the original."""
        return self.in_original_tokens or self

    def weights(self) -> Tensor:
        """Return how often each window to fit counts in a least-squares fit.

        The user's windows count more where there are few of them beside general text.
        """
        count = len(self.fitted.windows)
        found = torch.ones(count)
        if self.users:
            odds = _USERS_SHARE / (1 - _USERS_SHARE)
            found[: self.users] = max(1.0, odds * (count / self.users - 1))
        return found


class BlockPair:
    """A block of both models, and their hidden states before and after it.

    The states are lists of a tensor for each batch: windows x length x hidden; in
    Gemma 3n, which has several streams, windows x streams x length x hidden. Where
    several processes share a run, they cover the windows of this process.
    """

    def __init__(
        self,
        original: LoadedModel,
        pruned: LoadedModel,
        text: RecoveryText,
        store: HiddenStore,
        context: RunContext,
        kept_tokens: Tensor | None = None,
    ) -> None:
        """Start before the first block.

        Both models read the tokens of the pruned one. `kept_tokens` are their numbers
        in the original; None: they are the same.

        Raises:
            ModelError: the blocks of the model cannot be run one at a time.
        """
        windows = [*text.fitted, *text.held_out]
        of_original = windows
        if kept_tokens is not None:
            of_original = [kept_tokens[tokens] for tokens in windows]
        counts = range(1, STEP_WINDOWS + 1)
        weights = Batches(text.weights(), text.fitted.size)
        ones = [torch.ones(len(tokens)) for tokens in text.held_out]
        self._weights = [*weights, *ones]  # weights of the windows, by batch
        self.index = 0
        self.fitted = text.fitted  # the first of the batches
        self.is_held_out = [False] * len(text.fitted) + [True] * len(text.held_out)
        self.context = context
        self.original_blocks = original.blocks
        hint = say("Switch recovery off.")
        self._store, self._model = store, pruned.model
        self._original = BlockRunner(
            original.model, original.blocks, of_original, store=store, hint=hint
        )
        self._pruned = BlockRunner(
            pruned.model, pruned.blocks, windows, counts, store, hint
        )
        # The original's states before the block, and after it once it was run.
        self.before = [store.keep(x) for x in self._original.embedded()]
        self.after = [store.empty_like(x) for x in self.before]
        self.of_pruned = [store.keep(x) for x in self.before]  # before the block
        self.is_trained = False  # the pruned block, after its refit
        # The layer before which the block has stopped, and its inputs by batch.
        # `of_pruned` are then the residual streams before it.
        self._stopped_at: tuple[nn.Module, list[Tensor]] | None = None

    def run_original(self, number: int, rows: slice = ALL) -> Tensor:
        """Return the output of the original's block for windows of a batch."""
        hidden = self.before[number][rows]
        return self._original.run(self.index, hidden, number, rows)

    def run_pruned(self, hidden: Tensor, number: int, rows: slice = ALL) -> Tensor:
        """Return the output of the pruned model's block for windows of a batch."""
        return self._pruned.run(self.index, hidden, number, rows)

    def root_weights(self, number: int, rows: int) -> Tensor | None:
        """Return the root of the weight of each row of a batch, rows x 1; None: all 1.

        `rows` counts the rows of all windows of the batch, equally many of each.
        """
        weights = self._weights[number]
        if bool((weights == 1).all()):
            return None
        return weights.sqrt().repeat_interleave(rows // len(weights)).unsqueeze(1)

    def compute_after(self) -> None:
        """Run the original's block on all batches."""
        for number, after in enumerate(self.after):
            self.context.raise_if_cancelled()
            after.copy_(self.run_original(number))

    @property
    def may_stop(self) -> bool:
        """Whether the block may stop before its last layer while that is refitted.

        `advance` then runs this layer alone. On a CPU, that saves one of three runs.
        """
        return (
            not self.is_trained
            and self._model.device.type == "cpu"
            and not self._pruned.writes(self.index)
            and bool(self.of_pruned)  # this process has windows
            and self.of_pruned[0].dtype == torch.float32
        )

    def stop_before(
        self, layer: nn.Module, number: int, inputs: Tensor, stream: Tensor
    ) -> None:
        """Keep the inputs of the block's last layer on a batch, for `advance`.

        `layer` adds its output to the stream, which has a row per token before it.
        """
        if self._stopped_at is None:
            self._stopped_at = layer, []
        self._stopped_at[1].append(self._store.move(inputs))
        self.of_pruned[number].copy_(stream.view(self.of_pruned[number].shape))

    def advance(self) -> None:
        """Run the pruned model's block on all batches, and go on to the next block."""
        for number, hidden in enumerate(self.of_pruned):
            self.context.raise_if_cancelled()
            if self._stopped_at is None:
                hidden.copy_(self.run_pruned(hidden, number))
            else:
                layer, inputs = self._stopped_at
                with fast_products(self._model):
                    hidden += layer(inputs[number]).view(hidden.shape)
        if self._stopped_at is not None:
            self._store.drop(self._stopped_at[1])
            self._stopped_at = None
        self.before, self.after = self.after, self.before
        self.index += 1
