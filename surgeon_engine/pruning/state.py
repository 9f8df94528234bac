"""The state of a run: the model, and everything removed from it so far.

Stages read a `PruningState` and change it by its methods, each of which is one
transition: record costs, update weights, restore a snapshot, compact the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import Offload, RunConfig
from surgeon_engine.api.messages.run import GroupsLeft, LayerSparsity
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.calibration.windows import TokenWindows
from surgeon_engine.evaluation.evaluate import References
from surgeon_engine.model.layers import KeptWeights, PrunableLayer, body_parameters
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.planning.target_size import Goal
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The weights of a model, with what was removed and what it cost so far.

    `PruningState.take_snapshot` makes it. It can be restored until the model is
    replaced by a compacted one.
    """

    weights: KeptWeights
    removed: Mapping[str, Tensor]
    total_cost: Mapping[str, float]


class PruningState:
    """The model of a run, its units, and what is removed from them.

    A removed weight is zero in the model and marked in `removed`. Between shots the
    zeros may be taken out of the model (`replace_model`); `kept` then holds the
    original numbers of the remaining groups. A unit whose groups are all removed is an
    attention or MLP that is removed as a whole.

    The attributes are read-only.
    """

    def __init__(
        self,
        config: RunConfig,
        loaded: LoadedModel,
        windows: TokenWindows,
        units: tuple[Unit, ...],
        goal: Goal,
        original: ModelSummary,
    ) -> None:
        self._config = config
        self._loaded = loaded
        self._windows = windows
        self._units = units
        self._goal = goal
        self._original = original
        self._removed = _nothing_removed(units)
        self._kept: Mapping[str, Tensor] = MappingProxyType({})
        self._total_cost: Mapping[str, float] = MappingProxyType({})
        self._is_partially_updated = False
        self._references: References | None = None

    @property
    def config(self) -> RunConfig:
        """The settings of the run."""
        return self._config

    @property
    def loaded(self) -> LoadedModel:
        """The model, without the parts that compaction has taken out."""
        return self._loaded

    @property
    def windows(self) -> TokenWindows:
        """The calibration and validation windows."""
        return self._windows

    @property
    def references(self) -> References:
        """What the original computes on the texts that judge; see `keep_references`."""
        assert self._references is not None
        return self._references

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units of the model from which something may be removed."""
        return self._units

    @property
    def goal(self) -> Goal:
        """The size to reach."""
        return self._goal

    @property
    def original(self) -> ModelSummary:
        """The summary of the model before anything was removed."""
        return self._original

    @property
    def removed(self) -> Mapping[str, Tensor]:
        """The removed candidates of each unit by name, bool."""
        return self._removed

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """The original numbers of the groups left in each compacted unit, int64."""
        return self._kept

    @property
    def total_cost(self) -> Mapping[str, float]:
        """The cost of everything removed from each unit so far, by name."""
        return self._total_cost

    @property
    def is_partially_updated(self) -> bool:
        """Whether a shot has begun to write weights and has not ended."""
        return self._is_partially_updated

    @property
    def compacted_weights(self) -> int:
        """The number of prunable weights that compaction has taken out of the model."""
        return self.original.prunable - sum(x.weights for x in self.loaded.layers)

    def keep_references(self, references: References) -> None:
        """Keep what the original computes, before anything is removed."""
        self._references = references

    def halve_batch(self) -> None:
        """Run half as many windows at a time from now on."""
        calibration = self._config.calibration
        halved = replace(calibration, batch=max(1, calibration.batch // 2))
        self._config = replace(self._config, calibration=halved)

    def add_costs(self, costs: Mapping[str, float]) -> None:
        """Add the costs of a selection, by unit, to the total costs."""
        totals = dict(self._total_cost)
        for name, cost in costs.items():
            totals[name] = totals.get(name, 0.0) + cost
        self._total_cost = MappingProxyType(totals)

    def begin_update(self) -> None:
        """Mark the weights as partially updated, until `finish_update`."""
        self._is_partially_updated = True

    def record_removed(self, removed: Mapping[str, Tensor]) -> None:
        """Record the removed candidates of all units, once their weights are zero."""
        self._removed = MappingProxyType(dict(removed))

    def finish_update(self) -> None:
        """Mark the weights as those of a complete shot."""
        self._is_partially_updated = False

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
        return Snapshot(weights, self._removed, self._total_cost)

    def restore(self, snapshot: Snapshot) -> None:
        """Return to the weights, removals and costs of a snapshot."""
        snapshot.weights.put_back()
        self._removed = snapshot.removed
        self._total_cost = snapshot.total_cost
        self._is_partially_updated = False

    def replace_model(
        self, loaded: LoadedModel, units: Iterable[Unit], kept: Mapping[str, Tensor]
    ) -> None:
        """Replace the model by a compacted one that computes the same.

        Args:
            loaded: the model without the removed parts.
            units: its units, of which nothing is removed. A unit without groups has
                one of zeros, which is.
            kept: the original numbers of the groups left in each unit, int64.
        """
        self._loaded = loaded
        self._units = tuple(units)
        self._kept = MappingProxyType(dict(kept))
        removed = dict(_nothing_removed(self._units))
        for name, mask in removed.items():
            mask.fill_(name in self._kept and not len(self._kept[name]))
        self._removed = MappingProxyType(removed)

    def with_pruning(
        self, pruning: PruningConfig, units: tuple[Unit, ...]
    ) -> PruningState:
        """Return a state of the same model under other settings, nothing removed."""
        config = replace(self.config, pruning=pruning)
        state = PruningState(
            config, self.loaded, self.windows, units, self.goal, self.original
        )
        state._references = self._references
        return state

    def sparsities(self) -> tuple[LayerSparsity, ...]:
        """Return how much of each layer of the original model is removed."""
        remaining = {
            layer.name: _Remaining.of(layer, is_removed, self._groups_left(unit))
            for unit in self.units
            for layer, is_removed in unit.zeros(self.removed[unit.measured.name])
        }
        result = []
        for had, layer in zip(self.original.layers, self.loaded.layers, strict=True):
            rest = remaining.get(had.name) or _Remaining.all_of(layer)
            result.append(
                LayerSparsity(
                    had.name,
                    had.block,
                    had.kind,
                    had.weights,
                    had.weights - rest.weights,
                    cost=self.total_cost.get(had.name, 0.0),
                    rows_kept=rest.rows,
                    columns_kept=rest.columns,
                    groups=rest.groups,
                )
            )
        return tuple(result)

    def _groups_left(self, unit: Unit) -> GroupsLeft | None:
        if not isinstance(unit, CoupledUnit):
            return None
        remaining = unit.candidates - int(self.removed[unit.measured.name].sum())
        return GroupsLeft(unit.coupled.kind.value, remaining, unit.originally)


def _nothing_removed(units: Iterable[Unit]) -> Mapping[str, Tensor]:
    removed = {
        unit.measured.name: torch.zeros(unit.candidates, dtype=torch.bool)
        for unit in units
    }
    return MappingProxyType(removed)


@dataclass(frozen=True, slots=True)
class _Remaining:
    """Remaining weights, rows, columns and groups of a layer."""

    weights: int
    rows: int
    columns: int
    groups: GroupsLeft | None = None

    @classmethod
    def all_of(cls, layer: PrunableLayer) -> _Remaining:
        return cls(layer.weights, layer.rows, layer.columns)

    @classmethod
    def of(
        cls, layer: PrunableLayer, is_removed: Tensor, groups: GroupsLeft | None
    ) -> _Remaining:
        column_is_removed = is_removed[:, : layer.columns].all(dim=0)  # not of the bias
        return cls(
            layer.weights - int(is_removed.sum()),
            layer.rows - int(is_removed.all(dim=1).sum()),
            layer.columns - int(column_is_removed.sum()),
            groups,
        )
