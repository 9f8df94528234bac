"""The quality budget: limits on perplexity and on the KL to the original model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import Evaluation, Recovered, ShotFinished
from surgeon_engine.base.errors import PruningError
from surgeon_engine.base.formatting import format_percent
from surgeon_engine.planning.limits import max_divergence, max_perplexity
from surgeon_engine.pruning.state import Snapshot


@dataclass(frozen=True, slots=True)
class QualityBudget:
    """Limits of the perplexity and the KL; a shot above one of them is rolled back."""

    max_increase: float  # of the perplexity, in percent; 0: no limit
    original: float  # perplexity
    limit: float  # perplexity; infinite: no limit
    max_divergence: float  # KL to the original, nats per token; infinite: no limit

    @classmethod
    def of(cls, pruning: PruningConfig, baseline: Evaluation) -> QualityBudget:
        """Return the budget of a run whose original was evaluated as `baseline`."""
        original = baseline.perplexity
        return cls(
            pruning.max_perplexity_increase,
            original,
            max_perplexity(pruning, original),
            max_divergence(pruning),
        )

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return math.isfinite(self.limit) or math.isfinite(self.max_divergence)

    def is_exceeded_by(self, evaluation: Evaluation) -> bool:
        """Return True if the perplexity or the KL is above its limit."""
        return bool(self._excesses(evaluation))

    def log_rejected(self, shot: ShotFinished, judged: Evaluation) -> Logged:
        """Return the log line for a shot that is rolled back.

        `judged` is its evaluation, or that of the recovered shot.
        """
        recovery = "" if judged is shot.evaluation else ", after recovery,"
        when = f"At a sparsity of {format_percent(shot.sparsity, 2)}{recovery}"
        return self._rolled_back(when, judged)

    def log_kept_with_recovery(
        self, shot: ShotFinished, recovered: Recovered
    ) -> Logged:
        """Return the log line for a shot that meets the limit only once recovered."""
        after = " and ".join(
            f"{name} {value}" for name, value, _ in self._limited(recovered.evaluation)
        )
        return Logged(
            Level.INFO,
            f"At a sparsity of {format_percent(shot.sparsity, 2)} "
            f"{self._excess(shot.evaluation)}; "
            f"after recovery it has {after}: kept.",
        )

    def log_rejected_recovery(self, evaluation: Evaluation) -> Logged:
        """Return the log line for a recovery that is rolled back."""
        return self._rolled_back("After recovery", evaluation)

    def log_headroom(self, last: Evaluation) -> Logged:
        """Return the log line for a target that is reached within the limit."""
        figures = self._limited(last)
        reached = " and ".join(f"{name} {value}" for name, value, _ in figures)
        limits = " and ".join(limit for *_, limit in figures)
        return Logged(
            Level.INFO,
            f"The target is reached at {reached}, below the limit of "
            f"{limits}: a larger target may give a smaller model.",
        )

    def error(self) -> PruningError:
        """Return the error to raise if nothing can be removed within the budget."""
        limits = []
        if math.isfinite(self.limit):
            limits.append(
                f"perplexity above {self.limit:.2f}, which is {self.max_increase:g} % "
                f"more than the original's {self.original:.2f}"
            )
        if math.isfinite(self.max_divergence):
            limits.append(
                f"the KL to the original above {self.max_divergence:g} nats per token"
            )
        return PruningError(
            f"Even the smallest step takes {', or '.join(limits)}.",
            "Raise the limit, use more shots or a lower target for smaller steps, or "
            "choose a finer structure.",
        )

    def _excesses(self, evaluation: Evaluation) -> list[str]:
        """Return a clause for each limit that is exceeded."""
        found = []
        if evaluation.perplexity > self.limit:
            found.append(
                f"perplexity is {evaluation.perplexity:.2f}, above the limit of "
                f"{self.limit:.2f}"
            )
        if self._exceeds_divergence(evaluation):
            found.append(
                f"the KL to the original is {evaluation.divergence:.3g} nats, above "
                f"the limit of {self.max_divergence:g}"
            )
        return found

    def _exceeds_divergence(self, evaluation: Evaluation) -> bool:
        if math.isinf(self.max_divergence):
            return False
        assert evaluation.divergence is not None  # every run measures it
        return evaluation.divergence > self.max_divergence

    def _excess(self, evaluation: Evaluation) -> str:
        return ", and ".join(self._excesses(evaluation))

    def _limited(self, evaluation: Evaluation) -> list[tuple[str, str, str]]:
        """Return the name, the value and the limit of each figure that has a limit."""
        found = []
        if math.isfinite(self.limit):
            perplexity = f"{evaluation.perplexity:.2f}"
            found.append(("perplexity", perplexity, f"{self.limit:.2f}"))
        if math.isfinite(self.max_divergence):
            nats = f"{evaluation.divergence:.3g}"
            found.append(("a KL of", nats, f"{self.max_divergence:g} nats"))
        return found

    def _rolled_back(self, when: str, evaluation: Evaluation) -> Logged:
        message = f"{when} {self._excess(evaluation)}: rolled back."
        return Logged(Level.INFO, message)


@dataclass(frozen=True, slots=True, eq=False)
class RecoveredShot:
    """The recovery of a shot that exceeds the budget without it."""

    recovered: Recovered
    snapshot: Snapshot  # of the recovered state
