"""Check which widths the config of a plain model allows.

Most architectures allow any number of neurons; BLOOM allows only its own. Llama needs a
hidden size that is a multiple of the number of heads. Where the size of a head is the
hidden size divided by the number of heads, as in OPT, fewer heads would be larger.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.base.errors import ExportError
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.compaction.plan import PrunedModel, plan_of
from surgeon_engine.export.transformers.files import PlainWriter
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.experts_neurons import ExpertsUnit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit


def check_plain_widths(loaded: LoadedModel, units: Sequence[Unit]) -> Logged | None:
    """Return a warning if plain files allow only some numbers of heads.

    Raises:
        ExportError: No plain model has fewer heads, or fewer neurons.
    """
    name = type(loaded.model).__name__
    neurons = _coupled_units(Coupling.NEURONS, units)
    heads = _coupled_units(Coupling.HEADS, units)
    if neurons:
        fewer = min(unit.candidates for unit in neurons) - 1
        reduced = _reduced_model(loaded, neurons, fewer)
        if reason := PlainWriter().unsupported_reason(reduced):
            raise ExportError(
                say_all(
                    say("Fewer neurons do not fit a plain {name}.", name=name), reason
                ),
                "Protect the MLPs of all blocks, or choose the compact format.",
            )
    experts = [unit for unit in units if isinstance(unit, ExpertsUnit)]
    if experts:
        reduced = _reduced_model(loaded, experts, -1)
        if reason := PlainWriter().unsupported_reason(reduced):
            raise ExportError(
                say_all(
                    say("Narrower experts do not fit a plain {name}.", name=name),
                    reason,
                ),
                "Remove whole experts alone, or choose the compact format.",
            )
    if not heads:
        return None
    groups = min(unit.candidates for unit in heads)
    reasons = {
        kept: PlainWriter().unsupported_reason(_reduced_model(loaded, heads, kept))
        for kept in range(1, groups)
    }
    possible = [kept for kept, reason in reasons.items() if not reason]
    heads_per_group = loaded.model.config.num_attention_heads // groups
    if not possible:
        raise ExportError(
            say_all(
                say("Fewer heads do not fit a plain {name}.", name=name),
                reasons.get(groups - 1, ""),
            ),
            "Prune neurons alone, protect the attention of all blocks, or choose "
            "the compact format.",
        )
    if len(possible) == len(reasons):
        return None
    numbers = ", ".join(str(kept * heads_per_group) for kept in (*possible, groups))
    return Logged(
        Level.WARNING,
        say(
            "Plain files can have {numbers} heads in every layer and no other number. "
            "If another number remains, the pruned model is kept as compact files.",
            numbers=numbers,
        ),
    )


def _coupled_units(kind: Coupling, units: Sequence[Unit]) -> list[CoupledUnit]:
    return [
        unit
        for unit in units
        if isinstance(unit, CoupledUnit) and unit.coupled.kind is kind
    ]


def _reduced_model(
    loaded: LoadedModel, units: Sequence[CoupledUnit], kept: int
) -> PrunedModel:
    """Return the model with `kept` groups of heads, or neurons, in each block.

    If it is negative, it is the number of groups that each has lost, of experts the
    last neurons.
    """
    removed = {
        unit.measured.name: torch.arange(unit.candidates) >= kept % unit.candidates
        for unit in units
    }
    return PrunedModel(loaded, plan_of(units, removed))
