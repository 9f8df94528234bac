"""New text for each epoch of a training; for later ones, the original writes a part.

What limits recovery is text, not the optimizer: windows that were fitted are close to
the original long before other windows. So each epoch reads as many windows as the
refit, and others than the epochs before it: of the user's text, which begins again when
all its windows have been read, and of general text. Most of the general text is
shipped, since writing takes as long as training; the first epoch has some of the
refit's own text. When the shipped text is used up, it begins again, and the original
writes as much as for the refit. Own text is kept in the user's cache
(`calibration/own_samples.py`), so that an interrupted training goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from surgeon_engine.calibration.own_samples import Author, own_samples, own_text
from surgeon_engine.evaluation.fidelity import Reference
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.planning.windows import shipped_of_epoch
from surgeon_engine.pruning.smaller_vocabulary import SmallerVocabulary
from surgeon_engine.recovery.judge import KeptText, predictions
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.hidden_store import HiddenStore
from surgeon_engine.runtime.shares import Batches

_SEEDS = 1_000  # offset of later epochs' seeds from the refit's and the judging text's


@dataclass(slots=True, eq=False)
class FreshText:
    """The text of each epoch; only the latest text is held.

    Args:
        original: The model before anything was removed.
        users: For each of the user's windows, which come first in the text, the windows
            that the refit and one epoch after the other read in its place: windows x
            length, in the original's tokens. After the last one, it begins again.
        own: The windows of the refit that the original has written.
        pool: Windows of the shipped text: of the refit, then of the epochs.
        shipped: How many of them the refit reads.
        batch: Windows of a batch.
        seed: Calibration seed; each epoch derives its own.
        store: Holds the hidden states.
        vocabulary: Vocabulary of the pruned model; None: the same as the original's.
        kept: Hidden states that runs of the original share, for the first epoch.
    """

    original: LoadedModel | None
    users: Sequence[Tensor]
    own: Tensor
    pool: Tensor
    shipped: int
    batch: int
    seed: int
    store: HiddenStore
    vocabulary: SmallerVocabulary | None = None
    kept: KeptText | None = None
    _held: list[Tensor] = field(default_factory=list)  # latest hidden states

    @property
    def windows(self) -> int:
        """The number of windows of each epoch."""
        return len(self.users) + self._general

    def of_epoch(self, epoch: int, step: Callable[[], None]) -> Reference:
        """Return the text of an epoch, from 1; the text of the one before is dropped.

        `step` is called after each token that is written, and each batch.

        Raises:
            EvaluationError: The predictions of the original are not finite.
        """
        assert self.original is not None
        size = len(self.pool)
        places = shipped_of_epoch(epoch, self._general, self.shipped, size)
        shipped = self.pool[torch.arange(places.start, places.stop) % max(1, size)]
        own = self._own(self.original, epoch, self._general - len(shipped), step)
        users = [each[epoch % len(each), None] for each in self.users]
        batches = Batches(torch.cat([*users, own, shipped]), self.batch)
        self.store.drop(self._held)
        kept = self.kept if epoch == 1 else None
        model = self.original.model
        found = predictions(model, batches, step, self.vocabulary, kept)
        self._held = [self.store.move(x) for x in found.hidden]
        return replace(found, hidden=self._held)

    def release_original(self) -> None:
        """Forget the original, after the last epoch."""
        self.original = None
        devices.release_memory()

    def _own(
        self, original: LoadedModel, epoch: int, count: int, step: Callable[[], None]
    ) -> Tensor:
        """Return windows that the original writes for an epoch; the first has old ones.

        `step` is called after each token.
        """
        if epoch == 1 or not count:
            return self.own[torch.arange(count) * len(self.own) // max(1, count)]
        model = original.model
        author = Author(original.files, model.dtype, model.config, original.tokenizer)
        seed = self.seed + _SEEDS + epoch
        text = own_text(author, count, self.own.shape[1], seed)
        return own_samples(model, text, step)

    @property
    def _general(self) -> int:
        """The number of windows of general text in each epoch."""
        return len(self.own) + self.shipped
