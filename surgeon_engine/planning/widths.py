"""Check that a model is wide enough for a multiple that its MLP widths have to be."""

from __future__ import annotations

from surgeon_engine.api.config.pruning import COUPLINGS, Coupling, PruningConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import PruningError
from surgeon_engine.planning.limits import bundle_of


def check_width_multiple(pruning: PruningConfig, model: ModelSummary) -> None:
    """Check that the MLPs of a model have enough neurons to lose some.

    Raises:
        PruningError: No width is above the smallest that may remain.
    """
    if pruning.removes_nothing or pruning.width_multiple <= 1:
        return
    kinds = COUPLINGS.get(pruning.structure, ())
    widths = []
    if Coupling.NEURONS in kinds:
        mlps = (x for x in model.coupled if x.kind is Coupling.NEURONS)
        widths += [(x.groups, bundle_of(x.kind, pruning)) for x in mlps]
    if Coupling.EXPERT_NEURONS in kinds:
        bundle = bundle_of(Coupling.EXPERT_NEURONS, pruning)
        widths += [(x.neurons, bundle) for x in model.experts if x.neurons]
    if not widths or any(bundle < width for width, bundle in widths):
        return
    width, bundle = max(widths)
    raise PruningError(
        "Widths have to be multiples of {multiple}, but the MLPs have at most {width} "
        "neurons: none of them could be removed.",
        "Set {setting:choice} to a smaller number, or to 0: automatic.",
        setting="pruning.width_multiple",
        multiple=bundle,
        width=width,
    )
