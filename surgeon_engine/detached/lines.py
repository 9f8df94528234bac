"""The lines that a detached engine has written, in a file.

Clients read them from there at their own pace, so a slow connection delays no run.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from surgeon_engine.detached.shortening import count_of, shortened, skipped

MAX_BYTES = 8_000_000  # of the file, before it is shortened


class Lines:
    """Numbered lines in a file. Any thread may append and read.

    Lines that a full disk does not take wait in memory.

    Args:
        path: The file.
        max_bytes: The size from which on the file `is_long`.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._file = os.open(path, _FLAGS | os.O_TRUNC, 0o600)
        self._size = 0  # bytes of complete lines
        self._max_bytes = self._long_bytes = max_bytes
        self._first = 0  # number of the first line in the file
        self._version = 0  # of the file
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self.count = 0  # in the file, and before its first line

    @property
    def is_long(self) -> bool:
        """Whether it is time to shorten the file."""
        return self._size > self._long_bytes

    def append(self, line: bytes) -> int:
        """Append a line without its line break; return its number."""
        with self._changed:
            self._waiting.append(line + b"\n")
            number = self.count + len(self._waiting) - 1
            self.flush()
            return number

    def flush(self) -> None:
        """Write the waiting lines, as far as the disk takes them."""
        with self._changed, suppress(OSError):
            while self._waiting:
                self._write(self._waiting[0])
                self._waiting.popleft()
                self.count += 1
                self._changed.notify_all()

    def _write(self, line: bytes) -> None:
        try:
            _write_all(self._file, line)
        except OSError:
            os.ftruncate(self._file, self._size)  # no half of a line
            raise
        self._size += len(line)

    def shorten(self, first: int) -> None:
        """Leave out lines that nobody needs; numbers and readers stay valid.

        These are the lines before number `first`, and of those that follow, the ones
        that `shortened` replaces. If the disk is full, the file stays as it is.
        """
        with self._changed:
            new = self._path.with_suffix(".new")
            try:
                kept = shortened(list(self._lines_from(first)))
                _replace(self._path, new, b"".join(kept))
                file = os.open(self._path, _FLAGS)
            except OSError:
                new.unlink(missing_ok=True)
            else:
                os.close(self._file)
                self._file, self._size = file, sum(map(len, kept))
                self._first = max(self._first, first)
                self._version += 1
            # Not again and again, if most lines are needed.
            self._long_bytes = max(self._max_bytes, 2 * self._size)

    def _lines_from(self, number: int) -> Iterator[bytes]:
        reader = self.reader(max(number, self._first))
        try:
            while reader.number < self.count:
                yield reader.read()
        finally:
            reader.close()

    def open(self) -> tuple[BinaryIO, int, int]:
        """Open the file; return it, the number of its first line, and its version."""
        with self._changed:
            return self._path.open("rb"), self._first, self._version

    def reader(self, number: int) -> LineReader:
        """Return a reader whose first line has this number."""
        return LineReader(self, number)

    def wait_for(self, number: int, timeout: float) -> int | None:
        """Wait for the line of a number; return the version of the file with it.

        None is returned if there is no such line in time.
        """
        with self._changed:
            is_there = self._changed.wait_for(lambda: self.count > number, timeout)
            return self._version if is_there else None

    def close(self) -> None:
        """Delete the file."""
        with self._changed:
            os.close(self._file)
            self._file = -1  # the number may soon be that of another file
            self._path.unlink(missing_ok=True)


class LineReader:
    """Reads lines one after the other."""

    def __init__(self, lines: Lines, number: int) -> None:
        self._lines = lines
        self.number = number  # of the next line
        self._rest = b""  # a line `Skipped` that comes before those in the file
        self._open()

    def next(self, timeout: float) -> bytes | None:
        """Return the next line with its line break; None if there is none in time.

        A line `Skipped` stands for several.
        """
        version = self._lines.wait_for(self.number, timeout)
        if version is None:
            return None
        if version != self._version:  # the old file lacks the latest lines
            self.close()
            self._open()
        return self.read()

    def read(self) -> bytes:
        """Return the next line, which is there."""
        line, self._rest = self._rest or self._file.readline(), b""
        self.number += count_of(line)
        return line

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> None:
        self._file, reached, self._version = self._lines.open()
        while reached < self.number and (line := self._file.readline()):
            reached += count_of(line)
        # The next line may be among those for which the last one stands.
        self._rest = skipped(reached - self.number) if reached > self.number else b""


_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def _replace(path: Path, new: Path, data: bytes) -> None:
    """Write a file under a new name, then give it its own."""
    file = os.open(new, _FLAGS | os.O_TRUNC, 0o600)
    try:
        _write_all(file, data)
    finally:
        os.close(file)
    new.replace(path)


def _write_all(file: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(file, data[written:])
