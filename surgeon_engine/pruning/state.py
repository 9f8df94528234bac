"""The state of a run: the model, and everything removed from it so far.

Stages read a `PruningState` and change it by its methods. Each method is one
transition: record costs, update weights, restore a snapshot, compact the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import msgspec
import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import Offload, RunConfig
from surgeon_engine.api.messages.run import (
    Evaluation,
    GroupsLeft,
    LayerSparsity,
    Routing,
    TokensRemoved,
)
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.calibration.windows import TokenWindows
from surgeon_engine.curvature.measured import Measured
from surgeon_engine.evaluation.evaluate import References
from surgeon_engine.model.layers import KeptWeights, body_parameters
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.planning.target_size import Goal
from surgeon_engine.pruning.smaller_vocabulary import SmallerVocabulary
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.experts_neurons import ExpertsUnit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The weights of a model, with what was removed and what it cost so far.

    `PruningState.take_snapshot` makes it. It can be restored until the model is
    replaced by a compacted one.
    """

    weights: KeptWeights
    removed: Mapping[str, Tensor]
    total_cost: Mapping[str, float]


@dataclass(slots=True, eq=False)
class PruningState:
    """The model of a run, its units, and what is removed from them.

    A removed weight is zero in the model and marked in `removed`. Between shots the
    zeros may be taken out of the model (`replace_model`); `kept` then holds the
    original numbers of the remaining groups. A unit whose groups are all removed is an
    attention or MLP that is removed as a whole.

    Only the methods change the attributes.
    """

    config: RunConfig
    loaded: LoadedModel  # without the parts that compaction has taken out
    windows: TokenWindows
    units: tuple[Unit, ...]  # from which something may be removed
    goal: Goal  # the size to reach
    original: ModelSummary  # before anything was removed
    # What the original computes on the texts that judge, from `keep_references` on.
    references: References = field(init=False)
    baseline: Evaluation = field(init=False)  # the evaluation of the original
    removed: Mapping[str, Tensor] = field(init=False)  # candidates of each unit, bool
    # The original numbers of the groups left in each compacted unit, int64.
    kept: Mapping[str, Tensor] = field(init=False, default_factory=_nothing)
    # The cost of everything removed from each unit so far.
    total_cost: Mapping[str, float] = field(init=False, default_factory=_nothing)
    # How the calibration text uses the experts of each unit of the original.
    routing: Mapping[str, Routing] = field(init=False, default_factory=_nothing)
    # None: the original's vocabulary.
    vocabulary: SmallerVocabulary | None = field(init=False, default=None)
    original_windows: TokenWindows = field(init=False)  # in the original's tokens
    # Gates of the first shot that were measured before tokens were removed, by layer.
    gates: Mapping[str, Measured] | None = field(init=False, default=None)
    # Whether a shot has begun to write weights and has not ended.
    is_partially_updated: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.removed = _nothing_removed(self.units)
        self.original_windows = self.windows

    @property
    def compacted_weights(self) -> int:
        """The number of prunable weights that compaction has taken out of the model."""
        return self.original.prunable - sum(x.weights for x in self.loaded.layers)

    @property
    def tokens(self) -> TokensRemoved | None:
        """The size of the vocabulary before and after; None: it is whole."""
        if self.vocabulary is None:
            return None
        before, after = self.vocabulary.translation.weight, self.vocabulary.kept
        return TokensRemoved(before=len(before), after=len(after))

    def keep_references(self, references: References, baseline: Evaluation) -> None:
        """Keep what the original computes, before anything is removed."""
        self.references, self.baseline = references, baseline

    def set_goal(self, goal: Goal) -> None:
        """Aim at another size, since the run keeps other tokens than planned."""
        self.goal = goal

    def use_vocabulary(
        self,
        vocabulary: SmallerVocabulary,
        loaded: LoadedModel,
        units: Iterable[Unit],
        goal: Goal,
        gates: Mapping[str, Measured] | None,
    ) -> None:
        """Go on with a model of fewer tokens, from which nothing else is removed.

        `gates` has the gates of the first shot, if they are known.
        """
        self.vocabulary, self.loaded, self.units = vocabulary, loaded, tuple(units)
        self.goal, self.gates = goal, gates
        self.windows = vocabulary.token_windows(self.windows)
        self.references = vocabulary.references(self.references, loaded.model)

    def release_gates(self) -> None:
        """Free the gates of the first shot, once it is kept."""
        self.gates = None

    def halve_batch(self) -> None:
        """Run half as many windows at a time from now on."""
        calibration = self.config.calibration
        halved = replace(calibration, batch=max(1, calibration.batch // 2))
        self.config = replace(self.config, calibration=halved)

    def add_costs(self, costs: Mapping[str, float]) -> None:
        """Add the costs of a selection, by unit, to the total costs."""
        totals = dict(self.total_cost)
        for name, cost in costs.items():
            totals[name] = totals.get(name, 0.0) + cost
        self.total_cost = MappingProxyType(totals)

    def keep_routing(self, routing: Mapping[str, Routing]) -> None:
        """Keep how the calibration text uses the experts of the original, by unit."""
        self.routing = MappingProxyType(dict(routing))

    def begin_update(self) -> None:
        """Mark the weights as partially updated, until `finish_update`."""
        self.is_partially_updated = True

    def record_removed(self, removed: Mapping[str, Tensor]) -> None:
        """Record the removed candidates of all units, once their weights are zero."""
        self.removed = MappingProxyType(dict(removed))

    def finish_update(self) -> None:
        """Mark the shot's update of the weights as complete."""
        self.is_partially_updated = False

    def take_snapshot(self) -> Snapshot:
        """Copy the weights to the host, so that a shot can be rolled back.

        These are all that a shot or recovery may change, norms included. Where a CPU
        leaves the blocks in files, their copies are in files, too.
        """
        offloads = self.config.model.offload is Offload.ON
        weights = KeptWeights(
            body_parameters(self.loaded.model),
            in_files=offloads and self.loaded.device.type == "cpu",
        )
        return Snapshot(weights, self.removed, self.total_cost)

    def restore(self, snapshot: Snapshot) -> None:
        """Return to the weights, removals and costs of a snapshot."""
        snapshot.weights.put_back()
        self.removed = snapshot.removed
        self.total_cost = snapshot.total_cost
        self.is_partially_updated = False

    def replace_model(
        self, loaded: LoadedModel, units: Iterable[Unit], kept: Mapping[str, Tensor]
    ) -> None:
        """Replace the model by a compacted one that computes the same.

        A unit without groups has one group of zeros, which counts as removed. `kept`
        has the original numbers of the groups left in each unit, int64.
        """
        self.loaded, self.units = loaded, tuple(units)
        self.kept = MappingProxyType(dict(kept))
        self.removed = _nothing_removed(self.units)
        for name, mask in self.removed.items():
            mask.fill_(name in kept and not len(kept[name]))

    def with_pruning(
        self, pruning: PruningConfig, units: tuple[Unit, ...]
    ) -> PruningState:
        """Return a state of the same model under other settings, nothing removed."""
        config = replace(self.config, pruning=pruning)
        state = replace(self, config=config, units=units)
        state.keep_references(self.references, self.baseline)
        return state

    def sparsities(self) -> tuple[LayerSparsity, ...]:
        """Return how much of each layer of the original model is removed."""
        remaining = {
            layer.name: (*layer.remaining(is_removed), *self._groups_left(unit))
            for unit in self.units
            for layer, is_removed in unit.zeros(self.removed[unit.measured.name])
        }
        result = []
        for had, layer in zip(self.original.layers, self.loaded.layers, strict=True):
            weights, rows, columns, groups, neurons = remaining.get(
                had.name, (layer.weights, layer.rows, layer.columns, None, None)
            )
            result.append(
                LayerSparsity(
                    had.name,
                    had.block,
                    had.kind,
                    had.weights,
                    had.weights - weights,
                    cost=self.total_cost.get(had.name, 0.0),
                    rows_kept=rows,
                    columns_kept=columns,
                    groups=groups,
                    routing=self._routing_left(had.name),
                    neurons=neurons,
                )
            )
        return tuple(result)

    def _routing_left(self, name: str) -> Routing | None:
        found = self.routing.get(name)
        if found is None:
            return None
        numbers = self.kept.get(name, torch.arange(len(found.tokens)))
        left = numbers[~self.removed[name][: len(numbers)]]
        return msgspec.structs.replace(found, kept=tuple(left.tolist()))

    def _groups_left(self, unit: Unit) -> tuple[GroupsLeft | None, GroupsLeft | None]:
        """Return the groups that a unit has left, and those inside each of them."""
        if not isinstance(unit, CoupledUnit):
            return None, None
        left = [
            int((~removed).sum())
            for removed in unit.of_parts(self.removed[unit.measured.name]).values()
        ]
        groups = GroupsLeft(unit.coupled.kind.value, left[0], unit.originally)
        if not isinstance(unit, ExpertsUnit):
            return groups, None
        kind = unit.neurons.kind.value
        return groups, GroupsLeft(kind, left[1], unit.neurons_originally)


def _nothing_removed(units: Iterable[Unit]) -> Mapping[str, Tensor]:
    removed = {
        unit.measured.name: torch.zeros(unit.candidates, dtype=torch.bool)
        for unit in units
    }
    return MappingProxyType(removed)
