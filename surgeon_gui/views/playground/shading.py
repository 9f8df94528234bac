"""How strongly a token is shaded for so many nats of disagreement."""

from __future__ import annotations

from bisect import bisect_right

from surgeon_gui.base.colours import Theme

# Each from as many nats on. Below the first a difference is of no consequence: at 0.05
# nats the odds of even a doubtful token hardly move.
STEPS = (0.05, 0.2, 0.5, 1.0, 2.0)


def shade(theme: Theme, nats: float) -> str | None:
    """The colour behind a token; None: that of the surface."""
    level = bisect_right(STEPS, nats)
    return theme.doubt[level - 1] if level else None
