"""The plan of a pruned model: the original indices of its remaining parts.

    groups     the remaining heads or neurons of each consumer; none: the whole
               attention or MLP is removed, and with both the block
    layers     the remaining rows and columns of each layer
    tokens     the remaining tokens; the model has their embeddings alone

Removed single weights are zeros in matrices of the original size, so that a plan for
them is empty. The plan is saved with a compact checkpoint, so that removed parts can be
restored as zeros.
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
from surgeon_engine.base.versions import PLAN, check_version
from surgeon_engine.model.coupled_groups import CoupledGroups
from surgeon_engine.model.coupling import groups_of
from surgeon_engine.model.layers import PrunableLayer, prunable_layers
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.pruning.structures.rows_columns import RowsOrColumns

_ABOUT = "about"  # in the file's metadata; of several entries, the order is random
_TOKENS = "tokens"


@dataclass(frozen=True, slots=True, eq=False)
class KeptGroups:
    """The remaining heads or neurons of one block."""

    coupled: CoupledGroups
    kept: Tensor  # int64, ascending

    @property
    def is_empty(self) -> bool:
        """Whether the whole attention or MLP is removed."""
        return not len(self.kept)


@dataclass(frozen=True, slots=True, eq=False)
class KeptPart:
    """The remaining rows and columns of one layer."""

    layer: PrunableLayer
    rows: Tensor  # int64, ascending
    columns: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class CompactionPlan:
    """The remaining parts of every block and layer that has lost some."""

    groups: tuple[KeptGroups, ...] = ()
    layers: tuple[KeptPart, ...] = ()
    tokens: Tensor | None = None  # int64, ascending; None: all

    @property
    def is_empty(self) -> bool:
        """Whether no whole structures of the blocks are removed."""
        return not self.groups and not self.layers

    def dropped_blocks(self, layers: Iterable[PrunableLayer]) -> tuple[int, ...]:
        """Return the blocks without a remaining layer.

        `layers` are the layers of the full-size model.
        """
        removed = {
            layer.name
            for each in self.groups
            if each.is_empty
            for layer in each.coupled.layers
        }
        blocks: dict[int, bool] = {}
        for layer in layers:
            is_removed = layer.name in removed
            blocks[layer.block] = blocks.get(layer.block, True) and is_removed
        return tuple(block for block, is_dropped in blocks.items() if is_dropped)

    def save(self, path: Path, config: Mapping[str, object]) -> None:
        """Write the indices as safetensors, with the config of the unpruned model."""
        kept = {f"{each.coupled.name}.groups": each.kept for each in self.groups}
        for part in self.layers:
            kept[f"{part.layer.name}.rows"] = part.rows
            kept[f"{part.layer.name}.columns"] = part.columns
        if self.tokens is not None:
            kept[_TOKENS] = self.tokens
        about = json.dumps({"version": PLAN, "config": config})
        save_file({name: x.int() for name, x in kept.items()}, path, {_ABOUT: about})


@dataclass(frozen=True, slots=True, eq=False)
class PrunedModel:
    """A pruned model of full size, with zeros for removed weights, and its plan.

    Removed tokens are not in it.
    """

    loaded: LoadedModel
    plan: CompactionPlan

    @property
    def tokens(self) -> Tensor | None:
        """The original numbers of its tokens, ascending; None: it has all."""
        if self.loaded.kept_tokens is not None:
            return self.loaded.kept_tokens
        return self.plan.tokens


def read_config(path: Path) -> dict[str, object]:
    """Read the config of the unpruned model from the plan at `path`.

    Raises:
        OtherVersionError: The plan has another version.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    about = json.loads(metadata.get(_ABOUT, "{}"))
    check_version(path, about.get("version"), PLAN)
    config: dict[str, object] = about["config"]
    return config


def plan_of(units: Iterable[Unit], removed: Mapping[str, Tensor]) -> CompactionPlan:
    """Return the plan for units; `removed` marks their removed candidates."""
    groups: list[KeptGroups] = []
    layers: list[KeptPart] = []
    for unit in units:
        is_removed = removed[unit.measured.name]
        if not bool(is_removed.any()):
            continue
        is_kept = ~is_removed.cpu()
        match unit:
            case CoupledUnit(parts=parts):
                of_parts = unit.of_parts(is_kept)
                groups += [
                    KeptGroups(each, _indices(of_parts[each.name]))
                    for each in parts
                    if not bool(of_parts[each.name].all())
                ]
            case RowsOrColumns(measured=layer):
                rows, columns = is_kept.split([layer.rows, layer.columns])
                layers.append(KeptPart(layer, _indices(rows), _indices(columns)))
    return CompactionPlan(tuple(groups), tuple(layers))


def load_plan(path: Path, model: PreTrainedModel) -> CompactionPlan:
    """Load the plan at `path` for the unpruned `model`, whose weights may be empty."""
    kept = {name: x.long() for name, x in load_file(path).items()}
    groups = tuple(
        KeptGroups(coupled, kept[f"{coupled.name}.groups"])
        for kind in Coupling
        for coupled in groups_of(kind, model)
        if f"{coupled.name}.groups" in kept
    )
    layers = tuple(
        KeptPart(layer, kept[f"{layer.name}.rows"], kept[f"{layer.name}.columns"])
        for layer in prunable_layers(model)
        if f"{layer.name}.rows" in kept
    )
    return CompactionPlan(groups, layers, kept.get(_TOKENS))


def _indices(mask: Tensor) -> Tensor:
    return mask.nonzero().squeeze(1)
