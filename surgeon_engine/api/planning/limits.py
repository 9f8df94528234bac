"""How many weights may go of a model at most, and at least if any go.

What is protected stays, so does the share that every layer has to keep, and the last
row, column, head or neuron of each. Imports neither torch nor Qt: the window asks while
a target is being chosen, the engine before it begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from surgeon_engine.api.config.layer_patterns import any_matches, min_kept_share
from surgeon_engine.api.config.pruning import (
    COUPLED,
    COUPLINGS,
    NM,
    SPARSE,
    Coupling,
    PruningConfig,
    Structure,
    display_name,
)
from surgeon_engine.api.errors import PruningError
from surgeon_engine.api.messages.sources import LayerSummary, ModelSummary
from surgeon_engine.api.planning.rounding import ceil_share
from surgeon_engine.api.planning.target_size import Goal


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a layer's W."""

    rows: int
    columns: int  # without that of the bias
    has_bias: bool

    @property
    def weights(self) -> int:
        """All of them, with the bias."""
        return self.rows * (self.columns + self.has_bias)


def max_elements(shape: Shape, share: float, pruning: PruningConfig) -> int:
    """How many single weights may go of a layer that keeps `share` of them."""
    R, C = shape.rows, shape.columns
    limit = R * C - ceil_share(R * C, share)
    if isinstance(pruning.structure, NM):
        atom = pruning.structure.removed
        return min(R * (C // pruning.structure.of) * atom, limit // atom * atom)
    return limit


def max_in_lines(shape: Shape, share: float, structure: Structure) -> int:
    """How many weights may go of a layer in whole rows, columns, or both.

    Of both, where a share has to stay, it is what surely can: which rows and columns
    come together to a little more hangs on their costs.
    """
    may_lose_rows = structure is not Structure.COLUMNS
    may_lose_columns = structure is not Structure.ROWS
    width = shape.columns + shape.has_bias
    rows = 1 if may_lose_rows else shape.rows
    columns = 1 if may_lose_columns else shape.columns
    most = shape.weights - rows * (columns + shape.has_bias)
    limit = shape.weights - ceil_share(shape.weights, share)
    if not may_lose_columns:
        limit -= limit % width
    elif not may_lose_rows:
        limit -= limit % shape.rows
    elif limit < most:  # what is over is less than the larger of both
        limit -= max(shape.rows, width)
    return max(0, min(most, limit))


def groups_to_keep(groups: int, share: float, bundle: int) -> int:
    """How many heads or neurons of so many have to stay, in whole bundles."""
    least = max(1, ceil_share(groups, share))
    return -(-least // bundle) * bundle


def bundle_of(kind: Coupling, pruning: PruningConfig) -> int:
    """How many groups go together; heads are never bundled."""
    return pruning.width_multiple if kind is Coupling.NEURONS else 1


def max_removable(pruning: PruningConfig, model: ModelSummary) -> int:
    """How many weights may go of all of a model at most."""
    if pruning.kind in COUPLED:
        if not model.coupled:  # told by an earlier version, or there are none
            return model.prunable
        return sum(
            _max_of_kind(kind, coupled, pruning)
            for kind, coupled in _kinds(pruning, model).items()
        )
    most = 0
    for layer in model.layers:
        if any_matches((layer,), pruning.protect):
            continue
        shape = _shape(layer)
        share = min_kept_share(pruning.min_density, pruning.layer_min_density, (layer,))
        if pruning.kind in SPARSE:
            most += max_elements(shape, share, pruning)
        else:
            most += max_in_lines(shape, share, pruning.kind)
    return most


def min_removable(pruning: PruningConfig, model: ModelSummary) -> int:
    """How many weights go at least if any go; 1 where that hangs on the costs."""
    if pruning.kind not in COUPLED:
        return 1
    steps = []
    for kind, coupled in _kinds(pruning, model).items():
        bundle = bundle_of(kind, pruning)
        each = [x.weights_per_group * (x.groups % bundle or bundle) for x in coupled]
        is_removable = [most > 0 for most in _max_groups(kind, coupled, pruning)]
        if pruning.has_same_widths:
            steps += [sum(each)] if all(is_removable) else []
        else:
            steps += [
                weights for weights, may in zip(each, is_removable, strict=True) if may
            ]
    return min(steps, default=1)


def some_keep_full_width(pruning: PruningConfig, model: ModelSummary) -> bool:
    """Whether heads, or neurons, are protected in some blocks and not in others."""
    narrower = _kinds(pruning, model)
    return any(
        0 < len(narrower.get(kind, ())) < len(coupled)
        for kind, coupled in _kinds(replace(pruning, protect=()), model).items()
    )


def max_perplexity(pruning: PruningConfig, original: float) -> float:
    """What perplexity may rise to from the original's; infinite: no limit."""
    if not pruning.max_perplexity_increase:
        return math.inf
    return original * (1 + pruning.max_perplexity_increase / 100)


def check_target_in_limits(
    goal: Goal, pruning: PruningConfig, model: ModelSummary
) -> None:
    """Refuse a goal beyond what may go, or below what goes at least.

    Raises:
        PruningError: it is; with the numbers.
    """
    structure, p = display_name(pruning.kind), goal.prunable
    same = "All layers lose equally many. " if pruning.has_same_widths else ""
    most, least = max_removable(pruning, model), min_removable(pruning, model)
    if goal.removed > most:
        raise PruningError(
            f"{goal.removed:,} weights ({goal.sparsity:.1%} of the prunable ones) are "
            f"to go, but as {structure} only {most:,} may ({most / p:.1%}): other "
            "layers, what is protected or limited and the last of each kind stay.",
            f"{same}Lower the target, protect less or limit less, or choose another "
            "structure.",
        )
    if goal.removed < least:
        raise PruningError(
            f"{goal.removed:,} weights ({goal.sparsity:.2%} of the prunable ones) are "
            f"to go, but as {structure} {least:,} go at least ({least / p:.2%}).",
            f"{same}Raise the target, or choose a finer structure.",
        )


@dataclass(frozen=True, slots=True)
class _Coupled:
    """The heads or the neurons of a block, with the layers themselves."""

    layers: tuple[LayerSummary, ...]  # the one whose columns they are first
    groups: int

    @property
    def weights_per_group(self) -> int:
        """Of the first layer's columns and the others' rows, with their biases."""
        consumer, *producers = self.layers
        rows = sum(layer.weights for layer in producers)
        return (consumer.rows * consumer.columns + rows) // self.groups


def _max_of_kind(
    kind: Coupling, coupled: Sequence[_Coupled], pruning: PruningConfig
) -> int:
    groups = _max_groups(kind, coupled, pruning)
    if pruning.has_same_widths:  # each loses as many as the others
        groups = [min(groups)] * len(groups)
    each = [one.weights_per_group for one in coupled]
    return sum(n * weights for n, weights in zip(groups, each, strict=True))


def _max_groups(
    kind: Coupling, coupled: Iterable[_Coupled], pruning: PruningConfig
) -> list[int]:
    """How many heads or neurons may go of each block by itself."""
    groups = []
    for one in coupled:
        share = min_kept_share(
            pruning.min_density, pruning.layer_min_density, one.layers
        )
        least = groups_to_keep(one.groups, share, bundle_of(kind, pruning))
        groups.append(max(0, one.groups - least))
    return groups


def _kinds(
    pruning: PruningConfig, model: ModelSummary
) -> Mapping[Coupling, list[_Coupled]]:
    """What is not protected, heads and neurons apart."""
    by_name = {layer.name: layer for layer in model.layers}
    kinds: dict[Coupling, list[_Coupled]] = {}
    for one in model.coupled:
        layers = tuple(by_name[name] for name in one.layers)
        is_wanted = one.kind in COUPLINGS[pruning.kind]
        if is_wanted and not any_matches(layers, pruning.protect):
            kinds.setdefault(one.kind, []).append(_Coupled(layers, one.groups))
    return kinds


def _shape(layer: LayerSummary) -> Shape:
    return Shape(layer.rows, layer.columns, layer.weights > layer.rows * layer.columns)
