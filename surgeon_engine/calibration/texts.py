"""Read documents from a text source, with one reader for each kind.

"builtin"                     topics of Python's documentation   builtin.py
.txt                          one document                       this module
.jsonl, .csv, .parquet        a column of a table                tables.py, chats.py
hf://datasets/org/name        a column of the first rows         hub_datasets.py
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from surgeon_engine.api.config.calibration import (
    BUILTIN_TEXT,
    CalibrationConfig,
    MoreText,
    real_name,
)
from surgeon_engine.api.messages.sources import TextDescribed
from surgeon_engine.api.model_info.source_names import HubName, hub_name
from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.calibration import tables
from surgeon_engine.calibration.builtin import Part, builtin_documents
from surgeon_engine.calibration.long_texts import read_beginning
from surgeon_engine.planning.windows import check_text_file

SHIPPED_TEXT = str(files("surgeon_resources") / "shipped_text" / "passages.jsonl")
_PLAIN = ".txt"


@dataclass(frozen=True, slots=True)
class TextSource:
    """The name of a text and the part of it to read."""

    name: str
    column: str = ""
    column_may_differ: bool = False  # the column was chosen for another text
    config: str = ""
    split: str = ""
    rows: int = 0

    @property
    def is_builtin(self) -> bool:
        """Whether it is the text that comes with Surgeon."""
        return self.name == BUILTIN_TEXT

    @property
    def display_name(self) -> str:
        """The name of the text, with its configuration, split and column."""
        parts = ", ".join(filter(None, (self.config, self.split, self.column)))
        return f"{self.name} ({parts})" if parts else self.name

    def is_same(self, other: TextSource) -> bool:
        """Return whether both are the same text, also under different names."""
        is_same = real_name(self.name) == real_name(other.name)
        return is_same and self.split == other.split


@dataclass(frozen=True, slots=True)
class Documents:
    """The texts of a source, or its chats."""

    texts: list[str]
    column: str = ""  # column of the table that held them
    chats: Sequence[Any] = ()  # values of the rows, instead of texts
    unread: int = 0  # characters after the beginning, which alone is read; about
    without_text: int = 0  # rows


def calibration_source(config: CalibrationConfig) -> TextSource:
    """Return the text on which curvature is measured."""
    return _source(config, config.rows)


def more_sources(config: CalibrationConfig) -> tuple[TextSource, ...]:
    """Return the further texts on which curvature is measured."""
    return tuple(_source(more, config.rows) for more in config.more_texts)


def _source(text: CalibrationConfig | MoreText, rows: int) -> TextSource:
    return TextSource(
        text.text, text.column, config=text.dataset_config, split=text.split, rows=rows
    )


def validation_source(config: CalibrationConfig) -> TextSource:
    """Return the text on which the loss is measured; default: the calibration text."""
    if not config.validation_text and not config.validation_split:
        return calibration_source(config)
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
    """Read the texts of `source`; `part` selects from the built-in text.

    Raises:
        CalibrationError: The source is missing, empty, not text, or of an unknown kind.
    """
    if source.is_builtin:
        return Documents(builtin_documents(part))
    if (name := hub_name(source.name)) is not None:
        documents = _from_hub(name, source)
    else:
        path = check_text_file(source.name)
        if path.suffix.lower() == _PLAIN:
            text, unread = read_beginning(path)
            documents = Documents([text], unread=unread)
        else:
            documents = _from_table(path, source)
    has_text = any(document.strip() for document in documents.texts)
    if not has_text and not documents.chats:
        raise CalibrationError(
            "{name} holds no text.",
            "Choose a text that is not empty, or another column.",
            name=Path(source.name).name,
        )
    return documents


def described_text(config: CalibrationConfig) -> TextDescribed:
    """Return the columns, configurations and splits of the calibration text.

    Raises:
        CalibrationError: The text cannot be read.
    """
    source = calibration_source(config)
    if (name := hub_name(source.name)) is not None:
        return _describe_dataset(name, source)
    if source.is_builtin or Path(source.name).suffix.lower() not in tables.KINDS:
        return TextDescribed((), "")
    path = check_text_file(source.name)
    columns = tables.text_columns(tables.first_rows(path))
    return TextDescribed(columns, tables.resolve_column(path.name, columns, ""))


def _from_table(path: Path, source: TextSource) -> Documents:
    rows = tables.first_rows(path)
    return _from_column(path.name, rows, source, partial(tables.read_column, path))


def _from_hub(name: HubName, source: TextSource) -> Documents:
    # Importing the library takes a second, which only datasets need.
    from surgeon_engine.calibration import hub_datasets

    config = hub_datasets.resolve_config(name, source.config)
    splits = hub_datasets.split_names(name, config)
    split = hub_datasets.resolve_split(name, source.split, splits)
    rows = hub_datasets.first_rows(name, config, split, source.rows)

    def values(column: str) -> tuple[list[Any], int]:
        return [row.get(column) for row in rows], 0

    return _from_column(name.display_name, rows, source, values)


def _from_column(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    source: TextSource,
    read: Callable[[str], tuple[list[Any], int]],
) -> Documents:
    """Read the column of a table that `source` names.

    `rows` show the columns. `read` returns a column, and how much it left out.
    """
    column = tables.resolve_column(
        name,
        tables.text_columns(rows),
        source.column,
        may_differ=source.column_may_differ,
    )
    values, unread = read(column)
    if column in tables.chat_columns(rows):
        return Documents([], column, tuple(values), unread)
    texts = tables.check_texts(name, values)
    return Documents(texts, column, (), unread, len(values) - len(texts))


def _describe_dataset(name: HubName, source: TextSource) -> TextDescribed:
    from surgeon_engine.calibration import hub_datasets

    configs = hub_datasets.config_names(name)
    # Until a configuration is chosen, describe the default or the first one.
    config = source.config or ("default" if "default" in configs else configs[0])
    splits = hub_datasets.split_names(name, config)
    split = hub_datasets.resolve_split(name, source.split, splits)
    columns = tables.text_columns(hub_datasets.first_rows(name, config, split))
    return TextDescribed(
        columns,
        tables.resolve_column(name.display_name, columns, ""),
        configs,
        splits,
        split,
    )
