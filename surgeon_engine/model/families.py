"""What Surgeon knows of model families, all in one place.

Layers with separate queries, keys and values, or gates, are known by their names alone:
`ATTENTION` and `MLP` hold rules that any family may match. `FAMILIES` holds what only
the model type tells. docs/families.md describes how to add a family.
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
    """One consumer, by its name inside a block, and its producers."""

    consumer: str
    producers: tuple[ProducerRows, ...]

    @property
    def names(self) -> set[str]:
        """The names of all its layers."""
        return {self.consumer, *(rows.layer for rows in self.producers)}

    @property
    def parent(self) -> str:
        """The name, inside a block, of the module that contains the consumer."""
        return self.consumer.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Family:
    """What the type of a model tells, beyond the names of its layers.

    Names do not determine the order of rows in a fused layer: its rule is here.
    """

    attention: CouplingRule | None = None
    mlp: CouplingRule | None = None
    mlp_width: str = "intermediate_size"  # the name of the width in the config
    gguf: str = ""  # the architecture of its GGUF files if widths are the same
    adds_residual: bool = False  # attention and MLP add the residual stream themselves
    reads_config: bool = False  # each forward reads the number of heads from the config
    has_slopes: bool = False  # positions are slopes of the heads (ALiBi), always
    is_zero_at_zero: bool = False  # its activation, which the config does not name
    inseparable_heads: str = ""  # why heads depend on each other, though a rule matches
    inseparable_neurons: str = ""


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


_PHI3_ATTENTION = CouplingRule(
    "self_attn.o_proj", _fused("self_attn.qkv_proj", Order.BY_PART)
)
_FUSED_GATE = CouplingRule(
    "mlp.down_proj", (ProducerRows("mlp.gate_up_proj", (Part.GATE, Part.UP)),)
)
_BLOOM_ATTENTION = CouplingRule(
    "self_attention.dense", _fused("self_attention.query_key_value", Order.BY_GROUP)
)
ATTENTION: tuple[CouplingRule, ...] = (
    # Llama, Mistral, Qwen2 and 3, Gemma 2 and 3, StableLM, OLMo, SmolLM, ...
    CouplingRule("self_attn.o_proj", _separate("self_attn")),
    # OPT, XGLM
    CouplingRule("self_attn.out_proj", _separate("self_attn")),
    # Phi 1 and 2
    CouplingRule("self_attn.dense", _separate("self_attn")),
    # GPT-J
    CouplingRule("attn.out_proj", _separate("attn")),
    # GPT-Neo
    CouplingRule("attn.attention.out_proj", _separate("attn.attention")),
)
MLP: tuple[CouplingRule, ...] = (
    # Llama, Mistral, Qwen2 and 3, Gemma 2 and 3, StableLM, OLMo, SmolLM, ...
    CouplingRule("mlp.down_proj", _gated("mlp")),
    # Nemotron, Arcee
    CouplingRule("mlp.down_proj", _plain("mlp.up_proj")),
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
FAMILIES = {
    "bloom": Family(
        attention=_BLOOM_ATTENTION,
        adds_residual=True,
        has_slopes=True,
        is_zero_at_zero=True,
    ),
    "codegen": Family(mlp_width="n_inner"),
    "diffllama": Family(
        inseparable_heads="Heads of this architecture are subtracted from each other: "
        "without one head another would change."
    ),
    # Old models by head, new ones by KV group; multi-query is one group.
    "falcon": Family(attention=_BLOOM_ATTENTION, mlp_width="ffn_hidden_size"),
    "gemma3n_text": Family(
        inseparable_neurons="MLPs of this architecture keep the neurons with the "
        "largest values: without one neuron others would change."
    ),
    "glm": Family(mlp=_FUSED_GATE),
    "glm4": Family(mlp=_FUSED_GATE),
    "gpt2": Family(
        attention=CouplingRule("attn.c_proj", _fused("attn.c_attn", Order.BY_PART)),
        mlp_width="n_inner",
    ),
    "gpt_bigcode": Family(mlp_width="n_inner"),
    "gpt_neox": Family(  # and Pythia
        attention=CouplingRule(
            "attention.dense", _fused("attention.query_key_value", Order.BY_GROUP)
        )
    ),
    "gptj": Family(mlp_width="n_inner"),
    "llama": Family(gguf="llama"),
    "mistral": Family(gguf="llama"),
    "opt": Family(mlp_width="ffn_dim"),
    "phi3": Family(attention=_PHI3_ATTENTION, mlp=_FUSED_GATE, reads_config=True),
    "qwen2": Family(gguf="qwen2"),
    "xglm": Family(mlp_width="ffn_dim"),
}
_OTHER = Family()
# The names under which configs state the number of heads, and the activation.
HEAD_COUNTS = ("num_attention_heads", "num_key_value_heads", "num_kv_heads")
ACTIVATIONS = (
    "hidden_activation",
    "hidden_act",
    "activation_function",
    "activation",  # Falcon's
)


def family_of(model_type: str) -> Family:
    """Return what Surgeon knows of a model type; of others, that it is usual."""
    return FAMILIES.get(model_type, _OTHER)
