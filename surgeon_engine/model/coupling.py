"""Find groups of rows and columns that can be removed together: heads and neurons.

A group is a run of columns of the consumer that only the same group's rows of the
producers feed: an MLP neuron is one column of the down projection and its rows of gate
and up; a KV group is the columns of the output projection that its query heads feed,
with their rows of q, k and v. Removing a whole group leaves smaller dense matrices.

The tables in `families.py` name the layers of a family; the model states its number of
heads. This module turns both into indices of rows, or into a sentence on why groups
cannot be removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from surgeon_engine.api.config.pruning import (
    COUPLED,
    COUPLINGS,
    Coupling,
    Structure,
    display_name,
)
from surgeon_engine.api.messages.sources import LeftWhole, StructureSupport
from surgeon_engine.base.errors import PruningError
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.model.families import (
    ATTENTION,
    MLP,
    CouplingRule,
    Order,
    Part,
    ProducerRows,
    family_of,
)
from surgeon_engine.model.layers import (
    LINEAR,
    PrunableLayer,
    find_blocks,
    prunable_layers,
)

# Attentions to the states of an encoder, which a decoder alone does not use.
_UNUSED = ("encoder_attn", "crossattention", "cross_attn")


@dataclass(frozen=True, slots=True, eq=False)
class Producer:
    """A layer whose rows are divided equally among the groups."""

    layer: PrunableLayer
    group_of_row: Tensor  # R, int64: the group of each row
    parts: tuple[Part, ...]  # what its rows compute


@dataclass(frozen=True, slots=True, eq=False)
class CoupledGroups:
    """The groups of one consumer; group i owns the i-th run of its columns."""

    kind: Coupling
    module: str  # the attention or the MLP, by its name inside the block; "": the block
    consumer: PrunableLayer
    producers: tuple[Producer, ...]
    groups: int
    adds_residual: bool = False  # the module adds the residual stream itself

    def left(self, kept: Tensor, layers: Mapping[str, PrunableLayer]) -> CoupledGroups:
        """Return the groups after all but `kept` have been removed from `layers`.

        Args:
            kept: Indices of the remaining groups, int64, ascending.
            layers: The smaller layers by name.

        Returns:
            The remaining groups, numbered from 0.
        """
        producers = []
        for producer in self.producers:
            owner = producer.group_of_row
            owner = torch.searchsorted(kept, owner[torch.isin(owner, kept)])
            layer = layers[producer.layer.name]
            producers.append(Producer(layer, owner, producer.parts))
        return replace(
            self,
            consumer=layers[self.consumer.name],
            producers=tuple(producers),
            groups=len(kept),
        )

    @property
    def path(self) -> str:
        """The name of the module in the model."""
        block = self.consumer.name.removesuffix(f".{self.consumer.kind}")
        return f"{block}.{self.module}" if self.module else block

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """The consumer and the producers."""
        return (self.consumer, *(producer.layer for producer in self.producers))

    @property
    def weights_per_group(self) -> int:
        """Number of weights in one group, biases of the producers included."""
        rows = sum(producer.layer.weights for producer in self.producers)
        columns = self.consumer.rows * self.consumer.columns
        return (rows + columns) // self.groups


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The groups of one kind, and the blocks that have none with the reasons."""

    groups: tuple[CoupledGroups, ...] = ()
    left_whole: Mapping[int, str] = field(default_factory=dict)  # by block
    unknown: str = ""  # the layers of the first block that no rule matches

    def reason(self, kind: Coupling | Structure) -> str:
        """Return why there are no groups; empty if there are."""
        if self.groups:
            return ""
        if reasons := [each for each in self.left_whole.values() if each]:
            return reasons[0]
        return say(
            "Surgeon does not know the {kind} of this architecture (the layers of "
            "its blocks are {layers}).",
            kind=display_name(kind),
            layers=self.unknown,
        )


