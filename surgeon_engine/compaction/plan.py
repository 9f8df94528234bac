"""What a pruned model has kept, by the numbers that its parts had before.

    groups     of heads and neurons: which groups of a consumer stay
    layers     of rows and columns: which rows and which columns of a layer stay

Single weights that are gone are zeros in a matrix of the same size: for them both are
empty. A plan is kept beside a compact checkpoint, so that the removed parts can be put
back as zeros.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.model.coupling import CoupledGroups, groups_of
from surgeon_engine.model.layers import PrunableLayer, prunable_layers
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.pruning.structures.rows_columns import RowsOrColumns

_CONFIG = "config"  # in the file's metadata


@dataclass(frozen=True, slots=True, eq=False)
class KeptGroups:
    """The heads or neurons of one block that stay."""

    coupled: CoupledGroups
    kept: Tensor  # int64, ascending


@dataclass(frozen=True, slots=True, eq=False)
class KeptPart:
    """The rows and columns of one layer that stay."""

    layer: PrunableLayer
    rows: Tensor  # int64, ascending
    columns: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What stays of each part that has lost something."""

    groups: tuple[KeptGroups, ...] = ()
    layers: tuple[KeptPart, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is gone as a whole."""
        return not self.groups and not self.layers

    def save(self, path: Path, config: Mapping[str, object]) -> None:
        """Write the indices as safetensors, with the config of the unpruned model."""
        kept = {
            f"{each.coupled.consumer.name}.groups": each.kept for each in self.groups
        }
        for part in self.layers:
            kept[f"{part.layer.name}.rows"] = part.rows
            kept[f"{part.layer.name}.columns"] = part.columns
        metadata = {"format": "pt", _CONFIG: json.dumps(config)}
        save_file({name: x.int() for name, x in kept.items()}, path, metadata)


@dataclass(frozen=True, slots=True, eq=False)
class PrunedModel:
    """A pruned model: zeros where weights went, and what has gone as a whole."""

    loaded: LoadedModel
    plan: Plan


def read_config(path: Path) -> dict[str, object]:
    """The config of the unpruned model whose plan is at `path`."""
    with safe_open(path, framework="pt") as file:
        config: dict[str, object] = json.loads(file.metadata()[_CONFIG])
        return config


def plan_of(units: Iterable[Unit], removed: Mapping[str, Tensor]) -> Plan:
    """What stays of `units`; of each only if something is gone."""
    groups: list[KeptGroups] = []
    layers: list[KeptPart] = []
    for unit in units:
        is_removed = removed[unit.measured.name]
        if not bool(is_removed.any()):
            continue
        stays = ~is_removed.cpu()
        match unit:
            case CoupledUnit(coupled=coupled):
                groups.append(KeptGroups(coupled, _where(stays)))
            case RowsOrColumns(measured=layer):
                rows, columns = stays.split([layer.rows, layer.columns])
                layers.append(KeptPart(layer, _where(rows), _where(columns)))
    return Plan(tuple(groups), tuple(layers))


def load_plan(path: Path, model: PreTrainedModel) -> Plan:
    """The plan at `path` for the unpruned `model`, which may be without weights."""
    kept = {name: x.long() for name, x in load_file(path).items()}
    groups = tuple(
        KeptGroups(coupled, kept[f"{coupled.consumer.name}.groups"])
        for kind in Coupling
        for coupled in groups_of(kind, model)
        if f"{coupled.consumer.name}.groups" in kept
    )
    layers = tuple(
        KeptPart(layer, kept[f"{layer.name}.rows"], kept[f"{layer.name}.columns"])
        for layer in prunable_layers(model)
        if f"{layer.name}.rows" in kept
    )
    return Plan(groups, layers)


def _where(stays: Tensor) -> Tensor:
    return stays.nonzero().squeeze(1)
