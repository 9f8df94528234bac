"""Classes of tokens, by the text that they stand for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from surgeon_engine.api.messages.judgment import TokenClass

_CODE = frozenset("{}[]()<>=;_\\|&^%$#@*+~`")
_ENDS = ".!?:\n"  # what follows begins with a capital letter anyway
_RARE = 3  # tokens of a word from which on it is rare
CLASSES = tuple(TokenClass)


def classes_of(windows: Tensor, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Return the class of each predicted token: windows x (length - 1).

    They are indices of `CLASSES`.
    """
    ids = sorted(set(windows.flatten().tolist()))
    texts = {
        x: str(tokenizer.decode([x], clean_up_tokenization_spaces=False)) for x in ids
    }
    starts = {x: _begins_word(tokenizer, x, texts[x]) for x in ids}
    rows = [_classes(row.tolist(), texts, starts) for row in windows]
    return torch.tensor(rows, dtype=torch.int64)[:, 1:]


def _begins_word(tokenizer: PreTrainedTokenizerBase, token: int, text: str) -> bool:
    """Return whether a token begins a word; decoding alone may drop its space."""
    raw = str(tokenizer.convert_ids_to_tokens([token])[0])
    return raw[:1] in ("\u0120", "\u2581", " ") or text[:1].isspace()


def _classes(
    row: Sequence[int], texts: dict[int, str], starts: dict[int, bool]
) -> list[int]:
    found = []
    before, pieces = "", 0
    for token in row:
        text = texts[token]
        word = text.strip()
        is_letters = word.replace("'", "").isalpha()
        if starts[token] or not is_letters or not before[-1:].isalpha():
            pieces = 0
        pieces += 1
        found.append(CLASSES.index(_class_of(word, before, pieces, starts[token])))
        before = text
    return found


def _class_of(word: str, before: str, pieces: int, begins: bool) -> TokenClass:
    """Return the class of a token.

    Args:
        word: its text without spaces around it.
        before: the text of the token before it.
        pieces: tokens of its word up to it.
        begins: it begins a word.
    """
    if any(x.isdigit() for x in word):
        return TokenClass.NUMBERS
    if _CODE.intersection(word):
        return TokenClass.CODE
    is_first = not before.strip() or before.rstrip(" ")[-1:] in _ENDS
    if begins and word[:1].isupper() and len(word) > 1 and not is_first:
        return TokenClass.NAMES
    if word.isalpha() and pieces >= _RARE:
        return TokenClass.RARE_WORDS
    return TokenClass.OTHERS
