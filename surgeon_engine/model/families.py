"""What the linear layers of each model family make: the one table of families.

Every family has a line in `ATTENTION` and a line in `MLP`; families whose layers have
the same names share them. How to add one is told in docs/families.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Part(Enum):
    """What some rows of a producer make for their group."""

    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    GATE = "gate"
    UP = "up"


class Order(Enum):
    """How the rows of a layer that makes several parts follow each other."""

    BY_PART = "by_part"  # q of all groups, then k of all groups, then v
    BY_GROUP = "by_group"  # q, k and v of the first group, then of the second


@dataclass(frozen=True, slots=True)
class Rows:
    """What the rows of one producer are; `layer` is its name inside a block."""

    layer: str
    parts: tuple[Part, ...]
    order: Order = Order.BY_PART


@dataclass(frozen=True, slots=True)
class Line:
    """One consumer, by its name inside a block, and its producers.

    Names say which layer makes queries, keys or values where each has its own. They
    do not say how the rows of a fused layer are ordered: its line holds only for the
    model types that it lists.
    """

    consumer: str
    producers: tuple[Rows, ...]
    model_types: tuple[str, ...] = ()  # empty: every one

    @property
    def names(self) -> set[str]:
        """All its layers."""
        return {self.consumer, *(rows.layer for rows in self.producers)}

    @property
    def place(self) -> str:
        """The name, inside a block, of the module around the consumer."""
        return self.consumer.rpartition(".")[0]


def _separate(place: str) -> tuple[Rows, ...]:
    return (
        Rows(f"{place}.q_proj", (Part.QUERY,)),
        Rows(f"{place}.k_proj", (Part.KEY,)),
        Rows(f"{place}.v_proj", (Part.VALUE,)),
    )


def _gated(place: str) -> tuple[Rows, ...]:
    return (
        Rows(f"{place}.gate_proj", (Part.GATE,)),
        Rows(f"{place}.up_proj", (Part.UP,)),
    )


def _fused(layer: str, order: Order) -> tuple[Rows, ...]:
    return (Rows(layer, (Part.QUERY, Part.KEY, Part.VALUE), order),)


def _plain(layer: str) -> tuple[Rows, ...]:
    return (Rows(layer, (Part.UP,)),)


ATTENTION = (
    # Llama, Mistral, Qwen2 and 3, Gemma 2 and 3, StableLM, OLMo, SmolLM, ...
    Line("self_attn.o_proj", _separate("self_attn")),
    # OPT, XGLM
    Line("self_attn.out_proj", _separate("self_attn")),
    # Phi 1 and 2
    Line("self_attn.dense", _separate("self_attn")),
    # Phi-3 and 4
    Line("self_attn.o_proj", _fused("self_attn.qkv_proj", Order.BY_PART), ("phi3",)),
    # GPT-2
    Line("attn.c_proj", _fused("attn.c_attn", Order.BY_PART), ("gpt2",)),
    # GPT-J
    Line("attn.out_proj", _separate("attn")),
    # GPT-Neo
    Line("attn.attention.out_proj", _separate("attn.attention")),
    # GPT-NeoX, Pythia
    Line(
        "attention.dense",
        _fused("attention.query_key_value", Order.BY_GROUP),
        ("gpt_neox",),
    ),
    # BLOOM; Falcon: old ones by head, new ones by KV group, multi-query is one group
    Line(
        "self_attention.dense",
        _fused("self_attention.query_key_value", Order.BY_GROUP),
        ("bloom", "falcon"),
    ),
)
MLP = (
    # Llama, Mistral, Qwen2 and 3, Gemma 2 and 3, StableLM, OLMo, SmolLM, ...
    Line("mlp.down_proj", _gated("mlp")),
    # Nemotron, Arcee
    Line("mlp.down_proj", _plain("mlp.up_proj")),
    # Phi-3 and 4, GLM-4
    Line(
        "mlp.down_proj",
        (Rows("mlp.gate_up_proj", (Part.GATE, Part.UP)),),
        ("phi3", "glm", "glm4"),
    ),
    # OPT, XGLM
    Line("fc2", _plain("fc1")),
    # Phi 1 and 2
    Line("mlp.fc2", _plain("mlp.fc1")),
    # GPT-2, GPT-Neo, StarCoder2
    Line("mlp.c_proj", _plain("mlp.c_fc")),
    # GPT-J
    Line("mlp.fc_out", _plain("mlp.fc_in")),
    # GPT-NeoX, Pythia, Falcon, BLOOM
    Line("mlp.dense_4h_to_h", _plain("mlp.dense_h_to_4h")),
)
# What the config of a family calls the width of its MLPs, where not intermediate_size.
MLP_WIDTH = {
    "opt": "ffn_dim",
    "xglm": "ffn_dim",
    "falcon": "ffn_hidden_size",
    "gpt2": "n_inner",
    "gptj": "n_inner",
    "gpt_bigcode": "n_inner",
    "codegen": "n_inner",
}
# Attention that looks up the number of heads in the config whenever it runs.
READS_CONFIG = ("phi3",)
# Model types whose names fit a line although their groups depend on each other.
INSEPARABLE_HEADS = {
    "diffllama": "Heads of this architecture are subtracted from each other: "
    "without one head another would change.",
}
INSEPARABLE_NEURONS = {
    "gemma3n_text": "MLPs of this architecture keep the neurons that stand out among "
    "all: without one neuron others would change.",
}
