"""The lines that a detached engine has written, in a file.

Clients read them from there at their own pace, so a slow connection delays no run.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


class Lines:
    """Numbered lines in a file. Any thread may append and read.

    Lines that a full disk does not take wait in memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self._file = os.open(path, flags, 0o600)
        self._size = 0  # bytes of complete lines
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self.count = 0  # in the file

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
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            os.ftruncate(self._file, self._size)  # no half of a line
            raise
        self._size += len(line)

    def reader(self, number: int) -> LineReader:
        """Return a reader whose first line has this number."""
        return LineReader(self, self._path.open("rb"), number)

    def wait_for(self, number: int, timeout: float) -> bool:
        """Wait until there is a line of this number; return whether there is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.count > number, timeout)

    def close(self) -> None:
        """Delete the file."""
        with self._changed:
            os.close(self._file)
            self._file = -1  # the number may soon be that of another file
            self._path.unlink(missing_ok=True)


class LineReader:
    """Reads lines one after the other."""

    def __init__(self, lines: Lines, file: BinaryIO, number: int) -> None:
        self._lines, self._file = lines, file
        self.number = number  # of the next line
        for _ in range(number):
            file.readline()

    def next(self, timeout: float) -> bytes | None:
        """Return the next line with its line break; None if there is none in time."""
        if not self._lines.wait_for(self.number, timeout):
            return None
        self.number += 1
        return self._file.readline()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
