"""Random models of the families that llama.cpp runs, with large weights.

Heads have 32 features, the minimum of llama.cpp's kernels, and rows are multiples of 32
numbers.
"""

import copy
from collections.abc import Callable

import torch
import transformers
from transformers import PreTrainedModel

from surgeon_engine.model.classes import model_class
from tests.helpers.gguf_files import LLAMA_3_ROPE

COMMON = {
    "vocab_size": 300,
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
GROUPED = COMMON | {"num_key_value_heads": 2, "intermediate_size": 96}
# A window that is shorter than the texts of the tests, in one of the blocks.
SLIDING = {
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
# Settings of Llamas that GGUF files hold.
LLAMA_VARIANTS = (
    {},
    {"attention_bias": True, "mlp_bias": True},
    {"rope_parameters": LLAMA_3_ROPE},
    {"rope_parameters": LLAMA_3_ROPE | {"rope_type": "linear"}},
    {"rope_parameters": YARN},
    {"tie_word_embeddings": True},
)


def model_of(name: str, **settings: object) -> Callable[..., PreTrainedModel]:
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
_IN_SECTIONS = GROUPED | {
    "rms_norm_eps": 1e-6,  # llama.cpp takes 0 in Qwen 2 VL
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [4, 6, 6],
    },
}
_INTERLEAVED = GROUPED | {
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
    "qwen3": model_of("Qwen3", **GROUPED, head_dim=32),
    "gemma": model_of("Gemma", **GROUPED, head_dim=32),
    "gemma2": model_of(
        "Gemma2", **GROUPED, **SLIDING, head_dim=32, query_pre_attn_scalar=32
    ),
    "gemma3_text": model_of(
        "Gemma3Text",
        **GROUPED,
        **SLIDING,
        **_BY_LAYER,
        head_dim=32,
        query_pre_attn_scalar=32,
    ),
    "phi3": model_of("Phi3", **GROUPED),
    "granite": model_of(
        "Granite",
        **GROUPED,
        embedding_multiplier=12,
        logits_scaling=8.0,
        residual_multiplier=0.22,
        attention_multiplier=0.1,
    ),
    "smollm3": model_of("SmolLM3", **GROUPED | {"num_hidden_layers": 4}),
    "glm4": model_of("Glm4", **GROUPED, head_dim=32),
    "olmo2": model_of("Olmo2", **GROUPED),
    "olmo3": model_of("Olmo3", **GROUPED, **SLIDING),
    "exaone4": model_of(
        "Exaone4",
        **GROUPED,
        sliding_window=None,
        layer_types=["full_attention"] * 3,
    ),
    "starcoder2": model_of("Starcoder2", **GROUPED),
    "stablelm": model_of("StableLm", **GROUPED, use_qkv_bias=True),
    "stablelm_head_norms": model_of("StableLm", **GROUPED, qk_layernorm=True),
    "gpt2": model_of("GPT2", **COMMON, n_inner=96),
    "gpt_neox": model_of("GPTNeoX", **COMMON, intermediate_size=96),
    "falcon": model_of(
        "Falcon",
        **COMMON,
        ffn_hidden_size=96,
        new_decoder_architecture=True,
        num_kv_heads=2,
    ),
    "falcon_multi_query": model_of("Falcon", **COMMON, ffn_hidden_size=96),
    "bloom": model_of("Bloom", **COMMON),
    "gemma3_with_images": model_of(
        "Gemma3",
        text_config=GROUPED
        | SLIDING
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
    "gemma4_text": model_of(
        "Gemma4Text",
        **GROUPED
        | SLIDING
        | {"layer_types": ["sliding_attention", "full_attention", "full_attention"]},
        head_dim=32,
        global_head_dim=64,
        hidden_size_per_layer_input=0,
        vocab_size_per_layer_input=300,
        final_logit_softcapping=30.0,
    ),
    "qwen3_5_text": model_of(
        "Qwen3_5Text",
        **GROUPED,
        head_dim=64,
        linear_key_head_dim=32,
        linear_value_head_dim=32,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
    ),
    "lfm2": model_of(
        "Lfm2",
        **GROUPED,
        block_auto_adjust_ff_dim=False,
        layer_types=["conv", "full_attention", "conv"],
    ),
    "phi": model_of("Phi", **GROUPED),
    "seed_oss": model_of("SeedOss", **GROUPED, head_dim=32),
    "nemotron": model_of("Nemotron", **GROUPED),
    "arcee": model_of("Arcee", **GROUPED),
    "cohere": model_of("Cohere", **GROUPED),
    "cohere2": model_of("Cohere2", **GROUPED, **SLIDING),
    "gpt_bigcode": model_of("GPTBigCode", **COMMON, n_inner=96),
    "gpt_bigcode_multi_head": model_of(
        "GPTBigCode", **COMMON, n_inner=96, multi_query=False
    ),
    "qwen2_vl_text": model_of(
        "Qwen2VL", text_config=_IN_SECTIONS, vision_config=_SMALL
    ),
    "qwen2_5_vl_text": model_of(
        "Qwen2_5_VL", text_config=_IN_SECTIONS, vision_config=_SMALL_2_5
    ),
    "qwen3_vl_text": model_of(
        "Qwen3VL",
        text_config=_INTERLEAVED,
        vision_config=_SMALL_3,
    ),
    "ernie4_5": model_of("Ernie4_5", **GROUPED, head_dim=32),
}
