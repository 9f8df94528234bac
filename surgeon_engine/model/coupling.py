"""Find groups of rows and columns that can be removed together: heads and neurons.

A group is a run of columns of the consumer that only the same group's rows of the
producers feed: an MLP neuron is one column of the down projection and its rows of gate
and up; a KV group is the columns of the output projection that its query heads feed,
with their rows of q, k and v. Removing a whole group leaves smaller dense matrices.

The tables in `known_layers.py` name the layers, those in `families.py` the layers of a
family; the model states its number of heads. This module turns both into indices of
rows, or into a sentence on why groups cannot be removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from surgeon_engine.api.config.pruning import (
    COUPLED,
    COUPLINGS,
    OF_EXPERTS,
    Coupling,
    Structure,
    display_name,
)
from surgeon_engine.api.messages.sources import NO_EXPERTS, LeftWhole, StructureSupport
from surgeon_engine.base.errors import PruningError
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.model.coupled_groups import CoupledGroups, OwnParameter, Producer
from surgeon_engine.model.division import (
    Division,
    Match,
    delta_heads_of,
    heads_of,
    latent_heads_of,
    mamba_groups_of,
    neurons_of,
    own_parameters,
)
from surgeon_engine.model.experts import NEURON_COUNTS, has_experts, neuron_entries
from surgeon_engine.model.families import family_of
from surgeon_engine.model.known_layers import ATTENTION, MLP
from surgeon_engine.model.layers import (
    ExpertsLayer,
    PrunableLayer,
    find_blocks,
    prunable_layers,
)
from surgeon_engine.model.rules import CouplingRule, Mixer, Order, ProducerRows

# Attentions to the states of an encoder, which a decoder alone does not use.
_UNUSED = ("encoder_attn", "crossattention", "cross_attn")


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The groups of one kind, and the blocks that have none with the reasons."""

    groups: tuple[CoupledGroups, ...] = ()
    left_whole: Mapping[int, str] = field(default_factory=dict)  # by block
    unknown: str = ""  # the layers of the first block that no rule matches
    has_experts: bool = False  # in place of the neurons

    def reason(self, kind: Coupling | Structure) -> str:
        """Return why there are no groups; empty if there are."""
        if self.groups:
            return ""
        if self.has_experts:
            return say("Surgeon finds no neurons outside experts.")
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

    A block without such groups stays whole; hybrid models have such blocks.

    Raises:
        PruningError: No block of this model can be pruned in this structure.
    """
    found = {kind: _find(kind, model) for kind in Coupling}
    if reason := _unsupported_reason(structure, found):
        possible = (x for x, y in COUPLINGS.items() if all(found[k].groups for k in y))
        other = next(possible, Structure.ROWS_AND_COLUMNS)
        raise PruningError(reason, "Choose {other:choice} instead.", other=other)
    groups = [group for kind in COUPLINGS[structure] for group in found[kind].groups]
    return tuple(sorted(groups, key=lambda group: group.consumer.block))


def groups_of(kind: Coupling, model: PreTrainedModel) -> tuple[CoupledGroups, ...]:
    """Return the groups of every block; empty if they are not supported.

    The model may be without weights (on the meta device).
    """
    return _find(kind, model).groups


def structure_support(model: PreTrainedModel) -> tuple[StructureSupport, ...]:
    """Return for every structure whether `model` can be pruned in it, or why not.

    Structures of experts are left out for a model without experts. The model may be
    without weights (on the meta device).
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
        if structure not in OF_EXPERTS or has_experts(model)
    )


def _unsupported_reason(structure: Structure, found: Mapping[Coupling, _Found]) -> str:
    """Return why a structure in COUPLED cannot be removed; empty if it can."""
    kinds = COUPLINGS[structure]
    needed = {Coupling.EXPERTS}
    if structure is Structure.EXPERTS_AND_NEURONS:
        needed.add(Coupling.EXPERT_NEURONS)
    for kind in needed.intersection(kinds):
        if not found[kind].groups:
            return found[kind].reason(kind)
    if any(found[kind].groups for kind in kinds):
        return ""
    if not any(any(found[kind].left_whole.values()) for kind in kinds):
        return found[kinds[0]].reason(structure)
    return say_all(*(found[kind].reason(kind) for kind in kinds))


