"""How much memory a run has used over time: a value that is cheap to add to.

A tuple would be copied with every sample that is added, which for tens of thousands of
them keeps the window busy. Here a longer log shares the columns of the shorter one,
which only looks at their beginning. Knows nothing of Qt.
"""

from __future__ import annotations

from array import array

from surgeon_engine.api.messages.run import MemorySampled

_DOUBLE = "d"  # holds whole numbers up to 2^53 bytes


class MemoryLog:
    """Samples in the order in which they came."""

    __slots__ = ("_columns", "_length", "device_total")

    def __init__(self) -> None:
        self._columns: tuple[array[float], array[float], array[float]] = (
            array(_DOUBLE),
            array(_DOUBLE),
            array(_DOUBLE),
        )
        self._length = 0
        self.device_total = 0  # bytes of the GPU; 0: there is none

    def plus(self, seconds: float, sample: MemorySampled) -> MemoryLog:
        """The log with one more sample; this one stays as it is."""
        longer = MemoryLog()
        is_longest = self._length == len(self._columns[0])
        longer._columns = self._columns if is_longest else self._copied()
        values = (seconds, sample.process_bytes, sample.device_bytes)
        for column, value in zip(longer._columns, values, strict=True):
            column.append(value)
        longer._length = self._length + 1
        longer.device_total = max(self.device_total, sample.device_total)
        return longer

    def __len__(self) -> int:
        return self._length

    @property
    def seconds(self) -> array[float]:
        """That the run had worked when each sample was taken."""
        return self._columns[0][: self._length]

    @property
    def process_bytes(self) -> array[float]:
        """In RAM, of the engine's process."""
        return self._columns[1][: self._length]

    @property
    def device_bytes(self) -> array[float]:
        """On the GPU, of the engine's tensors."""
        return self._columns[2][: self._length]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MemoryLog):
            return NotImplemented
        return self._copied() == other._copied()

    def __hash__(self) -> int:
        return hash(self._length)

    def _copied(self) -> tuple[array[float], array[float], array[float]]:
        return self.seconds, self.process_bytes, self.device_bytes
