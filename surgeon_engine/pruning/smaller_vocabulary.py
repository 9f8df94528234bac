"""A model with a smaller vocabulary than its original.

Texts are in its own tokens, and so are the predictions of the original that it is
compared with (`evaluation/translation.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.calibration.windows import TokenWindows
from surgeon_engine.evaluation.bits import (
    OriginalTokens,
    bytes_of,
    common_bytes,
    losses_by_head,
)
from surgeon_engine.evaluation.evaluate import References
from surgeon_engine.evaluation.fidelity import Reference
from surgeon_engine.evaluation.translation import Translation, aligned_hidden
from surgeon_engine.model.head import head_bias, head_weight
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.vocabulary.recoding import Recoding, stretch
from surgeon_engine.model.vocabulary.smaller import kept_tokens, with_rows_beside
from surgeon_engine.model.vocabulary.tokens import token_bytes
from surgeon_engine.model.vocabulary.trimmed import trimmed_tokenizer
from surgeon_engine.runtime.shares import Batches


@dataclass(frozen=True, slots=True, eq=False)
class SmallerVocabulary:
    """The tokens that a model keeps, and how texts and predictions are translated."""

    recoding: Recoding
    translation: Translation
    lengths: Tensor  # int64: bytes of text of each token

    @property
    def kept(self) -> Tensor:
        """The original's number of each token that is predicted: int64, ascending."""
        return self.translation.kept

    @classmethod
    def of(cls, original: LoadedModel, kept: Tensor) -> SmallerVocabulary:
        """Return the vocabulary of some tokens of `original`, which is not changed.

        Rows of the head that the model needs beside them are kept, too; an embedding
        may have more, such as a row for images. `kept` are tokens of its tokenizer,
        int64, ascending.
        """
        tokenizer = original.tokenizer
        assert tokenizer is not None
        trimmed = trimmed_tokenizer(tokenizer, kept.tolist())
        recoding, lengths = Recoding(tokenizer, trimmed), token_bytes(trimmed)
        assert lengths is not None
        model = original.model
        bias = head_bias(model)
        size = len(head_weight(model))
        rows = with_rows_beside(original, kept)
        first = torch.full((size,), -1)
        pieces = torch.from_numpy(recoding.first_piece).long()[: len(first)]
        first[: len(pieces)] = pieces
        translation = Translation.of(
            head_weight(model).detach().clone(),
            None if bias is None else bias.detach().clone(),
            rows[rows < size],
            first,
        )
        return cls(recoding, translation, lengths)

    @classmethod
    def of_file(
        cls, original: LoadedModel, tokenizer: PreTrainedTokenizerBase
    ) -> SmallerVocabulary:
        """Return the vocabulary of a file that has the tokens of `tokenizer`.

        Raises:
            ModelError: They are not some of the original's.
        """
        assert original.tokenizer is not None
        return cls.of(original, kept_tokens(original.tokenizer, tokenizer))

    def windows(self, tokens: Tensor) -> Tensor:
        """Translate windows from the original's tokens into the model's.

        They are cut to the length that they had.
        """
        found, _ = self.recoding.windows(tokens.numpy())
        return torch.from_numpy(found).long()

    def reference(self, original: Reference) -> Reference:
        """Return what the original computes, at the tokens of the model."""
        return self._aligned(original)[0]

    def _aligned(self, original: Reference) -> tuple[Reference, Tensor]:
        """Return also the original's token that ends with each of the model."""
        found, at = self.recoding.windows(original.windows.numpy())
        positions = torch.from_numpy(at).long()
        places = Batches(positions, original.batch)
        hidden = [
            aligned_hidden(hidden, of_batch)
            for hidden, of_batch in zip(original.hidden, places, strict=True)
        ]
        windows = torch.from_numpy(found).long()
        found_there = Reference(windows, hidden, self.translation, stretch(at))
        return found_there, positions

    def references(self, originals: References, model: PreTrainedModel) -> References:
        """Return likewise what the original computes on the texts that judge.

        `model` gives logits by the original's head; it may have fewer tokens.
        """
        texts = tuple(
            (name, self._on_same_bytes(x, model)) for name, x in originals.texts
        )
        held_out = originals.held_out
        return References(texts, None if held_out is None else self.reference(held_out))

    def _on_same_bytes(self, original: Reference, model: PreTrainedModel) -> Reference:
        """Return a reference with the loss of the original by its own tokens."""
        found, positions = self._aligned(original)
        if original.bytes is None:
            return found
        by_batch = losses_by_head(
            model, original.batches(), self.translation.weight, self.translation.bias
        )
        nats = Batches(original.windows, original.batch).joined(by_batch)
        new_bytes = bytes_of(found.windows, self.lengths)
        ours, theirs = common_bytes(original.bytes, new_bytes, positions)
        own = OriginalTokens(nats, ours, positions)
        return replace(found, bytes=theirs, original=own)

    def token_windows(self, windows: TokenWindows) -> TokenWindows:
        """Return the windows of a run in the tokens of the model."""
        others = tuple(
            replace(text, windows=self.windows(text.windows)) for text in windows.others
        )
        return replace(
            windows,
            calibration=self.windows(windows.calibration),
            validation=self.windows(windows.validation),
            own=None if windows.own is None else self.windows(windows.own),
            shipped=None if windows.shipped is None else self.windows(windows.shipped),
            reserve=None,  # a training reads both in the tokens of the original
            later=(),
            others=others,
        )
