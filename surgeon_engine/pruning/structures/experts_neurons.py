"""Experts of a block and their neurons; all experts lose equally many neurons.

    e   experts removed so far, the cheapest first; with classes, one of each at a time
    n   neurons that each remaining expert has lost, its own cheapest first

Each step removes the next experts or the next neuron of all others, whichever costs
less: for each weight, or raw. A kind ends where its next step would leave less than the
minimum density. A neuron of an expert that is removed costs nothing; an expert that has
lost neurons has fewer weights, and still its whole cost, since the gates of its neurons
do not say how much of it they were. Weights are counted as each step newly removes
them.

Candidates 0 to E-1 are the experts, E to E+I-1 the neurons. Before neurons are removed,
the neurons of each expert are sorted by cost. So the n-th of all experts are one
candidate, and what remains is a slice of the stacked tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from surgeon_engine.api.config.pruning import CostBasis, PruningConfig
from surgeon_engine.curvature.measured import GateGradients, Measured
from surgeon_engine.model.coupled_groups import CoupledGroups
from surgeon_engine.model.layers import ExpertsLayer, PrunableLayer
from surgeon_engine.planning.limits import bundle_of, groups_to_keep
from surgeon_engine.planning.rounding import ceil_share
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.pruning.threshold import ElementCosts, Removals


@dataclass(frozen=True, slots=True, eq=False)
class ExpertCosts:
    """The costs and limits of the steps of a block; E experts with I neurons each."""

    experts: Tensor  # cost of each step, float64, ascending; -inf: removed before
    # Cost of the next neuron of all experts left after so many steps, float64:
    # (steps + 1) x I; -inf: removed before
    neurons: Tensor
    order: Tensor  # E, int64: the experts as they are removed
    each: int  # weights of a neuron of one expert
    others: int  # weights of an expert beside its neurons
    classes: int  # experts of a step
    bundle: int  # neurons of a step; before the first, the remainder of the width
    most_experts: int  # steps
    most_neurons: int
    least_weights: int  # weights that must stay

    def weights(self, step: _Step) -> int:
        """Return the weights that a step newly removes."""
        before = self._left(step.experts_before, step.neurons_before)
        return before - self._left_after(step)

    def allow(self, step: _Step) -> bool:
        """Return whether enough weights stay after a step."""
        return self._left_after(step) >= self.least_weights

    def _left_after(self, step: _Step) -> int:
        experts = step.experts_before + step.is_experts
        return self._left(experts, step.neurons_before + step.neurons)

    def _left(self, experts: int, neurons: int) -> int:
        """Return the weights after so many steps of experts, and removed neurons."""
        width = self.neurons.shape[1] - neurons
        count = len(self.order) - experts * self.classes
        return count * (self.others + width * self.each)


@dataclass(frozen=True, slots=True, eq=False)
class ExpertRemovals(Removals):
    """The removals of a block, and what its steps depend on."""

    costs: ExpertCosts


class _Step(NamedTuple):
    is_experts: bool
    experts_before: int  # steps of experts before it
    neurons_before: int  # removed from each expert before it
    neurons: int  # removed from each expert by it
    cost: float = 0.0  # as it is compared


@dataclass(frozen=True, slots=True, eq=False)
class ExpertsUnit(CoupledUnit):
    """The experts of a block and their neurons."""

    neurons: CoupledGroups
    neurons_originally: int  # in each expert

    @property
    @override
    def parts(self) -> tuple[CoupledGroups, ...]:
        return (self.coupled, self.neurons)

    @override
    def left(
        self, remaining: Sequence[Tensor], layers: Mapping[str, PrunableLayer]
    ) -> ExpertsUnit:
        experts, neurons = remaining
        return replace(
            self,
            coupled=self.coupled.left(experts, layers),
            neurons=self.neurons.left(neurons, layers),
        )

    @override
    def removals(
        self, measured: Measured, before: Tensor, pruning: PruningConfig
    ) -> ExpertRemovals:
        of_experts, of_neurons = before.split([self.coupled.groups, self._width])
        cost, order = self._sorted(self.costs(measured, of_experts, pruning))
        classes = self.coupled.classes
        cost = cost.view(-1, classes).sum(dim=1)
        by_expert, _ = self._neurons_by_cost(measured, of_neurons)
        left = by_expert[order].flip(0).cumsum(0).flip(0)[::classes]
        left = torch.cat([left, torch.zeros_like(left[:1])])
        multiple = bundle_of(self.neurons.kind, pruning)
        share = pruning.share_to_keep(self.layers)
        each = self._experts_layer.weights_per_neuron
        originally = self.originally * (self.neurons_originally * each + self._others)
        groups, gone = self.coupled.groups, int(of_experts.sum())
        least = min(
            groups - gone, groups_to_keep(groups, 0, classes, self.coupled.least)
        )
        kept = min(self._width - int(of_neurons.sum()), groups_to_keep(1, 0, multiple))
        costs = ExpertCosts(
            cost,
            left,
            order,
            each,
            self._others,
            classes,
            multiple,
            (groups - least) // classes,
            self._width - kept,
            ceil_share(originally, share),
        )
        return _removals(costs, _steps([costs], pruning.cost_basis))

    @override
    def costs(
        self, measured: Measured, before: Tensor, pruning: PruningConfig
    ) -> Tensor:
        """Return the cost of each expert, float64; -inf: removed before."""
        return CoupledUnit.costs(self, measured, before[: self.coupled.groups], pruning)

    @override
    def zeros(self, removed: Tensor) -> list[tuple[PrunableLayer, Tensor]]:
        experts, neurons = removed.split([self.coupled.groups, self._width])
        rows = torch.cat([neurons, neurons.new_zeros(1)]).unsqueeze(1)
        return [(self.measured, (rows | experts).to(self.measured.device))]

    def sort_neurons(self, measured: Measured, before: Tensor, after: Tensor) -> None:
        """Bring the neurons of each expert into the order of their costs.

        The cheapest is the last one, but for those that were removed `before`. If no
        others are removed `after`, the order stays: blocks of 32 numbers in the
        original's files remain blocks.
        """
        gone, removed = (x[self.coupled.groups :] for x in (before, after))
        if torch.equal(gone, removed):
            return
        _, order = self._neurons_by_cost(measured, gone)
        self._experts_layer.sort_neurons(order.flip(1))

    def _neurons_by_cost(
        self, measured: Measured, before: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the costs in ascending order, and the neurons of each expert so.

        Those that were removed `before` come first, at -inf.
        """
        assert isinstance(measured, GateGradients)
        cost = measured.neuron_costs().cpu().masked_fill(before.cpu(), -torch.inf)
        return cost.sort(dim=1, stable=True)

    @property
    def _experts_layer(self) -> ExpertsLayer:
        assert isinstance(self.measured, ExpertsLayer)
        return self.measured

    @property
    def _others(self) -> int:
        """The weights of an expert beside its neurons."""
        each = self._experts_layer.weights_per_neuron
        return self.measured.rows - each * self._width

    @property
    def _width(self) -> int:
        return self.neurons.groups


