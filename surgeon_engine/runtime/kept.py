"""The last measurement of a process, for a later run that would measure the same."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any


class Kept:
    """Hold one result with the key of everything that determines it."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._result: Any = None

    def find(self, key: Hashable) -> Any:
        """Return the result for this key; None if another one is held."""
        return self._result if key == self._key else None

    def keep(self, key: Hashable, result: Any) -> None:
        """Hold a result in place of the previous one."""
        self._key, self._result = key, result
