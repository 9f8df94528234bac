"""Documents from a source of text, one reader for each kind.

"builtin"                     topics of Python's documentation   builtin.py
.txt                          one document                       here
.jsonl, .csv, .parquet        a column of a table                tables.py
hf://datasets/org/name        a column of the first rows         hub_datasets.py
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from surgeon_engine.api.config.calibration import (
    BUILTIN_TEXT,
    CalibrationConfig,
    real_name,
)
from surgeon_engine.api.errors import CalibrationError
from surgeon_engine.api.messages.sources import TextDescribed
from surgeon_engine.api.model_info.source_names import HubName, hub_name
from surgeon_engine.calibration import hub_datasets, tables
from surgeon_engine.calibration.builtin import Part, builtin_documents

_PLAIN = ".txt"
_ENDINGS = (_PLAIN, *tables.KINDS)
_BINARY = (".parquet",)


@dataclass(frozen=True, slots=True)
class TextSource:
    """A text, and which part of it is read."""

    name: str
    column: str = ""
    column_may_differ: bool = False  # it was chosen for another text
    config: str = ""
    split: str = ""
    rows: int = 0

    @property
    def is_builtin(self) -> bool:
        """Whether it is the text that comes with Surgeon."""
        return self.name == BUILTIN_TEXT

    @property
    def in_words(self) -> str:
        """The text, with the split of a data set."""
        return f"{self.name} ({self.split})" if self.split else self.name

    def is_same(self, other: TextSource) -> bool:
        """Whether both are one text, however they are spelt."""
        is_same = real_name(self.name) == real_name(other.name)
        return is_same and self.split == other.split


@dataclass(frozen=True, slots=True)
class Documents:
    """The texts of a source."""

    texts: list[str]
    column: str = ""  # of a table, that they stood in


def calibration_source(config: CalibrationConfig) -> TextSource:
    """The text that curvature is measured on."""
    return TextSource(
        config.text,
        config.column,
        config=config.dataset_config,
        split=config.split,
        rows=config.rows,
    )


def validation_source(config: CalibrationConfig) -> TextSource:
    """The text that the loss is measured on; the same unless another is named."""
    same = calibration_source(config)
    if not config.validation_text and not config.validation_split:
        return same
    name = config.validation_text or config.text
    is_other = real_name(name) != real_name(config.text)
    return TextSource(
        name,
        config.column,
        column_may_differ=is_other,
        config="" if is_other else config.dataset_config,
        split=config.validation_split,
        rows=config.rows,
    )


def read_documents(source: TextSource, part: Part) -> Documents:
    """The texts of `source`; of the built-in text, those of `part`.

    Raises:
        CalibrationError: missing, empty, not text, or of an unknown kind.
    """
    if source.is_builtin:
        return Documents(builtin_documents(part))
    if (name := hub_name(source.name)) is not None:
        documents = _from_hub(name, source)
    else:
        path = checked_file(source.name)
        if path.suffix.lower() == _PLAIN:
            documents = Documents([_plain_text(path)])
        else:
            documents = _from_table(path, source)
    if not any(document.strip() for document in documents.texts):
        raise CalibrationError(
            f"{Path(source.name).name} holds no text.",
            "Choose a text with something in it, or another column.",
        )
    return documents


def described_text(config: CalibrationConfig) -> TextDescribed:
    """What can be chosen in the text that `config` names.

    Raises:
        CalibrationError: it cannot be read.
    """
    source = calibration_source(config)
    if (name := hub_name(source.name)) is not None:
        return _described_dataset(name, source)
    if source.is_builtin or Path(source.name).suffix.lower() not in tables.KINDS:
        return TextDescribed(source.name, (), "")
    path = checked_file(source.name)
    columns = tables.text_columns(tables.first_rows(tables.read_table(path)))
    return TextDescribed(
        source.name, columns, tables.chosen_column(path.name, columns, "")
    )


def checked_file(source: str) -> Path:
    """The file at `source`.

    Raises:
        CalibrationError: there is none, it is empty or of an unknown kind.
    """
    path = Path(os.path.expanduser(source))
    if not os.path.isfile(path):
        raise CalibrationError(
            f"There is no text file at {path}.",
            f"Choose a file of one of these kinds: {', '.join(_ENDINGS)}.",
        )
    if path.stat().st_size == 0:
        raise CalibrationError(
            f"{path.name} is empty.", "Choose a file with text in it."
        )
    if path.suffix.lower() not in (*_ENDINGS, ".npy"):
        raise CalibrationError(
            f"{path.name} is of an unknown kind.",
            f"Texts are read from {', '.join(_ENDINGS)} files, tokens from .npy.",
        )
    return path


def _from_table(path: Path, source: TextSource) -> Documents:
    if path.suffix.lower() not in _BINARY:
        _plain_text(path)  # refuses what is no text, with the place
    table = tables.read_table(path)
    columns = tables.text_columns(tables.first_rows(table))
    column = tables.chosen_column(
        path.name, columns, source.column, may_differ=source.column_may_differ
    )
    return Documents(tables.checked_texts(path.name, table[column]), column)


def _from_hub(name: HubName, source: TextSource) -> Documents:
    config = hub_datasets.chosen_config(name, source.config)
    splits = hub_datasets.split_names(name, config)
    split = hub_datasets.chosen_split(name, source.split, splits)
    rows = hub_datasets.first_rows(name, config, split, source.rows)
    column = tables.chosen_column(
        name.display_name,
        tables.text_columns(rows),
        source.column,
        may_differ=source.column_may_differ,
    )
    texts = tables.checked_texts(name.display_name, (row.get(column) for row in rows))
    return Documents(texts, column)


def _described_dataset(name: HubName, source: TextSource) -> TextDescribed:
    """Of a configuration that is still to be chosen, the first is described."""
    configs = hub_datasets.config_names(name)
    config = source.config or ("default" if "default" in configs else configs[0])
    splits = hub_datasets.split_names(name, config)
    split = hub_datasets.chosen_split(name, source.split, splits)
    columns = tables.text_columns(hub_datasets.first_rows(name, config, split))
    return TextDescribed(
        source.name,
        columns,
        tables.chosen_column(name.display_name, columns, ""),
        configs,
        splits,
        split,
    )


def _plain_text(path: Path) -> str:
    """What a file says.

    Raises:
        CalibrationError: it is not UTF-8 text.
    """
    data = path.read_bytes()
    try:
        if b"\0" not in data:
            return data.decode("utf-8-sig")
        place = data.index(b"\0")
    except UnicodeDecodeError as error:
        place = error.start
    raise CalibrationError(
        f"{path.name} is not UTF-8 text (at byte {place:,} of {len(data):,}).",
        "Choose a text file, or save it as UTF-8.",
    )
