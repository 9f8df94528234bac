"""Which rows of some layers feed which columns of another: heads and MLP neurons.

A group is a run of columns of the consumer that only the same group's rows of the
producers can reach: an MLP neuron is one column of the down projection and its rows
of gate and up; a KV group is the columns of the output projection that its query
heads write, with the rows of q, k and v that make them. Removing a whole group leaves
plain, smaller, dense matrices.

What the layers of a family are is told by the table in `families.py`; how many heads
there are, by the model. Here the two become indices of rows, or a sentence that says
why groups cannot be removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from surgeon_engine.api.config.pruning import COUPLED, COUPLINGS, Coupling, Structure
from surgeon_engine.api.errors import PruningError
from surgeon_engine.api.messages.sources import StructureSupport
from surgeon_engine.model.families import (
    ATTENTION,
    INSEPARABLE_HEADS,
    INSEPARABLE_NEURONS,
    MLP,
    Line,
    Order,
    Part,
    Rows,
)
from surgeon_engine.model.layers import (
    LINEAR,
    PrunableLayer,
    find_blocks,
    prunable_layers,
)

TABLES = {Coupling.HEADS: ATTENTION, Coupling.NEURONS: MLP}
INSEPARABLE = {
    Coupling.HEADS: INSEPARABLE_HEADS,
    Coupling.NEURONS: INSEPARABLE_NEURONS,
}


@dataclass(frozen=True, slots=True, eq=False)
class Producer:
    """A layer whose rows are divided among the groups, equally many to each."""

    layer: PrunableLayer
    group_of_row: Tensor  # R, int64: which group owns each row
    parts: tuple[Part, ...]  # what its rows make


@dataclass(frozen=True, slots=True, eq=False)
class CoupledGroups:
    """The groups of one consumer; group i owns the i-th run of its columns."""

    kind: Coupling
    consumer: PrunableLayer
    producers: tuple[Producer, ...]
    groups: int

    def left(self, kept: Tensor, layers: Mapping[str, PrunableLayer]) -> CoupledGroups:
        """The groups `kept` (int64, ascending), once the others are out of `layers`.

        They are counted anew, from 0.
        """
        producers = []
        for producer in self.producers:
            owner = producer.group_of_row
            owner = torch.searchsorted(kept, owner[torch.isin(owner, kept)])
            layer = layers[producer.layer.name]
            producers.append(Producer(layer, owner, producer.parts))
        consumer = layers[self.consumer.name]
        return CoupledGroups(self.kind, consumer, tuple(producers), len(kept))

    @property
    def weights_per_group(self) -> int:
        """How many weights go with one group, biases of the producers included."""
        rows = sum(producer.layer.weights for producer in self.producers)
        columns = self.consumer.rows * self.consumer.columns
        return (rows + columns) // self.groups


@dataclass(frozen=True, slots=True)
class _Unknown:
    """No line of the table fits a block that has layers of these kinds."""

    kinds: str


_Found = tuple[CoupledGroups, ...] | _Unknown | str  # a sentence says why not


def coupled_groups(
    structure: Structure, model: PreTrainedModel
) -> tuple[CoupledGroups, ...]:
    """The groups of every block that `structure` may remove, first block first.

    Raises:
        PruningError: this model cannot be pruned in this structure.
    """
    found = {kind: _find(kind, model) for kind in Coupling}
    known = {kind: what for kind, what in found.items() if isinstance(what, tuple)}
    reason = _refusal(structure, found)
    if reason:
        other = next((kind.value for kind in known), "rows and columns")
        raise PruningError(reason, f"Choose {other} instead.")
    groups = [group for kind in COUPLINGS[structure] for group in known[kind]]
    return tuple(sorted(groups, key=lambda group: group.consumer.block))


def groups_of(kind: Coupling, model: PreTrainedModel) -> tuple[CoupledGroups, ...]:
    """The groups of every block; none where this model's cannot be told apart.

    The model may be without weights (on the meta device).
    """
    found = _find(kind, model)
    return found if isinstance(found, tuple) else ()


def structure_support(model: PreTrainedModel) -> tuple[StructureSupport, ...]:
    """Which structures `model` can be pruned in, and why not in the others.

    The model may be without weights (on the meta device).
    """
    found = {kind: _find(kind, model) for kind in Coupling}
    return tuple(
        StructureSupport(
            structure, _refusal(structure, found) if structure in COUPLED else ""
        )
        for structure in Structure
    )


def _refusal(structure: Structure, found: Mapping[Coupling, _Found]) -> str:
    """Why a structure in COUPLED cannot be removed; empty if it can."""
    wanted = {kind.value: found[kind] for kind in COUPLINGS[structure]}
    unknown = {
        name: what.kinds for name, what in wanted.items() if isinstance(what, _Unknown)
    }
    sentences = [what for what in wanted.values() if isinstance(what, str)]
    if unknown:
        sentences.append(
            f"The {' and '.join(unknown)} of this architecture are not known to "
            f"Surgeon (the layers of its blocks are {next(iter(unknown.values()))})."
        )
    return " ".join(sentences)


def _find(kind: Coupling, model: PreTrainedModel) -> _Found:
    config = model.config.get_text_config()
    reason = INSEPARABLE[kind].get(config.model_type)
    if reason:
        return reason
    layers = prunable_layers(model)
    found: list[CoupledGroups] = []
    for index, block in enumerate(find_blocks(model)):
        by_kind = {layer.kind: layer for layer in layers if layer.block == index}
        line = _match(TABLES[kind], by_kind, config.model_type)
        if line is None:
            return _Unknown(", ".join(by_kind))
        try:
            found.append(_groups(kind, line, _Block(block, by_kind, config)))
        except PruningError as error:
            return error.message
    return tuple(found)


def _match(
    table: Sequence[Line], by_kind: Mapping[str, PrunableLayer], model_type: str
) -> Line | None:
    """The line that names every linear layer of its module, and none besides."""
    for line in table:
        beside = {kind for kind in by_kind if kind.startswith(f"{line.place}.")}
        if beside <= line.names <= set(by_kind) and model_type in (
            line.model_types or (model_type,)
        ):
            return line
    return None


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    module: nn.Module
    by_kind: Mapping[str, PrunableLayer]
    config: PretrainedConfig


@dataclass(frozen=True, slots=True)
class _Division:
    """How many groups there are, and how many rows of each part one of them owns."""

    groups: int
    rows: Mapping[Part, int]


def _groups(kind: Coupling, line: Line, block: _Block) -> CoupledGroups:
    consumer = block.by_kind[line.consumer]
    division = _heads(line, block) if kind is Coupling.HEADS else _neurons(line, block)
    return CoupledGroups(
        kind,
        consumer,
        tuple(_producer(rows, block, division) for rows in line.producers),
        division.groups,
    )


def _producer(rows: Rows, block: _Block, division: _Division) -> Producer:
    layer = block.by_kind[rows.layer]
    sizes = [division.rows[part] for part in rows.parts]
    expected = division.groups * sum(sizes)
    if layer.rows != expected:
        raise PruningError(
            f"{layer.name} has {layer.rows:,} rows, where {division.groups:,} groups "
            f"of {sum(sizes):,} rows would have {expected:,}."
        )
    runs = [sum(sizes)] if rows.order is Order.BY_GROUP else sizes
    # On the CPU even where new tensors would be without values.
    group = torch.arange(division.groups, device="cpu")
    owner = torch.cat([group.repeat_interleave(run) for run in runs])
    return Producer(layer, owner, rows.parts)


def _heads(line: Line, block: _Block) -> _Division:
    consumer = block.by_kind[line.consumer]
    module = block.module.get_submodule(line.place)
    stated = _Stated(module, block.config)
    heads = stated.number("num_heads", "num_attention_heads")
    shared = stated.number("num_key_value_heads", "num_kv_heads") or heads
    if not heads:
        raise PruningError(
            f"The model does not state how many heads feed {consumer.name}."
        )
    if heads % shared or consumer.columns % heads:
        raise PruningError(
            f"The {consumer.columns:,} columns of {consumer.name} do not divide into "
            f"{heads} heads with {shared} key and value heads."
        )
    if shared == 1:
        raise PruningError(
            f"All {heads} query heads of a block share one key and value head, and "
            "the last group of a block has to stay: there are no heads to remove."
        )
    size = consumer.columns // heads
    _check_no_joint_norm(line, block, size, "head")
    _check_head_counts(line, block, {heads, shared})
    rows = {Part.QUERY: heads // shared * size, Part.KEY: size, Part.VALUE: size}
    return _Division(shared, rows)


def _neurons(line: Line, block: _Block) -> _Division:
    neurons = block.by_kind[line.consumer].columns
    if line.place:
        _check_no_joint_norm(line, block, 1, "neuron")
        _check_neuron_counts(line, block, neurons)
    return _Division(neurons, {Part.GATE: 1, Part.UP: 1})


@dataclass(frozen=True, slots=True, eq=False)
class _Stated:
    """What an attention module, or else the config, says in numbers."""

    module: nn.Module
    config: PretrainedConfig

    def number(self, *names: str) -> int:
        """The first that is stated of `names`; 0: none."""
        for place in (self.module, self.config):
            for name in names:
                try:
                    value = getattr(place, name, None)
                except RuntimeError:
                    continue  # the config has a value for each block
                if isinstance(value, int):
                    return value
        return 0


def _check_head_counts(line: Line, block: _Block, heads: set[int]) -> None:
    """What has a place for each head, and is no linear layer, would not get smaller.

    The weights of a norm that all heads share are as long as a head is wide.
    """
    for path, part in _beside_layers(line, block):
        for own, numbers in part.named_parameters(recurse=False):
            is_shared_norm = path != line.place and numbers.ndim == 1
            if numbers.ndim and numbers.shape[0] in heads and not is_shared_norm:
                raise _own_numbers(f"{path}.{own}", f"{numbers.shape[0]} heads")


def _check_neuron_counts(line: Line, block: _Block, neurons: int) -> None:
    """The same of neurons; and what normalises without weights takes all of them."""
    for path, part in _beside_layers(line, block):
        of_its_own = dict(part.named_parameters(recurse=False))
        if "norm" in type(part).__name__.lower() and not of_its_own:
            raise PruningError(
                f"{path} normalises all neurons together: without one the others would "
                "change."
            )
        for own, numbers in of_its_own.items():
            if neurons in numbers.shape:
                raise _own_numbers(f"{path}.{own}", f"{neurons:,} neurons")


def _own_numbers(path: str, groups: str) -> PruningError:
    return PruningError(
        f"{path} has numbers of its own for each of {groups}, which could not go with "
        "them."
    )


def _check_no_joint_norm(line: Line, block: _Block, size: int, what: str) -> None:
    """A norm over more than one group makes each of them depend on the others."""
    for path, module in _beside_layers(line, block):
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim and weight.shape[-1] > size:
            raise PruningError(
                f"{path} normalises {weight.shape[-1]:,} numbers together, not the "
                f"{size:,} of one {what} alone: without one {what} the others would "
                "change."
            )


def _beside_layers(line: Line, block: _Block) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a line's place that are no linear layers, with their paths."""
    for name, module in block.module.get_submodule(line.place).named_modules():
        if not isinstance(module, LINEAR):
            yield ".".join(filter(None, (line.place, name))), module
