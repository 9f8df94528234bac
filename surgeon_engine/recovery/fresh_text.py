"""New text for each epoch of a long training; the original writes a part meanwhile.

What limits recovery is text, not the optimizer: windows that were fitted are close to
the original long before those that were not. The first epoch reads the windows that the
refit has read. Each later one reads as many new ones: of the user's text, which begins
again when all its windows have been read, and of general text. Most of these are
shipped, since writing takes as long as training. When the shipped text is used up, it
begins again, and the original writes as much as for the first epoch. Own text is kept
in the user's cache (`calibration/own_samples.py`), so that an interrupted training goes
on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from surgeon_engine.calibration.own_samples import (
    Author,
    OwnText,
    own_samples,
    own_text,
)
from surgeon_engine.evaluation.fidelity import Reference
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.planning.constants import later_shipped
from surgeon_engine.pruning.smaller_vocabulary import SmallerVocabulary
from surgeon_engine.recovery.judge import predictions
from surgeon_engine.runtime.hidden_store import HiddenStore
from surgeon_engine.runtime.shares import Batches

_SEEDS = 1_000  # between the text of the refit, that judges, and that of later epochs


@dataclass(slots=True, eq=False)
class FreshText:
    """The text of each epoch; only that of the latest one is held.

    Args:
        original: The model before anything was removed.
        latest: The text of the first epoch, with the original's last hidden states.
        users: For each of the user's windows, which come first in the text, what one
            epoch after the other reads in its place: windows x length, in the tokens of
            the original. After the last one, it begins again.
        pool: Windows of the shipped text: of the first epoch, then of later ones.
        shipped: How many of them the first epoch reads.
        seed: Calibration seed; each epoch derives its own.
        store: Holds the hidden states.
        vocabulary: Of the pruned model; None: that of the original.
    """

    original: LoadedModel
    latest: Reference
    users: Sequence[Tensor]
    pool: Tensor
    shipped: int
    seed: int
    store: HiddenStore
    vocabulary: SmallerVocabulary | None = None

    def next(self, epoch: int, step: Callable[[], None]) -> Reference:
        """Return the text of an epoch after the first; that of the latest is dropped.

        `step` is called after each token that is written, and each batch.

        Raises:
            EvaluationError: The predictions of the original are not finite.
        """
        batch, text, model = self.latest.batch, self.text_of(epoch), self.original.model
        written = own_samples(model, text, step)
        users = torch.stack([each[epoch % len(each)] for each in self.users])
        windows = Batches(torch.cat([users, written, self._shipped(epoch)]), batch)
        self.store.drop(self.latest.hidden)
        found = predictions(model, windows, step, self.vocabulary)
        kept = [self.store.move(x) for x in found.hidden]
        self.latest = replace(found, hidden=kept)
        return self.latest

    def text_of(self, epoch: int) -> OwnText:
        """Return what determines the windows that the original writes for an epoch."""
        found = self.original
        author = Author(
            found.files, found.model.dtype, found.model.config, found.tokenizer
        )
        general, length = self._general, self.latest.windows.shape[1]
        seed = self.seed + _SEEDS + epoch
        return own_text(author, general - len(self._shipped(epoch)), length, seed)

    @property
    def _general(self) -> int:
        """The number of windows of general text in each epoch."""
        return len(self.latest.windows) - len(self.users)

    def _shipped(self, epoch: int) -> Tensor:
        """Return the shipped windows of an epoch after the first."""
        count = len(self.pool)
        found = later_shipped(epoch, self._general, self.shipped, count)
        return self.pool[torch.arange(found.start, found.stop) % max(1, count)]
