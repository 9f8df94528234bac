"""The last measurements of a process, for a later run that would measure the same."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Any

from surgeon_engine.runtime import devices, ranks

_KEPT_SHARE = 16  # results are kept up to this part of the free memory


class Kind(Enum):
    """The kinds of measurements of an original model."""

    GATES = "gates"
    BASELINE = "baseline"  # its evaluation and its hidden states


class Kept:
    """Hold one result of each kind with the key of everything that determines it."""

    def __init__(self) -> None:
        self._results: dict[Kind, tuple[Hashable, Any]] = {}

    def find(self, kind: Kind, key: Hashable) -> Any:
        """Return the result for this key; None if another one is held, or none."""
        held = self._results.get(kind)
        return held[1] if held is not None and held[0] == key else None

    def keep(self, kind: Kind, key: Hashable, result: Any, size: int = 0) -> None:
        """Hold a result in place of the previous one of its kind.

        One whose `size`, in bytes, is a large part of the free memory is not held.
        Processes that share a run do what the first of them does.
        """
        if ranks.agree(lambda: size <= devices.free_host_memory() // _KEPT_SHARE):
            self._results[kind] = (key, result)

    def drop(self, kind: Kind) -> None:
        """Hold no result of a kind."""
        self._results.pop(kind, None)
