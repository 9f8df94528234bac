"""Compare two pruned models by their bits per byte, window by window.

    python benchmarks/paired_bits.py ORIGINAL FIRST SECOND TEXT... [--windows 32]

FIRST and SECOND are compact exports of ORIGINAL, each with all of its tokens or fewer.
A text is a token file of the original (.npy), whose windows are all read, or a text
file, from which evenly spaced windows are cut. Both models are judged on the same
bytes: between the first and the last end of a token that both have in a window. The
difference has a paired 95 % interval: windows are resampled, each with both models.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.messages.run import Estimate
from surgeon_engine.compaction.restore import load_compact
from surgeon_engine.evaluation.intervals import ratio
from surgeon_engine.model.source import locate
from surgeon_engine.model.tokenizer import read_tokenizer
from surgeon_engine.model.vocabulary.recoding import Recoding
from surgeon_engine.model.vocabulary.tokens import token_bytes

_LENGTH = 256  # tokens of a window of a text file
_BATCH = 4


def main(arguments: Sequence[str]) -> None:
    """Print the bits per byte of both models and their difference, by text."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("original")
    parser.add_argument("models", nargs=2, type=Path, metavar="MODEL")
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    parser.add_argument("--windows", type=int, default=32, help="of a text file")
    options = parser.parse_args(arguments)
    original = read_tokenizer(locate(options.original))
    tokenizers = [read_tokenizer(locate(str(path))) for path in options.models]
    models = [load_compact(path, torch.float32).eval() for path in options.models]
    for path in options.texts:
        windows = _windows(path, original, options.windows)
        texts = [_in_tokens_of(x, original, windows) for x in tokenizers]
        sizes = [
            _lengths(tokenizer)[tokens]
            for tokenizer, (tokens, _) in zip(tokenizers, texts, strict=True)
        ]
        counted = same_bytes(sizes, [is_end for _, is_end in texts])
        nats = [
            (_losses(model, tokens) * is_counted).sum(dim=1)
            for model, (tokens, _), is_counted in zip(
                models, texts, counted, strict=True
            )
        ]
        lengths = (sizes[0][:, 1:] * counted[0]).sum(dim=1)
        found = [_bits(x, lengths) for x in (*nats, nats[1] - nats[0])]
        shown = "  ".join(f"{x.value:.4f} ({x.low:.4f} to {x.high:.4f})" for x in found)
        print(f"{path.name}, {len(windows)} windows: {shown}", flush=True)


def same_bytes(sizes: Sequence[Tensor], is_end: Sequence[Tensor]) -> list[Tensor]:
    """Return which predicted tokens of each of two models are judged.

    Args:
        sizes: for each model the bytes of its tokens, windows x length.
        is_end: likewise whether they end where one of the original's does.

    Returns:
        Booleans for each model, windows x (length - 1): the same bytes of each window.
    """
    ends = [x.cumsum(dim=1) for x in sizes]
    counted = [torch.zeros_like(x[:, 1:], dtype=torch.bool) for x in sizes]
    for row in range(len(sizes[0])):
        first, second = (
            set(x[row][y[row]].tolist()) for x, y in zip(ends, is_end, strict=True)
        )
        common = first & second
        if not common:
            continue
        for x, size, is_counted in zip(ends, sizes, counted, strict=True):
            begins = x[row] - size[row]
            inside = (begins >= min(common)) & (x[row] <= max(common))
            is_counted[row] = (inside & (size[row] > 0))[1:]
    return counted


def _windows(path: Path, tokenizer: PreTrainedTokenizerBase, count: int) -> np.ndarray:
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False), np.int64)
    text = path.read_text(encoding="utf-8")
    tokens = np.array(tokenizer(text, add_special_tokens=False)["input_ids"])
    starts = np.linspace(0, len(tokens) - _LENGTH, count).astype(np.int64)
    return np.stack([tokens[start : start + _LENGTH] for start in starts])


def _in_tokens_of(
    tokenizer: PreTrainedTokenizerBase,
    original: PreTrainedTokenizerBase,
    windows: np.ndarray,
) -> tuple[Tensor, Tensor]:
    """Return windows in the tokens of a model, and which end with the original's."""
    if len(tokenizer) == len(original):
        tokens = torch.from_numpy(windows)
        return tokens, torch.ones_like(tokens, dtype=torch.bool)
    found, at = Recoding(original, tokenizer).windows(windows)
    return torch.from_numpy(found).long(), torch.from_numpy(at) >= 0


def _lengths(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    found = token_bytes(tokenizer)
    assert found is not None
    return found


@torch.no_grad()
def _losses(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Return the loss of each predicted token: windows x (length - 1)."""
    found = []
    for batch in tokens.split(_BATCH):
        logits = model(batch).logits[:, :-1].float()
        losses = functional.cross_entropy(
            logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none"
        )
        found.append(losses.view(len(batch), -1))
    return torch.cat(found)


def _bits(nats: Tensor, lengths: Tensor) -> Estimate:
    return ratio(nats / math.log(2), lengths)


if __name__ == "__main__":
    main(sys.argv[1:])
