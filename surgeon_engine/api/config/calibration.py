"""The calibration part of a job: the texts on which curvature and loss are measured."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated

from surgeon_engine.api.config.fields import Limits, Option, check_limits
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.model_info.source_names import hub_name, is_hub_source

BUILTIN_TEXT = "builtin"  # the text source that names the built-in text


def is_token_file(text: str) -> bool:
    """Return True for a file of tokens, which is already cut into windows."""
    return PurePath(text).suffix == ".npy"


def real_name(text: str) -> str:
    """Return the canonical name of a text: real paths for files."""
    if text == BUILTIN_TEXT or hub_name(text) is not None:
        return text
    return os.path.realpath(os.path.expanduser(text))


_COUNT = Limits(1, 100_000)


def _draws_windows(calibration: CalibrationConfig) -> bool:
    return not calibration.takes_whole_file


def _draws_validation_windows(calibration: CalibrationConfig) -> bool:
    return not is_token_file(calibration.validation_text)


def _cuts_windows(calibration: CalibrationConfig) -> bool:
    return calibration.cuts_windows


def _uses_datasets(calibration: CalibrationConfig) -> bool:
    return calibration.uses_datasets


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """The texts for calibration and validation, and their windows."""

    # "builtin", a .txt/.jsonl/.csv/.parquet file, a .npy token file, or
    # hf://datasets/org/name@revision
    text: str = BUILTIN_TEXT
    validation_text: str = ""  # as `text`; empty: a held-out part of `text`
    windows: Annotated[int, Option(_COUNT, applies=_draws_windows)] = 64
    validation_windows: Annotated[
        int, Option(_COUNT, applies=_draws_validation_windows)
    ] = 32
    window_length: Annotated[  # tokens
        int, Option(Limits(8, 131_072), applies=_cuts_windows)
    ] = 256
    seed: Annotated[int, Option(Limits(0, 2**31 - 1), advanced=True)] = 0
    batch: Annotated[int, Option(Limits(1, 1024), advanced=True)] = 4
    column: str = ""  # of a table; empty: "text", or the one with the longest texts
    dataset_config: str = ""  # empty: the data set's only or default one
    split: str = ""  # of a data set; empty: "train", or the first
    validation_split: str = ""  # empty: validation_text, or `text`, as above
    rows: Annotated[  # of a data set, from its beginning
        int, Option(Limits(1, 10_000_000), applies=_uses_datasets)
    ] = 2000

    def __post_init__(self) -> None:
        check_limits(self)
        if not self.text.strip():
            raise ConfigError(
                "No calibration text was given.",
                "Choose a text file or the built-in text.",
            )
        for text in (self.text, self.validation_text):
            name = hub_name(text)
            if is_hub_source(text) and (name is None or not name.is_dataset):
                raise ConfigError(
                    f"{text} is not the name of a data set on the Hugging Face Hub.",
                    "Write hf://datasets/organisation/name.",
                )

        if not self.uses_datasets and (self.dataset_config or self._names_split):
            raise ConfigError(
                "dataset_config or split is set, but no text is a dataset.",
                "Leave dataset_config, split and validation_split empty, or give "
                "hf://datasets/organisation/name as text.",
            )

    @property
    def all_texts(self) -> tuple[str, ...]:
        """The names of all texts that calibrate."""
        return (self.text,)

    @property
    def takes_whole_file(self) -> bool:
        """True if all windows of a token file are measured."""
        return is_token_file(self.text)

    @property
    def lacks_validation(self) -> bool:
        """True if calibration takes all windows of the token file for validation."""
        if not self.takes_whole_file:
            return False
        other = self.validation_text or self.text
        return real_name(other) == real_name(self.text)

    @property
    def cuts_windows(self) -> bool:
        """True if some windows are cut from a text and not read from a token file."""
        return not all(
            map(is_token_file, (self.text, self.validation_text or self.text))
        )

    @property
    def _names_split(self) -> bool:
        return bool(self.split or self.validation_split)

    @property
    def uses_datasets(self) -> bool:
        """True if a text is read from the Hugging Face Hub."""
        return is_hub_source(self.text) or is_hub_source(self.validation_text)
