"""How much is to be gone after each shot."""

from __future__ import annotations

from surgeon_engine.api.config.pruning import Schedule


def share_of_goal(t: float, schedule: Schedule) -> float:
    """The share of all that is to go, to be gone when `t` (0 to 1) of a run is over.

    Linear: t. Cubic: 1 - (1 - t)^3, which removes most while there is most to choose
    from (Zhu and Gupta, arXiv 1710.01878).
    """
    match schedule:
        case Schedule.LINEAR:
            return t
        case Schedule.CUBIC:
            return 1 - (1 - t) ** 3
