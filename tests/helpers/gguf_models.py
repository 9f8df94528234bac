"""Random models of the families that llama.cpp runs, with large weights.

Heads have 32 features, the minimum of llama.cpp's kernels, and rows are multiples of 32
numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import transformers
from transformers import PreTrainedModel

from surgeon_engine.model.classes import model_class

_COMMON = {
    "vocab_size": 300,
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_GROUPED = _COMMON | {"num_key_value_heads": 2, "intermediate_size": 96}
# A window that is shorter than the texts of the tests, in one of the blocks.
_SLIDING = {
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}


def _model(name: str, **settings: object) -> Callable[..., PreTrainedModel]:
    def make(**further: object) -> PreTrainedModel:
        torch.manual_seed(0)
        kind = getattr(transformers, f"{name}Config")
        values = kind(**copy.deepcopy(settings | further))  # configs change them
        model = model_class(values)(values)
        return enlarge_weights(model.eval().requires_grad_(False))

    return make


def enlarge_weights(model: PreTrainedModel) -> PreTrainedModel:
    """Draw weights, biases and norms that all matter for the logits."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(std=0.3)
        elif parameter.ndim == 2:
            parameter.normal_(std=0.15)
        else:
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


_BY_LAYER = {
    "rope_parameters": {
        "full_attention": {
            "rope_type": "linear",
            "rope_theta": 1e6,
            "factor": 4.0,
        },
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
}
_IN_SECTIONS = _GROUPED | {
    "rms_norm_eps": 1e-6,  # llama.cpp takes 0 in Qwen 2 VL
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [4, 6, 6],
    },
}
_INTERLEAVED = _GROUPED | {
    "head_dim": 32,
    "rope_parameters": _IN_SECTIONS["rope_parameters"] | {"mrope_section": [6, 5, 5]},
}
_SMALL = {"depth": 1, "embed_dim": 32, "hidden_size": 128, "num_heads": 2}
_SMALL_2_5 = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "out_hidden_size": 128,
}
_SMALL_3 = _SMALL_2_5 | {"deepstack_visual_indexes": [0]}
# By the type of the model, or with a suffix for a variant.
GGUF_FAMILIES: dict[str, Callable[..., PreTrainedModel]] = {
    "qwen3": _model("Qwen3", **_GROUPED, head_dim=32),
    "gemma": _model("Gemma", **_GROUPED, head_dim=32),
    "gemma2": _model(
        "Gemma2", **_GROUPED, **_SLIDING, head_dim=32, query_pre_attn_scalar=32
    ),
    "gemma3_text": _model(
        "Gemma3Text",
        **_GROUPED,
        **_SLIDING,
        **_BY_LAYER,
        head_dim=32,
        query_pre_attn_scalar=32,
    ),
    "phi3": _model("Phi3", **_GROUPED),
    "granite": _model(
        "Granite",
        **_GROUPED,
        embedding_multiplier=12,
        logits_scaling=8.0,
        residual_multiplier=0.22,
        attention_multiplier=0.1,
    ),
    "smollm3": _model("SmolLM3", **_GROUPED | {"num_hidden_layers": 4}),
    "glm4": _model("Glm4", **_GROUPED, head_dim=32),
    "olmo2": _model("Olmo2", **_GROUPED),
    "olmo3": _model("Olmo3", **_GROUPED, **_SLIDING),
    "exaone4": _model(
        "Exaone4",
        **_GROUPED,
        sliding_window=None,
        layer_types=["full_attention"] * 3,
    ),
    "starcoder2": _model("Starcoder2", **_GROUPED),
    "stablelm": _model("StableLm", **_GROUPED, use_qkv_bias=True),
    "stablelm_head_norms": _model("StableLm", **_GROUPED, qk_layernorm=True),
    "gpt2": _model("GPT2", **_COMMON, n_inner=96),
    "gpt_neox": _model("GPTNeoX", **_COMMON, intermediate_size=96),
    "falcon": _model(
        "Falcon",
        **_COMMON,
        ffn_hidden_size=96,
        new_decoder_architecture=True,
        num_kv_heads=2,
    ),
    "falcon_multi_query": _model("Falcon", **_COMMON, ffn_hidden_size=96),
    "bloom": _model("Bloom", **_COMMON),
    "gemma3_with_images": _model(
        "Gemma3",
        text_config=_GROUPED
        | _SLIDING
        | _BY_LAYER
        | {"head_dim": 32, "query_pre_attn_scalar": 32},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        boi_token_index=297,
        eoi_token_index=298,
        image_token_index=299,
    ),
    "gemma4_text": _model(
        "Gemma4Text",
        **_GROUPED
        | _SLIDING
        | {"layer_types": ["sliding_attention", "full_attention", "full_attention"]},
        head_dim=32,
        global_head_dim=64,
        hidden_size_per_layer_input=0,
        vocab_size_per_layer_input=300,
        final_logit_softcapping=30.0,
    ),
    "qwen3_5_text": _model(
        "Qwen3_5Text",
        **_GROUPED,
        head_dim=64,
        linear_key_head_dim=32,
        linear_value_head_dim=32,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
    ),
    "lfm2": _model(
        "Lfm2",
        **_GROUPED,
        block_auto_adjust_ff_dim=False,
        layer_types=["conv", "full_attention", "conv"],
    ),
    "phi": _model("Phi", **_GROUPED),
    "seed_oss": _model("SeedOss", **_GROUPED, head_dim=32),
    "nemotron": _model("Nemotron", **_GROUPED),
    "arcee": _model("Arcee", **_GROUPED),
    "cohere": _model("Cohere", **_GROUPED),
    "cohere2": _model("Cohere2", **_GROUPED, **_SLIDING),
    "gpt_bigcode": _model("GPTBigCode", **_COMMON, n_inner=96),
    "gpt_bigcode_multi_head": _model(
        "GPTBigCode", **_COMMON, n_inner=96, multi_query=False
    ),
    "qwen2_vl_text": _model("Qwen2VL", text_config=_IN_SECTIONS, vision_config=_SMALL),
    "qwen2_5_vl_text": _model(
        "Qwen2_5_VL", text_config=_IN_SECTIONS, vision_config=_SMALL_2_5
    ),
    "qwen3_vl_text": _model(
        "Qwen3VL",
        text_config=_INTERLEAVED,
        vision_config=_SMALL_3,
    ),
    "ernie4_5": _model("Ernie4_5", **_GROUPED, head_dim=32),
}
