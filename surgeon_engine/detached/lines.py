"""The lines that a detached engine has written, in a file.

Clients read them from there at their own pace, so a slow connection delays no run.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO


class Lines:
    """Numbered lines in a file. Any thread may append and read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self._file = os.fdopen(os.open(path, flags, 0o600), "wb")
        self._changed = threading.Condition()
        self.count = 0

    def append(self, line: bytes) -> int:
        """Append a line without its line break; return its number."""
        with self._changed:
            self._file.write(line + b"\n")
            self._file.flush()
            self.count += 1
            self._changed.notify_all()
            return self.count - 1

    def reader(self, number: int) -> LineReader:
        """Return a reader whose first line has this number."""
        return LineReader(self, self._path.open("rb"), number)

    def wait_for(self, number: int, timeout: float) -> bool:
        """Wait until there is a line of this number; return whether there is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.count > number, timeout)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
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
