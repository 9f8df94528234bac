"""Read texts from the columns of .jsonl, .csv and .parquet files and of other rows.

The default column is "text", or else the one with chats, or else the one with the
longest texts.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import msgspec
import pyarrow

from surgeon_engine.api.errors import CalibrationError
from surgeon_engine.api.files import temporary_folder

# The builder of `datasets` and its options, by suffix.
KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ".jsonl": ("json", {}),
    ".csv": ("csv", {"keep_default_na": False}),  # "NA" is a text like any other
    ".parquet": ("parquet", {}),
}
_SHAPES = {
    ".jsonl": 'Each line must be a JSON object such as {"text": "..."}.',
    ".csv": "The first line must name the columns; fields with commas need quotes.",
    ".parquet": "The file may be incomplete: download or write it again.",
}
USUAL_COLUMN = "text"
CHAT_COLUMNS = ("messages", "conversations")
_SAMPLE_ROWS = 50  # rows that show which column holds the longest texts


def _check_nesting(path: Path) -> None:
    """Check lines of JSON: the library that reads them crashes on deep ones.

    Raises:
        CalibrationError: A line is nested too deeply.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                msgspec.json.decode(line, type=msgspec.Raw)
            except msgspec.DecodeError:
                continue  # blank, or the library gives the reason
            except RecursionError as error:
                raise CalibrationError(
                    f"Line {number:,} of {path.name} is nested too deeply.",
                    _SHAPES[".jsonl"],
                ) from error


def read_table(path: Path) -> datasets.Dataset:
    """Read a table from a file.

    Raises:
        CalibrationError: The file is damaged, or has no rows.
    """
    suffix = path.suffix.lower()
    builder, options = KINDS[suffix]
    if suffix == ".jsonl":
        _check_nesting(path)
    with temporary_folder() as cache:  # `datasets` would keep a copy
        try:
            table = datasets.load_dataset(
                builder,
                data_files=glob.escape(str(path)),
                split="train",
                cache_dir=cache,
                keep_in_memory=True,
                **options,
            )
        except (
            datasets.exceptions.DatasetGenerationError,
            datasets.exceptions.DataFilesNotFoundError,
            pyarrow.ArrowInvalid,
            ValueError,
        ) as error:
            raise CalibrationError(
                f"{path.name} cannot be read: {_reason(error)}.", _SHAPES[suffix]
            ) from error
    if len(table) == 0:
        raise CalibrationError(f"{path.name} has no rows.", _SHAPES[suffix])
    return table


def text_columns(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the columns that hold only texts, and those that hold chats.

    The usual column is first, then chats; the others are sorted by the length of their
    texts.
    """
    rows = tuple(rows)
    chats = chat_columns(rows)
    lengths: dict[str, int] = dict.fromkeys(chats, 0)
    others: set[str] = set()
    for row in rows:
        for column, value in row.items():
            if isinstance(value, str):
                lengths[column] = lengths.get(column, 0) + len(value)
            elif value is not None and column not in chats:
                others.add(column)
    columns = [column for column in lengths if column not in others]
    columns.sort(
        key=lambda column: (
            column != USUAL_COLUMN,
            column not in chats,
            -lengths[column],
        )
    )
    return tuple(columns)


def chat_columns(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the columns that hold chats, which are lists of messages."""
    lists = {name for row in rows for name in row if isinstance(row[name], list)}
    return tuple(name for name in CHAT_COLUMNS if name in lists)


def first_rows(table: datasets.Dataset) -> list[Mapping[str, Any]]:
    """Return a few rows that show which columns hold text."""
    return [table[row] for row in range(min(_SAMPLE_ROWS, len(table)))]


def resolve_column(
    name: str, columns: Sequence[str], requested: str, *, may_differ: bool = False
) -> str:
    """Return the column to read.

    Args:
        name: Name of the table in error messages.
        columns: The columns with text.
        requested: The requested column, or an empty string.
        may_differ: Whether another column may be read if the requested one is missing.

    Raises:
        CalibrationError: The requested column is missing, or no column holds text.
    """
    if requested in columns:
        return requested
    if not columns:
        raise CalibrationError(
            f"No column of {name} holds text.", "Choose a file or data set with text."
        )
    if requested and not may_differ:
        raise CalibrationError(
            f"{name} has no column {requested!r} with text.",
            f"Choose one of these: {', '.join(columns)}.",
        )
    return columns[0]


def check_texts(name: str, texts: Iterable[Any]) -> list[str]:
    """Return the values of a column as texts.

    Raises:
        CalibrationError: A value is not a text.
    """
    checked = []
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise CalibrationError(
                f"{name} has no text in document {number:,}, but "
                f"{type(text).__name__}.",
                "Give every row a text, or choose another column.",
            )
        checked.append(text)
    return checked


def _reason(error: Exception) -> str:
    """Return the first line of an error message, without its full stop."""
    lines = str(error.__cause__ or error).strip().splitlines()
    return (lines or [type(error).__name__])[0].rstrip(".")