def coupled_groups(
    structure: Structure, model: PreTrainedModel
) -> tuple[CoupledGroups, ...]:
    """Return the groups that `structure` may remove, in the order of the blocks.

    A block without such groups, like those of a hybrid model, stays whole.

    Raises:
        PruningError: No block of this model can be pruned in this structure.
    """
    found = {kind: _find(kind, model) for kind in Coupling}
    if reason := _unsupported_reason(structure, found):
        known = [kind for kind, each in found.items() if each.groups]
        other = display_name(next(iter(known), Structure.ROWS_AND_COLUMNS))
        raise PruningError(reason, say("Choose {other} instead.", other=other))
    groups = [group for kind in COUPLINGS[structure] for group in found[kind].groups]
    return tuple(sorted(groups, key=lambda group: group.consumer.block))


def groups_of(kind: Coupling, model: PreTrainedModel) -> tuple[CoupledGroups, ...]:
    """Return the groups of every block; empty if they are not supported.

    The model may be without weights (on the meta device).
    """
    return _find(kind, model).groups


def structure_support(model: PreTrainedModel) -> tuple[StructureSupport, ...]:
    """Return for every structure whether `model` can be pruned in it, or why not.

    The model may be without weights (on the meta device).
    """
    found = {kind: _find(kind, model) for kind in Coupling}
    return tuple(
        StructureSupport(
            structure,
            _unsupported_reason(structure, found),
            _left_whole(structure, found),
        )
        if structure in COUPLED
        else StructureSupport(structure)
        for structure in Structure
    )


def _unsupported_reason(structure: Structure, found: Mapping[Coupling, _Found]) -> str:
    """Return why a structure in COUPLED cannot be removed; empty if it can."""
    without = {
        kind: found[kind] for kind in COUPLINGS[structure] if not found[kind].groups
    }
    if not without:
        return ""
    unknown = [
        kind for kind, each in without.items() if not any(each.left_whole.values())
    ]
    if len(unknown) > 1:
        return without[unknown[0]].reason(structure)
    return say_all(*(each.reason(kind) for kind, each in without.items()))


def _left_whole(
    structure: Structure, found: Mapping[Coupling, _Found]
) -> tuple[LeftWhole, ...]:
    """Return the kinds of groups that some blocks do not have, with these blocks."""
    return tuple(
        LeftWhole(kind, tuple(sorted(found[kind].left_whole)))
        for kind in COUPLINGS[structure]
        if found[kind].groups and found[kind].left_whole
    )


def _find(kind: Coupling, model: PreTrainedModel) -> _Found:
    """Find the groups of each block by the rules of its family."""
    config = model.config.get_text_config()
    blocks = find_blocks(model)
    rules, reason = _known(kind, config)
    if reason:
        return _Found(left_whole=dict.fromkeys(range(len(blocks)), reason))
    layers = prunable_layers(model)
    groups: list[CoupledGroups] = []
    left_whole: dict[int, str] = {}
    unknown = ""
    for index, module in enumerate(blocks):
        by_kind = {layer.kind: layer for layer in layers if layer.block == index}
        block = _Block(module, by_kind, config)
        try:
            matches = [
                _groups(kind, match, block) for match in _matches(rules, by_kind)
            ]
        except PruningError as error:
            left_whole[index] = error.message
            continue
        groups += matches
        if not matches:
            left_whole[index] = ""
            unknown = unknown or ", ".join(by_kind)
    return _Found(tuple(groups), left_whole, unknown)


def _known(
    kind: Coupling, config: PretrainedConfig
) -> tuple[tuple[CouplingRule, ...], str]:
    """Return the rules for a family, and why groups are inseparable all the same."""
    family = family_of(config.model_type)
    if kind is Coupling.NEURONS:
        own, shared, reason = family.mlp, MLP, family.inseparable_neurons
    else:
        own, shared, reason = family.attention, ATTENTION, family.inseparable_heads
    return ((own, *shared) if own else shared), reason


@dataclass(frozen=True, slots=True)
class _Match:
    """A rule and the module that has its layers."""

    module: str  # its name inside the block; "": the block itself
    rule: CouplingRule

    def name(self, layer: str) -> str:
        """Return the name inside the block of a layer of the rule."""
        return f"{self.module}.{layer}" if self.module else layer


