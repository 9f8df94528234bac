"""Classes of tokens, by the text that they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from surgeon_engine.api.messages.judgment import TokenClass

_CODE = frozenset("{}[]()<>=;_\\|&^%$#@*+~`")
_ENDS = ".!?:\n"  # the next word begins with a capital letter anyway
_RARE = 3  # tokens from which on a word is rare
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
    """Return the classes of the tokens of a window, word by word."""
    found: list[int] = []
    before = ""  # the text of the token before the word
    for word in _words(row, texts, starts):
        kind = CLASSES.index(_class_of([texts[x] for x in word], before))
        found += [kind] * len(word)
        before = texts[word[-1]]
    return found


def _words(
    row: Sequence[int], texts: dict[int, str], starts: dict[int, bool]
) -> Iterator[list[int]]:
    """Yield the tokens of each word; one that has no letters is alone."""
    word: list[int] = []
    for token in row:
        text = texts[token].strip()
        goes_on = text.isalpha() and not starts[token]
        if word and not (goes_on and texts[word[-1]].strip().isalpha()):
            yield word
            word = []
        word.append(token)
    if word:
        yield word


def _class_of(pieces: Sequence[str], before: str) -> TokenClass:
    """Return the class of the tokens of a word.

    Args:
        pieces: their texts.
        before: the text of the token before them.
    """
    word = "".join(pieces).strip()
    if any(x.isdigit() for x in word):
        return TokenClass.NUMBERS
    if _CODE.intersection(word):
        return TokenClass.CODE
    is_first = not before.strip() or before.rstrip(" ")[-1:] in _ENDS
    if word[:1].isupper() and len(word) > 1 and not is_first:
        return TokenClass.NAMES
    if word.isalpha() and len(pieces) >= _RARE:
        return TokenClass.RARE_WORDS
    return TokenClass.OTHERS
