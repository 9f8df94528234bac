"""Small sizes of language models, by their names in configs of transformers.

`particular` holds what the configs of single model types need beyond that.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Sizes(NamedTuple):
    """The sizes of a tiny language model."""

    hidden: int
    blocks: int
    heads: int
    key_value_heads: int
    head: int
    neurons: int


SIZES = {"usual": Sizes(64, 4, 4, 2, 16, 128), "odd": Sizes(96, 5, 6, 3, 16, 160)}

HIDDEN = (
    "hidden_size",
    "n_embd",
    "d_model",
    "word_embed_proj_dim",
    "embedding_size",
    "emb_dim",
    "out_hidden_size",
    "text_hidden_size",
    "hidden_size_global",
    "adapter_in_dim",
    "adapter_input_size",
    "adapter_out_dim",
)
BLOCKS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "depth", "layers")
HEADS = (
    "num_attention_heads",
    "n_head",
    "n_heads",
    "num_heads",
    "attention_heads",
)
KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads")
NEURONS = (
    "intermediate_size",
    "ffn_dim",
    "ffn_hidden_size",
    "n_inner",
    "dim_ff",
    "dff",
    "d_inner",
    "intermediate_dim",
    "feed_forward_size",
    "shared_intermediate_size",
    "intermediate_size_mlp",
    "dense_intermediate_size",
)
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
HEAD = ("head_dim", "d_head")
BLOCK_KINDS = ("layers_block_type", "layer_types")
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def others(sizes: Sizes) -> dict[str, Any]:
    """Return further sizes by their names in configs."""
    return {
        "vocab_size": 2048,
        "unpadded_vocab_size": 2048,
        "max_position_embeddings": 512,
        "n_positions": 512,
        "n_ctx": 512,
        "num_experts_per_tok": 2,
        "num_experts_per_token": 2,
        "moe_topk": 2,
        "moe_k": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "shared_experts_intermediate_size": 32,
        "moe_shared_expert_intermediate_size": 32,
        "expert_ffn_hidden_size": 32,
        "n_group": 1,
        "num_expert_group": 1,
        "topk_group": 1,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 16,
        "sliding_window": 32,
        "decoder_layers": 2,
        "encoder_layers": 2,
        "decoder_attention_heads": 4,
        "encoder_attention_heads": 4,
        "decoder_ffn_dim": 128,
        "encoder_ffn_dim": 128,
        "mamba_n_heads": 2 * sizes.hidden // 16,
        "mamba_d_head": 16,
        "mamba_d_state": 16,
        "mamba_expand": 2,
        "mamba_n_groups": 1,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "hidden_size_per_layer_input": 16,
        "vocab_size_per_layer_input": 512,
        "num_kv_shared_layers": 1,
        "dim_head": 16,
        "lora_rank": 8,
        "rotary_dim": 8,
        "index_head_dim": 16,
        "index_n_heads": 2,
        "index_topk": 16,
        "projector_hidden_size": 64,
    }


def particular(sizes: Sizes) -> dict[str, dict[str, Any]]:
    """Return what configs of some types need beyond small sizes."""
    hidden, blocks = sizes.hidden, sizes.blocks
    return {
        "apertus1p5": {
            "image_token_id": 100,
            "audio_token_id": 101,
            "image_token_offset": 512,
            "audio_token_offset": 1024,
        },
        "apertus1p5_vision_tokenizer": {"codebook_size": 512, "base_channels": 32},
        "wavtokenizer_encoder": {"codebook_size": 512, "codebook_dim": hidden},
        "blt": {"encoder_hash_byte_group_vocab": 1000},
        "chameleon": {"vocabulary_map": {"<image>": 2000, "IMGIMGA": 2001}},
        "cohere_compass_text": {
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 10000.0}
            }
        },
        "cosmos3_edge_text": {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 2, 2],
            }
        },
        "dbrx": {
            "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
            "ffn_config": {"ffn_hidden_size": 128, "moe_top_k": 2},
        },
        "deepseek_ocr2_text": {
            "mlp_layer_types": ["dense"] + ["sparse"] * (blocks - 1),
            "num_experts_per_tok": 2,
        },
        "deepseek_v2": {"num_experts_per_tok": 2},
        "diffllama": {"num_key_value_heads": 2},
        "diffusion_gemma_text": {
            "num_experts": 4,
            "top_k_experts": 2,
            "global_head_dim": 32,
            "moe_intermediate_size": 32,
        },
        "dots1": {
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "num_experts_per_tok": 2,
        },
        "dots3_note_text": {"num_key_value_heads": sizes.heads},
        "emu3": {"vocabulary_map": {"<image>": 2000, "<|visual token 1|>": 2001}},
        "emu3_vqgan": {"base_channels": 32, "codebook_size": 512},
        "ernie4_5_vl_moe_text": {
            "moe_intermediate_size": [32, 32],
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [3, 3, 2],
            },
        },
        "falcon_h1": {"mamba_d_ssm": 2 * hidden},
        "florence_vision": {
            "depths": [1] * 4,
            "embed_dim": [16, 32, 48, 64],
            "num_heads": [2] * 4,
            "num_groups": [2] * 4,
            "projection_dim": hidden,
        },
        "gemma4_assistant": {
            "text_config": {
                "model_type": "gemma4_text",
                "hidden_size": hidden,
                "num_hidden_layers": blocks,
                "num_kv_shared_layers": blocks,
                "hidden_size_per_layer_input": 0,
                "vocab_size_per_layer_input": 0,
                "vocab_size": 2048,
            }
        },
        "gemma4_text": {"global_head_dim": 32},
        "gemma4_unified_text": {"global_head_dim": 32},
        "glm5_next_text": {
            "num_key_value_heads": sizes.heads,
            "qk_rope_head_dim": 0,
        },
        "gpt_neo": {"attention_types": [[(["global", "local"] * blocks)[:blocks], 1]]},
        "granite4_vision": {
            "deepstack_layer_map": [[-1, 1]],
            "spatial_target_layers": [1, 2, 2, 3],
            "downsample_rate": "1/2",
        },
        "granitemoehybrid": {
            "layer_types": (["linear_attention", "full_attention"] * blocks)[:blocks]
        },
        "hy_v4_vl_text": {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 1, 1],
            }
        },
        "janus_vqgan": {"base_channels": 32, "num_embeddings": 512},
        "kosmos_2_text_model": {"embed_dim": hidden},
        "kosmos_2_5_text_model": {"embed_dim": hidden},
        "lfm2_moe": {"layer_types": (["conv", "full_attention"] * blocks)[:blocks]},
        "mamba2": {"num_heads": hidden // 8, "head_dim": 16, "n_groups": 2},
        "molmo2_adapter": {"vision_feature_layer": [3, 1]},
        "muse_spark_audio": {"hidden_sizes": [16, 32, 48, hidden]},
        "nemotron": {"num_key_value_heads": sizes.key_value_heads},
        "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 16, "n_groups": 2},
        "nemotron_h_omni": {"vision_hidden_size": hidden},
        "paddleocr_vl_text": {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 2, 2],
            }
        },
        "qwen2_vl_vision": {"embed_dim": 64},
        "qwen4_exp_text": {
            "indexer_n_heads": 2,
            "indexer_kv_heads": 1,
            "indexer_head_dim": 16,
            "indexer_budget": 16,
            "indexer_compress_ratio": 4,
        },
        "radio": {"video_temporal_patch_size": 2},
        "reformer": {
            "is_decoder": True,
            "attention_head_size": 16,
            "attn_layers": (["local", "lsh"] * blocks)[:blocks],
            "axial_pos_shape": [8, 64],
            "axial_pos_embds_dim": [16, hidden - 16],
        },
        "step3p5": {"sliding_window": 32},
        "xmod": {"default_language": "en_XX"},
        "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
        "bamba": {"attn_layer_indices": [1, 3]},
        "zamba2": {"adapter_rank": 8, "mamba_ngroups": 2},
        "zaya": {"num_experts_per_tok": 1},
    }
