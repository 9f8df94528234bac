"""The table of model families: the rules that follow from the model type alone.

Most layers are known by their names (`known_layers.py`). docs/families.md describes how
to add a family.
"""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.base.sentences import say
from surgeon_engine.model.known_layers import FUSED_BY_GROUP, GATED_QUERIES
from surgeon_engine.model.rules import (
    GATED,
    PLAIN,
    Family,
    Gguf,
    Order,
    fused,
    separate,
    written,
)

_NEOX_ROPE = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
_PHI = Family(
    attention=fused("o_proj", "qkv_proj"),
    mlp=fused("down_proj", "gate_up_proj", parts=GATED),  # fills up GGUF files
    reads_config=True,
)
_SOFTMAX, _SIGMOID = 1, 2  # llama.cpp's numbers of functions of a router's scores
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
    renames={
        ".layer_scalar": ".layer_scalar.weight",
        ".router.scale": ".router.proj.scale",
    },
)
_LFM_2 = Gguf(
    "lfm2",
    all_heads=True,
    marks_heads=True,
    options={
        "shortconv.l_cache": "conv_L_cache",
        "attention.layer_norm_rms_epsilon": "norm_eps",
    },
    assumes={"conv_bias": False},
    activations=(),
)
_DEEPSEEK_2 = Gguf(
    "deepseek2",
    has_latent_keys=True,
    has_dense_blocks=True,
    counts_shared=True,
    gating=_SIGMOID,
    assumes={"attention_bias": False, "rope_interleave": True},
)
_OLMO_2 = Gguf("olmo2", all_heads=True, has_own_head=True)
_QWEN_3_5 = Gguf(
    "qwen35",
    position_sections=(11, 11, 10),
    adds_one=True,
    rotates_parts=True,
    renames={".dt_bias": ".dt_proj.bias"},
)
FAMILIES = {
    "big_bird": Family(
        inseparable_heads=say(
            "For short texts, attentions of this architecture are built again with the "
            "number of heads that its config states: without one head they would fail."
        )
    ),
    "bloom": Family(
        gguf=(
            Gguf(
                "bloom",
                all_heads=True,
                activations=(),
                assumes={"apply_residual_connection_post_layernorm": False},
            ),
        ),
        attention=replace(FUSED_BY_GROUP, adds_residual=True),
        mlp=separate("dense_4h_to_h", "dense_h_to_4h", PLAIN, adds_residual=True),
        has_slopes=True,
        is_zero_at_zero=True,
    ),
    "arcee": Family(
        gguf=(replace(_LLAMA, architecture="arcee", activations=("relu2",)),)
    ),
    "codegen": Family(mlp_width="n_inner"),
    "cohere": written("command-r", all_heads=True, assumes={"use_qk_norm": False}),
    "cohere2": written("cohere2", all_heads=True, has_windows=True),
    "cpmant": Family(mlp_width="dim_ff"),
    "ctrl": Family(mlp_width="dff"),
    "deepseek_v2": Family(
        gguf=(
            replace(
                _DEEPSEEK_2,
                gating=_SOFTMAX,
                assumes={
                    "attention_bias": False,
                    "topk_method": "greedy",
                    "norm_topk_prob": False,
                },
            ),
        )
    ),
    "deepseek_v3": Family(gguf=(_DEEPSEEK_2,)),
    "diffllama": Family(
        inseparable_heads=say(
            "Heads of this architecture are subtracted from each other: without one "
            "head another would change."
        )
    ),
    "dots1": written(
        "dots1", has_dense_blocks=True, counts_shared=True, gating=_SIGMOID
    ),
    "ernie4_5": written("ernie4_5", assumes={"use_bias": False}),
    "ernie4_5_moe": written(
        "ernie4_5-moe",
        has_dense_blocks=True,
        options={"interleave_moe_layer_step": "moe_layer_interval"},
        assumes={"use_bias": False},
    ),
    "exaone_moe": written(
        "exaone-moe",
        has_windows=True,
        has_dense_blocks=True,
        gating=_SIGMOID,
        scales_by_factors=True,
    ),
    "exaone4": written(
        "exaone4",
        all_heads=True,
        scales_by_factors=True,
        assumes={"sliding_window": None},
    ),
    # Old models by head, new ones by KV group; multi-query is one group.
    "falcon": Family(
        attention=FUSED_BY_GROUP,
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
    "gemma3_text": Family(gguf=(_GEMMA_3,), window_theta="rope_local_base_freq"),
    "gemma3n_text": Family(window_theta="rope_local_base_freq"),
    "gemma4_text": Family(gguf=(_GEMMA_4,)),
    "glm4": Family(
        mlp=fused("down_proj", "gate_up_proj", parts=GATED),
        gguf=(Gguf("glm4", rotates_parts=True),),
    ),
    "glm4_moe": written(
        "glm4moe",
        rotates_parts=True,
        has_dense_blocks=True,
        counts_shared=True,
        gating=_SIGMOID,
    ),
    "glm4_moe_lite": Family(gguf=(_DEEPSEEK_2,)),
    "gpt_oss": written(
        "gpt-oss",
        truncates=True,
        has_windows=True,
        has_own_head=True,
        assumes={"attention_bias": True, "swiglu_limit": 7.0},
        renames={".sinks": ".sinks.weight"},
    ),
    "glm_moe_dsa": Family(needs_attentions=True),  # later ones read what they choose
    "gpt2": Family(
        attention=fused("c_proj", "c_attn"),
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
        attention=fused("c_proj", "c_attn", Order.BY_GROUP),
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
        attention=FUSED_BY_GROUP,
        rope_names=_NEOX_ROPE,
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
        attention=replace(FUSED_BY_GROUP, whole=("dense_bias",)),
        needs_attentions=True,  # their bias
        rope_names=_NEOX_ROPE,
    ),
    "gptj": Family(mlp_width="n_inner"),
    "granite": written("granite", rotates_pairs=True, scales_by_factors=True),
    "granitemoe": written("granitemoe", rotates_pairs=True, scales_by_factors=True),
    "hunyuan_v1_moe": written("hunyuan-moe"),
    "lfm2": Family(gguf=(_LFM_2,)),
    "lfm2_moe": Family(
        gguf=(
            replace(
                _LFM_2,
                architecture="lfm2moe",
                gating=_SIGMOID,
                has_dense_blocks=True,
                assumes={
                    "conv_bias": False,
                    "norm_topk_prob": True,
                    "routed_scaling_factor": 1.0,
                    "use_expert_bias": True,
                },
            ),
        )
    ),
    "llama": Family(gguf=(_LLAMA, _DECI)),
    "mamba": Family(uncalled="mixer.dt_proj"),
    "mistral": Family(gguf=(_LLAMA, _DECI)),
    "minimax_m2": written("minimax-m2", rotates_parts=True, gating=_SIGMOID),
    "mixtral": Family(gguf=(_LLAMA,)),
    "moshi": Family(mlp=fused("fc2", "fc1", parts=GATED), mlp_width="ffn_dim"),
    "nemotron": written(
        "nemotron",
        all_heads=True,
        rotates_parts=True,
        adds_one=True,
        has_own_head=True,
        activations=("relu2",),
        options={"attention.layer_norm_epsilon": "norm_eps"},
    ),
    "olmoe": written(
        "olmoe",
        all_heads=True,
        has_own_head=True,
        assumes={"clip_qkv": None, "norm_topk_prob": False},
    ),
    "olmo2": Family(gguf=(_OLMO_2,)),
    "olmo3": Family(
        gguf=(replace(_OLMO_2, has_windows=True),), window_theta="rope_theta"
    ),
    "openai-gpt": Family(
        attention=fused("c_proj", "c_attn"),
        needs_attentions=True,  # a list
    ),
    "opt": Family(mlp_width="ffn_dim"),
    "persimmon": Family(attention=FUSED_BY_GROUP),
    "phi": written(
        "phi2",
        all_heads=True,
        rotates_parts=True,
        has_own_head=True,
        activations=_GELU,
        assumes={"qk_layernorm": False},
    ),
    "phi3": replace(
        _PHI,
        gguf=(Gguf("phi3", all_heads=True, rotates_parts=True, scales_by_length=True),),
    ),
    "phi4_multimodal": _PHI,
    "qwen2": Family(gguf=(Gguf("qwen2", all_heads=True), _LLAMA, _DECI)),
    "qwen2_vl_text": written("qwen2vl", all_heads=True),
    "qwen2_5_vl_text": written("qwen2vl", all_heads=True),
    "qwen2_moe": written("qwen2moe", all_heads=True, assumes={"norm_topk_prob": False}),
    "qwen3": written("qwen3"),
    "qwen3_moe": written("qwen3moe", assumes={"norm_topk_prob": True}),
    "qwen3_vl_text": written("qwen3vl"),
    "qwen3_5_text": Family(attention=GATED_QUERIES, gguf=(_QWEN_3_5,)),
    "reformer": Family(
        mlp=replace(
            separate("output.dense", "dense.dense", PLAIN),
            whole=("layer_norm.weight", "layer_norm.bias"),
        ),
        mlp_width="feed_forward_size",
    ),
    "rwkv": Family(mlp=replace(separate("value", "key", PLAIN), whole=("receptance",))),
    "seed_oss": Family(gguf=(Gguf("seed_oss"), _DECI)),
    "smollm3": written("smollm3", rotates_pairs=True, skips_rotation=4),
    "stablelm": written(
        "stablelm", all_heads=True, rotates_parts=True, has_own_head=True
    ),
    "starcoder2": written(
        "starcoder2",
        all_heads=True,
        activations=_GELU,
        assumes={"use_bias": True},
    ),
    "qwen3_5_moe_text": Family(
        attention=GATED_QUERIES, gguf=(replace(_QWEN_3_5, architecture="qwen35moe"),)
    ),
    "qwen3_next": Family(attention=GATED_QUERIES),
    "trocr": Family(
        inseparable_heads=say(
            "Attentions of this architecture join their heads to as many features as "
            "the hidden states have: without one head they would fail."
        ),
        mlp_width="decoder_ffn_dim",
    ),
    "xlnet": Family(
        mlp=replace(
            separate("layer_2", "layer_1", PLAIN, adds_residual=True),
            whole=("layer_norm.weight", "layer_norm.bias"),
        ),
        mlp_width="d_inner",
    ),
    "xmod": Family(needs_exact_products=True),
    "xglm": Family(mlp_width="ffn_dim"),
}
_OTHER = Family()
# The names under which configs state the number of heads.
HEAD_COUNTS = ("num_attention_heads", "num_key_value_heads", "num_kv_heads")
# The names of an MLP's width, after the family's own.
MLP_WIDTHS = ("intermediate_size", "shared_intermediate_size", "block_ff_dim")
# The names of the width of an MLP beside experts, where it has its own.
SHARED_WIDTHS = (
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "shared_intermediate_size",
)
# The names of an expert's width.
EXPERT_WIDTHS = ("moe_intermediate_size", "moe_hidden_size", "intermediate_size")
ACTIVATIONS = (
    "hidden_activation",
    "hidden_act",
    "activation_function",
    "activation",  # Falcon's
)


def family_of(model_type: str) -> Family:
    """Return the family of a model type; unknown types get the usual one."""
    return FAMILIES.get(model_type, _OTHER)
