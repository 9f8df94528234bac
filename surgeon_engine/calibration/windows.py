"""From texts to windows of tokens, for calibration and for validation.

A window is a run of `window_length` tokens of the concatenated documents, each ended
by the end-of-text token. Windows of the two parts never overlap: the built-in text is
split by topic, any other by windows, drawn without replacement with the config's seed.
Nor do they share anything that occurs twice: documents that were there before are left
out, and so are validation windows that equal one for calibration.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from surgeon_engine.api.config.calibration import CalibrationConfig, is_token_file
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.errors import CalibrationError
from surgeon_engine.api.messages.sources import TextPreviewed
from surgeon_engine.calibration.builtin import Part
from surgeon_engine.calibration.texts import (
    TextSource,
    calibration_source,
    checked_file,
    read_documents,
    validation_source,
)
from surgeon_engine.model.load import load_tokenizer
from surgeon_engine.model.source import locate, read_model_config

_PREVIEWED = 12  # windows of each part
_TOKEN_FILE = (
    "A token file holds token ids, whole numbers, windows x length (2 or more), as "
    "NumPy saves them."
)


@dataclass(slots=True)
class Found:
    """What there was in the texts, added up over both parts."""

    tokens: int = 0
    documents: int = 0
    short_documents: int = 0  # shorter than a window
    repeated_documents: int = 0  # left out
    shared_windows: int = 0  # not held out, as they equal one for calibration
    column: str = ""  # of a table, for calibration

    @property
    def left_out(self) -> str:
        """What was left out so that the parts share nothing; empty: nothing was."""
        parts = []
        if self.repeated_documents:
            parts.append(f"{self.repeated_documents:,} documents that occur before")
        if self.shared_windows:
            parts.append(
                f"{self.shared_windows:,} windows of the validation text that are in "
                "the calibration text too"
            )
        return f"Left out of the text: {', and '.join(parts)}." if parts else ""


@dataclass(frozen=True, slots=True, eq=False)
class TokenWindows:
    """Windows of both parts, and what they were taken from."""

    calibration: Tensor  # windows x length, int64
    validation: Tensor  # windows x length, int64
    text: str  # the validation text, in words
    found: Found


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
    wanted, held_out = config.windows, config.validation_windows
    own, other = calibration_source(config), validation_source(config)
    reader = _Reader(config, tokenizer)
    if not own.is_builtin and own.is_same(other):
        drawn = reader.draw(own, "calibration", wanted, held_out)
        calibration, rest = drawn[:wanted], drawn[wanted:]
    else:
        calibration = reader.draw(own, "calibration", wanted)
        if not is_token_file(own.name):
            calibration = calibration[:wanted]
        rest = reader.draw(other, "validation", held_out)
    validation = reader.held_out(calibration, rest)
    for windows in (calibration, validation):
        _check_usable(windows, vocabulary)
    return TokenWindows(calibration, validation, other.in_words, reader.found)


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

    found = windows.found
    return TextPreviewed(
        calibration=decoded(windows.calibration),
        validation=decoded(windows.validation),
        calibration_tokens=windows.calibration.numel(),
        validation_tokens=windows.validation.numel(),
        available_tokens=found.tokens,
        source=config.text,
        window_length=windows.calibration.shape[1],
        calibration_windows=windows.calibration.shape[0],
        validation_windows=windows.validation.shape[0],
        column=found.column,
        documents=found.documents,
        short_documents=found.short_documents,
        repeated_documents=found.repeated_documents,
        shared_windows=found.shared_windows,
    )


def vocabulary_of(config: PretrainedConfig) -> Vocabulary:
    """What a text must fit to go through a model with `config`."""
    text = config.get_text_config()
    return Vocabulary(text.vocab_size, getattr(text, "max_position_embeddings", 0) or 0)


class _Reader:
    """Draws windows from texts and notes what there was in them."""

    def __init__(
        self, config: CalibrationConfig, tokenizer: PreTrainedTokenizerBase | None
    ) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._seen: set[int] = set()  # hashes of the documents so far
        self.found = Found()

    def draw(self, source: TextSource, part: Part, *counts: int) -> Tensor:
        """All windows of `source`, in a seeded order, enough for `counts`; x length."""
        if is_token_file(source.name):
            return self._token_file(source.name)
        length = self._config.window_length
        documents = read_documents(source, part)
        if part == "calibration":
            self.found.column = documents.column
        unseen = self._unseen(documents.texts)
        tokens = self._tokens(unseen)
        self.found.tokens += len(tokens)
        whole = len(tokens) // length
        if whole < sum(counts):
            asked = " + ".join(f"{count:,}" for count in counts)
            total = len(documents.texts)
            repeated = total - len(unseen)
            why = f", as {repeated:,} of {total:,} documents repeat others"
            raise CalibrationError(
                f"The {part} text has {len(tokens):,} tokens{why if repeated else ''}: "
                f"enough for {whole:,} windows of {length:,}, and {asked} were asked "
                "for.",
                "Use a longer or another text, fewer windows or shorter ones.",
            )
        windows = tokens[: whole * length].view(whole, length)
        generator = torch.Generator().manual_seed(self._config.seed)
        return windows[torch.randperm(whole, generator=generator)]

    def held_out(self, calibration: Tensor, windows: Tensor) -> Tensor:
        """The first of `windows`, for validation, that are not in `calibration`."""
        wanted = self._config.validation_windows
        if is_token_file(self._config.validation_text):
            return windows  # somebody has chosen each of them
        used = set(map(tuple, calibration.tolist()))
        kept: list[int] = []
        for number, window in enumerate(windows):
            if len(kept) == wanted:
                break
            if tuple(window.tolist()) in used:
                self.found.shared_windows += 1
            else:
                kept.append(number)
        if len(kept) < wanted:
            raise CalibrationError(
                f"{self.found.shared_windows:,} windows that could be held out are in "
                f"the calibration text too; {len(kept):,} are left, and {wanted:,} "
                "were asked for.",
                "Use a text that repeats itself less, or fewer windows.",
            )
        return windows[kept]

    def _unseen(self, documents: list[str]) -> list[str]:
        """The documents without those that have been there before."""
        kept = []
        for document in documents:
            key = hash(document.strip())
            if key not in self._seen:
                self._seen.add(key)
                kept.append(document)
        self.found.documents += len(documents)
        self.found.repeated_documents += len(documents) - len(kept)
        return kept

    def _tokens(self, documents: list[str]) -> Tensor:
        if self._tokenizer is None:
            raise CalibrationError(
                "The model has no tokenizer that can be read, and without one no text "
                "can be.",
                "Put the tokenizer's files beside the weights, or use a token file.",
            )
        end = self._tokenizer.eos_token_id
        tokens: list[int] = []
        for document in documents:
            ids = self._tokenizer(
                document, add_special_tokens=False, verbose=False
            ).input_ids
            self.found.short_documents += len(ids) < self._config.window_length
            tokens += ids
            if end is not None:
                tokens.append(end)
        return torch.tensor(tokens, dtype=torch.int64)

    def _token_file(self, source: str) -> Tensor:
        path = checked_file(source)
        if calibration_source(self._config).is_same(validation_source(self._config)):
            raise CalibrationError(
                f"{path.name} holds tokens, all of which are for calibration.",
                "Name another token file or a text as validation_text.",
            )
        try:
            with path.open("rb") as file:
                windows = np.load(file, allow_pickle=False)
        except OSError as error:
            raise CalibrationError(
                f"{path.name} cannot be read: {error.strerror}.", _TOKEN_FILE
            ) from error
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise CalibrationError(
                f"{path.name} is not a NumPy file of numbers.", _TOKEN_FILE
            ) from error
        is_array = isinstance(windows, np.ndarray)
        if not is_array or not _are_windows(windows):
            what = f"{windows.dtype} of shape {windows.shape}" if is_array else "others"
            raise CalibrationError(f"{path.name} holds {what}.", _TOKEN_FILE)
        self.found.tokens += windows.size
        return torch.from_numpy(windows.astype(np.int64))


def _are_windows(tokens: np.ndarray) -> bool:
    """Whether there are windows, each with a token to predict."""
    shape = tokens.shape
    return (
        tokens.dtype.kind in "iu"
        and len(shape) == 2
        and min(shape[0], shape[1] - 1) > 0
    )


def _check_usable(windows: Tensor, vocabulary: Vocabulary) -> None:
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
            f"Set window_length to at most {vocabulary.longest_window}, or cut a file "
            "of tokens into such windows.",
        )
