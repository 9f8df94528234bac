"""Stand-in."""

from __future__ import annotations

import copy
import json
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase


def trimmed_tokenizer(tokenizer: PreTrainedTokenizerBase, kept: Tensor) -> Any:
    numbers = {old: new for new, old in enumerate(kept.tolist())}
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    model = definition["model"]
    vocab = {t: numbers[i] for t, i in model["vocab"].items() if i in numbers}
    model["vocab"] = vocab
    if "merges" in model:
        model["merges"] = [
            m for m in model["merges"]
            if m[0] in vocab and m[1] in vocab and "".join(m) in vocab
        ]
    for added in definition["added_tokens"]:
        added["id"] = numbers[added["id"]]
    found = copy.deepcopy(tokenizer)
    found._tokenizer = Tokenizer.from_str(json.dumps(definition))
    return found
