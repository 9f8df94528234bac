"""Text that the model itself writes: windows sampled from its own distribution.

They need no data set, are in whatever languages and styles the model knows, and keep a
pruned model from specialising to the user's text. Each window begins with the token
that begins a text and continues with draws from the model's predictions at
temperature 1. The windows of a model are sampled once and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.files import write_atomically
from surgeon_engine.model.decoding import with_cache
from surgeon_engine.model.load import LoadedModel

_AT_ONCE = 64  # windows
_VERSION = 1  # of the sampling; another one makes other windows
_HEADER_BYTES = 1 << 20  # of each file, by which a model is recognised


def own_samples(
    loaded: LoadedModel, count: int, length: int, seed: int, step: Callable[[], None]
) -> Tensor:
    """Return `count` windows that the model wrote, sampled now or read from the cache.

    Args:
        loaded: the original model.
        count: windows.
        length: tokens of a window.
        seed: of the draws.
        step: called after each token of each batch.

    Returns:
        Token ids, windows x length, int64.
    """
    path = _cache_path(loaded, count, length, seed)
    if (kept := _read(path, count, length)) is not None:
        return kept
    first = first_token(loaded.model, loaded.tokenizer)
    windows = sample(loaded.model, first, count, length, seed, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.save(buffer, windows.numpy().astype(np.int32))
    write_atomically(path, buffer.getbuffer())
    return windows


def steps_of(count: int, length: int) -> int:
    """Return how often `own_samples` calls its `step`, if nothing is in the cache."""
    return -(-count // _AT_ONCE) * (length - 1)


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    first: int,
    count: int,
    length: int,
    seed: int,
    step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return windows of tokens drawn from the model's predictions at temperature 1.

    Args:
        model: the model.
        first: the first token of each window.
        count: windows.
        length: tokens of a window.
        seed: of the draws. They are made on the CPU, in float32.
        step: called after each token of each batch.

    Returns:
        Token ids, windows x length, int64.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for start in range(0, count, _AT_ONCE):
        tokens = [torch.full((min(_AT_ONCE, count - start), 1), first)]
        cache = with_cache(model)
        for _ in range(length - 1):
            logits = model(tokens[-1].to(model.device), use_cache=True, **cache).logits
            probabilities = logits[:, -1].float().cpu().softmax(dim=1)
            tokens.append(probabilities.multinomial(1, generator=generator))
            step()
        batches.append(torch.cat(tokens, dim=1))
    return torch.cat(batches)


def first_token(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None
) -> int:
    """Return the token that begins a text; the one that ends it where there is none."""
    config = model.config.get_text_config()
    for source in (tokenizer, config):
        for name in ("bos_token_id", "eos_token_id"):
            token = getattr(source, name, None)
            if isinstance(token, list):
                token = token[0] if token else None
            if token is not None:
                return int(token)
    return 0


def _read(path: Path, count: int, length: int) -> Tensor | None:
    """Return the kept windows; None if there are none, or they are damaged."""
    try:
        windows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if windows.shape != (count, length) or windows.dtype != np.int32:
        return None
    return torch.from_numpy(windows.astype(np.int64))


def _cache_path(loaded: LoadedModel, count: int, length: int, seed: int) -> Path:
    """Return where the windows of a model are kept, by its files and the settings."""
    digest = hashlib.sha256()
    dtype = str(loaded.model.dtype)
    digest.update(repr((_VERSION, count, length, seed, dtype)).encode())
    for file in sorted(loaded.source.weight_files):
        facts = file.stat()
        digest.update(repr((file.name, facts.st_size, facts.st_mtime_ns)).encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_HEADER_BYTES))
    name = f"{digest.hexdigest()[:32]}.npy"
    return platformdirs.user_cache_path("surgeon") / "own_samples" / name
