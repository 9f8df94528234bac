"""The model under the knife: its parts, what has gone so far, and its curvature."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import GroupsLeft, LayerSparsity
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.planning.target_size import Goal
from surgeon_engine.calibration.windows import TokenWindows
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit


@dataclass(slots=True, eq=False)
class PruningState:
    """What a run works on.

    What a shot removes is zero in the model and `removed`; between shots it may be
    taken out of the model altogether (shrinking.py).
    """

    config: RunConfig
    loaded: LoadedModel
    windows: TokenWindows
    units: tuple[Unit, ...]
    goal: Goal
    original: ModelSummary  # of the model as it was found
    removed: dict[str, Tensor]  # unit -> candidates, bool
    kept: dict[str, Tensor] = field(default_factory=dict)  # unit -> groups still in it
    total_cost: dict[str, float] = field(default_factory=dict)  # unit -> costs so far
    is_partially_updated: bool = (
        False  # some weights may be those of a shot that has not ended
    )

    @property
    def cut(self) -> int:
        """Weights that are out of the model."""
        return self.original.prunable - sum(x.weights for x in self.loaded.layers)

    def sparsities(self) -> tuple[LayerSparsity, ...]:
        """How much of each layer is gone, and what is left of it."""
        left = {
            layer.name: _Left.of(layer, is_removed, _groups(unit, self))
            for unit in self.units
            for layer, is_removed in unit.zeros(self.removed[unit.measured.name])
        }
        result = []
        for had, layer in zip(self.original.layers, self.loaded.layers, strict=True):
            rest = left.get(had.name) or _Left.all_of(layer)
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


@dataclass(frozen=True, slots=True)
class _Left:
    """What is left of a layer."""

    weights: int
    rows: int
    columns: int
    groups: GroupsLeft | None = None

    @classmethod
    def all_of(cls, layer: PrunableLayer) -> _Left:
        return cls(layer.weights, layer.rows, layer.columns)

    @classmethod
    def of(
        cls, layer: PrunableLayer, is_removed: Tensor, groups: GroupsLeft | None
    ) -> _Left:
        column_is_removed = is_removed[:, : layer.columns].all(dim=0)  # not of the bias
        return cls(
            layer.weights - int(is_removed.sum()),
            layer.rows - int(is_removed.all(dim=1).sum()),
            layer.columns - int(column_is_removed.sum()),
            groups,
        )


def _groups(unit: Unit, state: PruningState) -> GroupsLeft | None:
    if not isinstance(unit, CoupledUnit):
        return None
    removed = int(state.removed[unit.measured.name].sum())
    kept = unit.candidates - removed
    return GroupsLeft(unit.coupled.kind.value, kept, unit.originally)
