"""Which rows of some layers feed which columns of another: heads and MLP neurons.

A group is a set of columns of the consumer that only the same group's rows of the
producers can reach: an MLP neuron is one column of the down projection and its rows
of gate and up; a KV group is the columns of the output projection that its query
heads write, with the rows of q, k and v that make them. Removing a whole group leaves
plain, smaller, dense matrices.

To add a family, add a line to `COUPLED`: the names inside a block of the consumer and
of its producers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from surgeon_engine.config import Structure
from surgeon_engine.events import StructureSupport
from surgeon_engine.model.layers import PrunableLayer


@dataclass(frozen=True, slots=True)
class CoupledNames:
    """One consumer and its producers, by their names inside a block."""

    consumer: str
    producers: tuple[str, ...]
    key: str = ""  # of attention: the producer with one head per group


ATTENTION = (
    # Llama, Mistral, Qwen2, Gemma, SmolLM, ...
    CoupledNames(
        "self_attn.o_proj",
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        key="self_attn.k_proj",
    ),
    # OPT
    CoupledNames(
        "self_attn.out_proj",
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        key="self_attn.k_proj",
    ),
)
MLP = (
    # Llama, Mistral, Qwen2, Gemma, SmolLM, ...
    CoupledNames("mlp.down_proj", ("mlp.gate_proj", "mlp.up_proj")),
    # OPT
    CoupledNames("fc2", ("fc1",)),
)


@dataclass(frozen=True, slots=True, eq=False)
class CoupledGroups:
    """The groups of one consumer; group i owns the i-th part of its columns.

    Of each producer it owns the i-th part of the rows. All parts are contiguous and
    of equal size.
    """

    consumer: PrunableLayer
    producers: tuple[PrunableLayer, ...]
    groups: int

    @property
    def weights_per_group(self) -> int:
        """How many weights go with one group, biases of the producers included."""
        return sum(
            layer.weights // self.groups for layer in self.producers
        ) + self.consumer.rows * (self.consumer.columns // self.groups)


def coupled_groups(
    blocks: Sequence[nn.Module], layers: Sequence[PrunableLayer]
) -> tuple[CoupledGroups, ...]:
    """The KV groups and MLP neurons of every block; empty where they are not known."""
    found: list[CoupledGroups] = []
    for index, block in enumerate(blocks):
        by_kind = {layer.kind: layer for layer in layers if layer.block == index}
        attention = _match(ATTENTION, by_kind)
        mlp = _match(MLP, by_kind)
        if attention is None or mlp is None:
            return ()
        head_size = getattr(block.self_attn, "head_dim", None)
        if not isinstance(head_size, int):
            return ()
        found.append(_groups(attention, by_kind, by_kind[attention.key], head_size))
        found.append(_groups(mlp, by_kind, by_kind[mlp.producers[0]], 1))
    return tuple(found)


def structure_support(
    blocks: Sequence[nn.Module], layers: Sequence[PrunableLayer]
) -> tuple[StructureSupport, ...]:
    """Which structures this model can be pruned in, and why not in the others."""
    reason = ""
    if not coupled_groups(blocks, layers):
        kinds = ", ".join(layer.kind for layer in layers if layer.block == 0)
        reason = (
            "The heads and neurons of this architecture are not known to Surgeon "
            f"(the layers of its blocks are {kinds})."
        )
    return (
        StructureSupport(Structure.HEADS_AND_NEURONS, reason),
        StructureSupport(Structure.ROWS_AND_COLUMNS),
    )


def _match(
    table: Sequence[CoupledNames], by_kind: Mapping[str, PrunableLayer]
) -> CoupledNames | None:
    for names in table:
        if {names.consumer, *names.producers} <= set(by_kind):
            return names
    return None


def _groups(
    names: CoupledNames,
    by_kind: Mapping[str, PrunableLayer],
    counted: PrunableLayer,
    rows_each: int,
) -> CoupledGroups:
    return CoupledGroups(
        consumer=by_kind[names.consumer],
        producers=tuple(by_kind[name] for name in names.producers),
        groups=counted.rows // rows_each,
    )
