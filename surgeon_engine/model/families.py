"""What Surgeon knows of model families, all in one place.

Layers with separate queries, keys and values, or gates, are known by their names alone:
`ATTENTION` and `MLP` hold rules that any family may match. `FAMILIES` holds what only
the model type tells. docs/families.md describes how to add a family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
class Gguf:
    """One of llama.cpp's architectures: what it reads and computes.

    The names of tensors come from the package gguf, and those of options from
    export/gguf/header.py. The fields are what differs between architectures.
    """

    architecture: str
    own_widths: bool = False  # reads the widths of each block; otherwise of all
    skips_parts: bool = False  # has blocks without an attention
    all_heads: bool = False  # expects as many query features as the hidden size
    # The activations that its MLPs compute; empty: the config does not name it.
    activations: tuple[str, ...] = ("silu", "swish")
    rotates_pairs: bool = False  # of neighbors, the model those half a head apart
    rotates_parts: bool = False  # of queries and keys, if the config says so
    # Features of a head by the axis of their position, where the config has none.
    position_sections: tuple[int, ...] = ()
    skips_rotation: int = 0  # of each n-th block
    marks_heads: bool = False  # a block without keys is one without attention
    scales_by_factors: bool = False  # reads a factor for each rotary frequency
    scales_by_length: bool = False  # reads one such list for short texts, one for long
    has_windows: bool = False  # reads which blocks have a sliding window
    adds_one: bool = False  # the model adds 1 to the weights of its norms
    # With so many blocks, scores are divided by the root of the hidden size per head.
    blocks_of_wide_heads: int = 0
    has_own_head: bool = False  # reads a head even if the embeddings are the head
    # Further entries of the header, and the options of the config that they repeat.
    options: Mapping[str, str] = field(default_factory=dict)
    # Options of the config that it takes for granted.
    assumes: Mapping[str, object] = field(default_factory=dict)
    # Names of modules that the package gguf does not know, and names that it does.
    renames: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """What the type of a model tells, beyond the names of its layers.

    Names do not determine the order of rows in a fused layer: its rule is here.
    """

    attention: CouplingRule | None = None
    mlp: CouplingRule | None = None
    mlp_width: str = "intermediate_size"  # the name of the width in the config
    gguf: tuple[Gguf, ...] = ()  # the first that can hold a pruned model is taken
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
_GELU_TANH = ("gelu_new", "gelu_fast", "gelu_pytorch_tanh")
_GELU = ("gelu", *_GELU_TANH)  # llama.cpp computes the approximation by tanh
_LLAMA = Gguf("llama", rotates_pairs=True, scales_by_factors=True)
_DECI = replace(_LLAMA, architecture="deci", own_widths=True, skips_parts=True)
_GEMMA = Gguf("gemma", adds_one=True, activations=_GELU)
_GEMMA_3 = replace(
    _GEMMA, architecture="gemma3", has_windows=True, blocks_of_wide_heads=62
)
_GEMMA_4 = Gguf(
    "gemma4",
    own_widths=True,
    has_windows=True,
    scales_by_factors=True,
    activations=_GELU,
    options={
        "embedding_length_per_layer_input": "hidden_size_per_layer_input",
        "attention.shared_kv_layers": "num_kv_shared_layers",
    },
    renames={".layer_scalar": ".layer_scalar.weight"},
)
_OLMO_2 = Gguf("olmo2", all_heads=True, has_own_head=True)
FAMILIES = {
    "bloom": Family(
        gguf=(
            Gguf(
                "bloom",
                all_heads=True,
                activations=(),
                assumes={"apply_residual_connection_post_layernorm": False},
            ),
        ),
        attention=replace(_FUSED_BY_GROUP, adds_residual=True),
        mlp=_plain("dense_4h_to_h", "dense_h_to_4h", adds_residual=True),
        has_slopes=True,
        is_zero_at_zero=True,
    ),
    "arcee": Family(
        gguf=(replace(_LLAMA, architecture="arcee", activations=("relu2",)),)
    ),
    "codegen": Family(mlp_width="n_inner"),
    "cohere": Family(
        gguf=(Gguf("command-r", all_heads=True, assumes={"use_qk_norm": False}),)
    ),
    "cohere2": Family(gguf=(Gguf("cohere2", all_heads=True, has_windows=True),)),
    "cpmant": Family(mlp_width="dim_ff"),
    "ctrl": Family(mlp_width="dff"),
    "diffllama": Family(
        inseparable_heads="Heads of this architecture are subtracted from each other: "
        "without one head another would change."
    ),
    "ernie4_5": Family(gguf=(Gguf("ernie4_5", assumes={"use_bias": False}),)),
    "exaone4": Family(
        gguf=(
            Gguf(
                "exaone4",
                all_heads=True,
                scales_by_factors=True,
                assumes={"sliding_window": None},
            ),
        )
    ),
    # Old models by head, new ones by KV group; multi-query is one group.
    "falcon": Family(
        attention=_FUSED_BY_GROUP,
        mlp_width="ffn_hidden_size",
        gguf=(
            Gguf(
                "falcon",
                all_heads=True,
                activations=_GELU,
                assumes={"alibi": False, "parallel_attn": True, "bias": False},
            ),
        ),
    ),
    "gemma": Family(gguf=(_GEMMA,)),
    "gemma2": Family(
        gguf=(
            replace(
                _GEMMA,
                architecture="gemma2",
                has_windows=True,
                blocks_of_wide_heads=46,
            ),
        )
    ),
    "gemma3_text": Family(gguf=(_GEMMA_3,)),
    "gemma4_text": Family(gguf=(_GEMMA_4,)),
    "glm": Family(mlp=_fused_gate("down_proj", "gate_up_proj")),
    "glm4": Family(
        mlp=_fused_gate("down_proj", "gate_up_proj"),
        gguf=(Gguf("glm4", rotates_parts=True),),
    ),
    "gpt2": Family(
        attention=_fused("c_proj", "c_attn"),
        mlp_width="n_inner",
        gguf=(
            Gguf(
                "gpt2",
                all_heads=True,
                activations=_GELU_TANH,
                assumes={
                    "scale_attn_weights": True,
                    "scale_attn_by_inverse_layer_idx": False,
                },
            ),
        ),
    ),
    "gpt_bigcode": Family(
        attention=_fused("c_proj", "c_attn", Order.BY_GROUP),
        mlp_width="n_inner",
        gguf=(
            Gguf(
                "starcoder",
                all_heads=True,
                activations=_GELU,
                assumes={"scale_attn_weights": True},
            ),
        ),
    ),
    "gpt_neox": Family(  # and Pythia
        attention=_FUSED_BY_GROUP,
        gguf=(
            Gguf(
                "gptneox",
                all_heads=True,
                rotates_parts=True,
                has_own_head=True,
                activations=_GELU,
                options={"use_parallel_residual": "use_parallel_residual"},
                assumes={"attention_bias": True},
            ),
        ),
    ),
    "gpt_neox_japanese": Family(
        attention=replace(_FUSED_BY_GROUP, whole=("dense_bias",))
    ),
    "gptj": Family(mlp_width="n_inner"),
    "granite": Family(
        gguf=(Gguf("granite", rotates_pairs=True, scales_by_factors=True),)
    ),
    "lfm2": Family(
        gguf=(
            Gguf(
                "lfm2",
                all_heads=True,
                marks_heads=True,
                options={
                    "shortconv.l_cache": "conv_L_cache",
                    "attention.layer_norm_rms_epsilon": "norm_eps",
                },
                assumes={"conv_bias": False},
                activations=(),
            ),
        )
    ),
    "llama": Family(gguf=(_LLAMA, _DECI)),
    "mistral": Family(gguf=(_LLAMA, _DECI)),
    "nemotron": Family(
        gguf=(
            Gguf(
                "nemotron",
                all_heads=True,
                rotates_parts=True,
                adds_one=True,
                has_own_head=True,
                activations=("relu2",),
                options={"attention.layer_norm_epsilon": "norm_eps"},
            ),
        )
    ),
    "olmo2": Family(gguf=(_OLMO_2,)),
    "olmo3": Family(gguf=(replace(_OLMO_2, has_windows=True),)),
    "opt": Family(mlp_width="ffn_dim"),
    "persimmon": Family(attention=_FUSED_BY_GROUP),
    "phi": Family(
        gguf=(
            Gguf(
                "phi2",
                all_heads=True,
                rotates_parts=True,
                has_own_head=True,
                activations=_GELU,
                assumes={"qk_layernorm": False},
            ),
        )
    ),
    "phi3": replace(
        _PHI,
        gguf=(Gguf("phi3", all_heads=True, rotates_parts=True, scales_by_length=True),),
    ),
    "phi4_multimodal": _PHI,
    "qwen2": Family(gguf=(Gguf("qwen2", all_heads=True), _LLAMA, _DECI)),
    "qwen2_vl_text": Family(gguf=(Gguf("qwen2vl", all_heads=True),)),
    "qwen2_5_vl_text": Family(gguf=(Gguf("qwen2vl", all_heads=True),)),
    "qwen3": Family(gguf=(Gguf("qwen3"),)),
    "qwen3_vl_text": Family(gguf=(Gguf("qwen3vl"),)),
    "qwen3_5_text": Family(
        attention=_GATED_QUERIES,
        gguf=(
            Gguf(
                "qwen35",
                position_sections=(11, 11, 10),
                adds_one=True,
                rotates_parts=True,
                renames={".dt_bias": ".dt_proj.bias"},
            ),
        ),
    ),
    "seed_oss": Family(gguf=(Gguf("seed_oss"), _DECI)),
    "smollm3": Family(gguf=(Gguf("smollm3", rotates_pairs=True, skips_rotation=4),)),
    "stablelm": Family(
        gguf=(Gguf("stablelm", all_heads=True, rotates_parts=True, has_own_head=True),)
    ),
    "starcoder2": Family(
        gguf=(
            Gguf(
                "starcoder2",
                all_heads=True,
                activations=_GELU,
                assumes={"use_bias": True},
            ),
        )
    ),
    "qwen3_5_moe_text": Family(attention=_GATED_QUERIES),
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
