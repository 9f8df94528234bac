"""Targets that a run has not reached: what is missing is told."""

from __future__ import annotations

from surgeon_engine.api.errors import PruningError
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import ShotFinished
from surgeon_engine.api.planning.target_size import MISSED, Goal
from surgeon_engine.runtime.run_context import RunContext


def is_reached(goal: Goal, last: ShotFinished) -> bool:
    """Whether what is gone is what was to go, to what can be told apart."""
    return goal.sparsity - last.sparsity <= MISSED


def check_target_reached(
    goal: Goal, last: ShotFinished, context: RunContext, *, is_over: bool
) -> None:
    """Removals are taken in order, until the next would pass the target.

    is_over: all of the goal was asked for, and neither the user nor a quality budget
    ended the run before.

    Raises:
        PruningError: that was the first.
    """
    reached = last.sparsity
    if reached == 0:
        asked = round(last.target * goal.prunable)
        fewer = "" if is_over else ", use fewer shots"  # each asks for more then
        raise PruningError(
            f"Nothing was removed: what would go first has more weights than the "
            f"{asked:,} that were to go.",
            f"Raise the target{fewer}, or choose a finer structure.",
        )
    if is_over and not is_reached(goal, last):
        words = (
            f"{reached:.2%} of the prunable weights went and not {goal.sparsity:.2%}: "
            "what would have gone next is larger than what was missing."
        )
        context.emit(Logged(Level.WARNING, words))