def experts_in_step(
    costs: Mapping[str, Removals | ElementCosts], basis: CostBasis
) -> dict[str, Removals]:
    """Return the removals of experts with neurons whose blocks take the same steps.

    A step has the sum of their costs, over the sum of their weights.
    """
    blocks = {n: x.costs for n, x in costs.items() if isinstance(x, ExpertRemovals)}
    if not blocks:
        return {}
    steps = _steps([*blocks.values()], basis)
    return {name: _removals(each, steps) for name, each in blocks.items()}


def without_neurons_beyond(
    costs: Mapping[str, Removals | ElementCosts],
    removed: Mapping[str, Tensor],
    rest: int,
    basis: CostBasis,
    *,
    are_in_step: bool,
) -> dict[str, Removals]:
    """Return the removals of blocks whose next step of neurons has too many weights.

    They then lose no neurons beyond those that are selected. `removed` has the selected
    candidates of each unit, bool. A further step may have at most `rest` weights.
    `are_in_step`: all blocks take the same steps.
    """
    blocks = {n: x for n, x in costs.items() if isinstance(x, ExpertRemovals)}
    sizes = {name: _next_neurons(x, removed[name]) for name, x in blocks.items()}
    total = sum(sizes.values())
    limited: dict[str, Removals] = {}
    for name, block in blocks.items():
        if (total if are_in_step else sizes[name]) > rest:
            count = int(removed[name][len(block.costs.order) :].sum())
            fewer = replace(block.costs, most_neurons=count)
            limited[name] = _removals(fewer, _steps([fewer], basis))
    return experts_in_step(limited, basis) if are_in_step else limited


