"""The quality budget: at most so much more perplexity than the original's."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.errors import PruningError
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import Corrected, Evaluation, ShotFinished
from surgeon_engine.api.planning.limits import max_perplexity
from surgeon_engine.model.layers import KeptWeights
from surgeon_engine.pruning.state import PruningState


@dataclass(frozen=True, slots=True)
class QualityBudget:
    """How far perplexity may rise; whatever takes it further is undone."""

    rise: float  # in percent; 0: as far as it likes
    original: float  # perplexity
    most: float  # the largest perplexity that is allowed

    @classmethod
    def of(cls, pruning: PruningConfig, baseline: Evaluation) -> QualityBudget:
        """The budget of a run whose original was evaluated as `baseline`."""
        original = baseline.perplexity
        most = max_perplexity(pruning, original)
        return cls(pruning.max_perplexity_increase, original, most)

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return self.rise > 0

    def is_passed(self, found: Evaluation) -> bool:
        """Whether that is more than is allowed."""
        return found.perplexity > self.most

    def log_rejected(self, shot: ShotFinished, judged: Evaluation) -> Logged:
        """A line of the log about a shot that is undone.

        judged: that of the shot, or what the correction would make of it.
        """
        how = "" if judged is shot.evaluation else ", with the correction,"
        return self._undone(f"At a sparsity of {shot.sparsity:.2%}{how}", judged)

    def log_kept_with_correction(
        self, shot: ShotFinished, corrected: Corrected
    ) -> Logged:
        """The same about a shot that is kept for what the correction makes of it."""
        return Logged(
            Level.INFO,
            f"At a sparsity of {shot.sparsity:.2%} perplexity is "
            f"{shot.evaluation.perplexity:.2f}, more than the {self.most:.2f} allowed; "
            f"with the correction it is {corrected.evaluation.perplexity:.2f}: kept.",
        )

    def log_rejected_correction(self, found: Evaluation) -> Logged:
        """The same of a correction."""
        return self._undone("After the correction", found)

    def log_headroom(self, last: Evaluation) -> Logged:
        """The same where the target is reached within it."""
        return Logged(
            Level.INFO,
            f"The target is reached at perplexity {last.perplexity:.2f}, "
            f"and {self.most:.2f} are allowed: a larger one may give a smaller model.",
        )

    def _undone(self, when: str, found: Evaluation) -> Logged:
        return Logged(
            Level.INFO,
            f"{when} perplexity would be {found.perplexity:.2f}, more than the "
            f"{self.most:.2f} allowed: undone.",
        )

    def refusal(self) -> PruningError:
        """What to say where nothing at all can be removed within it."""
        return PruningError(
            f"Even the smallest step takes perplexity above {self.most:.2f}, which is "
            f"{self.rise:g} % more than the original's {self.original:.2f}.",
            "Allow more perplexity, or use more shots or a lower target (the steps are "
            "smaller then), or a finer structure.",
        )


class Snapshot:
    """Where a patient is when this is made.

    It can be restored for as long as nothing is taken out of the model (shrinking.py).
    """

    def __init__(self, state: PruningState) -> None:
        self._patient, self._gone = state, state.removed
        self._total_cost = state.total_cost
        self._weights = KeptWeights(state.loaded.layers)

    def restore(self) -> None:
        """Put the weights back, and what has gone and was paid."""
        self._weights.put_back()
        self._patient.removed = self._gone
        self._patient.total_cost = self._total_cost
        self._patient.is_partially_updated = False


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedShot:
    """What the correction makes of a shot that alone would pass the budget."""

    corrected: Corrected
    snapshot: Snapshot  # of the corrected patient
