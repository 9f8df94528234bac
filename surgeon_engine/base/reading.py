"""Read files that another program, or a stranger, may have written.

Everything in a run folder, a job, a preset, a queue and a saved state is read here, so
that a pipe, a device, an endless or a deeply nested file ends in a sentence. Logs,
which grow line by line, are opened here for writing, too.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar

import msgspec

from surgeon_engine.base.decoding import decode_json
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.path_problems import damaged, unreadable
from surgeon_engine.base.sentences import say

LIMIT = 64 << 20  # bytes; a report of the largest models has a few million
LINE_LIMIT = 16 << 20  # bytes of a line of a log
LOG_LIMIT = 2 << 30  # some weeks of a run
_BLOCK = 65_536  # bytes
_HASHED_BLOCK = 4 << 20  # bytes
_MOVE = say("Move it to another place, and try again.")
_T = TypeVar("_T")
# A pipe without a writer would block; a terminal would become the controlling one.
_SAFE = sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")
)
# A link in a folder of a stranger could lead to a file of the user.
SAFE_TO_WRITE = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | _SAFE


def open_regular(path: Path) -> int:
    """Return a descriptor of a regular file, open for reading.

    Raises:
        UnreadableFileError: The file is missing, or is a pipe, a device or a folder.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _SAFE)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        is_regular = _is_of_a_disk(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise _unreadable(path, error) from error
    if not is_regular:
        os.close(descriptor)
        raise UnreadableFileError("{path} is not a regular file.", path=path)
    return descriptor


def _is_of_a_disk(descriptor: int) -> bool:
    """Return whether a file is a regular one of a disk, and not one of /proc.

    Raises:
        OSError: It cannot be read, or not without waiting.
    """
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        return False
    if facts.st_size or not hasattr(os, "pread"):
        return True
    has_content = bool(os.pread(descriptor, 1, 0))
    return not has_content or os.fstat(descriptor).st_size > 0  # it is growing


def open_to_read(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        UnreadableFileError: See `open_regular`.
    """
    return open(open_regular(path), "rb")


def read_bytes(path: Path, limit: int = LIMIT) -> bytes:
    """Return the content of a regular file.

    Raises:
        UnreadableFileError: The file is missing, is a pipe, a device or a folder, or
            has more than `limit` bytes. A missing file is its `__cause__`.
    """
    try:
        with open_to_read(path) as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise _too_large(path, limit)
            data = file.read(limit + 1)  # it may be growing
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > limit:
        raise _too_large(path, limit)
    return data


def nothing() -> None:
    """Do nothing, in place of a check that may stop the reading of a file."""


class Content(msgspec.Struct, frozen=True):
    """Size in bytes and SHA-256, in hexadecimal digits, of a file."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str

    @classmethod
    def of(cls, path: Path, check: Callable[[], object] = nothing) -> Content:
        """Return the content of a regular file of any size.

        `check` is called every few milliseconds; it may raise to stop.

        Raises:
            UnreadableFileError: The file is missing, or is a pipe, a device or a
                folder.
        """
        digest = hashlib.sha256()
        try:
            with open_to_read(path) as file:
                while block := file.read(_HASHED_BLOCK):
                    check()
                    digest.update(block)
                return cls(file.tell(), digest.hexdigest())
        except OSError as error:
            raise _unreadable(path, error) from error

    def is_in(self, path: Path) -> bool:
        """Return whether a file has this content; one of another size is not read.

        Raises:
            UnreadableFileError: See `of`.
        """
        if path.is_file() and path.stat().st_size != self.bytes:
            return False
        return Content.of(path) == self


def read_text(path: Path, limit: int = LIMIT) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises:
        UnreadableFileError: See `read_bytes`; or the file is not UTF-8.
    """
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(
            "{path} is not UTF-8 text (at byte {at:,}).", path=path, at=error.start
        ) from error


def read_json(path: Path, kind: type[_T], limit: int = LIMIT) -> _T:
    """Return the value of a type that a JSON file holds.

    Raises:
        UnreadableFileError: See `read_bytes`; or the file is not JSON, is nested too
            deeply, or has other values than the type.
    """
    try:
        return decode_json(read_bytes(path, limit), kind)
    except msgspec.MsgspecError as error:
        raise UnreadableFileError(damaged(path, error)) from error


def read_lines(path: Path, limit: int = LOG_LIMIT, start: int = 0) -> Iterator[bytes]:
    """Yield the lines of a log after its first `start` bytes, with their line breaks.

    Raises:
        UnreadableFileError: See `read_bytes`; or a line has more than `LINE_LIMIT`
            bytes.
    """
    done = 0
    with open_to_read(path) as file:
        file.seek(start)
        while line := _line(file, path):
            done += len(line)
            if done > limit:
                raise _too_large(path, limit)
            yield line


def read_tail(path: Path, size: int) -> str:
    """Return the text at the end of a file, of up to so many bytes.

    Raises:
        UnreadableFileError: See `read_bytes`.
    """
    try:
        with open_to_read(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read(size).decode(errors="replace")
    except OSError as error:
        raise _unreadable(path, error) from error


def end_of_last_line(file: BinaryIO, path: Path) -> int:
    """Return the position after the last line break in a log.

    Raises:
        UnreadableFileError: What follows it has more than `LINE_LIMIT` bytes.
    """
    end = size = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
        if size - end > LINE_LIMIT:
            raise _line_too_long(path)
    return 0


def open_to_append(path: Path) -> BinaryIO:
    """Open a log for reading and for writing at its end; make it if there is none.

    Raises:
        UnreadableFileError: It is a link, a pipe, a device or a folder.
        OSError: It cannot be written.
    """
    return os.fdopen(open_own(path, os.O_CREAT | os.O_APPEND, _MOVE), "ab+")


def open_own(path: Path, flags: int, hint: str) -> int:
    """Return a descriptor of a regular file in a folder of ours, open for writing.

    Raises:
        UnreadableFileError: It is a link, a pipe, a device or a folder.
        OSError: It cannot be opened.
    """
    try:
        descriptor = os.open(path, SAFE_TO_WRITE | flags, 0o644)
    except OSError as error:
        if not path.is_symlink():
            raise
        raise UnreadableFileError("{path} is a link.", hint, path=path) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableFileError("{path} is not a regular file.", hint, path=path)
    return descriptor


def _line(file: BinaryIO, path: Path) -> bytes:
    try:
        line = file.readline(LINE_LIMIT + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(line) > LINE_LIMIT:
        raise _line_too_long(path)
    return line


def _line_too_long(path: Path) -> UnreadableFileError:
    return UnreadableFileError(
        "{path} has a line of more than {limit:size}.", path=path, limit=LINE_LIMIT
    )


def _too_large(path: Path, limit: int) -> UnreadableFileError:
    return UnreadableFileError(
        "{path} is larger than the {limit:size} that such a file may have.",
        path=path,
        limit=limit,
    )


def _unreadable(path: Path, error: OSError | ValueError) -> UnreadableFileError:
    return UnreadableFileError(unreadable(path, error))
