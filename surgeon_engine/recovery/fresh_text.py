"""New text for each epoch of a long training: the original writes it meanwhile.

What limits recovery is text, not the optimizer: windows that were fitted are close to
the original long before those that were not. The first epoch reads the windows that the
refit has read. Each later one reads the user's windows again, and as many new ones of
the original's own text as the first had. They are kept in the user's cache like all own
text (`calibration/own_samples.py`), so that an interrupted training goes on with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.calibration.own_samples import (
    Author,
    OwnText,
    own_samples,
    own_text,
)
from surgeon_engine.evaluation.fidelity import Reference, reference_of
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.products import fast_products

_SEEDS = 1_000  # between the text of the refit, that judges, and that of later epochs


@dataclass(frozen=True, slots=True, eq=False)
class FreshText:
    """The text of each epoch.

    Args:
        original: The model before anything was removed.
        first: The text of the first epoch, with the original's last hidden states.
        users: The user's windows of `first`, windows x length.
        seed: Of the calibration; each epoch has one of its own.
    """

    original: LoadedModel
    first: Reference
    users: Tensor
    seed: int

    def of(self, epoch: int, step: Callable[[], None]) -> Reference:
        """Return the windows of an epoch, from 0 on, and the original's hidden states.

        `step` is called after each token that is written, and each batch.

        Raises:
            EvaluationError: The predictions of the original are not finite.
        """
        if epoch == 0:
            return self.first
        text, model = self.text_of(epoch), self.original.model
        windows = torch.cat([self.users, own_samples(model, text, step)])
        with fast_products(model):
            return reference_of(model, windows, self.first.batch, step)

    def text_of(self, epoch: int) -> OwnText:
        """Return what determines the windows that the original writes for an epoch."""
        found = self.original
        author = Author(
            found.files, found.model.dtype, found.model.config, found.tokenizer
        )
        count, length = self.first.windows.shape
        seed = self.seed + _SEEDS + epoch
        return own_text(author, count - len(self.users), length, seed)
