"""How much is to be gone after each shot."""

from __future__ import annotations

from surgeon_engine.config import Schedule


def target_sparsity(shot: int, shots: int, final: float, schedule: Schedule) -> float:
    """The share of weights to be removed after shot `shot` (from 1) of `shots`.

    Linear: equal steps. Cubic: final (1 - (1 - t)^3) with t = shot / shots, which
    removes most while there is most to choose from (Zhu and Gupta, arXiv 1710.01878).
    """
    if shot == shots:
        return final  # exactly, whatever the rounding
    t = shot / shots
    match schedule:
        case Schedule.LINEAR:
            return final * t
        case Schedule.CUBIC:
            return final * (1 - (1 - t) ** 3)
