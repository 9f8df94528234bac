"""One part of a model on a map of it, as plain values.

Knows nothing of Qt.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """One part of the model on a map."""

    row: str
    column: int  # block
    heat: float  # 0 to 1
    label: str
    tip: str
    name: str  # of the part
