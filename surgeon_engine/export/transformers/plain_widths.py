"""With which widths a plain model can be written: not every config takes any number.

Of neurons an architecture takes any number or, as BLOOM, none but its own. Of heads
Llama's wants the hidden size to be a multiple of it; where the size of a head is the
hidden size over the number of heads, as in OPT, fewer heads would be larger ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.api.errors import ExportError
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.compaction.plan import PrunedModel, plan_of
from surgeon_engine.export.transformers.files import StockWriter
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit


def check_plain_widths(loaded: LoadedModel, units: Sequence[Unit]) -> Logged | None:
    """What to tell of a run that is to leave plain files, if it may not be able to.

    Raises:
        ExportError: no plain model has fewer heads, or fewer neurons.
    """
    name = type(loaded.model).__name__
    neurons, heads = _of(Coupling.NEURONS, units), _of(Coupling.HEADS, units)
    if neurons:
        fewer = min(unit.candidates for unit in neurons) - 1
        if reason := StockWriter().unsupported_reason(_with(loaded, neurons, fewer)):
            raise ExportError(
                f"Fewer neurons do not fit a plain {name}. {reason}",
                "Protect the MLPs of all blocks, or choose the compact format.",
            )
    if not heads:
        return None
    groups = min(unit.candidates for unit in heads)
    reasons = {
        left: StockWriter().unsupported_reason(_with(loaded, heads, left))
        for left in range(1, groups)
    }
    possible = [left for left, reason in reasons.items() if not reason]
    each = loaded.model.config.num_attention_heads // groups
    if not possible:
        raise ExportError(
            f"Fewer heads do not fit a plain {name}. {reasons.get(groups - 1, '')}",
            "Prune neurons alone, protect the attention of all blocks, or choose the "
            "compact format.",
        )
    if len(possible) == len(reasons):
        return None
    numbers = ", ".join(str(left * each) for left in (*possible, groups))
    return Logged(
        Level.WARNING,
        f"Plain files can have {numbers} heads in every layer and no other number. If "
        "another is left, what was pruned is kept as compact files.",
    )


def _of(kind: Coupling, units: Sequence[Unit]) -> list[CoupledUnit]:
    return [
        unit
        for unit in units
        if isinstance(unit, CoupledUnit) and unit.coupled.kind is kind
    ]


def _with(loaded: LoadedModel, units: Sequence[CoupledUnit], left: int) -> PrunedModel:
    """The model with so many groups of heads, or neurons, in each of its blocks."""
    removed = {
        unit.measured.name: torch.arange(unit.candidates) >= left for unit in units
    }
    return PrunedModel(loaded, plan_of(units, removed))
