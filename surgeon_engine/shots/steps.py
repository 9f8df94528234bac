"""The position of a run on the way to its goal, and the size of its next step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from msgspec.structs import replace

from surgeon_engine.api.messages.run import DampingChoice
from surgeon_engine.api.saved_state import SavedSteps
from surgeon_engine.planning.target_size import share_of_goal
from surgeon_engine.pruning.state import PruningState

_PARTS = 8  # per shot, for the smaller steps of a quality budget


@dataclass(frozen=True, slots=True)
class ShotPlan:
    """The number of a shot, and how much is to be removed after it."""

    number: int  # from 1
    share: float  # share of the goal that is removed once the shot is done
    previous_damping: DampingChoice | None

    @property
    def is_last(self) -> bool:
        """Whether the shot completes the goal."""
        return self.share >= 1


class Steps:
    """The position on the way to the goal, and the size of the next step.

    Both are counted in parts of a shot: a quality budget may take smaller steps than
    whole shots. The parts between two shots of the schedule are equal.
    """

    def __init__(self, state: PruningState, saved: SavedSteps | None = None) -> None:
        self._pruning, self._goal = state.config.pruning, state.goal
        # In weights to remove, `rejected` is the smallest request that was rolled
        # back, `equivalent` the smallest one that would remove the same as it did.
        self._at = saved or SavedSteps(0, _PARTS, 0)
        self._saved = self._at

    @property
    def is_over(self) -> bool:
        """Whether the shots have reached the end of the schedule."""
        return self._at.done == self._pruning.shots * _PARTS

    @property
    def is_stuck(self) -> bool:
        """Whether every remaining step was rolled back before."""
        return self._at.step == 0 and not self.is_over

    @property
    def is_at_end(self) -> bool:
        """Whether there is no further step."""
        return self.is_over or self.is_stuck

    @property
    def saved(self) -> SavedSteps:
        """The position at which a resumed run begins."""
        return self._saved

    @property
    def share(self) -> float:
        """The share of the goal to be removed after the next step."""
        return self._share(self._at.done + self._at.step)

    def take(self, removed: int) -> None:
        """Advance by the current step.

        `removed` are the weights removed in all. If some are new, the remaining ones
        have another curvature, and a step may now remove something else.
        """
        after = replace(self._saved, done=self._at.done + self._at.step)
        if removed > after.removed:
            after = replace(after, removed=removed, equivalent=None)
        self._at = self._saved = self._shortened(after)

    def undo(self, removed: int, *, is_final: bool = True) -> None:
        """Shorten the next step after a rollback.

        `removed` are the weights removed after the step; 0: unknown. Every target from
        this number to the rejected one removes the same. If it `is_final`, a resumed
        run does not try the step again, either.
        """
        asked = self._goal.asked(self.share)
        # A target in bytes is reached by more removals than it asks for.
        equivalent = min(removed or asked, asked)
        after = replace(self._at, rejected=asked, equivalent=equivalent)
        self._at = self._shortened(after)
        if is_final:
            self._saved = self._at

    def _shortened(self, at: SavedSteps) -> SavedSteps:
        """Return the position with the longest step that was not rejected before."""
        found = (x for x in (at.rejected, at.equivalent) if x is not None)
        rejected = min(found, default=math.inf)
        step = min(at.step, self._pruning.shots * _PARTS - at.done)
        while step > 0 and self._goal.asked(self._share(at.done + step)) >= rejected:
            step //= 2
        return replace(at, step=step)

    def _share(self, parts: int) -> float:
        schedule, all_shots = self._pruning.schedule, self._pruning.shots
        shots, more = divmod(parts, _PARTS)
        share = share_of_goal(shots / all_shots, schedule)
        if more:
            after = share_of_goal((shots + 1) / all_shots, schedule)
            share += (after - share) * more / _PARTS
        return share
