"""Rows and columns: what else goes, because nobody reads it or nothing comes of it.

    D     the down projection of an MLP; its columns are the neurons
    P     the layers that make the neurons' input: up, gate

A neuron whose column of D is gone is read by nobody, so that its rows of P may go. A
neuron whose row of P is gone is zero for every input (where the activation of zero is
zero), so that its column of D may go, and its rows in the other P with it. What is left
of the MLP needs no index lists between P and D.

The same holds for values and the output projection, head by head; queries and keys are
mixed by rotary positions and stay as they are.
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
from surgeon_engine.compaction.plan import Plan
from surgeon_engine.model.coupling import CoupledGroups, groups_of
from surgeon_engine.model.families import Part
from surgeon_engine.model.layers import PrunableLayer, prunable_layers

_ACTIVATION = (
    "hidden_activation",
    "hidden_act",
    "activation_function",
    "activation",  # Falcon's
)
_OF_QUERY_OR_KEY = re.compile(r"(q|k|qk|query|key)_")  # names of norms
_ZERO_AT_ZERO = ("bloom",)  # whose activation the config does not name


@dataclass(slots=True, eq=False)
class CompactPart:
    """What stays of one layer, and how it is joined to the layers around it."""

    layer: PrunableLayer
    rows: Tensor  # int64, ascending
    columns: Tensor
    gathers: bool  # reads some of its inputs, by a list
    places: Tensor  # of the rows among the outputs
    scatters_to: int  # outputs, of which the rows are some; 0: it writes them all

    @property
    def spec(self) -> dict[str, Any]:
        """In the words of `compact_layers`."""
        return {
            "weight": [len(self.rows), len(self.columns)],
            "gathers": self.gathers,
            "scatters_to": self.scatters_to,
        }

    @property
    def is_whole(self) -> bool:
        """Whether it is as the stock layer is."""
        rows, columns = len(self.rows), len(self.columns)
        return (rows, columns) == (self.layer.rows, self.layer.columns)


@dataclass(frozen=True, slots=True)
class _Around:
    """Layers whose neighbours have lost the same neurons."""

    outputs: dict[str, Tensor]  # layer -> rows that the next one reads, bool
    reads_all: set[str]  # layers that find what they read and nothing else


Masks = dict[str, tuple[Tensor, Tensor]]  # layer -> which rows, which columns, bool


def compact_parts(plan: Plan, model: PreTrainedModel) -> list[CompactPart]:
    """What stays of every layer that is no longer whole."""
    layers = prunable_layers(model)
    stays: Masks = {
        layer.name: (
            torch.ones(layer.rows, dtype=torch.bool),
            torch.ones(layer.columns, dtype=torch.bool),
        )
        for layer in layers
    }
    for part in plan.layers:
        rows, columns = stays[part.layer.name]
        stays[part.layer.name] = (_mask(rows, part.rows), _mask(columns, part.columns))
    around = _Around({}, set())
    if _is_zero_at_zero(model):
        for coupled in groups_of(Coupling.NEURONS, model):
            _cut_neurons(coupled, stays, around)
    for coupled in groups_of(Coupling.HEADS, model):
        if not _mixes_values(coupled, model):
            _cut_values(coupled, stays)
    parts = [_part(layer, stays[layer.name], around) for layer in layers]
    return [part for part in parts if not part.is_whole]


def shared_inputs(
    parts: list[CompactPart], model: PreTrainedModel
) -> dict[str, Tensor]:
    """The modules all of whose readers read the same inputs: gathered once for all.

    Their parts then gather no more.
    """
    by_name = {part.layer.name: part for part in parts}
    shared: dict[str, Tensor] = {}
    for kind in Coupling:
        for coupled in groups_of(kind, model):
            readers = [by_name.get(each.layer.name) for each in coupled.producers]
            module = coupled.consumer.name.rpartition(".")[0]
            is_block = module.rpartition(".")[2].isdigit()
            first = readers[0]
            if len(readers) < 2 or is_block or first is None:
                continue
            if all(r and r.gathers and r.columns.equal(first.columns) for r in readers):
                shared[module] = first.columns
                for reader in readers:
                    assert reader is not None
                    reader.gathers = False
    return shared


def _cut_neurons(coupled: CoupledGroups, stays: Masks, around: _Around) -> None:
    """Take the neurons that are not needed from all their layers."""
    rows, columns = stays[coupled.consumer.name]
    neuron = columns & rows.any()  # of an MLP that writes nothing, nothing is left
    for producer in coupled.producers:
        goes = ~stays[producer.layer.name][0]
        neuron[producer.group_of_row[goes]] = False
    if bool(neuron.all()):
        return
    stays[coupled.consumer.name] = (rows, neuron)
    around.reads_all.add(coupled.consumer.name)
    for producer in coupled.producers:
        name, of_row = producer.layer.name, neuron[producer.group_of_row]
        stays[name] = (stays[name][0] & of_row, stays[name][1])
        around.outputs[name] = of_row


def _cut_values(coupled: CoupledGroups, stays: Masks) -> None:
    """Take values that no head's output reads, and outputs that read no value."""
    values = [each for each in coupled.producers if each.parts == (Part.VALUE,)]
    if not values:
        return
    (value,) = values
    of_value, value_columns = stays[value.layer.name]
    output_rows, of_output = stays[coupled.consumer.name]
    groups = coupled.groups
    size = value.layer.rows // groups
    by_head = of_output.view(groups, -1, size) & of_value.view(groups, 1, size)
    of_value = by_head.any(dim=1).flatten()
    if not bool(of_value.any()):
        return
    stays[value.layer.name] = (of_value, value_columns)
    stays[coupled.consumer.name] = (output_rows, by_head.flatten())


def _mixes_values(coupled: CoupledGroups, model: PreTrainedModel) -> bool:
    """Whether attention has a norm other than those of queries and keys.

    It may have no weight. A value that no output reads is then still one of those by
    which the others are divided.
    """
    attention = model.get_submodule(coupled.consumer.name.rpartition(".")[0])
    return any(
        "norm" in type(module).__name__.lower() and not _OF_QUERY_OR_KEY.match(name)
        for name, module in attention.named_modules()
    )


def _part(
    layer: PrunableLayer, stays: tuple[Tensor, Tensor], around: _Around
) -> CompactPart:
    row, column = stays
    rows, columns = row.nonzero().squeeze(1), column.nonzero().squeeze(1)
    outputs = torch.arange(layer.rows)
    if layer.name in around.outputs:
        outputs = around.outputs[layer.name].nonzero().squeeze(1)
    return CompactPart(
        layer,
        rows,
        columns,
        gathers=layer.name not in around.reads_all and not bool(column.all()),
        places=torch.searchsorted(outputs, rows),
        scatters_to=len(outputs) if len(rows) < len(outputs) else 0,
    )


def _is_zero_at_zero(model: PreTrainedModel) -> bool:
    config = model.config.get_text_config()
    if config.model_type in _ZERO_AT_ZERO:
        return True
    for name in _ACTIVATION:
        activation = getattr(config, name, None)
        if isinstance(activation, str) and activation in ACT2FN:
            return float(ACT2FN[activation](torch.zeros(1))) == 0.0
    return False


def _mask(mask: Tensor, kept: Tensor) -> Tensor:
    mask = torch.zeros_like(mask)
    mask[kept] = True
    return mask
