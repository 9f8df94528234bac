"""The calibration part of a job: the texts on which curvature and loss are measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated

from surgeon_engine.api.config.fields import Limits, Option, check_limits
from surgeon_engine.api.model_info.source_names import hub_name, is_hub_source
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import say

BUILTIN_TEXT = "builtin"  # the text source that names the built-in text
TEXT_NAMES: dict[str, str] = {BUILTIN_TEXT: say("Built-in text")}


def is_token_file(text: str) -> bool:
    """Return True for a file of tokens, which is already cut into windows."""
    return PurePath(text).suffix == ".npy"


def real_name(text: str) -> str:
    """Return the canonical name of a text: real paths for files."""
    if text == BUILTIN_TEXT or hub_name(text) is not None:
        return text
    return os.path.realpath(os.path.expanduser(text))


# The settings of a calibration that say which texts it reads, and which of their rows.
TEXT_SETTINGS = (
    "text",
    "column",
    "dataset_config",
    "split",
    "validation_text",
    "validation_split",
    "rows",
    "more_texts",
)
_COUNT = Limits(1, 100_000)


@dataclass(frozen=True, slots=True)
class MoreText:
    """A further text for calibration, and its share of the windows."""

    text: str  # as `CalibrationConfig.text`, but no token file
    share: Annotated[
        float, Option(Limits(0, 1, low_is_open=True, high_is_open=True))
    ] = 0.25
    column: str = ""  # table column; empty: as for the main text
    dataset_config: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        check_limits(self)
        _check_name(self.text)
        if is_token_file(self.text):
            raise ConfigError(
                "{text} is a token file, which cannot be a further text.",
                "Give the text from which it was made.",
                text=self.text,
            )
        if (self.dataset_config or self.split) and not is_hub_source(self.text):
            raise ConfigError(
                "A configuration or split is given, but {text} is not a dataset.",
                "Leave them empty, or give hf://datasets/organization/name as text.",
                text=self.text,
            )


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """The texts for calibration and validation, and their windows."""

    # "builtin", a .txt/.jsonl/.csv/.parquet file, a .npy token file, or
    # hf://datasets/org/name@revision
    text: str = BUILTIN_TEXT
    validation_text: str = ""  # as `text`; empty: a held-out part of `text`
    windows: Annotated[int, Option(_COUNT, used_if="draws_windows")] = 64
    validation_windows: Annotated[
        int, Option(_COUNT, used_if="draws_validation_windows")
    ] = 32
    window_length: Annotated[  # tokens
        int, Option(Limits(8, 131_072), used_if="cuts_windows")
    ] = 256
    seed: Annotated[int, Option(Limits(0, 2**31 - 1), advanced=True)] = 0
    batch: Annotated[int, Option(Limits(1, 1024), advanced=True)] = 4
    column: str = ""  # table column; empty: "text", or the one with the longest texts
    dataset_config: str = ""  # empty: the dataset's only or default one
    split: str = ""  # dataset split; empty: "train", or the first
    validation_split: str = ""  # empty: validation_text, or `text`, as above
    rows: Annotated[  # number of rows from the beginning of a dataset
        int, Option(Limits(1, 10_000_000), used_if="uses_datasets")
    ] = 2000
    # They take their shares of the windows of calibration; `text` has the rest.
    more_texts: tuple[MoreText, ...] = ()

    def __post_init__(self) -> None:
        check_limits(self)
        _check_name(self.text)
        if self.validation_text:
            _check_name(self.validation_text)
        shares = sum(more.share for more in self.more_texts)
        if shares >= 1:
            raise ConfigError(
                "The further texts have shares of {shares:g} together, which leaves "
                "no window for the main text.",
                "Give them shares with a sum below 1.",
                settings=("more_texts",),
                shares=shares,
            )
        has_dataset = is_hub_source(self.text) or is_hub_source(self.validation_text)
        names_part = self.dataset_config or self.split or self.validation_split
        if names_part and not has_dataset:
            raise ConfigError(
                "A configuration or split is given, but {text} is not a dataset.",
                "Leave them empty, or give hf://datasets/organization/name as text.",
                settings=("text", "dataset_config", "split", "validation_split"),
                text=self.text,
            )

    @property
    def all_texts(self) -> tuple[str, ...]:
        """The names of all texts that calibrate."""
        return (self.text, *(more.text for more in self.more_texts))

    @property
    def texts_read(self) -> tuple[str, ...]:
        """The names of all texts that calibrate, and of the one that validates."""
        return (*self.all_texts, self.validation_text or self.text)

    @property
    def draws_windows(self) -> bool:
        """True if the windows are a part of a text, and not all of a token file."""
        return not is_token_file(self.text)

    @property
    def draws_validation_windows(self) -> bool:
        """True if the windows for validation are a part of their text."""
        return not is_token_file(self.validation_text)

    @property
    def cuts_windows(self) -> bool:
        """True if some windows are cut from a text and not read from a token file."""
        return not all(
            map(is_token_file, (self.text, self.validation_text or self.text))
        )

    @property
    def window_counts(self) -> tuple[int, ...]:
        """The number of windows of the main text, then of each further text."""
        left, counts = self.windows, []
        for more in self.more_texts:
            count = min(round(more.share * self.windows), left - 1)
            counts.append(count)
            left -= count
        return (left, *counts)

    @property
    def uses_datasets(self) -> bool:
        """True if a text is read from the Hugging Face Hub."""
        further = (more.text for more in self.more_texts)
        return any(map(is_hub_source, (self.text, self.validation_text, *further)))

    def contradictions(self) -> Iterator[tuple[str, ConfigError]]:
        """Yield which texts rule others out, each with the setting to change."""
        texts: tuple[CalibrationConfig | MoreText, ...] = (self, *self.more_texts)
        read = [
            (real_name(x.text), x.column or self.column, x.dataset_config, x.split)
            for x in texts
        ]
        if len(set(read)) < len(read):
            yield (
                "more_texts",
                ConfigError(
                    "A further text is the main one, or another one, once more: its "
                    "documents are read only once.",
                    "Leave it out, or name another text.",
                ),
            )
        if self.draws_windows:
            return
        if self.more_texts:
            yield (
                "more_texts",
                ConfigError(
                    "All windows of {text} are used, so there is no share for "
                    "{more_texts} further texts.",
                    "Give the text from which it was made, or no further texts.",
                    text=self.text,
                    more_texts=len(self.more_texts),
                ),
            )
        if real_name(self.validation_text or self.text) == real_name(self.text):
            yield (
                "validation_text",
                ConfigError(
                    "The token file {text} needs a validation text of its own: all of "
                    "its windows are used for calibration.",
                    "Choose another token file or a text for validation.",
                    text=self.text,
                ),
            )


def _check_name(text: str) -> None:
    """Check that a text has a name, and that a dataset has one of the Hub."""
    if not text.strip():
        raise ConfigError(
            "No calibration text was given.", "Choose a text file or the built-in text."
        )
    name = hub_name(text)
    if is_hub_source(text) and (name is None or not name.is_dataset):
        raise ConfigError(
            "{text} is not the name of a dataset on the Hugging Face Hub.",
            "Write hf://datasets/organization/name.",
            text=text,
        )