def _matches(
    rules: Sequence[CouplingRule], by_kind: Mapping[str, PrunableLayer]
) -> Iterator[_Match]:
    """Yield the modules of a block whose linear layers a rule names."""
    modules = {""}
    for kind in by_kind:
        parts = kind.split(".")
        modules |= {".".join(parts[:n]) for n in range(1, len(parts))}
    for module in sorted(modules):
        if module.startswith(_UNUSED):
            continue
        prefix = f"{module}." if module else ""
        present = {k.removeprefix(prefix) for k in by_kind if k.startswith(prefix)}
        for rule in rules:
            if rule.names == present or (not module and rule.names < present):
                yield _Match(module, rule)
                break


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    module: nn.Module
    by_kind: Mapping[str, PrunableLayer]
    config: PretrainedConfig


@dataclass(frozen=True, slots=True)
class _Division:
    """The number of groups, and the number of rows of each part in one group."""

    groups: int
    rows: Mapping[Part, int]


def _groups(kind: Coupling, match: _Match, block: _Block) -> CoupledGroups:
    divide = _heads if kind is Coupling.HEADS else _neurons
    division = divide(match, block)
    return CoupledGroups(
        kind,
        match.module,
        block.by_kind[match.name(match.rule.consumer)],
        tuple(
            _producer(rows, block.by_kind[match.name(rows.layer)], division)
            for rows in match.rule.producers
        ),
        division.groups,
        match.rule.adds_residual,
    )


def _producer(
    rows: ProducerRows, layer: PrunableLayer, division: _Division
) -> Producer:
    sizes = [division.rows[part] for part in rows.parts]
    expected = division.groups * sum(sizes)
    if layer.rows != expected:
        raise PruningError(
            say(
                "{layer} has {rows:,} rows, but {groups:,} groups of {sizes:,} rows "
                "have {expected:,}.",
                layer=layer.name,
                rows=layer.rows,
                groups=division.groups,
                sizes=sum(sizes),
                expected=expected,
            )
        )
    runs = [sum(sizes)] if rows.order is Order.BY_GROUP else sizes
    # On the CPU even if the default device is "meta".
    group = torch.arange(division.groups, device="cpu")
    owner = torch.cat([group.repeat_interleave(run) for run in runs])
    return Producer(layer, owner, rows.parts)