def _left_whole(
    structure: Structure, found: Mapping[Coupling, _Found]
) -> tuple[LeftWhole, ...]:
    """Return the kinds of groups that some blocks do not have, with these blocks."""
    if _unsupported_reason(structure, found):
        return ()
    return tuple(
        LeftWhole(kind, tuple(sorted(found[kind].left_whole)), found[kind].reason(kind))
        for kind in COUPLINGS[structure]
        if found[kind].left_whole
    )


def _find(kind: Coupling, model: PreTrainedModel) -> _Found:
    """Find the groups of each block by the rules of its family."""
    config = model.config.get_text_config()
    if kind is Coupling.EXPERTS:
        return _find_experts(model)
    if kind is Coupling.EXPERT_NEURONS:
        return _find_neurons_of_experts(model)
    blocks = find_blocks(model)
    rules, reason = _known(kind, config)
    if reason:
        return _Found(left_whole=dict.fromkeys(range(len(blocks)), reason))
    layers = prunable_layers(model)
    tied = {*model.all_tied_weights_keys, *model.all_tied_weights_keys.values()}
    groups: list[CoupledGroups] = []
    left_whole: dict[int, str] = {}
    unknown = ""
    for index, module in enumerate(blocks):
        by_kind = {layer.kind: layer for layer in layers if layer.block == index}
        matches, reasons = [], []
        for match in _matches(rules, module, by_kind, config):
            try:
                found = _groups(kind, match)
                _check_not_tied(found, tied)
                matches.append(found)
            except PruningError as error:
                reasons.append(error.message)
        groups += matches
        if not matches:
            left_whole[index] = reasons[0] if reasons else ""
        if not matches and not reasons:
            unknown = unknown or ", ".join(by_kind)
    of_experts = kind is Coupling.NEURONS and has_experts(model)
    return _Found(tuple(groups), left_whole, unknown, of_experts)


def _find_experts(model: PreTrainedModel) -> _Found:
    """Find the experts of each block; a block without any is no exception."""
    layers = prunable_layers(model)
    tied = {*model.all_tied_weights_keys, *model.all_tied_weights_keys.values()}
    found = tuple(
        _experts(x)
        for x in layers
        if isinstance(x, ExpertsLayer)
        and tied.isdisjoint(tensor.name for tensor in x.experts.tensors)
    )
    if found:
        return _Found(found)
    if has_experts(model):
        reason = say(
            "Surgeon does not find the experts of this architecture, or how its router "
            "chooses among them."
        )
    else:
        reason = NO_EXPERTS
    return _Found(left_whole={layer.block: reason for layer in layers})


def _find_neurons_of_experts(model: PreTrainedModel) -> _Found:
    """Find the neurons that each expert of a block has, as one group for all experts.

    The neurons of an expert may be in any order, so that the n-th of each form a group.
    """
    experts = _find_experts(model)
    found, left_whole = [], dict(experts.left_whole)
    for each in experts.groups:
        layer = each.consumer
        assert isinstance(layer, ExpertsLayer)
        if layer.neurons:
            found.append(_neurons(layer))
        else:
            left_whole[layer.block] = say(
                "Surgeon does not find the neurons of the experts of this architecture."
            )
    return _Found(tuple(found), left_whole)


def _neurons(layer: ExpertsLayer) -> CoupledGroups:
    """Return the neurons of the experts of a block as groups."""
    module = layer.kind
    return CoupledGroups(
        Coupling.EXPERT_NEURONS,
        module,
        layer,
        (),
        layer.neurons,
        parameters=tuple(
            OwnParameter(f"{module}.{name}", neuron, dimension)
            for name, (dimension, neuron) in neuron_entries(layer.module).items()
        ),
        counts=tuple(x for x in NEURON_COUNTS if hasattr(layer.module, x)),
    )


