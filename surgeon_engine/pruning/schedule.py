"""The schedule: how much is removed after each shot."""

from __future__ import annotations

from surgeon_engine.api.config.pruning import Schedule


def share_of_goal(t: float, schedule: Schedule) -> float:
    """Return the share of the goal to be removed when `t` (0 to 1) of a run is over.

    Linear: t. Cubic: 1 - (1 - t)^3, which removes most while there is most to choose
    from (Zhu and Gupta, arXiv 1710.01878).
    """
    match schedule:
        case Schedule.LINEAR:
            return t
        case Schedule.CUBIC:
            return 1 - (1 - t) ** 3
