"""Windows of the original's tokens, in the tokens of a trimmed tokenizer.

A window may begin and end within a word, or even within a character. Its text is
encoded anew, and the result is compared with the original by the bytes at which tokens
end. The places at which both have an end divide the window into sections. A section of
kept tokens keeps them; only sections with a removed token take the new encoding.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import PreTokenizer
from transformers import PreTrainedTokenizerBase

from surgeon_engine.base.decoding import decode_json, encode_json
from surgeon_engine.model.vocabulary.definition import (
    SPACE,
    Definition,
    Kind,
    definition_of,
    steps,
)

# Bytes that are no UTF-8, as Python decodes them.
_NO_TEXT = re.compile("([\udc80-\udcff]+)")


class Recoding:
    """The tokens of a tokenizer in the tokens of its `trimmed_tokenizer`."""

    def __init__(
        self, original: PreTrainedTokenizerBase, trimmed: PreTrainedTokenizerBase
    ) -> None:
        before, after = definition_of(original), definition_of(trimmed)
        # The last entry stands for all rows of an embedding without a token.
        self._pieces, self._new_pieces = (*before.pieces, None), after.pieces
        ids = [-1 if x is None else after.ids.get(x, -1) for x in before.names]
        self.new_ids = np.array([*ids, -1], np.int64)
        self._separate = {  # kept, and found before a text is split
            x["id"]
            for x in before.added
            if self.new_ids[x["id"]] >= 0 and not before.is_in_model(x["content"])
        }
        self._lengths = _lengths(self._pieces)
        self._new_lengths = _lengths(after.pieces)
        self._encoder = _Encoder(trimmed, after)
        self._end = _end_of_text(trimmed)
        self._splits = self._encoded_pieces(before)
        self.first_piece = self.new_ids[:-1].copy()
        for token, split in self._splits.items():
            self.first_piece[token] = split[0] if split else -1

    def windows(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encode windows anew.

        Args:
            tokens: Windows of the original's tokens [n, L]; its model may also write
                rows of its embedding without a token, which become the end of a text.

        Returns:
            The new tokens [n, L], cut at the end or continued with the end-of-text
            token; and for each the index of the original token that ends at the same
            byte [n, L], -1 where none does.
        """
        count, length = tokens.shape
        found = np.full((count, length), self._end, np.int64)
        positions = np.full((count, length), -1, np.int64)
        for row, (new, at) in enumerate(self.rows(tokens)):
            found[row, : len(new)] = new[:length]
            positions[row, : len(at)] = at[:length]
        return found, positions

    def rows(self, tokens: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Encode windows anew, like `windows`, but yield each as long as it becomes."""
        tokens = np.minimum(tokens, len(self.new_ids) - 1)
        is_changed = (self.new_ids[tokens] < 0).any(axis=1)
        encoded = iter(self._encoded_rows(tokens[is_changed]))
        for old, has_removed in zip(tokens, is_changed, strict=True):
            if has_removed:
                yield self._aligned(old, next(encoded))
            else:
                yield self.new_ids[old], np.arange(len(old))

    def _encoded_pieces(self, before: Definition) -> dict[int, list[int]]:
        """Return the new tokens of each removed token."""
        removed = [
            token
            for token in np.flatnonzero(self.new_ids < 0).tolist()
            if self._pieces[token] is not None
        ]
        encoded = self._encoder.names([before.names[token] or "" for token in removed])
        splits = {}
        for token, split in zip(removed, encoded, strict=True):
            piece = self._pieces[token] or b""
            is_equal = self._text(split) == piece
            splits[token] = split if is_equal else self._encoder.bytes(piece)
        return splits

    def _encoded_rows(self, tokens: np.ndarray) -> list[np.ndarray]:
        """Encode the text of each row anew; special tokens remain."""
        rows = [self._segments(row) for row in tokens.tolist()]
        texts = [x.text for row in rows for x in row if x.text]
        encoded = iter(self._encoder.texts(texts))
        found = []
        for row in rows:
            ids: list[int] = []
            for segment in row:
                new = next(encoded) if segment.text else []
                if segment.text and self._text(new) != segment.text:
                    new = self._split(segment.tokens)
                ids += new if segment.text else self._special(segment.tokens)
            found.append(np.array(ids, np.int64))
        return found

    def _segments(self, row: list[int]) -> list[_Segment]:
        """Divide a window at special and added tokens."""
        segments: list[_Segment] = []
        text: list[int] = []
        for token in [*row, None]:
            if token is not None and self._is_text(token):
                text.append(token)
                continue
            if text:
                data = b"".join(self._pieces[x] or b"" for x in text)
                segments.append(_Segment(text, data))
                text = []
            if token is not None:
                segments.append(_Segment([token], b""))
        return segments

    def _is_text(self, token: int) -> bool:
        return self._pieces[token] is not None and token not in self._separate

    def _text(self, tokens: Iterable[int]) -> bytes:
        """Return the bytes of new tokens; special ones have none."""
        return b"".join(self._new_pieces[token] or b"" for token in tokens)

    def _split(self, tokens: Iterable[int]) -> list[int]:
        """Replace each removed token alone."""
        found: list[int] = []
        for token in tokens:
            found += self._splits.get(token) or self._special([token])
        return found

    def _special(self, tokens: Iterable[int]) -> list[int]:
        new = [int(self.new_ids[token]) for token in tokens]
        return [self._end if token < 0 else token for token in new]

    def _aligned(
        self, old: np.ndarray, new: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of all sections, and the index of the old token of each."""
        old_ends = np.cumsum(self._lengths[old])
        new_ends = np.cumsum(self._new_lengths[new])
        common = np.intersect1d(old_ends, new_ends, assume_unique=True)
        kept_ids = self.new_ids[old]
        old_sections = np.searchsorted(common, old_ends)
        new_sections = np.searchsorted(common, new_ends)
        is_changed = np.zeros(len(common) + 1, bool)
        is_changed[old_sections[kept_ids < 0]] = True
        from_old, from_new = ~is_changed[old_sections], is_changed[new_sections]
        ends = np.concatenate([old_ends[from_old], new_ends[from_new]])
        tokens = np.concatenate([kept_ids[from_old], new[from_new]])
        order = np.argsort(ends)
        ends, tokens = ends[order], tokens[order]
        at = np.minimum(np.searchsorted(old_ends, ends), len(old) - 1)
        return tokens, np.where(old_ends[at] == ends, at, -1)


def stretch(positions: np.ndarray) -> float:
    """Return how many new tokens there are for each of the original's, in windows.

    `positions` come from `Recoding.windows`.
    """
    new = old = 0
    for row in positions:
        last = int(np.flatnonzero(row >= 0)[-1])
        new, old = new + last, old + int(row[last])
    return new / max(1, old)


@dataclass(frozen=True, slots=True)
class _Segment:
    """Tokens of a text, or a special token."""

    tokens: list[int]
    text: bytes  # empty: a special token


class _Encoder:
    """Encodes texts without special tokens, and without a space in front."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, definition: Definition
    ) -> None:
        self._ids = definition.ids
        self._definition = definition
        self._replaces_spaces = definition.kind is not Kind.BYTES
        # No normalizer: the texts come from tokens, which are normalized.
        model = tokenizer.backend_tokenizer.model
        self._of_names, self._of_texts = Tokenizer(model), Tokenizer(model)
        self._of_texts.pre_tokenizer = _without_prefix(definition)
        self._of_texts.add_tokens(
            [
                AddedToken(x["content"], normalized=False)
                for x in definition.added
                if not x["special"] and definition.is_in_model(x["content"])
            ]
        )

    def names(self, names: Sequence[str]) -> list[list[int]]:
        """Encode names of tokens, which need not be whole characters."""
        encoded = self._of_names.encode_batch_fast(names, add_special_tokens=False)
        return [encoding.ids for encoding in encoded]

    def texts(self, texts: Sequence[bytes]) -> list[list[int]]:
        """Encode texts; bytes that are no UTF-8 are encoded apart."""
        divided = [_NO_TEXT.split(x.decode("utf-8", "surrogateescape")) for x in texts]
        plain = [part for parts in divided for part in parts[::2] if part]
        if self._replaces_spaces:
            plain = [text.replace(" ", SPACE) for text in plain]
        encoded = iter(
            self._of_texts.encode_batch_fast(plain, add_special_tokens=False)
        )
        found = []
        for parts in divided:
            ids: list[int] = []
            for n, part in enumerate(parts):
                if n % 2:
                    ids += self.bytes(part.encode("utf-8", "surrogateescape"))
                elif part:
                    ids += next(encoded).ids
            found.append(ids)
        return found

    def bytes(self, data: bytes) -> list[int]:
        """Encode bytes as they are; return no tokens if there are none for bytes."""
        names = [self._definition.name_of_byte(byte) for byte in data]
        if not all(name in self._ids for name in names):
            return []
        if self._definition.kind is Kind.BYTES:
            return self.names(["".join(names)])[0]
        return [self._ids[name] for name in names]


def _without_prefix(definition: Definition) -> PreTokenizer | None:
    """Return the pre-tokenizer, changed so that it puts no space before a text."""
    empty = Tokenizer(BPE()).to_str()
    content = decode_json(empty.encode(), dict[str, Any]) | {
        "pre_tokenizer": copy.deepcopy(definition.content["pre_tokenizer"])
    }
    for step in steps(content["pre_tokenizer"]):
        if step["type"] == "ByteLevel":
            step["add_prefix_space"] = False
        elif step["type"] == "Metaspace":
            step["prepend_scheme"] = "never"
    return Tokenizer.from_str(encode_json(content).decode()).pre_tokenizer


def _lengths(pieces: Sequence[bytes | None]) -> np.ndarray:
    """Return the bytes of each token; a special token counts as one byte."""
    return np.array([len(piece or b"?") for piece in pieces], np.int64)


def _end_of_text(tokenizer: PreTrainedTokenizerBase) -> int:
    ids = (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id, 0)
    return next(int(i) for i in ids if i is not None)
