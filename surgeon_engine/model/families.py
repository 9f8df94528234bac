"""The table of model families: which linear layers compute heads and neurons.

Every family has a rule in `ATTENTION` and one in `MLP`; families whose layers have the
same names share them. docs/families.md describes how to add a family.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Part(Enum):
    """A part of a group that rows of a producer compute."""

    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    GATE = "gate"
    UP = "up"


class Order(Enum):
    """The order of rows in a layer that computes several parts."""

    BY_PART = "by_part"  # q of all groups, then k of all groups, then v
    BY_GROUP = "by_group"  # q, k and v of the first group, then of the second


@dataclass(frozen=True, slots=True)
class ProducerRows:
    """The rows of one producer; `layer` is its name inside a block."""

    layer: str
    parts: tuple[Part, ...]
    order: Order = Order.BY_PART


@dataclass(frozen=True, slots=True)
class CouplingRule:
    """One consumer, by its name inside a block, and its producers.

    The names identify separate layers for queries, keys and values. They do not
    determine the order of rows in a fused layer: its rule applies only to the model
    types that it lists.
    """

    consumer: str
    producers: tuple[ProducerRows, ...]
    model_types: tuple[str, ...] = ()  # empty: all

    @property
    def names(self) -> set[str]:
        """The names of all its layers."""
        return {self.consumer, *(rows.layer for rows in self.producers)}

    @property
    def parent(self) -> str:
        """The name, inside a block, of the module that contains the consumer."""
        return self.consumer.rpartition(".")[0]


def _separate(parent: str) -> tuple[ProducerRows, ...]:
    return (
        ProducerRows(f"{parent}.q_proj", (Part.QUERY,)),
        ProducerRows(f"{parent}.k_proj", (Part.KEY,)),
        ProducerRows(f"{parent}.v_proj", (Part.VALUE,)),
    )


def _gated(parent: str) -> tuple[ProducerRows, ...]:
    return (
        ProducerRows(f"{parent}.gate_proj", (Part.GATE,)),
        ProducerRows(f"{parent}.up_proj", (Part.UP,)),
    )


def _fused(layer: str, order: Order) -> tuple[ProducerRows, ...]:
    return (ProducerRows(layer, (Part.QUERY, Part.KEY, Part.VALUE), order),)


def _plain(layer: str) -> tuple[ProducerRows, ...]:
    return (ProducerRows(layer, (Part.UP,)),)


ATTENTION = (
    # Llama, Mistral, Qwen2 and 3, Gemma 2 and 3, StableLM, OLMo, SmolLM, ...
    CouplingRule("self_attn.o_proj", _separate("self_attn")),
    # OPT, XGLM
    CouplingRule("self_attn.out_proj", _separate("self_attn")),
    # Phi 1 and 2
    CouplingRule("self_attn.dense", _separate("self_attn")),
    # Phi-3 and 4
    CouplingRule(
        "self_attn.o_proj", _fused("self_attn.qkv_proj", Order.BY_PART), ("phi3",)
    ),
    # GPT-2
    CouplingRule("attn.c_proj", _fused("attn.c_attn", Order.BY_PART), ("gpt2",)),
    # GPT-J
    CouplingRule("attn.out_proj", _separate("attn")),
    # GPT-Neo
    CouplingRule("attn.attention.out_proj", _separate("attn.attention")),
    # GPT-NeoX, Pythia
    CouplingRule(
        "attention.dense",
        _fused("attention.query_key_value", Order.BY_GROUP),
        ("gpt_neox",),
    ),
    # BLOOM; Falcon: old models by head, new ones by KV group, multi-query is one group
    CouplingRule(
        "self_attention.dense",
        _fused("self_attention.query_key_value", Order.BY_GROUP),
        ("bloom", "falcon"),
    ),
)
MLP = (
    # Llama, Mistral, Qwen2 and 3, Gemma 2 and 3, StableLM, OLMo, SmolLM, ...
    CouplingRule("mlp.down_proj", _gated("mlp")),
    # Nemotron, Arcee
    CouplingRule("mlp.down_proj", _plain("mlp.up_proj")),
    # Phi-3 and 4, GLM-4
    CouplingRule(
        "mlp.down_proj",
        (ProducerRows("mlp.gate_up_proj", (Part.GATE, Part.UP)),),
        ("phi3", "glm", "glm4"),
    ),
    # OPT, XGLM
    CouplingRule("fc2", _plain("fc1")),
    # Phi 1 and 2
    CouplingRule("mlp.fc2", _plain("mlp.fc1")),
    # GPT-2, GPT-Neo, StarCoder2
    CouplingRule("mlp.c_proj", _plain("mlp.c_fc")),
    # GPT-J
    CouplingRule("mlp.fc_out", _plain("mlp.fc_in")),
    # GPT-NeoX, Pythia, Falcon, BLOOM
    CouplingRule("mlp.dense_4h_to_h", _plain("mlp.dense_h_to_4h")),
)
# The name of the MLP width in the config of a family, where not intermediate_size.
MLP_WIDTH = {
    "opt": "ffn_dim",
    "xglm": "ffn_dim",
    "falcon": "ffn_hidden_size",
    "gpt2": "n_inner",
    "gptj": "n_inner",
    "gpt_bigcode": "n_inner",
    "codegen": "n_inner",
}
# Families whose attention and MLP add the residual stream to what they compute.
ADDS_RESIDUAL = ("bloom",)
# Families whose attention reads the number of heads from the config in each forward.
READS_CONFIG = ("phi3",)
# Model types that match a rule although their groups depend on each other.
INSEPARABLE_HEADS = {
    "diffllama": "Heads of this architecture are subtracted from each other: "
    "without one head another would change.",
}
INSEPARABLE_NEURONS = {
    "gemma3n_text": "MLPs of this architecture keep the neurons with the largest "
    "values: without one neuron others would change.",
}
