"""Whether a model has the routers that recovery is to train."""

from __future__ import annotations

from surgeon_engine.api.config.recovery import TrainedWeights
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import PruningError


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
