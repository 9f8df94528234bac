"""Text that the model itself writes: windows sampled from its own distribution.

They need no data set, are in whatever languages and styles the model knows, and keep a
pruned model from specialising to the user's text. Each window begins with the tokens
that begin a text and continues with draws from the model's predictions at
temperature 1. If the model has a chat template, half of the windows begin with what it
writes before the first word of the user: the model writes questions and answers. The
windows of a model are sampled once and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.api.files import write_atomically
from surgeon_engine.calibration.beginnings import beginning_of_texts
from surgeon_engine.calibration.chats import opening_of_chats
from surgeon_engine.model.decoding import last_logits_alone, with_cache
from surgeon_engine.model.source import ModelSource

CHAT_SHARE = 0.5  # of the windows, for a model with a chat template
_AT_ONCE = 64  # windows
_VERSION = 2  # of the sampling; another one makes other windows
_HEADER_BYTES = 1 << 20  # of each file, by which a model is recognised


@dataclass(frozen=True, slots=True, eq=False)
class Author:
    """The original model, without its weights."""

    source: ModelSource
    dtype: torch.dtype  # in which it computes
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase | None


@dataclass(frozen=True, slots=True)
class Opening:
    """The first tokens of some windows."""

    tokens: tuple[int, ...]
    count: int  # of the windows


@dataclass(frozen=True, slots=True)
class OwnText:
    """Everything that determines the windows that a model writes."""

    source: ModelSource
    dtype: torch.dtype
    openings: tuple[Opening, ...]
    length: int  # tokens of a window
    seed: int  # of the draws

    @property
    def count(self) -> int:
        """The number of windows."""
        return sum(opening.count for opening in self.openings)

    @property
    def steps(self) -> int:
        """How often sampling calls its `step`."""
        return sum(
            -(-opening.count // _AT_ONCE) * (self.length - len(opening.tokens))
            for opening in self.openings
        )

    @property
    def cache_path(self) -> Path:
        """The file that keeps the windows, named by a digest of what determines them.

        A model is recognised by the names, sizes, times and headers of its files.
        """
        digest = hashlib.sha256()
        settings = (_VERSION, self.openings, self.length, self.seed, str(self.dtype))
        digest.update(repr(settings).encode())
        for file in sorted(self.source.weight_files):
            facts = file.stat()
            digest.update(repr((file.name, facts.st_size, facts.st_mtime_ns)).encode())
            with file.open("rb") as opened:
                digest.update(opened.read(_HEADER_BYTES))
        return cache_folder() / f"{digest.hexdigest()[:32]}.npy"

    def read_cached(self) -> Tensor | None:
        """Return the kept windows; None if there are none, or they are damaged."""
        try:
            windows = np.load(self.cache_path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        is_whole = windows.shape == (self.count, self.length)
        if not is_whole or windows.dtype != np.int32:
            return None
        return torch.from_numpy(windows.astype(np.int64))


def own_text(
    author: Author, count: int, length: int, seed: int, chat_share: float = CHAT_SHARE
) -> OwnText:
    """Return what determines `count` windows that a model writes.

    Args:
        author: the model.
        count: windows.
        length: tokens of a window.
        seed: of the draws.
        chat_share: of the windows, which begin as a chat if the model has a template.
    """
    text = opening_of_texts(author.config, author.tokenizer)
    chat = tuple(opening_of_chats(author.tokenizer))
    has_room = 0 < len(chat) <= length // 2  # most of a window is the model's own
    chats = round(chat_share * count) if has_room else 0
    openings = (Opening(text, count - chats), Opening(chat, chats))
    used = tuple(opening for opening in openings if opening.count)
    return OwnText(author.source, author.dtype, used, length, seed)


def own_samples(
    model: PreTrainedModel, text: OwnText, step: Callable[[], None]
) -> Tensor:
    """Return the windows that the model wrote, sampled now or read from the cache.

    Args:
        model: the original model.
        text: the windows to write.
        step: called after each token of each batch.

    Returns:
        Token ids, windows x length, int64.
    """
    if (kept := text.read_cached()) is not None:
        return kept
    windows = torch.cat(
        [
            sample(model, each.tokens, each.count, text.length, text.seed, step)
            for each in text.openings
        ]
    )
    path = text.cache_path
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.save(buffer, windows.numpy().astype(np.int32))
    write_atomically(path, buffer.getbuffer())
    return windows


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    opening: Sequence[int],
    count: int,
    length: int,
    seed: int,
    step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return windows of tokens drawn from the model's predictions at temperature 1.

    Args:
        model: the model.
        opening: the first tokens of each window.
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
        tokens = [torch.tensor([opening] * min(_AT_ONCE, count - start))]
        arguments = with_cache(model) | last_logits_alone(model)
        for _ in range(length - len(opening)):
            logits = model(
                tokens[-1].to(model.device), use_cache=True, **arguments
            ).logits
            probabilities = logits[:, -1].float().cpu().softmax(dim=1)
            tokens.append(probabilities.multinomial(1, generator=generator))
            step()
        batches.append(torch.cat(tokens, dim=1))
    return torch.cat(batches)


def opening_of_texts(
    config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[int, ...]:
    """Return the tokens that begin a text.

    A tokenizer that puts none in front of a text may name one all the same; if not,
    the token that ends a text begins it.
    """
    if beginning := beginning_of_texts(tokenizer):
        return tuple(beginning)
    for source in (tokenizer, config.get_text_config()):
        for name in ("bos_token_id", "eos_token_id"):
            token = getattr(source, name, None)
            if isinstance(token, list):
                token = token[0] if token else None
            if token is not None:
                return (int(token),)
    return (0,)


def cache_folder() -> Path:
    """Return the folder that keeps the windows of all models."""
    return platformdirs.user_cache_path("surgeon") / "own_samples"


def cache_size() -> int:
    """Return the size of the kept windows of all models, in bytes."""
    return sum(file.stat().st_size for file in cache_folder().glob("*.npy"))
