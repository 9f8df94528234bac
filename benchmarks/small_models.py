"""Build a tiny instance of any class of transformers, by the names of sizes in configs.

A config gets small numbers for the sizes whose names are usual. `_particular` holds
what the configs of single model types need beyond that. A class with experts may have a
variant without them, if its config can say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch
import transformers
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from surgeon_engine.base.errors import EngineError
from surgeon_engine.model.layers import has_experts, language_model_of

KINDS = {
    "causal": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "image": modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
}
_LARGEST = 80e6  # parameters


class Sizes(NamedTuple):
    """The sizes of a tiny language model."""

    hidden: int
    blocks: int
    heads: int
    key_value_heads: int
    head: int
    neurons: int


SIZES = {"usual": Sizes(64, 4, 4, 2, 16, 128), "odd": Sizes(96, 5, 6, 3, 16, 160)}

_HIDDEN = (
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
_BLOCKS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "depth", "layers")
_HEADS = (
    "num_attention_heads",
    "n_head",
    "n_heads",
    "num_heads",
    "attention_heads",
)
_KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads")
_NEURONS = (
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
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_HEAD = ("head_dim", "d_head")
_BLOCK_KINDS = ("layers_block_type", "layer_types")
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _others(sizes: Sizes) -> dict[str, Any]:
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


def _particular(sizes: Sizes) -> dict[str, dict[str, Any]]:
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
            "mlp_layer_types": ["dense"] + ["sparse"] * (blocks - 1)
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


def build(kind: str, model_type: str, sizes: Sizes, *, dense: bool) -> PreTrainedModel:
    """Return a random model of a class, if possible one that runs on text.

    Args:
        kind: a key of KINDS.
        model_type: a key of its value.
        sizes: those of the language model.
        dense: without experts, though the class has them by default.

    Raises:
        Exception: It cannot be built, or is not small.
    """
    stock = getattr(transformers, KINDS[kind][model_type])
    built: PreTrainedModel | None = None
    problem: Exception = ValueError("no config")
    for make in _configs(stock, model_type, sizes, dense=dense):
        try:
            model = _built(stock, make(), dense=dense)
        except Exception as error:  # noqa: BLE001
            problem = error
            continue
        built = built or model
        if not why_not_run(model):
            return model
    if built is None:
        raise problem
    return built


def without_weights(
    kind: str, model_type: str, sizes: Sizes = SIZES["usual"]
) -> PreTrainedModel:
    """Return a small model of a class on the meta device."""
    stock = getattr(transformers, KINDS[kind][model_type])
    config = next(_configs(stock, model_type, sizes, dense=False))()
    with torch.device("meta"):
        return stock._from_config(config)


def why_not_run(model: PreTrainedModel) -> str:
    """Return why transformers cannot run a model on text alone; empty if it can."""
    try:
        logits(model)
    except Exception as error:  # noqa: BLE001
        return repr(error)
    return ""


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    """Return the logits of a short random text."""
    ids = torch.randint(3, 90, (2, 20), generator=torch.Generator().manual_seed(0))
    whole = language_model_of(model.eval())
    return whole(input_ids=ids, use_cache=False).logits.float()


def routes(model: PreTrainedModel) -> bool:
    """Return whether a model has experts; it may have no blocks at all."""
    try:
        return has_experts(model)
    except EngineError:
        return False


def _built(
    stock: type[PreTrainedModel], config: PretrainedConfig, *, dense: bool
) -> PreTrainedModel:
    with torch.device("meta"):
        model = stock._from_config(config)
    parameters = sum(p.numel() for p in model.parameters())
    if parameters > _LARGEST:
        raise ValueError(f"{parameters:,} parameters")
    if dense and routes(model):
        raise ValueError("has experts all the same")
    torch.manual_seed(0)
    model = stock._from_config(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms: each of another head is another
            parameter.data.add_(0.1 * torch.rand_like(parameter))
    return model


def _configs(
    stock: type[PreTrainedModel], model_type: str, sizes: Sizes, *, dense: bool
) -> Iterator[Callable[[], PretrainedConfig]]:
    """Yield functions that return configs to try."""
    # A class of a language model inside another model has the config of that alone.
    stated = CONFIG_MAPPING[model_type]
    parts = (getattr(stated, "sub_configs", None) or {}).values()
    kind = stock.config_class if stock.config_class in parts else stated
    # Sections of rotated features by the axis of their position, in some models.
    sections = (None, [4, 2, 2], [2, 1, 1])
    without = [{**_dense(sizes), **dict.fromkeys(_EXPERTS, n)} for n in (4, 0, 1)]
    for more in without if dense else [{}]:
        for parts, shortens in product(sections, (True, False)):
            yield partial(_small, kind, sizes, more, parts, shortens=shortens)


def _dense(sizes: Sizes) -> dict[str, Any]:
    """Return options by which all blocks have a dense MLP."""
    blocks = sizes.blocks
    return {
        "first_k_dense_replace": blocks,
        "num_dense_layers": blocks,
        "mlp_layer_types": ["dense"] * blocks,
        "mlp_only_layers": list(range(blocks)),
        "moe_layers": [],
        "moe_layer_start_index": blocks,
        "is_moe": False,
    }


def _small(
    kind: type[PretrainedConfig],
    sizes: Sizes,
    more: Mapping[str, Any],
    sections: Sequence[int] | None,
    *,
    shortens: bool,
) -> PretrainedConfig:
    """Return a config with small sizes.

    Args:
        kind: its class.
        sizes: those of the language model.
        more: further options.
        sections: numbers of rotated features for each axis of a position.
        shortens: shorten the lists with an entry for each block.
    """
    particular = _particular(sizes).get(kind.model_type, {})
    small = {
        **dict.fromkeys(_HIDDEN, sizes.hidden),
        **dict.fromkeys(_BLOCKS, sizes.blocks),
        **dict.fromkeys(_HEADS, sizes.heads),
        **dict.fromkeys(_NEURONS, sizes.neurons),
        **dict.fromkeys(_EXPERTS, 4),
        **dict.fromkeys(_KEY_VALUE_HEADS, sizes.key_value_heads),
        **dict.fromkeys(_HEAD, sizes.head),
        **_others(sizes),
        **more,
    }
    try:
        usual = kind()
    except Exception:  # noqa: BLE001
        usual = kind(**particular)
    stated = usual.to_dict()
    chosen: dict[str, Any] = dict(_TOKENS)
    chosen |= {
        name: x
        for name, x in small.items()
        if stated.get(name) is not None
        or (name in stated and (name in _HEAD or name in more))
    }
    if "kv_lora_rank" in chosen:  # each head has its own keys, rotated in part
        chosen |= {n: sizes.heads for n in _KEY_VALUE_HEADS if n in stated}
        rotated = stated.get("qk_rope_head_dim")
        chosen |= {
            n: small["qk_rope_head_dim"] for n in _HEAD if stated.get(n, 0) == rotated
        }
    if shortens:
        chosen = _shortened(stated, sizes.blocks, is_dense=bool(more)) | chosen
    if "num_kv_shared_layers" in chosen and stated.get("layer_types"):
        # The last block reads the keys and values of the block before the last.
        kinds = ["sliding_attention"] * (sizes.blocks - 2) + ["full_attention"] * 2
        chosen["layer_types"] = kinds
    ignored = getattr(kind, "ignore_keys_at_rope_validation", ())
    if sections and "mrope_section" in ignored:
        chosen["rope_parameters"] = {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": sections,
        }
    for name, part in (getattr(kind, "sub_configs", None) or {}).items():
        own = getattr(usual, name, None)
        part = type(own) if isinstance(own, PretrainedConfig) else part
        try:
            small_part = _small(part, sizes, more, sections, shortens=shortens)
        except Exception:  # noqa: BLE001  (AutoConfig, or it cannot be small)
            continue
        chosen[name] = small_part.to_dict()
    return kind(**chosen | particular)


def _shortened(
    stated: Mapping[str, Any], blocks: int, *, is_dense: bool
) -> dict[str, list[Any]]:
    """Return the lists with an entry for each block, with all kinds of entries."""
    usual = next((stated[name] for name in _BLOCKS if stated.get(name)), 0)
    shortened = {}
    for name, entries in stated.items():
        if not isinstance(entries, list) or not entries:
            continue
        if len(entries) != usual and name not in _BLOCK_KINDS:
            continue
        kinds = [x for n, x in enumerate(entries) if x not in entries[:n]]
        if is_dense:
            kinds = [x for x in kinds if x not in ("moe", "sparse")] or ["dense"]
        shortened[name] = (kinds * blocks)[:blocks]
    return shortened
