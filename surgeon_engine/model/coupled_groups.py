"""Groups of rows and columns that are removed together.

`coupling.py` finds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import Coupling
from surgeon_engine.model.layers import ExpertsLayer, PrunableLayer
from surgeon_engine.model.rules import Mixer, Part


@dataclass(frozen=True, slots=True, eq=False)
class Producer:
    """A layer whose rows are divided equally among the groups."""

    layer: PrunableLayer
    group_of_row: Tensor  # R, int64: the group of each row
    parts: tuple[Part, ...]  # what its rows compute


@dataclass(frozen=True, slots=True, eq=False)
class OwnParameter:
    """A parameter beside linear layers whose entries are divided among the groups."""

    name: str  # inside the block
    group_of_entry: Tensor  # along a dimension, int64
    dimension: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class CoupledGroups:
    """The groups of one consumer; group i owns the i-th run of its columns."""

    kind: Coupling
    module: str  # the attention or the MLP, by its name inside the block; "": the block
    consumer: PrunableLayer
    producers: tuple[Producer, ...]
    groups: int
    adds_residual: bool = False  # the module adds the residual stream itself
    parameters: tuple[OwnParameter, ...] = ()
    cached: int = 0  # numbers that a token adds to the keys and values of the module
    counts: tuple[str, ...] = ()  # attributes that shrink with the number of groups
    stated: tuple[str, ...] = ()  # config options that shrink with it
    mixer: Mixer = Mixer.ATTENTION  # for heads only
    least: int = 1  # groups that stay
    classes: int = 1  # equal runs of groups; each run loses equally many
    chosen: int = 0  # experts that a token uses

    def left(self, kept: Tensor, layers: Mapping[str, PrunableLayer]) -> CoupledGroups:
        """Return the groups that are `kept`, numbered from 0.

        `kept` are ascending indices, int64; `layers` are the smaller layers by name.
        """
        producers = []
        for producer in self.producers:
            owner = _renumbered(producer.group_of_row, kept)
            layer = layers[producer.layer.name]
            producers.append(Producer(layer, owner, producer.parts))
        return replace(
            self,
            consumer=layers[self.consumer.name],
            producers=tuple(producers),
            groups=len(kept),
            cached=self.cached * len(kept) // self.groups,
            parameters=tuple(
                replace(each, group_of_entry=_renumbered(each.group_of_entry, kept))
                for each in self.parameters
            ),
        )

    @property
    def name(self) -> str:
        """The name of the consumer, and for neurons of experts one of their own."""
        inner = ".neurons" if self.kind is Coupling.EXPERT_NEURONS else ""
        return self.consumer.name + inner

    @property
    def is_attention(self) -> bool:
        """Whether it has keys and values of each token, and not a state of all."""
        is_attention = self.mixer in (Mixer.ATTENTION, Mixer.LATENT)
        return self.kind is Coupling.HEADS and is_attention

    @property
    def block_path(self) -> str:
        """The name of the block in the model."""
        return self.consumer.name.removesuffix(f".{self.consumer.kind}")

    @property
    def path(self) -> str:
        """The name of the module in the model."""
        return f"{self.block_path}.{self.module}" if self.module else self.block_path

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """The consumer and the producers."""
        return (self.consumer, *(producer.layer for producer in self.producers))

    @property
    def weights_per_group(self) -> int:
        """Number of weights in one group, biases of the producers included."""
        if isinstance(self.consumer, ExpertsLayer) and self.name != self.consumer.name:
            return self.consumer.weights_per_neuron * self.consumer.columns
        rows = sum(producer.layer.weights for producer in self.producers)
        columns = self.consumer.rows * self.consumer.columns
        return (rows + columns) // self.groups


def _renumbered(owner: Tensor, kept: Tensor) -> Tensor:
    """Return the new groups of the entries that belong to kept groups."""
    return torch.searchsorted(kept, owner[torch.isin(owner, kept)])
