"""Leave out lines of a detached engine that later lines replace.

Progress that later progress of its stage replaces is left out, and of two samples of
the memory the larger values stay. So the end of each stage, and its maximum memory, are
those of all lines. What is left grows as slowly as the list of stages.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from surgeon_engine.api.messages.events import Envelope, Logged, Skipped
from surgeon_engine.api.messages.run import MemorySampled, Progressed
from surgeon_engine.base.decoding import encode_json, json_decoder

_ENVELOPE = json_decoder(Envelope)
_QUIET = (Progressed, MemorySampled, Logged)  # they begin no other stage
_NAMES = tuple(f'"type":"{kind.__name__}"'.encode() for kind in _QUIET)


def skipped(count: int) -> bytes:
    """Return a line that stands for that many."""
    return encode_json(Envelope("", 0.0, Skipped(count))) + b"\n"


_SKIPPED = skipped(0).rpartition(b"0")[0]  # how such a line begins


def count_of(line: bytes) -> int:
    """Return for how many lines a line stands."""
    if not line.startswith(_SKIPPED):
        return 1
    return int(line.removeprefix(_SKIPPED).rstrip(b"}\n"))


def shortened(lines: Sequence[bytes]) -> list[bytes]:
    """Return the lines without those that later ones replace.

    A line `Skipped` takes the place of those that are left out, so that the numbers of
    the others stay the same. The last line is always kept.
    """
    shorter = _Shorter()
    for line in reversed(lines):
        shorter.add(line)
    return shorter.lines()


class _Shorter:
    """Takes lines from the last one to the first, and keeps those that are needed."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._left_out = 0  # lines before the kept ones
        self._run = ""
        self._progress: Progressed | None = None  # later in the same stage
        self._sample: int | None = None  # the place of one that may take another

    def add(self, line: bytes) -> None:
        """Keep a line unless a later one replaces it."""
        if line.startswith(_SKIPPED) or self._is_replaced(line):
            self._left_out += count_of(line)
            return
        self._mark_what_is_left_out()
        self._kept.append(line)

    def lines(self) -> list[bytes]:
        """Return the kept lines, from the first one to the last."""
        self._mark_what_is_left_out()
        return self._kept[::-1]

    def _mark_what_is_left_out(self) -> None:
        if self._left_out:
            self._kept.append(skipped(self._left_out))
            self._left_out = 0

    def _is_replaced(self, line: bytes) -> bool:
        """Return whether later lines hold what this one says; let them hold it."""
        envelope = _quiet(line)
        event = envelope.event if envelope is not None else None
        run = envelope.run if envelope is not None else ""
        if not isinstance(event, _QUIET) or run != self._run:
            self._progress = self._sample = None
        self._run = run
        if isinstance(event, Progressed):
            later, self._progress = self._progress, event
            return later is not None and _is_same_stage(event, later)
        if isinstance(event, MemorySampled):
            if self._sample is not None:
                place, self._sample = self._sample, None
                self._kept[place] = _with_maximum(self._kept[place], event)
                return True
            self._sample = len(self._kept) + bool(self._left_out)
        return False


def _quiet(line: bytes) -> Envelope | None:
    """Return the event of a line that begins no stage; None for other lines."""
    return _ENVELOPE.decode(line) if any(name in line for name in _NAMES) else None


def _is_same_stage(first: Progressed, second: Progressed) -> bool:
    return (first.stage, first.shot) == (second.stage, second.shot)


def _with_maximum(line: bytes, earlier: MemorySampled) -> bytes:
    """Return the line of a sample with the larger values of both."""
    envelope = _ENVELOPE.decode(line)
    event = envelope.event
    assert isinstance(event, MemorySampled)
    larger = MemorySampled(
        max(event.process_bytes, earlier.process_bytes),
        max(event.device_bytes, earlier.device_bytes),
        max(event.device_total, earlier.device_total),
    )
    return encode_json(msgspec.structs.replace(envelope, event=larger)) + b"\n"
