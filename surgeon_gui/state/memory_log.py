"""Memory use of a run over time: an immutable log that is cheap to extend. No Qt.

A tuple would be copied for each new sample, which is slow with tens of thousands of
samples. Here an extended log shares the columns of the shorter one, which only reads
their beginning.
"""

from __future__ import annotations

from array import array

from surgeon_engine.api.messages.run import MemorySampled

_DOUBLE = "d"  # exact for whole numbers up to 2^53


class MemoryLog:
    """The samples in order of time."""

    __slots__ = ("_columns", "_length", "device_total")

    def __init__(self) -> None:
        self._columns: tuple[array[float], array[float], array[float]] = (
            array(_DOUBLE),
            array(_DOUBLE),
            array(_DOUBLE),
        )
        self._length = 0
        self.device_total = 0  # bytes of the GPU; 0: no GPU

    def plus(self, seconds: float, sample: MemorySampled) -> MemoryLog:
        """Return the log with one more sample; this log does not change."""
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
        """Return the elapsed seconds of the run at each sample, without pauses."""
        return self._columns[0][: self._length]

    @property
    def process_bytes(self) -> array[float]:
        """Return the RAM of the engine's process at each sample."""
        return self._columns[1][: self._length]

    @property
    def device_bytes(self) -> array[float]:
        """Return the GPU memory of the engine's tensors at each sample."""
        return self._columns[2][: self._length]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MemoryLog):
            return NotImplemented
        return self._copied() == other._copied()

    def __hash__(self) -> int:
        return hash(self._length)

    def _copied(self) -> tuple[array[float], array[float], array[float]]:
        return self.seconds, self.process_bytes, self.device_bytes
