"""Read texts from the columns of .jsonl, .csv and .parquet files and of other rows.

The default column is "text", or else the one with chats, or else the one with the
longest texts. Of a long table the beginning is read.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pyarrow.parquet

from surgeon_engine.base.decoding import json_decoder
from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.base.path_problems import unreadable
from surgeon_engine.base.sentences import say
from surgeon_engine.calibration.long_texts import (
    MAX_CHARACTERS,
    read_beginning,
    size_of,
)
from surgeon_engine.runtime import fence

Row = Mapping[str, Any]

USUAL_COLUMN = "text"
CHAT_COLUMNS = ("messages", "conversations")
_SAMPLE_ROWS = 50  # rows that show which column holds the longest texts
_MAX_ROWS = 2_000_000
_MAX_COLUMNS = 5_000
_MAX_NAMES = 12  # names listed in a sentence
_AT_ONCE = 1_000  # rows
_ROW = 100  # cost of reading a row, in characters
_PER_SECOND = 500_000  # characters; the slowest reader manages a hundred times that
_READ_ERRORS = (
    csv.Error,
    pyarrow.ArrowException,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    OverflowError,
    RecursionError,
)


def first_rows(path: Path) -> list[Row]:
    """Return a few rows that show which columns hold text.

    Raises:
        CalibrationError: The file is damaged, or has no rows or too many columns.
    """
    with _errors_of(path):
        rows = list(islice(KINDS[path.suffix.lower()](path, ""), _SAMPLE_ROWS))
    if not rows:
        raise CalibrationError("{path} has no rows.", _shape(path), path=path.name)
    return _without_numbers(rows) if path.suffix.lower() == ".csv" else rows


def read_column(path: Path, column: str) -> tuple[list[Any], int]:
    """Return the values of a column, and about how many characters were left out.

    Raises:
        CalibrationError: The file is damaged.
    """
    values: list[Any] = []
    rate, characters = fence.MinimumRate(_PER_SECOND, say("characters")), 0
    with _errors_of(path):
        rows = KINDS[path.suffix.lower()](path, column)
        while characters < MAX_CHARACTERS and len(values) < _MAX_ROWS:
            part = [row.get(column) for row in islice(rows, _AT_ONCE)]
            if not part:
                return values, _unread_bytes(path)
            size = size_of(part)
            rate.count(size + _ROW * len(part))
            characters += size
            values += part
        left = _count_left(path, rows, len(values))
    return values, _unread_bytes(path) + left * characters // len(values)


def text_columns(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the columns that hold only texts, and the columns that hold chats.

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


def chat_columns(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the columns that hold chats, which are lists of messages."""
    lists = {name for row in rows for name in row if isinstance(row[name], list)}
    return tuple(name for name in CHAT_COLUMNS if name in lists)


def resolve_column(
    name: str, columns: Sequence[str], requested: str, *, may_differ: bool = False
) -> str:
    """Return the column to read.

    `requested` may be empty. Another column may be read if `may_differ`.

    Raises:
        CalibrationError: The requested column is missing, or no column holds text.
    """
    if requested in columns:
        return requested
    if not columns:
        raise CalibrationError(
            "No column of {name} holds text.",
            "Choose a file or dataset with text.",
            name=name,
        )
    if requested and not may_differ:
        raise CalibrationError(
            "{name} has no column {requested:shown} with text.",
            "Choose one of these: {columns}.",
            name=name,
            requested=requested,
            columns=join_names(columns),
        )
    return columns[0]


def join_names(names: Sequence[str]) -> str:
    """Return the first names as a list in a sentence, and the number of others."""
    shown = ", ".join(names[:_MAX_NAMES])
    more = len(names) - _MAX_NAMES
    return say("{shown} and {more} more", shown=shown, more=more) if more > 0 else shown


def check_texts(name: str, texts: Iterable[Any]) -> list[str]:
    """Return the values of a column as texts, without empty ones.

    Raises:
        CalibrationError: A value is not a text.
    """
    checked = []
    for number, text in enumerate(texts, start=1):
        if text is not None and not isinstance(text, str):
            raise CalibrationError(
                "{name} has no text in document {number:,}, but {kind}.",
                "Give every row a text, or choose another column.",
                name=name,
                number=number,
                kind=type(text).__name__,
            )
        if text and text.strip():
            checked.append(text)
    return checked


