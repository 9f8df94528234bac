"""Check that a model is wide enough for a multiple that its MLP widths have to be."""

from __future__ import annotations

from surgeon_engine.api.config.pruning import COUPLINGS, Coupling, PruningConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import PruningError


def check_width_multiple(pruning: PruningConfig, model: ModelSummary) -> None:
    """Check that the MLPs of a model have enough neurons to lose some.

    Raises:
        PruningError: The width multiple is larger than each of them.
    """
    kinds = () if pruning.removes_nothing else COUPLINGS.get(pruning.kind, ())
    widths = []
    if Coupling.NEURONS in kinds:
        widths += [x.groups for x in model.coupled if x.kind is Coupling.NEURONS]
    if Coupling.EXPERT_NEURONS in kinds:
        widths += [each.neurons for each in model.experts]
    if not any(widths) or pruning.width_multiple <= max(widths):
        return
    raise PruningError(
        "The width multiple is {multiple}, but the MLPs have at most {width} neurons: "
        "none of them could be removed.",
        "Set width_multiple to a smaller number, or to 0: automatic.",
        multiple=pruning.width_multiple,
        width=max(widths),
    )
