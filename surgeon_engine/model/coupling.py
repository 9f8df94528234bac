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
from dataclasses import dataclass

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
from surgeon_engine.api.messages.sources import StructureSupport
from surgeon_engine.base.errors import PruningError
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.model.families import (
    ATTENTION,
    MLP,
    CouplingRule,
    Family,
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
    consumer: PrunableLayer
    producers: tuple[Producer, ...]
    groups: int

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
        consumer = layers[self.consumer.name]
        return CoupledGroups(self.kind, consumer, tuple(producers), len(kept))

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


@dataclass(frozen=True, slots=True)
class _Unknown:
    """No rule of the table matches a block with layers of these kinds."""

    kinds: str


_Result = tuple[CoupledGroups, ...] | _Unknown | str  # str: why there are no groups


def coupled_groups(
    structure: Structure, model: PreTrainedModel
) -> tuple[CoupledGroups, ...]:
    """Return the groups that `structure` may remove, in the order of the blocks.

    Raises:
        PruningError: This model cannot be pruned in this structure.
    """
    results = {kind: _find(kind, model) for kind in Coupling}
    known = {kind: each for kind, each in results.items() if isinstance(each, tuple)}
    reason = _unsupported_reason(structure, results)
    if reason:
        other = display_name(next(iter(known), Structure.ROWS_AND_COLUMNS))
        raise PruningError(reason, say("Choose {other} instead.", other=other))
    groups = [group for kind in COUPLINGS[structure] for group in known[kind]]
    return tuple(sorted(groups, key=lambda group: group.consumer.block))


def groups_of(kind: Coupling, model: PreTrainedModel) -> tuple[CoupledGroups, ...]:
    """Return the groups of every block; empty if they are not supported.

    The model may be without weights (on the meta device).
    """
    result = _find(kind, model)
    return result if isinstance(result, tuple) else ()


def structure_support(model: PreTrainedModel) -> tuple[StructureSupport, ...]:
    """Return for every structure whether `model` can be pruned in it, or why not.

    The model may be without weights (on the meta device).
    """
    results = {kind: _find(kind, model) for kind in Coupling}
    return tuple(
        StructureSupport(
            structure,
            _unsupported_reason(structure, results) if structure in COUPLED else "",
        )
        for structure in Structure
    )


def _unsupported_reason(
    structure: Structure, results: Mapping[Coupling, _Result]
) -> str:
    """Return why a structure in COUPLED cannot be removed; empty if it can."""
    needed = {kind: results[kind] for kind in COUPLINGS[structure]}
    unknown = {
        kind: each.kinds for kind, each in needed.items() if isinstance(each, _Unknown)
    }
    reasons = [each for each in needed.values() if isinstance(each, str)]
    if unknown:
        kind = next(iter(unknown)) if len(unknown) == 1 else structure
        reasons.append(
            say(
                "Surgeon does not know the {kind} of this architecture (the layers of "
                "its blocks are {layers}).",
                kind=display_name(kind),
                layers=next(iter(unknown.values())),
            )
        )
    return say_all(*reasons)


def _find(kind: Coupling, model: PreTrainedModel) -> _Result:
    config = model.config.get_text_config()
    rules, reason = _known(kind, family_of(config.model_type))
    if reason:
        return reason
    layers = prunable_layers(model)
    groups: list[CoupledGroups] = []
    for index, block in enumerate(find_blocks(model)):
        by_kind = {layer.kind: layer for layer in layers if layer.block == index}
        rule = _match(rules, by_kind)
        if rule is None:
            return _Unknown(", ".join(by_kind))
        try:
            groups.append(_groups(kind, rule, _Block(block, by_kind, config)))
        except PruningError as error:
            return error.message
    return tuple(groups)


def _known(kind: Coupling, family: Family) -> tuple[tuple[CouplingRule, ...], str]:
    """Return the rules for a family, and why groups are inseparable all the same."""
    if kind is Coupling.HEADS:
        shared, own, reason = ATTENTION, family.attention, family.inseparable_heads
    else:
        shared, own, reason = MLP, family.mlp, family.inseparable_neurons
    return (*shared, own) if own else shared, reason


def _match(
    rules: Sequence[CouplingRule], by_kind: Mapping[str, PrunableLayer]
) -> CouplingRule | None:
    """Return the rule that names exactly the linear layers of its module."""
    for rule in rules:
        present = {kind for kind in by_kind if kind.startswith(f"{rule.parent}.")}
        if present <= rule.names <= set(by_kind):
            return rule
    return None


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


def _groups(kind: Coupling, rule: CouplingRule, block: _Block) -> CoupledGroups:
    consumer = block.by_kind[rule.consumer]
    division = _heads(rule, block) if kind is Coupling.HEADS else _neurons(rule, block)
    return CoupledGroups(
        kind,
        consumer,
        tuple(_producer(rows, block, division) for rows in rule.producers),
        division.groups,
    )


def _producer(rows: ProducerRows, block: _Block, division: _Division) -> Producer:
    layer = block.by_kind[rows.layer]
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


def _heads(rule: CouplingRule, block: _Block) -> _Division:
    consumer = block.by_kind[rule.consumer]
    module = block.module.get_submodule(rule.parent)
    heads = _stated_number(module, block.config, "num_heads", "num_attention_heads")
    shared = (
        _stated_number(module, block.config, "num_key_value_heads", "num_kv_heads")
        or heads
    )
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
    _check_no_joint_norm(rule, block, size, Coupling.HEADS)
    _check_head_parameters(rule, block, {heads, shared})
    rows = {Part.QUERY: heads // shared * size, Part.KEY: size, Part.VALUE: size}
    return _Division(shared, rows)


def _neurons(rule: CouplingRule, block: _Block) -> _Division:
    neurons = block.by_kind[rule.consumer].columns
    if rule.parent:
        _check_no_joint_norm(rule, block, 1, Coupling.NEURONS)
        _check_neuron_parameters(rule, block, neurons)
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


def _check_head_parameters(rule: CouplingRule, block: _Block, heads: set[int]) -> None:
    """Check that only linear layers have parameters for each head.

    The weight of a norm that all heads share may have this length: it is as long as a
    head is wide.
    """
    for path, module in _other_modules(rule, block):
        for name, parameter in module.named_parameters(recurse=False):
            is_shared_norm = path != rule.parent and parameter.ndim == 1
            if parameter.ndim and parameter.shape[0] in heads and not is_shared_norm:
                count = parameter.shape[0]
                raise _parameters_error(f"{path}.{name}", count, Coupling.HEADS)


def _check_neuron_parameters(rule: CouplingRule, block: _Block, neurons: int) -> None:
    """Check that only linear layers have parameters for each neuron.

    A norm without parameters normalizes all neurons together.
    """
    for path, module in _other_modules(rule, block):
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
    rule: CouplingRule, block: _Block, size: int, kind: Coupling
) -> None:
    """Check that no norm spans several groups, which would depend on each other."""
    for path, module in _other_modules(rule, block):
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


def _other_modules(
    rule: CouplingRule, block: _Block
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of a rule's parent other than linear layers, with paths."""
    for name, module in block.module.get_submodule(rule.parent).named_modules():
        if not isinstance(module, LINEAR):
            yield ".".join(filter(None, (rule.parent, name))), module
