"""Measurements of original models, kept for later runs that would measure the same.

The process keeps the last one of each kind, and the disk keeps many models'.
`Key` has everything that determines a measurement: with another model, text, setting,
device or version it is measured anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from torch import Tensor

from surgeon_engine.planning.measured_before import Kind
from surgeon_engine.runtime import devices, kept_files, ranks

_KEPT_SHARE = 16  # results are kept up to this part of the free memory


@dataclass(frozen=True, slots=True)
class Key:
    """Everything that determines a measurement, but for the machine and the program."""

    kind: Kind
    facts: Hashable
    # The mark in a plan (`planning/measured_before.py`). Empty: nothing identifies the
    # model, so that the measurement is not kept on the disk.
    mark: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """The numbers of a measurement."""

    tensors: Mapping[str, Tensor]  # on the host; nobody changes them
    facts: str  # JSON

    @property
    def bytes(self) -> int:
        """The bytes of the tensors."""
        return sum(x.nbytes for x in self.tensors.values())


class Kept:
    """Hold one measurement of each kind, and find others on the disk."""

    def __init__(self) -> None:
        self._results: dict[Kind, tuple[Key, Measurement]] = {}

    def find(self, key: Key) -> Measurement | None:
        """Return the measurement of this key, in this process or on the disk."""
        held = self._results.get(key.kind)
        if held is not None and held[0] == key:
            return held[1]
        if not _is_on_disk(key):
            return None
        read = kept_files.read(key.kind, key.facts)
        if read is None:
            return None
        found = Measurement(*read)
        self._results[key.kind] = key, found  # it is mapped and takes no memory
        return found

    def keep(self, key: Key, found: Measurement) -> None:
        """Keep a measurement, in place of the previous one of its kind in the process.

        It is not held if it is a large part of the free memory. Processes that share a
        run do what the first of them does; none of them writes to the disk.
        """
        size = found.bytes
        if ranks.agree(lambda: size <= devices.free_host_memory() // _KEPT_SHARE):
            self._results[key.kind] = key, found
        if _is_on_disk(key):
            kept_files.write(key.kind, key.facts, key.mark, found.tensors, found.facts)

    def drop(self, kind: Kind) -> None:
        """Hold no measurement of a kind in this process."""
        self._results.pop(kind, None)


def _is_on_disk(key: Key) -> bool:
    """Return whether a measurement is kept on the disk, which needs a whole one."""
    return bool(key.mark) and ranks.size() == 1
