"""Text that the model itself writes: windows sampled from its own distribution.

They need no dataset, are in whatever languages and styles the model knows, and keep a
pruned model from specializing to the user's text. Each window begins with the tokens
that begin a text and continues with draws from the model's predictions at
temperature 1. If the model has a chat template, half of the windows begin with its text
before the first word of the user: the model writes questions and answers. The
windows of a model are sampled once and kept in the user's cache, batch by batch. Each
file has a seal, so that one that is damaged, or of a model that has changed since, is
sampled again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from surgeon_engine.base.errors import (
    CalibrationError,
    EvaluationError,
    UnreadableFileError,
)
from surgeon_engine.base.files import own_samples_folder, write_atomically
from surgeon_engine.base.reading import read_bytes
from surgeon_engine.base.sentences import say
from surgeon_engine.model.chat_template import beginning_of_texts, opening_of_chats
from surgeon_engine.model.decoding import last_logits_alone, with_cache
from surgeon_engine.model.identity import FileStamp, identity_of
from surgeon_engine.model.layers import language_model_of
from surgeon_engine.model.not_finite import hint_for, is_broken, with_origin
from surgeon_engine.model.runnable import on_text_alone
from surgeon_engine.planning.constants import OWN_WINDOWS_AT_ONCE
from surgeon_engine.runtime.shares import divided

_CHAT_SHARE = 0.5  # share of the windows, for a model with a chat template
_VERSION = 7  # another version of the sampling makes other windows
_STORED = np.dtype("<i4")  # tokens in the files, behind their seal
_SEAL_BYTES = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Author:
    """The original model, without its weights."""

    files: tuple[FileStamp, ...]
    dtype: torch.dtype  # dtype of its computations
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows that are sampled together."""

    openings: tuple[tuple[int, ...], ...]  # the first tokens of each window
    seed: int  # for the draws

    @property
    def given(self) -> int:
        """How many tokens of every window are given."""
        return min(map(len, self.openings))


@dataclass(frozen=True, slots=True)
class OwnText:
    """Everything that determines the windows that a model writes."""

    files: tuple[FileStamp, ...]  # files of the model
    dtype: torch.dtype
    batches: tuple[Batch, ...]
    length: int  # tokens of a window

    @property
    def steps(self) -> int:
        """How often sampling calls its `step`."""
        return sum(self.length - batch.given for batch in self.batches)

    def read_cached(self) -> Tensor | None:
        """Return the kept windows; None if some are missing or damaged."""
        found = [self.read_batch(batch) for batch in self.batches]
        kept = [windows for windows in found if windows is not None]
        return torch.cat(kept) if kept and len(kept) == len(found) else None

    def read_batch(self, batch: Batch) -> Tensor | None:
        """Return the kept windows of a batch; None if they are missing or damaged."""
        try:
            data = read_bytes(self.file_of(batch))
        except UnreadableFileError:
            return None
        seal, content = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
        if seal != self._seal(batch, content):
            return None
        windows = np.frombuffer(content, _STORED).reshape(-1, self.length)
        return torch.from_numpy(windows.astype(np.int64))

    def keep_batch(self, batch: Batch, windows: Tensor) -> None:
        """Write the windows of a batch to the cache, if that is possible."""
        path = self.file_of(batch)
        content = windows.numpy().astype(_STORED).tobytes()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, self._seal(batch, content) + content)
        except OSError as error:
            _log.warning("Samples cannot be kept in %s: %s", path.parent, error)

    def file_of(self, batch: Batch) -> Path:
        """Return the file that keeps a batch: one for each model, settings and batch.

        Its name needs no look into the files of the model, which its seal does.
        """
        paths = [str(file.path) for file in self.files]
        key = repr((paths, self._settings(batch))).encode()
        return own_samples_folder() / f"{hashlib.sha256(key).hexdigest()[:32]}.tokens"

    def _seal(self, batch: Batch, content: bytes) -> bytes:
        """Return a digest of the tokens of a batch and of all that determines them."""
        key = (identity_of(self.files), self._settings(batch))
        return hashlib.sha256(repr(key).encode() + content).digest()

    def _settings(self, batch: Batch) -> tuple[object, ...]:
        return (_VERSION, batch, self.length, str(self.dtype))