def _json_rows(path: Path, _: str) -> Iterator[Row]:
    text, _unread = read_beginning(path)
    decode = json_decoder(dict[str, Any])
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
        if not line.strip():
            continue
        row: Row
        try:
            row = decode(line)
        except msgspec.MsgspecError:
            row = _python_json(line, number)
        _check_columns(len(row))
        yield row


def _python_json(line: str, number: int) -> Row:
    """Parse a line that Python may have written.

    Python writes NaN, and halves of the pairs of UTF-16, which become question marks:
    no tokenizer takes them.
    """
    try:
        plain = json.dumps(json.loads(line), ensure_ascii=False)
        row = json.loads(plain.encode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise ValueError(say("line {number:,} is not a JSON object", number=number))
    return row


def _csv_rows(path: Path, _: str) -> Iterator[Row]:
    text, unread = read_beginning(path)
    csv.field_size_limit(MAX_CHARACTERS)
    rows = io.StringIO(text, newline="")
    first = rows.readline()
    rows.seek(0)
    # Some programs write semicolons, where commas are part of numbers, or tabs, and
    # some name the mark in a line of its own.
    named = re.fullmatch(r'"?(?i:sep)=([^\w\s"]|\t)"?\s*', first)
    bare = re.sub(r'"[^"]*"', "", first)
    found = named[1] if named else max(";\t,", key=bare.count)
    delimiter = found if found in bare else ","
    reader = csv.reader(rows, delimiter=delimiter, strict=True)
    header = next(islice(reader, int(bool(named)), None), [])
    _check_columns(len(header))
    # If several columns have the same name, the first one is read.
    places = {name: header.index(name) for name in header}
    with suppress(csv.Error) if unread else nullcontext():
        for row in reader:
            if len(row) > len(header):
                raise ValueError(
                    say(
                        "line {number:,} has {fields:,} fields, and the first line "
                        "names {columns:,} columns",
                        number=reader.line_num,
                        fields=len(row),
                        columns=len(header),
                    )
                )
            if row:
                yield {x: row[n] if n < len(row) else None for x, n in places.items()}


def _parquet_rows(path: Path, column: str) -> Iterator[Row]:
    with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
        _check_columns(len(file.schema_arrow.names))
        chosen = [column] if column else None
        size = _AT_ONCE if column else _SAMPLE_ROWS
        for batch in file.iter_batches(size, columns=chosen):
            yield from batch.to_pylist()


# Each yields the rows of a table, with all columns or at least the one that is named.
KINDS: Mapping[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": _json_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}


def _check_columns(count: int) -> None:
    if count > _MAX_COLUMNS:
        raise ValueError(
            say(
                "it has {count:,} columns; at most {most:,} are read",
                count=count,
                most=_MAX_COLUMNS,
            )
        )


def _without_numbers(rows: list[Row]) -> list[Row]:
    """Return the rows of a .csv file without the columns of numbers, as no texts."""
    numbers = {
        column for column in rows[0] if all(_is_number(row[column]) for row in rows)
    }
    return [{x: row[x] for x in row if x not in numbers} for row in rows]


def _is_number(text: str | None) -> bool:
    if not text or text in ("True", "False"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _count_left(path: Path, rows: Iterator[Row], read: int) -> int:
    """Return how many rows follow the ones that were read, or about as many."""
    if path.suffix.lower() == ".parquet":
        return int(pyarrow.parquet.read_metadata(path).num_rows) - read
    return sum(1 for _ in rows)


def _unread_bytes(path: Path) -> int:
    is_text = path.suffix.lower() != ".parquet"
    return max(0, path.stat().st_size - MAX_CHARACTERS) if is_text else 0


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turn the errors of readers into one that names the file."""
    try:
        yield
    except TimeoutError as error:
        raise CalibrationError(
            "{path} takes too long to read: {error:clause}.",
            _shape(path),
            path=path.name,
            error=error,
        ) from error
    except _READ_ERRORS as error:
        raise CalibrationError(
            unreadable(path.name, fence.describe(error)),
            _shape(path),
        ) from error


def _shape(path: Path) -> str:
    match path.suffix.lower():
        case ".jsonl":
            return say('Each line must be a JSON object such as {{"text": "..."}}.')
        case ".csv":
            return say(
                "The first line must name the columns; fields with commas need quotes."
            )
    return say("The file may be incomplete: download or write it again.")
