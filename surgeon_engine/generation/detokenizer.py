"""Decode tokens one by one without broken characters."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # decoded first bytes of a character
_CONTEXT = 6  # preceding tokens: decoders drop or add a space at the beginning


class StreamingDetokenizer:
    """Decodes the tokens that follow the tokens `before`."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, before: Sequence[int]
    ) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(before)
        self._decoded = len(self._tokens)  # tokens whose text has been returned
        self._context = max(0, self._decoded - _CONTEXT)

    def add(self, token: int) -> str:
        """Return the text that `token` adds; empty until its character is complete."""
        self._tokens.append(token)
        text = self._pending_text()
        if not text or text.endswith(_UNFINISHED):
            return ""
        self._context, self._decoded = self._decoded, len(self._tokens)
        return text

    def rest(self) -> str:
        """Return the text of an incomplete last character."""
        return self._pending_text() if self._decoded < len(self._tokens) else ""

    def _pending_text(self) -> str:
        known = _decode(self._tokenizer, self._tokens[self._context : self._decoded])
        return _decode(self._tokenizer, self._tokens[self._context :])[len(known) :]


def token_text(
    tokenizer: PreTrainedTokenizerBase, before: Sequence[int], token: int
) -> str:
    """Return the text of `token` after the tokens `before`, incomplete or not."""
    context = list(before[-_CONTEXT:])
    known = _decode(tokenizer, context)
    return _decode(tokenizer, [*context, token])[len(known.rstrip(_UNFINISHED)) :]


def _decode(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Decode tokens, special ones included, without changing spaces."""
    return str(tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))