def _next_neurons(block: ExpertRemovals, removed: Tensor) -> int:
    """Return the weights of the next step of a block; 0: it is one of experts."""
    is_left = ~removed[block.candidate]
    candidate = block.candidate[is_left][:1]
    is_neuron = bool((candidate >= len(block.costs.order)).any())
    return int(block.weights[is_left][0]) if is_neuron else 0


def _steps(blocks: Sequence[ExpertCosts], basis: CostBasis) -> list[_Step]:
    """Return the steps that blocks take together, the cheapest first."""
    count = min(len(x.experts) for x in blocks)
    width = min(x.neurons.shape[1] for x in blocks)
    experts = torch.stack([x.experts[:count] for x in blocks]).sum(dim=0).tolist()
    neurons = [x.neurons[: count + 1, :width] for x in blocks]
    sums = _sums_from_first(torch.stack(neurons).sum(dim=0)).tolist()
    most_experts = min(x.most_experts for x in blocks)
    most_neurons = min(x.most_neurons for x in blocks)
    bundle = blocks[0].bundle
    steps: list[_Step] = []
    e = n = 0
    while True:
        possible: list[tuple[float, _Step]] = []
        if e < most_experts:
            possible.append((experts[e], _Step(True, e, n, 0)))
        if n < most_neurons:
            size = (width - n) % bundle or bundle
            if sums[e][n + 1] == -torch.inf:  # removed before
                size = 1
            raw = sums[e][n + size] - max(0.0, sums[e][n])
            possible.append((raw, _Step(False, e, n, size)))
        possible = [
            (raw, step)
            for raw, step in possible
            if raw == -torch.inf or all(x.allow(step) for x in blocks)
        ]
        if not possible:
            return steps
        if basis is CostBasis.PER_PARAMETER:
            possible = [
                (raw / sum(x.weights(step) for x in blocks), step)
                for raw, step in possible
            ]
        cost, step = min(possible, key=lambda entry: entry[0])
        # Where an expert of costly neurons is removed, the next neuron may cost less.
        cost = max(cost, steps[-1].cost) if steps else cost
        steps.append(step._replace(cost=cost))
        e, n = e + step.is_experts, n + step.neurons


def _sums_from_first(costs: Tensor) -> Tensor:
    """Return the sum of the costs before each column, and of all: rows x columns + 1.

    Infinite costs are not added to those after them.
    """
    finite = costs.masked_fill(costs == -torch.inf, 0).cumsum(1)
    sums = finite.masked_fill(costs == -torch.inf, -torch.inf)
    return torch.cat([torch.zeros_like(sums[:, :1]), sums], dim=1)


def _removals(costs: ExpertCosts, steps: Sequence[_Step]) -> ExpertRemovals:
    """Return the candidates of steps.

    All candidates of a step have its cost, and the first has all of its weights.
    """
    experts, width = len(costs.order), costs.neurons.shape[1]
    candidate, cost, weights = [], [], []
    order = costs.order.tolist()
    for step in steps:
        if step.is_experts:
            first = step.experts_before * costs.classes
            own = order[first : first + costs.classes]
        else:
            last = experts + width - 1 - step.neurons_before
            own = list(range(last, last - step.neurons, -1))
        candidate += own
        cost += [step.cost] * len(own)
        weights += [costs.weights(step)] + [0] * (len(own) - 1)
    return ExpertRemovals(
        torch.tensor(candidate, dtype=torch.int64),
        torch.tensor(cost, dtype=torch.float64),
        torch.tensor(weights, dtype=torch.int64),
        experts + width,
        costs,
    )
