"""The maximum number of weights that can be removed from a model, and the minimum step.

Protected layers are kept, and so are the minimum density of each layer, its last row,
column, head or neuron, and as many experts as a token uses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from surgeon_engine.api.config.layer_patterns import (
    any_matches,
)
from surgeon_engine.api.config.pruning import (
    COUPLED,
    COUPLINGS,
    SPARSE,
    Coupling,
    PruningConfig,
    Structure,
)
from surgeon_engine.api.messages.sources import LayerSummary, ModelSummary
from surgeon_engine.planning.constants import EXPERT_WIDTH_MULTIPLE
from surgeon_engine.planning.rounding import ceil_share


def max_elements(layer: LayerSummary, share: float, pruning: PruningConfig) -> int:
    """Return the maximum number of single weights that a layer can lose."""
    R, C = layer.rows, layer.columns
    limit = R * C - ceil_share(R * C, share)
    if (pattern := pruning.n_m) is not None:
        atom = pattern.removed
        return min(R * (C // pattern.of) * atom, limit // atom * atom)
    return limit


def max_rows_columns(layer: LayerSummary, share: float, structure: Structure) -> int:
    """Return the maximum number of weights that a layer can lose in rows and columns.

    For both kinds and a minimum density, the number is a lower bound: the exact one
    depends on the costs.
    """
    width = layer.weights // layer.rows  # with the column of a bias
    rows = layer.rows if structure is Structure.COLUMNS else 1
    columns = layer.columns if structure is Structure.ROWS else 1
    most = layer.weights - rows * (columns + width - layer.columns)
    limit = layer.weights - ceil_share(layer.weights, share)
    if structure is Structure.ROWS:
        limit -= limit % width
    elif structure is Structure.COLUMNS:
        limit -= limit % layer.rows
    elif limit < most:  # the excess is less than the larger of both
        limit -= max(layer.rows, width)
    return max(0, min(most, limit))


def groups_to_keep(groups: int, share: float, bundle: int, least: int = 1) -> int:
    """Return the minimum number of groups to keep, in whole bundles."""
    least = max(least, ceil_share(groups, share))
    return -(-least // bundle) * bundle


def bundle_of(kind: Coupling, pruning: PruningConfig, classes: int = 1) -> int:
    """Return how many groups are removed together, of experts one of each class."""
    multiple = max(1, pruning.width_multiple)
    if kind is Coupling.EXPERT_NEURONS:
        return math.lcm(multiple, EXPERT_WIDTH_MULTIPLE)
    return multiple if kind is Coupling.NEURONS else classes


def max_removable(pruning: PruningConfig, model: ModelSummary) -> int:
    """Return the maximum number of weights that a model can lose.

    For experts with neurons and a minimum density, as for rows with columns, the number
    is a lower bound: by other costs, a run may remove a little more.
    """
    most = 0
    if pruning.structure in COUPLED:
        if not model.coupled:
            return model.prunable
        for kind, coupled in _kinds(pruning, model).items():
            groups = _max_groups(kind, coupled, pruning)
            if pruning.has_same_widths:  # the same number in each
                groups = [min(groups)] * len(groups)
            weights = [
                _max_weights(n, one, pruning)
                for n, one in zip(groups, coupled, strict=True)
            ]
            if pruning.has_same_widths and coupled[0].neurons:
                pairs = zip(weights, coupled, strict=True)
                w, tightest = min(pairs, key=lambda pair: pair[0] / pair[1].weights)
                weights = [w * one.weights // tightest.weights for one in coupled]
            most += sum(weights)
        if pruning.drops_depth:
            most += depth_of(pruning, model).kept_otherwise
        return most
    for layer in model.linear_layers:
        if any_matches((layer,), pruning.protect):
            continue
        share = pruning.share_to_keep((layer,))
        if pruning.structure in SPARSE:
            most += max_elements(layer, share, pruning)
        else:
            most += max_rows_columns(layer, share, pruning.structure)
    return most


def min_removable(pruning: PruningConfig, model: ModelSummary) -> int:
    """Return the minimum number of weights to remove; 1 if it depends on the costs."""
    if pruning.structure not in COUPLED:
        return 1
    steps = []
    for kind, coupled in _kinds(pruning, model).items():
        each = []
        for x in coupled:
            bundle = bundle_of(kind, pruning, x.classes)
            first = x.weights_per_group * (x.groups % bundle or bundle)
            if x.neurons:
                bundle = bundle_of(Coupling.EXPERT_NEURONS, pruning)
                size = x.neurons % bundle or bundle
                first = min(first, size * x.weights_per_neuron * x.groups)
            each.append(first)
        most = _max_groups(kind, coupled, pruning)
        if not pruning.has_same_widths:
            steps += [weights for weights, n in zip(each, most, strict=True) if n]
        elif all(most):
            steps.append(sum(each))
    return min(steps, default=1)


def has_partial_protection(pruning: PruningConfig, model: ModelSummary) -> bool:
    """Return True if groups of a kind are protected in some blocks only."""
    narrower = _kinds(pruning, model)
    return any(
        0 < len(narrower.get(kind, ())) < len(coupled)
        for kind, coupled in _kinds(replace(pruning, protect=()), model).items()
    )


def max_perplexity(pruning: PruningConfig, original: float) -> float:
    """Return the maximum perplexity of the pruned model; infinite: no limit."""
    if not pruning.max_perplexity_increase:
        return math.inf
    return original * (1 + pruning.max_perplexity_increase / 100)


@dataclass(frozen=True, slots=True)
class _Coupled:
    """The heads, the neurons or the experts of a block, with their layers."""

    layers: tuple[LayerSummary, ...]  # first the one whose columns they are
    groups: int
    least: int  # groups that must stay
    classes: int
    neurons: int  # removable neurons of each group; 0: none
    weights_per_neuron: int

    @property
    def weights_per_group(self) -> int:
        """The weights of a group: columns of the first layer, rows of the others."""
        consumer, *producers = self.layers
        rows = sum(layer.weights for layer in producers)
        return (consumer.rows * consumer.columns + rows) // self.groups

    @property
    def weights(self) -> int:
        """The weights of all groups."""
        return self.weights_per_group * self.groups


@dataclass(frozen=True, slots=True)
class Depth:
    """The blocks and sub-layers that may be removed as a whole, and how many are."""

    blocks: list[int]  # weights of each, ascending
    sublayers: list[int]  # weights of the smaller one of each block, ascending
    # Weights that the removed ones would keep as heads and neurons, at least.
    kept_otherwise: int


def depth_of(pruning: PruningConfig, model: ModelSummary) -> Depth:
    """Return the blocks and sub-layers that may be removed as a whole."""
    by_block: dict[int, list[tuple[int, int]]] = {}  # weights, those kept otherwise
    layers: dict[int, int] = {}
    for kind, coupled in _kinds(pruning, model).items():
        for one, most in zip(coupled, _max_groups(kind, coupled, pruning), strict=True):
            if pruning.share_to_keep(one.layers) == 0:
                block, consumer = one.layers[0].block, one.layers[0]
                bias = consumer.weights - consumer.rows * consumer.columns
                weights = one.weights + bias
                kept = weights - most * one.weights_per_group
                by_block.setdefault(block, []).append((weights, kept))
                layers[block] = layers.get(block, 0) + len(one.layers)
    total = Counter(layer.block for layer in model.layers)
    whole = [found for x, found in by_block.items() if layers[x] == total[x]]
    blocks = sorted(sum(weights for weights, _ in found) for found in whole)
    sublayers = sorted(min(found)[0] for found in by_block.values())
    kept_blocks = sorted(sum(kept for _, kept in found) for found in whole)
    kept_sublayers = sorted(min(x[1] for x in found) for found in by_block.values())
    return Depth(
        blocks,
        sublayers,
        sum(kept_blocks[: pruning.blocks_to_drop])
        + sum(kept_sublayers[: pruning.sublayers_to_drop]),
    )


def _max_groups(
    kind: Coupling, coupled: Iterable[_Coupled], pruning: PruningConfig
) -> list[int]:
    """Return the maximum number of groups that each block can lose."""
    groups = []
    for one in coupled:
        bundle = bundle_of(kind, pruning, one.classes)
        # A share of experts with fewer neurons is one of their weights.
        share = 0 if one.neurons else pruning.share_to_keep(one.layers)
        least = groups_to_keep(one.groups, share, bundle, one.least)
        groups.append(max(0, one.groups - least))
    return groups


def _kinds(
    pruning: PruningConfig, model: ModelSummary
) -> Mapping[Coupling, list[_Coupled]]:
    """Return the unprotected groups, by kind."""
    by_name = {layer.name: layer for layer in model.layers}
    wanted = COUPLINGS[pruning.structure]
    kinds: dict[Coupling, list[_Coupled]] = {}
    for one in model.coupled:
        layers = tuple(by_name[name] for name in one.layers)
        if one.kind in wanted and not any_matches(layers, pruning.protect):
            has_neurons = Coupling.EXPERT_NEURONS in wanted
            kinds.setdefault(one.kind, []).append(
                _Coupled(
                    layers,
                    one.groups,
                    one.least,
                    one.classes,
                    has_neurons * one.neurons,
                    one.weights_per_neuron,
                )
            )
    return kinds


def _max_weights(groups: int, one: _Coupled, pruning: PruningConfig) -> int:
    """Return how many weights a block can lose with so many groups.

    Experts with neurons can lose so many whatever they cost: neither a further expert
    nor further neurons then fit.
    """
    if not one.neurons:
        return groups * one.weights_per_group
    multiple, each = bundle_of(Coupling.EXPERT_NEURONS, pruning), one.weights_per_neuron
    others = one.weights_per_group - one.neurons * each
    keep = ceil_share(one.weights, pruning.share_to_keep(one.layers))
    fewest, most = one.groups - groups, 0  # experts, weights that are left
    for experts in range(one.groups, fewest - 1, -one.classes):
        width = max(1, -((experts * others - keep) // (experts * each)))
        width = min(one.neurons, groups_to_keep(width, 1, multiple))
        weights = others + width * each
        is_end = experts == fewest or (experts - one.classes) * weights < keep
        if is_end and experts * weights >= keep:
            most = max(most, experts * weights)
    return one.weights - most
