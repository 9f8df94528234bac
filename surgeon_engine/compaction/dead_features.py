"""Find features that are dead after rows and columns have been removed.

    D     the down projection of an MLP; its columns are the neurons
    P     the layers that compute the neurons' input: up, gate

If the column of a neuron in D is removed, nothing reads the neuron, and its rows in P
can be removed. If its row in a P is removed and the activation of zero is zero, the
neuron is always zero, and its column in D and its rows in the other P can be removed.
The rest of the MLP needs no index lists between P and D.

The same holds for the value and output projections of each head. Queries and keys are
mixed by rotary positions and are kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.compaction.plan import CompactionPlan
from surgeon_engine.model.coupled_groups import CoupledGroups
from surgeon_engine.model.coupling import groups_of
from surgeon_engine.model.families import ACTIVATIONS, family_of
from surgeon_engine.model.layers import PrunableLayer, prunable_layers
from surgeon_engine.model.rules import Mixer, Part

_QUERY_KEY_NORM = re.compile(r"(q|k|qk|query|key)_")  # prefix of a norm's name


@dataclass(slots=True, eq=False)
class CompactPart:
    """The remaining rows and columns of one layer and its connections."""

    layer: PrunableLayer
    rows: Tensor  # int64, ascending
    columns: Tensor
    gathers: bool  # selects its inputs by an index list
    positions: Tensor  # positions of the rows among the outputs
    scatters_to: int  # number of outputs if some are missing; 0: writes all of them

    @property
    def spec(self) -> dict[str, Any]:
        """The description that `compact_layers` reads."""
        return {
            "weight": [len(self.rows), len(self.columns)],
            "gathers": self.gathers,
            "scatters_to": self.scatters_to,
        }

    @property
    def is_whole(self) -> bool:
        """Whether no rows and columns are removed."""
        rows, columns = len(self.rows), len(self.columns)
        return (rows, columns) == (self.layer.rows, self.layer.columns)


@dataclass(frozen=True, slots=True)
class _Neighbors:
    """Layers whose neighbors have removed the same neurons."""

    outputs: dict[str, Tensor]  # layer -> rows that the next layer reads, bool
    reads_all: set[str]  # layers that need no index list for their inputs


Masks = dict[str, tuple[Tensor, Tensor]]  # layer -> kept rows, kept columns, bool


def compact_parts(plan: CompactionPlan, model: PreTrainedModel) -> list[CompactPart]:
    """Return the remaining parts of every layer with removed rows or columns."""
    layers = prunable_layers(model)
    kept: Masks = {
        layer.name: (
            torch.ones(layer.rows, dtype=torch.bool),
            torch.ones(layer.columns, dtype=torch.bool),
        )
        for layer in layers
    }
    for part in plan.layers:
        rows, columns = kept[part.layer.name]
        kept[part.layer.name] = (_mask(rows, part.rows), _mask(columns, part.columns))
    neighbors = _Neighbors({}, set())
    if _is_zero_at_zero(model):
        for coupled in groups_of(Coupling.NEURONS, model):
            if coupled.parameters:  # they may make a zero another value
                continue
            _remove_neurons(coupled, kept, neighbors)
    for coupled in groups_of(Coupling.HEADS, model):
        if coupled.is_attention and not _mixes_values(coupled, model):
            _remove_values(coupled, kept)
    parts = [_part(layer, kept[layer.name], neighbors) for layer in layers]
    return [part for part in parts if not part.is_whole]


def shared_inputs(
    parts: list[CompactPart], model: PreTrainedModel
) -> dict[str, Tensor]:
    """Return the modules whose layers all read the same inputs, with these inputs.

    The module gathers them once; `gathers` of their parts is set to False.
    """
    by_name = {part.layer.name: part for part in parts}
    shared: dict[str, Tensor] = {}
    for kind in Coupling:
        for coupled in groups_of(kind, model):
            readers = [by_name.get(each.layer.name) for each in coupled.producers]
            if len(readers) < 2 or not coupled.module:  # experts have none
                continue
            first = readers[0]
            if first is None:
                continue
            if coupled.mixer is Mixer.LATENT:  # they read the outputs of other layers
                continue
            if all(r and r.gathers and r.columns.equal(first.columns) for r in readers):
                shared[coupled.path] = first.columns
                for reader in readers:
                    assert reader is not None
                    reader.gathers = False
    return shared


def _remove_neurons(coupled: CoupledGroups, kept: Masks, neighbors: _Neighbors) -> None:
    """Remove dead neurons from all their layers."""
    rows, columns = kept[coupled.consumer.name]
    is_alive = columns & rows.any()  # an MLP without outputs keeps no neurons
    for producer in coupled.producers:
        is_removed = ~kept[producer.layer.name][0]
        is_alive[producer.group_of_row[is_removed]] = False
    if bool(is_alive.all()):
        return
    kept[coupled.consumer.name] = (rows, is_alive)
    neighbors.reads_all.add(coupled.consumer.name)
    for producer in coupled.producers:
        name, is_alive_row = producer.layer.name, is_alive[producer.group_of_row]
        kept[name] = (kept[name][0] & is_alive_row, kept[name][1])
        neighbors.outputs[name] = is_alive_row


def _remove_values(coupled: CoupledGroups, kept: Masks) -> None:
    """Remove values that no output reads, and output columns that read no value."""
    values = [each for each in coupled.producers if each.parts == (Part.VALUE,)]
    if not values:
        return
    (value,) = values
    value_rows, value_columns = kept[value.layer.name]
    output_rows, output_columns = kept[coupled.consumer.name]
    groups = coupled.groups
    size = value.layer.rows // groups
    by_head = output_columns.view(groups, -1, size) & value_rows.view(groups, 1, size)
    value_rows = by_head.any(dim=1).flatten()
    if not bool(value_rows.any()):
        return
    kept[value.layer.name] = (value_rows, value_columns)
    kept[coupled.consumer.name] = (output_rows, by_head.flatten())


def _mixes_values(coupled: CoupledGroups, model: PreTrainedModel) -> bool:
    """Return whether attention has a norm other than the norms of queries and keys.

    Such a norm, even without a weight, divides all values by their joint size, so that
    no value is dead.
    """
    attention = model.get_submodule(coupled.path)
    return any(
        "norm" in type(module).__name__.lower() and not _QUERY_KEY_NORM.match(name)
        for name, module in attention.named_modules()
    )


def _part(
    layer: PrunableLayer, kept: tuple[Tensor, Tensor], neighbors: _Neighbors
) -> CompactPart:
    is_kept_row, is_kept_column = kept
    rows = is_kept_row.nonzero().squeeze(1)
    columns = is_kept_column.nonzero().squeeze(1)
    outputs = torch.arange(layer.rows)
    if layer.name in neighbors.outputs:
        outputs = neighbors.outputs[layer.name].nonzero().squeeze(1)
    needs_list = layer.name not in neighbors.reads_all
    return CompactPart(
        layer,
        rows,
        columns,
        gathers=needs_list and not bool(is_kept_column.all()),
        positions=torch.searchsorted(outputs, rows),
        scatters_to=len(outputs) if len(rows) < len(outputs) else 0,
    )


def _is_zero_at_zero(model: PreTrainedModel) -> bool:
    config = model.config.get_text_config()
    if family_of(config.model_type).is_zero_at_zero:
        return True
    for name in ACTIVATIONS:
        activation = getattr(config, name, None)
        if isinstance(activation, str) and activation in ACT2FN:
            return float(ACT2FN[activation](torch.zeros(1))) == 0.0
    return False


def _mask(mask: Tensor, kept: Tensor) -> Tensor:
    mask = torch.zeros_like(mask)
    mask[kept] = True
    return mask
