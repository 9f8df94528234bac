"""The quality budget: limits on perplexity and on the KL to the original model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.run import Evaluation, Recovered, ShotFinished
from surgeon_engine.base.errors import PruningError
from surgeon_engine.base.sentences import say
from surgeon_engine.planning.limits import max_perplexity
from surgeon_engine.pruning.state import Snapshot


@dataclass(frozen=True, slots=True)
class QualityBudget:
    """Limits of the perplexity and the KL; a shot above one of them is rolled back."""

    max_increase: float  # perplexity increase in percent; 0: no limit
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
            pruning.max_divergence or math.inf,
        )

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return math.isfinite(self.limit) or math.isfinite(self.max_divergence)

    def is_exceeded_by(self, evaluation: Evaluation) -> bool:
        """Return True if the perplexity or the KL is above its limit."""
        return self._exceeds_perplexity(evaluation) or self._exceeds_divergence(
            evaluation
        )

    def rejected(self, shot: ShotFinished, judged: Evaluation) -> str:
        """Return the message on a shot that is rolled back.

        `judged` is the evaluation of the shot, or of the recovered shot.
        """
        sparsity, excess = shot.sparsity, self._excess(judged)
        if judged is shot.evaluation:
            return say(
                "At a sparsity of {sparsity:percent2} {excess}: rolled back.",
                sparsity=sparsity,
                excess=excess,
            )
        return say(
            "At a sparsity of {sparsity:percent2}, after recovery, {excess}: "
            "rolled back.",
            sparsity=sparsity,
            excess=excess,
        )

    def kept_with_recovery(self, shot: ShotFinished, recovered: Recovered) -> str:
        """Return the message on a shot that meets the limit only once recovered."""
        assert shot.evaluation is not None  # with a limit, every shot is evaluated
        return say(
            "At a sparsity of {sparsity:percent2} {excess}; after recovery it has "
            "{after}: kept.",
            sparsity=shot.sparsity,
            excess=self._excess(shot.evaluation),
            after=self._figures(recovered.evaluation),
        )

    def rejected_recovery(self, evaluation: Evaluation) -> str:
        """Return the message on a recovery that is rolled back."""
        excess = self._excess(evaluation)
        return say("After recovery {excess}: rolled back.", excess=excess)

    def headroom(self, last: Evaluation) -> str:
        """Return the message on a target that is reached within the limit."""
        limits = _both(
            say("{limit:.2f}", limit=self.limit) if math.isfinite(self.limit) else "",
            say("{limit:g} nats", limit=self.max_divergence)
            if math.isfinite(self.max_divergence)
            else "",
        )
        return say(
            "The target is reached at {reached}, below the limit of {limits}: a "
            "larger target may give a smaller model.",
            reached=self._figures(last),
            limits=limits,
        )

    def error(self) -> PruningError:
        """Return the error to raise if nothing can be removed within the budget."""
        perplexity = divergence = ""
        if math.isfinite(self.limit):
            perplexity = say(
                "perplexity above {limit:.2f}, which is {increase:g} % more than the "
                "original's {original:.2f}",
                limit=self.limit,
                increase=self.max_increase,
                original=self.original,
            )
        if math.isfinite(self.max_divergence):
            divergence = say(
                "the KL to the original above {limit:g} nats per token",
                limit=self.max_divergence,
            )
        return PruningError(
            "Even the smallest step takes {limits}.",
            "Raise the limit, use more shots or a lower target for smaller steps, or "
            "choose a finer structure.",
            limits=say("{one}, or {other}", one=perplexity, other=divergence)
            if perplexity and divergence
            else perplexity or divergence,
        )

    def _exceeds_perplexity(self, evaluation: Evaluation) -> bool:
        return evaluation.perplexity > self.limit

    def _exceeds_divergence(self, evaluation: Evaluation) -> bool:
        if math.isinf(self.max_divergence):
            return False
        assert evaluation.divergence is not None  # every run measures it
        return evaluation.divergence > self.max_divergence

    def _excess(self, evaluation: Evaluation) -> str:
        """Return a clause on the limits that are exceeded."""
        perplexity = divergence = ""
        if self._exceeds_perplexity(evaluation):
            perplexity = say(
                "perplexity is {perplexity:.2f}, above the limit of {limit:.2f}",
                perplexity=evaluation.perplexity,
                limit=self.limit,
            )
        if self._exceeds_divergence(evaluation):
            divergence = say(
                "the KL to the original is {divergence:.3g} nats, above the limit of "
                "{limit:g}",
                divergence=evaluation.divergence,
                limit=self.max_divergence,
            )
        both = say("{one}, and {other}", one=perplexity, other=divergence)
        return both if perplexity and divergence else perplexity or divergence

    def _figures(self, evaluation: Evaluation) -> str:
        """Return the figures that have a limit."""
        perplexity = divergence = ""
        if math.isfinite(self.limit):
            perplexity = say(
                "perplexity {perplexity:.2f}", perplexity=evaluation.perplexity
            )
        if math.isfinite(self.max_divergence):
            divergence = say(
                "a KL of {divergence:.3g}", divergence=evaluation.divergence
            )
        return _both(perplexity, divergence)


def _both(perplexity: str, divergence: str) -> str:
    both = say("{one} and {other}", one=perplexity, other=divergence)
    return both if perplexity and divergence else perplexity or divergence


@dataclass(frozen=True, slots=True, eq=False)
class RecoveredShot:
    """The recovery of a shot that exceeds the budget without it."""

    recovered: Recovered
    snapshot: Snapshot  # the recovered state
