"""Check at the end of a run whether its target was reached."""

from __future__ import annotations

from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import ShotFinished
from surgeon_engine.base.errors import PruningError
from surgeon_engine.base.formatting import format_percent
from surgeon_engine.planning.target_size import TARGET_TOLERANCE, Goal
from surgeon_engine.runtime.run_context import RunContext


def is_reached(goal: Goal, last: ShotFinished) -> bool:
    """Return True if the target sparsity was reached within tolerance."""
    return goal.sparsity - last.sparsity <= TARGET_TOLERANCE


def check_target_reached(
    goal: Goal, last: ShotFinished, context: RunContext, *, is_over: bool
) -> None:
    """Warn if the target was missed.

    Candidates are removed in the order of their costs until the next one would exceed
    the target, so a large candidate can leave a gap.

    Args:
        goal: the target.
        last: the last shot.
        context: receives the warning.
        is_over: whether all shots were run; False if the user or a quality budget
            ended them earlier.

    Raises:
        PruningError: nothing was removed.
    """
    reached = last.sparsity
    if reached == 0:
        target = round(last.target * goal.prunable)
        fewer = "" if is_over else ", use fewer shots"  # each then has a larger target
        raise PruningError(
            f"Nothing was removed: the cheapest part has more weights than the "
            f"{target:,} that the target removes.",
            f"Raise the target{fewer}, or choose a finer structure.",
        )
    if is_over and not is_reached(goal, last):
        message = (
            f"{format_percent(reached, 2)} of the prunable weights were removed and "
            f"not {format_percent(goal.sparsity, 2)}: the next part is larger than the "
            "rest of the target."
        )
        context.emit(Logged(Level.WARNING, message))
