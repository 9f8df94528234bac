"""Read the header of a GGUF file.

Layout: magic "GGUF", version (u32), counts of tensors and of entries (u64 each), then
the entries: a key (u64 length, bytes), a type (u32), a value. Entries of the
architecture precede entries of the tokenizer, where reading ends: its lists fill
megabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from surgeon_engine.base.errors import ModelError, UnreadableFileError
from surgeon_engine.base.path_problems import unreadable
from surgeon_engine.base.reading import open_to_read
from surgeon_engine.base.sentences import say

MAGIC = b"GGUF"
SOURCES = say(
    "Choose a folder with config.json and .safetensors files, or a .gguf file."
)

# Format for `struct` by number of the type in the file.
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING = 8
_LIST = 9  # type of its elements (u32), number of elements (u64), the elements
_MAX_STRING = 1_000_000  # bytes; chat templates have some thousands
_MAX_ENTRIES = 10_000
_MAX_LIST = 100_000  # elements; lists by layer and of languages are short
_MAX_TOKENS = 600_000  # elements of a tokenizer's; the largest have 515,000
_TOKENIZER = "tokenizer."


def read_gguf_header(path: Path) -> dict[str, int | float | str]:
    """Read the numbers and texts that precede the tokenizer's entries.

    Raises:
        ModelError: The file is not a GGUF file, or its header is damaged.
    """
    header: dict[str, int | float | str] = {}
    with _damage_as_error(path), open_model(path) as file:
        for key in _keys(path, file):
            if key.startswith(_TOKENIZER):
                break
            value = _value_or_list(path, file, key, _MAX_LIST)
            if value is not None:
                header[key] = value
    return header


def check_lists(path: Path) -> int:
    """Check the lists of a GGUF header: libraries take a minute for absurd ones.

    Return the bytes of the header before its list of tensors.

    Raises:
        ModelError: The file is not a GGUF file; or its header is damaged, or has a list
            that is longer than any tokenizer needs.
    """
    with _damage_as_error(path), open_model(path) as file:
        for key in _keys(path, file):
            _value_or_list(path, file, key, _MAX_TOKENS)
        return file.tell()


@contextmanager
def _damage_as_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, struct.error) as error:
        raise ModelError(
            "{path} is damaged: its header cannot be read.",
            "The download may be incomplete: download this file again.",
            path=path.name,
        ) from error
    except OSError as error:
        raise ModelError(unreadable(path, error), "Choose another file.") from error


def open_model(path: Path) -> BinaryIO:
    """Open a file of a model for reading.

    Raises:
        ModelError: The file is missing, or is a pipe, a device or a folder.
    """
    try:
        return open_to_read(path)
    except UnreadableFileError as error:
        raise ModelError(error.message, "Choose another file.") from error


def _keys(path: Path, file: BinaryIO) -> Iterator[str]:
    """Read the first fields and yield the key of each entry, before its value."""
    check_magic(path, file)
    version, _, entries = _unpack(file, "<IQQ")
    if version < 2 or entries > _MAX_ENTRIES:
        raise ValueError(entries)
    for _ in range(entries):
        yield _string(file)


def check_magic(path: Path, file: BinaryIO) -> None:
    """Read and check the first bytes of a GGUF file.

    Raises:
        ModelError: The file is not a GGUF file.
    """
    magic = file.read(len(MAGIC))
    if magic == MAGIC:
        return
    raise ModelError(
        "{path} is not a GGUF file." if magic else "{path} is an empty file.",
        SOURCES,
        path=path.name,
    )


def _value_or_list(
    path: Path, file: BinaryIO, key: str, most: int
) -> int | float | str | None:
    """Read the value of an entry; return None for a list, which has a limit."""
    (kind,) = _unpack(file, "<I")
    if kind != _LIST:
        return _value(file, kind)
    kind, length = _unpack(file, "<IQ")
    if length > most:
        raise ModelError(
            "{path} has {length:,} entries of {key:shown}; at most {most:,} are "
            "possible.",
            "Download this file again.",
            path=path.name,
            length=length,
            key=key,
            most=most,
        )
    if kind in _SCALARS:
        size = length * struct.calcsize(_SCALARS[kind])
        if len(file.read(size)) < size:
            raise ValueError(length)
    else:
        for _ in range(length):
            _value(file, kind)
    return None


def _value(file: BinaryIO, kind: int) -> int | float | str:
    if kind == _STRING:
        return _string(file)
    if kind not in _SCALARS:
        raise ValueError(kind)
    (value,) = _unpack(file, _SCALARS[kind])
    return value


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<Q")
    if length > _MAX_STRING:
        raise ValueError(length)
    data = file.read(int(length))
    if len(data) < length:
        raise ValueError(length)
    return data.decode("utf-8", errors="replace")


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
