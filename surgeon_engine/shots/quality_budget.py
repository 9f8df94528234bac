"""The quality budget: a limit on perplexity, relative to that of the original model."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.errors import PruningError
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import Evaluation, Recovered, ShotFinished
from surgeon_engine.api.planning.limits import max_perplexity
from surgeon_engine.pruning.state import Snapshot


@dataclass(frozen=True, slots=True)
class QualityBudget:
    """Limit of the perplexity; a shot that exceeds it is rolled back."""

    max_increase: float  # in percent; 0: no limit
    original: float  # perplexity
    limit: float  # perplexity

    @classmethod
    def of(cls, pruning: PruningConfig, baseline: Evaluation) -> QualityBudget:
        """Return the budget of a run whose original was evaluated as `baseline`."""
        original = baseline.perplexity
        limit = max_perplexity(pruning, original)
        return cls(pruning.max_perplexity_increase, original, limit)

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return self.max_increase > 0

    def is_exceeded_by(self, evaluation: Evaluation) -> bool:
        """Return True if the perplexity of `evaluation` is above the limit."""
        return evaluation.perplexity > self.limit

    def log_rejected(self, shot: ShotFinished, judged: Evaluation) -> Logged:
        """Return the log line for a shot that is rolled back.

        Args:
            shot: the shot.
            judged: its evaluation, or that of the recovered shot.
        """
        recovery = "" if judged is shot.evaluation else ", after recovery,"
        when = f"At a sparsity of {shot.sparsity:.2%}{recovery}"
        return self._rolled_back(when, judged)

    def log_kept_with_recovery(
        self, shot: ShotFinished, recovered: Recovered
    ) -> Logged:
        """Return the log line for a shot that meets the limit only once recovered."""
        return Logged(
            Level.INFO,
            f"At a sparsity of {shot.sparsity:.2%} perplexity is "
            f"{shot.evaluation.perplexity:.2f}, above the limit of {self.limit:.2f}; "
            f"after recovery it is {recovered.evaluation.perplexity:.2f}: kept.",
        )

    def log_rejected_recovery(self, evaluation: Evaluation) -> Logged:
        """Return the log line for a recovery that is rolled back."""
        return self._rolled_back("After recovery", evaluation)

    def log_headroom(self, last: Evaluation) -> Logged:
        """Return the log line for a target that is reached within the limit."""
        return Logged(
            Level.INFO,
            f"The target is reached at perplexity {last.perplexity:.2f}, below the "
            f"limit of {self.limit:.2f}: a larger target may give a smaller model.",
        )

    def _rolled_back(self, when: str, evaluation: Evaluation) -> Logged:
        return Logged(
            Level.INFO,
            f"{when} perplexity is {evaluation.perplexity:.2f}, above the limit of "
            f"{self.limit:.2f}: rolled back.",
        )

    def error(self) -> PruningError:
        """Return the error to raise if nothing can be removed within the limit."""
        return PruningError(
            f"Even the smallest step takes perplexity above {self.limit:.2f}, which is "
            f"{self.max_increase:g} % more than the original's {self.original:.2f}.",
            "Allow more perplexity, use more shots or a lower target for smaller "
            "steps, or choose a finer structure.",
        )


@dataclass(frozen=True, slots=True, eq=False)
class RecoveredShot:
    """The recovery of a shot that exceeds the budget without it."""

    recovered: Recovered
    snapshot: Snapshot  # of the recovered state
