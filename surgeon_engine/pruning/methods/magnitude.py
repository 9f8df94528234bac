"""Magnitude: the smallest weights go, whatever they are used for.

Half the sum of squares, which is the cost under F = I; no text is looked at.
"""

from __future__ import annotations

from typing import ClassVar

from surgeon_engine.pruning.methods.base import (
    Needs,
    PruningMethod,
)


class Magnitude(PruningMethod):
    """OBD with both factors the identity."""

    needs: ClassVar = Needs.NOTHING