def _experts(layer: ExpertsLayer) -> CoupledGroups:
    """Return the experts of a block as groups."""
    experts, block = layer.experts, layer.name.removesuffix(layer.kind)
    groups = torch.arange(layer.columns, device="cpu")

    def inside(name: str) -> str:
        return name.removeprefix(block)

    module = experts.parent.removeprefix(block.rstrip(".")).lstrip(".")
    return CoupledGroups(
        Coupling.EXPERTS,
        module,
        layer,
        (),
        layer.columns,
        parameters=tuple(
            OwnParameter(
                inside(x.name), groups.repeat_interleave(x.entries), x.dimension
            )
            for x in experts.tensors
        ),
        counts=tuple(
            inside(name).removeprefix(module).lstrip(".") for name in experts.counts
        ),
        stated=experts.stated,
        least=experts.least(layer.columns),
        classes=experts.classes,
        chosen=min(experts.chosen, layer.columns),
    )


def _check_not_tied(coupled: CoupledGroups, tied: Set[str]) -> None:
    """Check that no other block has the same weights, as in Zamba 2."""
    for layer in coupled.layers:
        if f"{layer.name}.weight" in tied:
            raise PruningError(
                "{layer} shares its weights with a layer of another block, which "
                "would change, too.",
                layer=layer.name,
            )


def _known(
    kind: Coupling, config: PretrainedConfig
) -> tuple[tuple[CouplingRule, ...], str]:
    """Return the rules for a family, and why groups are inseparable all the same."""
    family = family_of(config.model_type)
    if kind is Coupling.NEURONS:
        return ((family.mlp, *MLP) if family.mlp else MLP), ""
    own = family.attention
    return ((own, *ATTENTION) if own else ATTENTION), family.inseparable_heads


def _matches(
    rules: Sequence[CouplingRule],
    block: nn.Module,
    by_kind: Mapping[str, PrunableLayer],
    config: PretrainedConfig,
) -> Iterator[Match]:
    """Yield the modules of a block whose linear layers a rule names."""
    modules = {""}
    for kind in by_kind:
        parts = kind.split(".")
        modules |= {".".join(parts[:n]) for n in range(1, len(parts))}
    for module in sorted(modules):
        if module.startswith(_UNUSED):
            continue
        prefix = f"{module}." if module else ""
        owner = block.get_submodule(module)
        present = {k.removeprefix(prefix) for k in by_kind if k.startswith(prefix)}
        for rule in rules:
            others = present - rule.names - set(rule.whole)
            if others and module:
                continue
            if rule.names <= present and (not rule.needs or hasattr(owner, rule.needs)):
                yield Match(rule, module, owner, by_kind, config)
                break


_DIVIDE = {
    Mixer.ATTENTION: heads_of,
    Mixer.LATENT: latent_heads_of,
    Mixer.DELTA: delta_heads_of,
    Mixer.MAMBA: mamba_groups_of,
}


def _groups(kind: Coupling, match: Match) -> CoupledGroups:
    divide = neurons_of if kind is Coupling.NEURONS else _DIVIDE[match.rule.mixer]
    division = divide(match)
    producers = []
    for rows in match.rule.producers:
        layer = match.layer(rows.layer)
        owners = _owners(rows, division, layer.name, layer.rows)
        producers.append(Producer(layer, owners, rows.parts))
    return CoupledGroups(
        kind,
        match.path,
        match.consumer,
        tuple(producers),
        division.groups,
        match.rule.adds_residual,
        tuple(
            OwnParameter(
                match.name(rows.layer),
                _owners(rows, division, match.name(rows.layer), len(parameter)),
            )
            for rows, parameter in own_parameters(match)
        ),
        division.cached,
        match.rule.counts,
        match.rule.stated,
        match.rule.mixer,
    )


def _owners(rows: ProducerRows, division: Division, name: str, length: int) -> Tensor:
    """Return the group of each row of a layer, or of each entry of a parameter."""
    sizes = [division.rows[part] for part in rows.parts]
    expected = division.groups * sum(sizes)
    if length != expected:
        raise PruningError(
            "{layer} has {rows:,} rows, but {groups:,} groups of {sizes:,} rows "
            "have {expected:,}.",
            layer=name,
            rows=length,
            groups=division.groups,
            sizes=sum(sizes),
            expected=expected,
        )
    runs = [sum(sizes)] if rows.order is Order.BY_GROUP else sizes
    # On the CPU even if the default device is "meta".
    group = torch.arange(division.groups, device="cpu")
    return torch.cat([group.repeat_interleave(run) for run in runs])
