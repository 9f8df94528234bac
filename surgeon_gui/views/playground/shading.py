"""Shades of tokens by the difference of the predictions in nats."""

from __future__ import annotations

from bisect import bisect_right

from surgeon_gui.base.colours import Theme

# Minimum difference of each shade, in nats. Below 0.05 nats, even the odds of an
# uncertain token hardly change.
STEPS = (0.05, 0.2, 0.5, 1.0, 2.0)


def shade(theme: Theme, nats: float) -> str | None:
    """Return the background color of a token, or None for no shade."""
    level = bisect_right(STEPS, nats)
    return theme.doubt[level - 1] if level else None
