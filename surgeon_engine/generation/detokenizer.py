"""Text out of tokens, piece by piece, without a broken character."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # how the first bytes of a character decode
_CONTEXT = 6  # tokens before a piece: decoders drop or add a space at the beginning


class StreamingDetokenizer:
    """What each token adds to the text that begins after `before`."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, before: Sequence[int]
    ) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(before)
        self._told = len(self._tokens)  # tokens of which all text has been told
        self._context = max(0, self._told - _CONTEXT)

    def add(self, token: int) -> str:
        """What `token` adds; empty while the character it belongs to is unfinished."""
        self._tokens.append(token)
        piece = self._untold()
        if not piece or piece.endswith(_UNFINISHED):
            return ""
        self._context, self._told = self._told, len(self._tokens)
        return piece

    def rest(self) -> str:
        """What is left of a character that was never finished."""
        return self._untold() if self._told < len(self._tokens) else ""

    def _untold(self) -> str:
        known = decoded(self._tokenizer, self._tokens[self._context : self._told])
        return decoded(self._tokenizer, self._tokens[self._context :])[len(known) :]


def decoded(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """The text of `tokens`, special ones included, with every space as it is."""
    return str(tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))


def next_text(
    tokenizer: PreTrainedTokenizerBase, before: Sequence[int], token: int
) -> str:
    """The text of one token where it stands, half a character included."""
    context = list(before[-_CONTEXT:])
    known = decoded(tokenizer, context)
    return decoded(tokenizer, [*context, token])[len(known.rstrip(_UNFINISHED)) :]