def _heads(match: _Match, block: _Block) -> _Division:
    consumer = block.by_kind[match.name(match.rule.consumer)]
    module = block.module.get_submodule(match.module)
    heads, shared = _head_counts(match, block)
    if not heads:
        raise PruningError(
            say(
                "The model does not state how many heads feed {consumer}.",
                consumer=consumer.name,
            )
        )
    if heads % shared or consumer.columns % heads:
        raise PruningError(
            say(
                "The {columns:,} columns of {consumer} cannot be divided into {heads} "
                "heads with {shared} key and value heads.",
                columns=consumer.columns,
                consumer=consumer.name,
                heads=heads,
                shared=shared,
            )
        )
    if shared == 1:
        raise PruningError(
            say(
                "All {heads} query heads of a block share one key and value head, and "
                "the last group of a block is always kept: there are no heads to "
                "remove.",
                heads=heads,
            )
        )
    size = consumer.columns // heads
    _check_not_read_elsewhere(module, block.config, consumer)
    _check_no_joint_norm(match, block, size, Coupling.HEADS)
    _check_head_parameters(match, block, {heads, shared})
    rows = {Part.QUERY: heads // shared * size, Part.KEY: size, Part.VALUE: size}
    return _Division(shared, rows)


def _head_counts(match: _Match, block: _Block) -> tuple[int, int]:
    """Return the numbers of query heads, and of key and value heads, of a block.

    Blocks may differ: the size of a head, if a module states it, decides.
    """
    module = block.module.get_submodule(match.module)
    heads = _stated_number(module, block.config, "num_heads", "num_attention_heads")
    shared = _stated_number(module, block.config, "num_key_value_heads", "num_kv_heads")
    size = getattr(module, "head_dim", None)
    keys = [rows.layer for rows in match.rule.producers if rows.parts == (Part.KEY,)]
    if keys and isinstance(size, int):
        consumer = block.by_kind[match.name(match.rule.consumer)]
        key = block.by_kind[match.name(keys[0])]
        if consumer.columns % size == key.rows % size == 0:
            return consumer.columns // size, key.rows // size
    return heads, shared or heads


def _check_not_read_elsewhere(
    module: nn.Module, config: PretrainedConfig, consumer: PrunableLayer
) -> None:
    """Check that no later block reads the keys and values of this one."""
    is_read = getattr(module, "store_full_length_kv", None)
    if is_read is None:
        is_read = bool(getattr(config, "num_kv_shared_layers", 0))
    if is_read:
        raise PruningError(
            say(
                "Later blocks read the keys and values that feed {consumer}: without "
                "one head they would change.",
                consumer=consumer.name,
            )
        )


def _neurons(match: _Match, block: _Block) -> _Division:
    neurons = block.by_kind[match.name(match.rule.consumer)].columns
    if match.module:
        _check_no_largest(match, block)
        _check_no_joint_norm(match, block, 1, Coupling.NEURONS)
        _check_neuron_parameters(match, block, neurons)
    return _Division(neurons, {Part.GATE: 1, Part.UP: 1})


def _stated_number(module: nn.Module, config: PretrainedConfig, *names: str) -> int:
    """Return the first of `names` that the module or else the config states, or 0."""
    for owner in (module, config):
        for name in names:
            try:
                value = getattr(owner, name, None)
            except RuntimeError:
                continue  # the config has a value for each block
            if isinstance(value, int):
                return value
    return 0


def _check_head_parameters(match: _Match, block: _Block, heads: set[int]) -> None:
    """Check that only linear layers have parameters for each head.

    The weight of a norm that all heads share may have this length: it is as long as a
    head is wide.
    """
    for path, module in _other_modules(match, block):
        for name, parameter in module.named_parameters(recurse=False):
            is_shared_norm = path != match.module and parameter.ndim == 1
            if parameter.ndim and parameter.shape[0] in heads and not is_shared_norm:
                count = parameter.shape[0]
                raise _parameters_error(f"{path}.{name}", count, Coupling.HEADS)


def _check_neuron_parameters(match: _Match, block: _Block, neurons: int) -> None:
    """Check that only linear layers have parameters for each neuron.

    A norm without parameters normalizes all neurons together.
    """
    for path, module in _other_modules(match, block):
        parameters = dict(module.named_parameters(recurse=False))
        if "norm" in type(module).__name__.lower() and not parameters:
            raise PruningError(
                say(
                    "{path} normalizes all neurons together: without one the others "
                    "would change.",
                    path=path,
                )
            )
        for name, parameter in parameters.items():
            if neurons in parameter.shape:
                raise _parameters_error(f"{path}.{name}", neurons, Coupling.NEURONS)


def _check_no_largest(match: _Match, block: _Block) -> None:
    """Check that an MLP does not compare its neurons with each other."""
    if getattr(block.module.get_submodule(match.module), "activation_sparsity", 0):
        raise PruningError(
            say(
                "MLPs of this architecture keep the neurons with the largest values: "
                "without one neuron others would change."
            )
        )


def _parameters_error(path: str, count: int, kind: Coupling) -> PruningError:
    return PruningError(
        say(
            "{path} has parameters for each of {count:,} {kind}, which cannot be "
            "removed with them.",
            path=path,
            count=count,
            kind=display_name(kind),
        )
    )


def _check_no_joint_norm(
    match: _Match, block: _Block, size: int, kind: Coupling
) -> None:
    """Check that no norm spans several groups, which would depend on each other."""
    for path, module in _other_modules(match, block):
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim and weight.shape[-1] > size:
            width = weight.shape[-1]
            raise PruningError(
                say(
                    "{path} normalizes {width:,} features together, not the {size:,} "
                    "of one head alone: without one head the others would change.",
                    path=path,
                    width=width,
                    size=size,
                )
                if kind is Coupling.HEADS
                else say(
                    "{path} normalizes {width:,} neurons together: without one the "
                    "others would change.",
                    path=path,
                    width=width,
                )
            )


def _other_modules(match: _Match, block: _Block) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of an attention or MLP other than linear layers, with paths.

    Modules beside a consumer that is in a module of its own read what it has computed.
    """
    behind = match.rule.consumer.rpartition(".")[0] or "-"
    for name, module in block.module.get_submodule(match.module).named_modules():
        if not (isinstance(module, LINEAR) or f"{name}.".startswith(f"{behind}.")):
            yield ".".join(filter(None, (match.module, name))), module
