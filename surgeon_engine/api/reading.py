"""Read small files that another program, or a stranger, may have written.

Everything in a run folder, a job, a preset, a queue and a saved state is read here, so
that a pipe, a device, an endless or a deeply nested file ends in a sentence.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TypeVar

import msgspec

from surgeon_engine.api.decoding import decode_json
from surgeon_engine.api.errors import UnreadableFileError
from surgeon_engine.api.formatting import format_size

LIMIT = 64 << 20  # bytes; a report of the largest models has a few million
_T = TypeVar("_T")
# A pipe without a writer would block, and a terminal would become that of the process.
_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
)


def open_regular(path: Path) -> int:
    """Return a descriptor of a regular file, open for reading.

    Raises:
        UnreadableFileError: The file is missing, or is a pipe, a device or a folder.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableFileError(f"{path} is not a regular file.")
    return descriptor


def read_bytes(path: Path, limit: int = LIMIT) -> bytes:
    """Return the content of a regular file.

    Raises:
        UnreadableFileError: The file is missing, is a pipe, a device or a folder, or
            has more than `limit` bytes. A missing file is its `__cause__`.
    """
    try:
        with open(open_regular(path), "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > limit:
        raise UnreadableFileError(
            f"{path} is larger than the {format_size(limit)} that such a file may have."
        )
    return data


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a regular file of any size, in hexadecimal digits.

    Raises:
        UnreadableFileError: The file is missing, or is a pipe, a device or a folder.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


class Content(msgspec.Struct, frozen=True):
    """Size in bytes and SHA-256, in hexadecimal digits, of a file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Content:
        """Return the content of a file that is complete.

        Raises:
            UnreadableFileError: See `sha256_of`.
        """
        digest = sha256_of(path)
        return cls(path.stat().st_size, digest)

    def is_in(self, path: Path) -> bool:
        """Return whether a file has this content; one of another size is not read.

        Raises:
            UnreadableFileError: See `sha256_of`.
        """
        if path.is_file() and path.stat().st_size != self.bytes:
            return False
        return sha256_of(path) == self.sha256


def read_text(path: Path, limit: int = LIMIT) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises:
        UnreadableFileError: See `read_bytes`; or the file is not UTF-8.
    """
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(
            f"{path} is not UTF-8 text (at byte {error.start:,})."
        ) from error


def read_json(path: Path, kind: type[_T], limit: int = LIMIT) -> _T:
    """Return the value of a type that a JSON file holds.

    Raises:
        UnreadableFileError: See `read_bytes`; or the file is not JSON, is nested too
            deeply, or has other values than the type.
    """
    try:
        return decode_json(read_bytes(path, limit), kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"{path} is damaged: {error}.") from error


def _unreadable(path: Path, error: OSError | ValueError) -> UnreadableFileError:
    reason = getattr(error, "strerror", None) or error
    return UnreadableFileError(f"{path} cannot be read: {reason}.")
