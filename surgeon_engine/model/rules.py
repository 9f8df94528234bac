"""The forms of rules of coupled layers (`known_layers.py`), and of families."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Part(Enum):
    """A part of a group that rows of a producer compute."""

    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    GATE = "gate"
    UP = "up"
    HEAD = "head"  # one number for each head of queries, or of values in a state
    STATE = "state"  # vectors that write to a state space, or read it (B or C)


class Order(Enum):
    """The order of rows in a layer that computes several parts."""

    BY_PART = "by_part"  # q of all groups, then k of all groups, then v
    BY_GROUP = "by_group"  # q, k and v of the first group, then of the second


@dataclass(frozen=True, slots=True)
class ProducerRows:
    """The rows of one producer; `layer` is its name inside the module of its rule.

    A parameter beside the linear layers has entries like the rows of a producer.
    """

    layer: str
    parts: tuple[Part, ...]
    order: Order = Order.BY_PART


class Mixer(Enum):
    """A kind of module that mixes the tokens of a text."""

    ATTENTION = "attention"
    LATENT = "latent"  # attention whose keys and values are made of latent ones
    DELTA = "delta"  # gated delta rule: linear attention with a state of fixed size
    MAMBA = "mamba"  # state space with groups of heads (Mamba 2)


@dataclass(frozen=True, slots=True)
class CouplingRule:
    """One consumer and its producers, by their names inside the module that has them.

    A rule matches any module of a block whose linear layers are these, or the block
    itself if it has them beside its attention.
    """

    consumer: str
    producers: tuple[ProducerRows, ...]
    adds_residual: bool = False  # the module adds the residual stream itself
    whole: tuple[str, ...] = ()  # layers and parameters that stay as they are
    mixer: Mixer = Mixer.ATTENTION
    parameters: tuple[ProducerRows, ...] = ()  # in addition to `PARAMETERS`
    counts: tuple[str, ...] = ()  # attributes that shrink with the number of groups
    stated: tuple[str, ...] = ()  # config options that shrink with it
    needs: str = ""  # a parameter without which names mean something else

    @property
    def names(self) -> set[str]:
        """The names of the consumer and the producers."""
        return {self.consumer, *(rows.layer for rows in self.producers)}


@dataclass(frozen=True, slots=True)
class Gguf:
    """One of llama.cpp's architectures: the entries it reads and how it computes.

    The names of tensors come from the package gguf, and the names of options from
    export/gguf/header.py. The fields hold the differences between architectures.
    """

    architecture: str
    own_widths: bool = False  # reads the widths of each block; otherwise of all
    skips_parts: bool = False  # has blocks without an attention
    all_heads: bool = False  # expects as many query features as the hidden size
    # The activations that its MLPs compute; empty: the config does not name it.
    activations: tuple[str, ...] = ("silu", "swish")
    rotates_pairs: bool = False  # pairs neighbors; the model pairs halves of a head
    rotates_parts: bool = False  # can rotate parts of queries and keys
    # Features of a head by the axis of their position, where the config has none.
    position_sections: tuple[int, ...] = ()
    skips_rotation: int = 0  # each n-th block rotates nothing; 0: no such block
    marks_heads: bool = False  # a block without keys is one without attention
    scales_by_factors: bool = False  # reads a factor for each rotary frequency
    scales_by_length: bool = False  # reads one such list for short texts, one for long
    truncates: bool = False  # rounds the limits of yarn, whatever the config says
    has_windows: bool = False  # reads which blocks have a sliding window
    adds_one: bool = False  # the model adds 1 to the weights of its norms
    has_latent_keys: bool = False  # reads latent keys and values of all heads
    # With experts: the function of the router's scores in the header, and whether the
    # first blocks may have an MLP in their place.
    gating: int = 0
    has_dense_blocks: bool = False
    # Experts that all tokens use are as wide as so many others.
    counts_shared: bool = False
    # With so many blocks, scores are divided by the root of the hidden size per head.
    blocks_of_wide_heads: int = 0
    has_own_head: bool = False  # reads a head even if the embeddings are the head
    # Further entries of the header, and the options of the config that they repeat.
    options: Mapping[str, str] = field(default_factory=dict)
    # Options of the config that it takes for granted.
    assumes: Mapping[str, object] = field(default_factory=dict)
    # Names of modules that the package gguf does not know, and names that it does.
    renames: Mapping[str, str] = field(default_factory=dict)

    def score_size(self, blocks: int, hidden: int, heads: int, head_size: int) -> int:
        """Return the number by whose root it divides attention scores."""
        return hidden // heads if blocks == self.blocks_of_wide_heads else head_size


@dataclass(frozen=True, slots=True)
class Family:
    """Facts about a type of models, beyond the names of their layers.

    A rule is here where the names of the layers do not tell the order of their rows.
    """

    attention: CouplingRule | None = None
    mlp: CouplingRule | None = None
    mlp_width: str = "intermediate_size"  # the name of the width in the config
    gguf: tuple[Gguf, ...] = ()  # the first that can hold a pruned model is taken
    reads_config: bool = False  # each forward reads the number of heads from the config
    needs_exact_products: bool = False  # fails with mixed 16- and 32-bit numbers
    has_slopes: bool = False  # positions are slopes of the heads (ALiBi), always
    is_zero_at_zero: bool = False  # its activation, which the config does not name
    needs_attentions: bool = False  # blocks read more of them than their output
    inseparable_heads: str = ""  # why heads depend on each other, though a rule matches
    uncalled: str = ""  # a layer that stays: its weights are read without a call
    # Of transformers 4: its names in the config for entries of `rope_parameters`, and
    # the name of the theta of blocks with a sliding window, if they have their own.
    rope_names: Mapping[str, str] = field(default_factory=dict)
    window_theta: str = ""


def written(architecture: str, **differences: Any) -> Family:
    """Return a family with nothing but an architecture of llama.cpp (see `Gguf`)."""
    return Family(gguf=(Gguf(architecture, **differences),))


HEADS = (Part.QUERY, Part.KEY, Part.VALUE)  # the parts of an attention
GATED = (Part.GATE, Part.UP)  # the parts of a gated MLP
PLAIN = (Part.UP,)


def separate(
    consumer: str,
    names: str = "q_proj k_proj v_proj",
    parts: tuple[Part, ...] = HEADS,
    *,
    adds_residual: bool = False,
) -> CouplingRule:
    """Return the rule of a module with a layer for each of its parts."""
    layers = zip(names.split(), parts, strict=True)
    producers = tuple(ProducerRows(layer, (part,)) for layer, part in layers)
    return CouplingRule(consumer, producers, adds_residual)


def fused(
    consumer: str,
    producer: str,
    order: Order = Order.BY_PART,
    parts: tuple[Part, ...] = HEADS,
) -> CouplingRule:
    """Return the rule of a module with one layer for all of its parts."""
    return CouplingRule(consumer, (ProducerRows(producer, parts, order),))


def latent(queries: str) -> CouplingRule:
    """Return the rule of an attention with latent keys and values."""
    keys_values = ProducerRows("kv_b_proj", (Part.KEY, Part.VALUE), Order.BY_GROUP)
    return CouplingRule(
        "o_proj",
        (ProducerRows(queries, (Part.QUERY,)), keys_values),
        whole=(
            "q_a_proj",
            "q_a_layernorm.weight",
            "kv_a_proj_with_mqa",
            "kv_a_layernorm.weight",
            # Layers that choose the tokens to attend to, for all heads together.
            "indexer.wq_b",
            "indexer.wk",
            "indexer.k_norm.weight",
            "indexer.k_norm.bias",
            "indexer.weights_proj",
        ),
        mixer=Mixer.LATENT,
    )


def delta(consumer: str, *producers: ProducerRows) -> CouplingRule:
    """Return the rule of a gated delta rule with a convolution over its channels."""
    channels = (Part.QUERY, Part.KEY, Part.VALUE)
    return CouplingRule(
        consumer,
        producers,
        mixer=Mixer.DELTA,
        parameters=(
            ProducerRows("conv1d.weight", channels),
            ProducerRows("conv1d.bias", channels),
            ProducerRows("A_log", (Part.HEAD,)),
            ProducerRows("dt_bias", (Part.HEAD,)),
        ),
        counts=("num_k_heads", "num_v_heads", "key_dim", "value_dim", "conv_dim"),
        stated=("linear_num_key_heads", "linear_num_value_heads"),
        needs="A_log",
    )


def mamba() -> CouplingRule:
    """Return the rule of Mamba 2: gates, values, B, C and time steps in one layer."""
    channels = (Part.VALUE, Part.STATE, Part.STATE)
    return CouplingRule(
        "out_proj",
        (ProducerRows("in_proj", (Part.GATE, *channels, Part.HEAD)),),
        mixer=Mixer.MAMBA,
        parameters=(
            ProducerRows("conv1d.weight", channels),
            ProducerRows("conv1d.bias", channels),
            ProducerRows("A_log", (Part.HEAD,)),
            ProducerRows("D", (Part.HEAD,)),
            ProducerRows("dt_bias", (Part.HEAD,)),
            ProducerRows("norm.weight", (Part.VALUE,)),
        ),
        counts=("num_heads", "n_groups", "intermediate_size", "conv_dim"),
        stated=("mamba_num_heads", "n_groups"),
        needs="dt_bias",
    )
