"""Texts in the columns of tables: .jsonl, .csv and .parquet files, and other rows.

Which column is read, if none is named: "text", as most call it, or else the one that
holds the longest texts.
"""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow

from surgeon_engine.api.errors import CalibrationError

# By the ending of a file: how `datasets` calls it, and what it is to be told.
KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ".jsonl": ("json", {}),
    ".csv": ("csv", {"keep_default_na": False}),  # "NA" is a text as any other
    ".parquet": ("parquet", {}),
}
_SHAPES = {
    ".jsonl": 'Each line must be a JSON object such as {"text": "..."}.',
    ".csv": "The first line must name the columns; fields with commas need quotes.",
    ".parquet": "The file may be incomplete: fetch or write it again.",
}
USUAL_COLUMN = "text"
_LOOKED_AT = 50  # rows, to see which column holds the longest texts


def read_table(path: Path) -> datasets.Dataset:
    """The rows of a file; `datasets` leaves no copy of it behind.

    Raises:
        CalibrationError: it is no such table, or has no rows.
    """
    ending = path.suffix.lower()
    builder, options = KINDS[ending]
    with tempfile.TemporaryDirectory() as cache:
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
                f"{path.name} cannot be read: {_reason(error)}.", _SHAPES[ending]
            ) from error
    if len(table) == 0:
        raise CalibrationError(f"{path.name} has no rows.", _SHAPES[ending])
    return table


def text_columns(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The columns that hold texts in these rows and nothing else, the usual one first.

    After that the ones with the longest texts.
    """
    lengths: dict[str, int] = {}
    others: set[str] = set()
    for row in rows:
        for column, value in row.items():
            if isinstance(value, str):
                lengths[column] = lengths.get(column, 0) + len(value)
            elif value is not None:
                others.add(column)
    found = [column for column in lengths if column not in others]
    found.sort(key=lambda column: (column != USUAL_COLUMN, -lengths[column]))
    return tuple(found)


def first_rows(table: datasets.Dataset) -> list[Mapping[str, Any]]:
    """A few rows, from which can be seen what the columns hold."""
    return [table[row] for row in range(min(_LOOKED_AT, len(table)))]


def chosen_column(
    name: str, columns: Sequence[str], wanted: str, *, may_differ: bool = False
) -> str:
    """The column to read; `wanted` need not be there where it `may_differ`.

    Raises:
        CalibrationError: it is not there, or there is none with text.
    """
    if wanted in columns:
        return wanted
    if not columns:
        raise CalibrationError(
            f"No column of {name} holds text.", "Choose a file or data set with text."
        )
    if wanted and not may_differ:
        raise CalibrationError(
            f"{name} has no column {wanted!r} with text.",
            f"Choose one of these: {', '.join(columns)}.",
        )
    return columns[0]


def checked_texts(name: str, texts: Iterable[Any]) -> list[str]:
    """The texts of a column.

    Raises:
        CalibrationError: one of them is none.
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
    """The first line of what has gone wrong, without its full stop."""
    lines = str(error.__cause__ or error).strip().splitlines()
    return (lines or [type(error).__name__])[0].rstrip(".")
