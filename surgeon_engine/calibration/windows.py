"""From texts to windows of tokens, for calibration and for validation.

A window is a run of `window_length` tokens of the concatenated documents, each ended
by the end-of-text token. Windows of the two parts never overlap: the built-in text is
split by topic, a file by windows, drawn without replacement with the config's seed.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from surgeon_engine.calibration.builtin import Part
from surgeon_engine.calibration.texts import checked_file, read_documents
from surgeon_engine.config import BUILTIN_TEXT, CalibrationConfig, ModelConfig
from surgeon_engine.errors import CalibrationError
from surgeon_engine.events import TextPreviewed
from surgeon_engine.model.load import load_tokenizer
from surgeon_engine.model.source import locate, read_model_config

_PREVIEWED = 3  # windows of each part
_TOKEN_FILE = (
    "A token file holds int32 token ids, windows x length (2 or more), saved by NumPy."
)


@dataclass(frozen=True, slots=True, eq=False)
class TokenWindows:
    """Windows of both parts, and what they were taken from."""

    calibration: Tensor  # windows x length, int64
    validation: Tensor  # windows x length, int64
    text: str  # the validation text, in words
    available: int  # tokens in all the text


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a text must fit."""

    size: int
    longest_window: int  # tokens; 0: any


def load_windows(
    config: CalibrationConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    vocabulary: Vocabulary,
) -> TokenWindows:
    """The windows that `config` asks for; of a token file, all that it holds.

    Raises:
        CalibrationError: a text cannot be read or is too short, or tokens do not fit
            the model.
    """
    other = config.validation_text or config.text
    reader = _Reader(config, tokenizer)
    if other != BUILTIN_TEXT and _same_file(other, config.text):
        both = reader.draw(
            other, "calibration", config.windows + config.validation_windows
        )
        calibration, validation = both[: config.windows], both[config.windows :]
    else:
        calibration = reader.draw(config.text, "calibration", config.windows)
        validation = reader.draw(other, "validation", config.validation_windows)
    for windows in (calibration, validation):
        _refuse_unfit(windows, vocabulary)
    return TokenWindows(calibration, validation, other, reader.available)


def preview_text(model: ModelConfig, config: CalibrationConfig) -> TextPreviewed:
    """The first windows of each part as text, and how many tokens there are.

    Raises:
        ModelError: the model cannot be read.
        CalibrationError: see `load_windows`.
    """
    source = locate(model.source)
    tokenizer = load_tokenizer(source)
    vocabulary = vocabulary_of(read_model_config(source))
    windows = load_windows(config, tokenizer, vocabulary)

    def decoded(part: Tensor) -> tuple[str, ...]:
        if tokenizer is None:
            return tuple(str(window.tolist()) for window in part[:_PREVIEWED])
        return tuple(tokenizer.decode(window) for window in part[:_PREVIEWED])

    return TextPreviewed(
        calibration=decoded(windows.calibration),
        validation=decoded(windows.validation),
        calibration_tokens=windows.calibration.numel(),
        validation_tokens=windows.validation.numel(),
        available_tokens=windows.available,
        source=config.text,
    )


def vocabulary_of(config: PretrainedConfig) -> Vocabulary:
    """What a text must fit to go through a model with `config`."""
    text = config.get_text_config()
    return Vocabulary(text.vocab_size, getattr(text, "max_position_embeddings", 0) or 0)


class _Reader:
    """Draws windows from texts and adds up how many tokens there were."""

    def __init__(
        self, config: CalibrationConfig, tokenizer: PreTrainedTokenizerBase | None
    ) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self.available = 0

    def draw(self, source: str, part: Part, count: int) -> Tensor:
        """`count` windows of `source` in a seeded order; count x length."""
        if Path(source).suffix == ".npy":
            return self._token_file(source)
        length = self._config.window_length
        tokens = self._tokens(read_documents(source, part))
        self.available += len(tokens)
        whole = len(tokens) // length
        if whole < count:
            raise CalibrationError(
                f"The text has {len(tokens):,} tokens, enough for {whole:,} windows of "
                f"{length:,}; {count:,} were asked for.",
                "Use a longer text, fewer windows or shorter ones.",
            )
        windows = tokens[: whole * length].view(whole, length)
        generator = torch.Generator().manual_seed(self._config.seed)
        return windows[torch.randperm(whole, generator=generator)[:count]]

    def _tokens(self, documents: list[str]) -> Tensor:
        if self._tokenizer is None:
            raise CalibrationError(
                "The model has no tokenizer, so that a text cannot be read for it.",
                "Put the tokenizer's files beside the weights, or use a token file.",
            )
        end = self._tokenizer.eos_token_id
        tokens: list[int] = []
        for document in documents:
            tokens += self._tokenizer(
                document, add_special_tokens=False, verbose=False
            ).input_ids
            if end is not None:
                tokens.append(end)
        return torch.tensor(tokens, dtype=torch.int64)

    def _token_file(self, source: str) -> Tensor:
        path = checked_file(source)
        other = self._config.validation_text
        if not other or _same_file(other, self._config.text):
            raise CalibrationError(
                f"{path.name} holds tokens, all of which are for calibration.",
                "Name another token file or a text as validation_text.",
            )
        try:
            with path.open("rb") as file:
                windows = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise CalibrationError(
                f"{path.name} is not a NumPy file: {error}.", _TOKEN_FILE
            ) from error
        is_array = isinstance(windows, np.ndarray)
        if not is_array or not _are_windows(windows):
            what = f"{windows.dtype} of shape {windows.shape}" if is_array else "others"
            raise CalibrationError(f"{path.name} holds {what}.", _TOKEN_FILE)
        self.available += windows.size
        return torch.from_numpy(windows.astype(np.int64))


def _are_windows(tokens: np.ndarray) -> bool:
    """Whether there are windows, each with a token to predict."""
    shape = tokens.shape
    return (
        tokens.dtype.kind in "iu"
        and len(shape) == 2
        and min(shape[0], shape[1] - 1) > 0
    )


def _same_file(one: str, other: str) -> bool:
    """Whether two sources are one text, however they are spelt."""
    one, other = (os.path.realpath(os.path.expanduser(name)) for name in (one, other))
    return one == other


def _refuse_unfit(windows: Tensor, vocabulary: Vocabulary) -> None:
    """Ids outside the vocabulary or too long a window would fail deep in the model."""
    low, high = int(windows.min()), int(windows.max())
    if low < 0 or high >= vocabulary.size:
        raise CalibrationError(
            f"The text has token ids from {low} to {high}; "
            f"the model knows 0 to {vocabulary.size - 1}.",
            "Use the tokens of this model's own tokenizer.",
        )
    if 0 < vocabulary.longest_window < windows.shape[1]:
        raise CalibrationError(
            f"The windows have {windows.shape[1]:,} tokens; "
            f"the model takes at most {vocabulary.longest_window:,}.",
            f"Set window_length to at most {vocabulary.longest_window}.",
        )
