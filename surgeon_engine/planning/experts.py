"""What a job says of the experts of a model: those it leaves, and their routers."""

from __future__ import annotations

from surgeon_engine.api.config.pruning import OF_EXPERTS, PruningConfig, Structure
from surgeon_engine.api.config.recovery import TrainedWeights
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import PruningError
from surgeon_engine.base.sentences import say


def check_routers(config: RunConfig, model: ModelSummary) -> None:
    """Check that a model has routers, if recovery is to train them.

    Raises:
        PruningError: It has none.
    """
    recovery = config.recovery
    trains_them = recovery.trained_weights is TrainedWeights.ROUTERS
    if recovery.trains and trains_them and not model.experts:
        raise PruningError(
            "The model has no routers that could be trained.",
            "Train all weights, or adapters (LoRA).",
        )


def hint_of_experts(pruning: PruningConfig, model: ModelSummary) -> str:
    """Return that experts can be removed, too; empty if they are, or there are none."""
    if not model.experts or pruning.structure in OF_EXPERTS:
        return ""
    return say(
        "Most weights of this model are in its experts: choose {other:choice}.",
        other=Structure.EXPERTS_AND_NEURONS,
    )