def own_text(author: Author, count: int, length: int, seed: int) -> OwnText:
    """Return everything that determines `count` windows that a model writes."""
    text = opening_of_texts(author.config, author.tokenizer)
    chat = tuple(opening_of_chats(author.tokenizer))
    has_room = 0 < len(chat) <= length // 2  # most of a window is the model's own
    chats = round(_CHAT_SHARE * count) if has_room else 0
    openings = (text,) * (count - chats) + (chat,) * chats
    _check_openings(openings, author.config)
    batches = tuple(_batches(openings, seed))
    return OwnText(author.files, author.dtype, batches, length)


def _check_openings(
    openings: tuple[tuple[int, ...], ...], config: PretrainedConfig
) -> None:
    """Check that a model has the tokens with which its tokenizer begins texts."""
    size = config.get_text_config().vocab_size
    for token in {token for opening in openings for token in opening}:
        if not 0 <= token < size:
            raise CalibrationError(
                "The tokenizer begins texts with token {token:,}; the vocabulary of "
                "the model has 0 to {size:,}.",
                "The tokenizer may belong to another model: download the files again.",
                token=token,
                size=size - 1,
            )


def _batches(openings: tuple[tuple[int, ...], ...], seed: int) -> Iterator[Batch]:
    """Divide windows into batches, each with a seed of its own."""
    for number, start in enumerate(range(0, len(openings), OWN_WINDOWS_AT_ONCE)):
        mixed = np.random.SeedSequence((seed, number)).generate_state(1)
        yield Batch(openings[start : start + OWN_WINDOWS_AT_ONCE], int(mixed[0]))


def own_samples(
    model: PreTrainedModel, text: OwnText, step: Callable[[], None]
) -> Tensor:
    """Return the windows that the model wrote, sampled now or read from the cache.

    Each batch is kept as soon as it is complete: sampling that was interrupted goes on
    from there. Processes that share a run divide the batches. `step` is called after
    each token of each batch. The result is windows x length, int64.
    """
    taken = expected = 0

    def one_step() -> None:
        nonlocal taken
        taken += 1
        step()

    def written(number: int) -> Tensor:
        batch = text.batches[number]
        windows = text.read_batch(batch)
        if windows is None:
            windows = sample(model, batch, text.length, one_step)
            text.keep_batch(batch, windows)
        return windows

    found = []
    for number, windows in divided(range(len(text.batches)), int, written):
        found.append(windows)
        expected += text.length - text.batches[number].given
        while taken < expected:  # for windows from the cache, or from other processes
            one_step()
    return torch.cat(found)


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    batch: Batch,
    length: int,
    step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return windows of tokens drawn from the model's predictions at temperature 1.

    The draws are made on the CPU. `step` is called after each token. The tokens are
    windows x length, int64.

    Raises:
        EvaluationError: The model cannot be run, or its predictions are not finite.
    """
    generator = torch.Generator().manual_seed(batch.seed)
    model = language_model_of(model)
    windows = torch.full((len(batch.openings), length), -1)
    for window, opening in zip(windows, batch.openings, strict=True):
        window[: len(opening)] = torch.tensor(opening)
    arguments = with_cache(model) | last_logits_alone(model)
    tokens = windows[:, : batch.given]
    for place in range(batch.given, length):
        with on_text_alone(model):
            logits = model(tokens.to(model.device), use_cache=True, **arguments).logits
        if is_broken(logits):
            message = say("The model computes numbers that are not finite.")
            raise EvaluationError(
                with_origin(message, model, windows[:, :place]), hint_for(model)
            )
        drawn = _draws(logits[:, -1].float().cpu(), generator)
        tokens = windows[:, place : place + 1]
        tokens.copy_(torch.where(tokens < 0, drawn, tokens))  # a given one stays
        step()
    return windows


def _draws(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Return a token of each row, drawn by its probability.  Shape rows x 1.

    It is where a uniform number falls in the running sum of the probabilities: one
    random number a row, where `multinomial` draws one for each token.
    """
    ends = logits.softmax(dim=1).double()
    torch.cumsum(ends, dim=1, out=ends)
    numbers = torch.rand(len(ends), 1, generator=generator, dtype=torch.float64)
    drawn = torch.searchsorted(ends, numbers * ends[:, -1:], right=True)
    return drawn.clamp_max_(logits.shape[1] - 1)


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
