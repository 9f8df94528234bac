"""What Surgeon knows of model families, all in one place.

Layers with separate queries, keys and values, or gates, are known by their names alone:
`ATTENTION` and `MLP` hold rules that any family may match. `FAMILIES` holds what only
the model type tells. docs/families.md describes how to add a family.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Part(Enum):
    """A part of a group that rows of a producer compute."""

    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    GATE = "gate"
    UP = "up"
    HEAD = "head"  # one number for each head of queries, or of values in a state
    STATE = "state"  # what is read into a state space, or out of it (B or C)


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
    parameters: tuple[ProducerRows, ...] = ()  # beside those of `PARAMETERS`
    counts: tuple[str, ...] = ()  # attributes that shrink with the number of groups
    stated: tuple[str, ...] = ()  # those of the config
    needs: str = ""  # a parameter without which names mean something else

    @property
    def names(self) -> set[str]:
        """The names of the consumer and the producers."""
        return {self.consumer, *(rows.layer for rows in self.producers)}


@dataclass(frozen=True, slots=True)
class Family:
    """What the type of a model tells, beyond the names of its layers.

    Names do not determine the order of rows in a fused layer: its rule is here.
    """

    attention: CouplingRule | None = None
    mlp: CouplingRule | None = None
    mlp_width: str = "intermediate_size"  # the name of the width in the config
    gguf: str = ""  # the architecture of its GGUF files if widths are the same
    reads_config: bool = False  # each forward reads the number of heads from the config
    has_slopes: bool = False  # positions are slopes of the heads (ALiBi), always
    is_zero_at_zero: bool = False  # its activation, which the config does not name
    inseparable_heads: str = ""  # why heads depend on each other, though a rule matches
    inseparable_neurons: str = ""


def _separate(
    consumer: str, names: str = "q_proj k_proj v_proj", *, adds_residual: bool = False
) -> CouplingRule:
    parts = (Part.QUERY, Part.KEY, Part.VALUE)
    layers = zip(names.split(), parts, strict=True)
    producers = tuple(ProducerRows(layer, (part,)) for layer, part in layers)
    return CouplingRule(consumer, producers, adds_residual)


def _fused(consumer: str, producer: str, order: Order = Order.BY_PART) -> CouplingRule:
    parts = (Part.QUERY, Part.KEY, Part.VALUE)
    return CouplingRule(consumer, (ProducerRows(producer, parts, order),))


def _gated(consumer: str, gate: str, up: str) -> CouplingRule:
    layers = ((gate, Part.GATE), (up, Part.UP))
    return CouplingRule(
        consumer, tuple(ProducerRows(layer, (part,)) for layer, part in layers)
    )


def _fused_gate(consumer: str, producer: str) -> CouplingRule:
    return CouplingRule(consumer, (ProducerRows(producer, (Part.GATE, Part.UP)),))


def _plain(
    consumer: str, producer: str, *, adds_residual: bool = False
) -> CouplingRule:
    rows = (ProducerRows(producer, (Part.UP,)),)
    return CouplingRule(consumer, rows, adds_residual)


def _output_gate(gate: str) -> CouplingRule:
    """Return the rule of an attention whose output a layer of its own gates."""
    rule = _separate("o_proj")
    gated = (*rule.producers, ProducerRows(gate, (Part.GATE,)))
    return replace(rule, producers=gated)


# Each query head has its queries, then a gate of its output.
_GATED_QUERIES = CouplingRule(
    "o_proj",
    (
        ProducerRows("q_proj", (Part.QUERY, Part.GATE), Order.BY_GROUP),
        *_separate("o_proj").producers[1:],
    ),
)


def _latent(queries: str) -> CouplingRule:
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
        ),
        mixer=Mixer.LATENT,
    )


def _delta(consumer: str, *producers: ProducerRows) -> CouplingRule:
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


def _mamba() -> CouplingRule:
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
        needs="A_log",
    )


_FUSED_BY_GROUP = _fused("dense", "query_key_value", Order.BY_GROUP)
ATTENTION: tuple[CouplingRule, ...] = (
    # Llama, Mistral, Qwen2 and 3, Gemma 2 and 3, StableLM, OLMo, SmolLM, ...
    _separate("o_proj"),
    # HRM, AFMoE; LFM 3, Laguna
    _output_gate("gate_proj"),
    _output_gate("g_proj"),
    # OPT, XGLM, GPT-J, GPT-Neo
    _separate("out_proj"),
    # Gemma 4, where keys are values, too
    CouplingRule(
        "o_proj",
        (ProducerRows("q_proj", (Part.QUERY,)), ProducerRows("k_proj", (Part.KEY,))),
    ),
    # Phi 1 and 2
    _separate("dense"),
    # BERT and models built like it
    _separate("output.dense", "self.query self.key self.value", adds_residual=True),
    # CTRL
    _separate("dense", "Wq Wk Wv"),
    # MiniCPM 3, Youtu, DeepSeek 2 and 3
    _latent("q_b_proj"),
    _latent("q_proj"),
    # Qwen 3.5
    _delta(
        "out_proj",
        ProducerRows("in_proj_qkv", (Part.QUERY, Part.KEY, Part.VALUE)),
        ProducerRows("in_proj_z", (Part.GATE,)),
        ProducerRows("in_proj_b", (Part.HEAD,)),
        ProducerRows("in_proj_a", (Part.HEAD,)),
    ),
    # Qwen 3 Next
    _delta(
        "out_proj",
        ProducerRows(
            "in_proj_qkvz",
            (Part.QUERY, Part.KEY, Part.VALUE, Part.GATE),
            Order.BY_GROUP,
        ),
        ProducerRows("in_proj_ba", (Part.HEAD, Part.HEAD), Order.BY_GROUP),
    ),
    # OLMo hybrids
    _delta(
        "o_proj",
        *_separate("o_proj").producers,
        ProducerRows("a_proj", (Part.HEAD,)),
        ProducerRows("b_proj", (Part.HEAD,)),
        ProducerRows("g_proj", (Part.GATE,)),
    ),
    # Nemotron H, Zamba 2
    _mamba(),
)
MLP: tuple[CouplingRule, ...] = (
    # Llama, Mistral, Qwen2 and 3, Gemma 2 and 3, StableLM, OLMo, SmolLM, ...
    _gated("down_proj", "gate_proj", "up_proj"),
    # Nemotron, Arcee
    _plain("down_proj", "up_proj"),
    # OPT, XGLM, Phi 1 and 2
    _plain("fc2", "fc1"),
    # GPT-2, GPT-Neo, StarCoder2
    _plain("c_proj", "c_fc"),
    # GPT-J
    _plain("fc_out", "fc_in"),
    # GPT-NeoX, Pythia, Falcon, BLOOM
    _plain("dense_4h_to_h", "dense_h_to_4h"),
    # BERT and models built like it
    _plain("output.dense", "intermediate.dense", adds_residual=True),
    # LFM2
    _gated("w2", "w1", "w3"),
    # CTRL
    _plain("2", "0"),
    # CPM-Ant
    _gated("w_out", "w_in.w_0", "w_in.w_1"),
    # Granite hybrids
    _fused_gate("output_linear", "input_linear"),
)
_PHI = Family(
    attention=_fused("o_proj", "qkv_proj"),
    mlp=_fused_gate("down_proj", "gate_up_proj"),
    reads_config=True,
)
# Parameters beside linear layers with entries for each head, feature or neuron.
PARAMETERS: tuple[ProducerRows, ...] = (
    # Granite with sliding windows, GPT-OSS, MiMo
    ProducerRows("sinks", (Part.HEAD,)),
    # Beam
    ProducerRows("gate_bias", (Part.HEAD,)),
    # Dory
    ProducerRows("sqk", (Part.QUERY,)),
    ProducerRows("s_gate", (Part.QUERY,)),
    ProducerRows("suv_gate", (Part.GATE,)),
    ProducerRows("suv_up", (Part.UP,)),
)
FAMILIES = {
    "bloom": Family(
        attention=replace(_FUSED_BY_GROUP, adds_residual=True),
        mlp=_plain("dense_4h_to_h", "dense_h_to_4h", adds_residual=True),
        has_slopes=True,
        is_zero_at_zero=True,
    ),
    "codegen": Family(mlp_width="n_inner"),
    "cpmant": Family(mlp_width="dim_ff"),
    "ctrl": Family(mlp_width="dff"),
    "diffllama": Family(
        inseparable_heads="Heads of this architecture are subtracted from each other: "
        "without one head another would change."
    ),
    # Old models by head, new ones by KV group; multi-query is one group.
    "falcon": Family(attention=_FUSED_BY_GROUP, mlp_width="ffn_hidden_size"),
    "glm": Family(mlp=_fused_gate("down_proj", "gate_up_proj")),
    "glm4": Family(mlp=_fused_gate("down_proj", "gate_up_proj")),
    "gpt2": Family(
        attention=_fused("c_proj", "c_attn"),
        mlp_width="n_inner",
    ),
    "gpt_bigcode": Family(
        attention=_fused("c_proj", "c_attn", Order.BY_GROUP), mlp_width="n_inner"
    ),
    "gpt_neox": Family(  # and Pythia
        attention=_FUSED_BY_GROUP
    ),
    "gpt_neox_japanese": Family(
        attention=replace(_FUSED_BY_GROUP, whole=("dense_bias",))
    ),
    "gptj": Family(mlp_width="n_inner"),
    "llama": Family(gguf="llama"),
    "mistral": Family(gguf="llama"),
    "opt": Family(mlp_width="ffn_dim"),
    "persimmon": Family(attention=_FUSED_BY_GROUP),
    "phi3": _PHI,
    "phi4_multimodal": _PHI,
    "qwen2": Family(gguf="qwen2"),
    "qwen3_5_moe_text": Family(attention=_GATED_QUERIES),
    "qwen3_5_text": Family(attention=_GATED_QUERIES),
    "qwen3_next": Family(attention=_GATED_QUERIES),
    "xglm": Family(mlp_width="ffn_dim"),
}
_OTHER = Family()
# The names under which configs state the number of heads, a width, the activation.
HEAD_COUNTS = ("num_attention_heads", "num_key_value_heads", "num_kv_heads")
# The names of an MLP's width, after the family's own.
MLP_WIDTHS = ("intermediate_size", "shared_intermediate_size", "block_ff_dim")
ACTIVATIONS = (
    "hidden_activation",
    "hidden_act",
    "activation_function",
    "activation",  # Falcon's
)


def family_of(model_type: str) -> Family:
    """Return what Surgeon knows of a model type; of others, that it is usual."""
    return FAMILIES.get(model_type, _OTHER)
