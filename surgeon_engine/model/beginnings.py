"""The tokens that a tokenizer puts in front of every text, such as <bos>."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase


def beginning_of_texts(tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """Return the tokens that `tokenizer` puts in front of a text; often none."""
    if tokenizer is None:
        return []
    bare = tokenizer("a", add_special_tokens=False).input_ids
    whole = tokenizer("a").input_ids
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return list(whole[:start])
    return []
