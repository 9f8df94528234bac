"""Random mixtures of experts that llama.cpp runs, with large weights."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from surgeon_engine.api.config.pruning import Coupling, Structure
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.model.experts import hide_removed_experts
from tests.helpers.gguf_files import byte_pairs, pruned
from tests.helpers.gguf_models import GROUPED, SLIDING, model_of
from tests.helpers.pruned_models import without

_FEW = {"num_experts_per_tok": 2, "moe_intermediate_size": 64}
_LOCAL = GROUPED | {"num_local_experts": 6, "num_experts_per_tok": 2}
_ROUTED = GROUPED | _FEW | {"n_routed_experts": 6, "first_k_dense_replace": 1}
_LATENT = _ROUTED | {
    "num_key_value_heads": 4,
    "q_lora_rank": 64,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "v_head_dim": 32,
    "n_shared_experts": 1,
}
_LINEAR = {
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
_BY_CLASS = {"n_routed_experts": 8, "n_group": 2, "topk_group": 1}
# By the type of the model, or with a suffix for a variant.
MIXTURES: dict[str, Callable[..., PreTrainedModel]] = {
    "mixtral": model_of("Mixtral", **_LOCAL),
    "qwen2_moe": model_of(
        "Qwen2Moe", **GROUPED, **_FEW, num_experts=6, shared_expert_intermediate_size=96
    ),
    "qwen3_moe": model_of(
        "Qwen3Moe", **GROUPED, **_FEW, num_experts=6, head_dim=32, norm_topk_prob=True
    ),
    "olmoe": model_of(
        "Olmoe",
        **GROUPED | {"num_key_value_heads": 4},
        num_experts=6,
        num_experts_per_tok=2,
    ),
    "gpt_oss": model_of(
        "GptOss",
        **_LOCAL,
        **SLIDING,
        head_dim=32,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
    ),
    "glm4_moe": model_of("Glm4Moe", **_ROUTED, head_dim=64, use_qk_norm=True),
    "deepseek_v2": model_of("DeepseekV2", **_LATENT),
    "deepseek_v3": model_of("DeepseekV3", **_LATENT | _BY_CLASS),
    "glm4_moe_lite": model_of("Glm4MoeLite", **_LATENT),
    "dots1": model_of(
        "Dots1",
        **_ROUTED | {"num_key_value_heads": 4},
        n_shared_experts=1,
        head_dim=32,
    ),
    "ernie4_5_moe": model_of(
        "Ernie4_5_Moe",
        **GROUPED,
        head_dim=32,
        moe_num_experts=6,
        moe_k=2,
        moe_intermediate_size=64,
        moe_layer_start_index=1,
        moe_num_shared_experts=1,
    ),
    "exaone_moe": model_of(
        "ExaoneMoe", **_ROUTED | SLIDING, num_experts=6, head_dim=32
    ),
    "gemma4_text": model_of(
        "Gemma4Text",
        **GROUPED | SLIDING,
        final_logit_softcapping=30.0,
        head_dim=32,
        global_head_dim=64,
        hidden_size_per_layer_input=0,
        vocab_size_per_layer_input=300,
        enable_moe_block=True,
        num_experts=6,
        top_k_experts=2,
        moe_intermediate_size=64,
    ),
    "granitemoe": model_of("GraniteMoe", **_LOCAL),
    "hunyuan_v1_moe": model_of(
        "HunYuanMoEV1", **GROUPED, num_experts=6, moe_topk=2, head_dim=32
    ),
    "lfm2_moe": model_of(
        "Lfm2Moe",
        **GROUPED | _FEW,
        num_experts=6,
        num_dense_layers=1,
        layer_types=["conv", "full_attention", "conv"],
    ),
    "minimax_m2": model_of("MiniMaxM2", **_LOCAL, head_dim=32),
    "qwen3_5_moe_text": model_of(
        "Qwen3_5MoeText",
        **GROUPED | _FEW | _LINEAR,
        head_dim=64,
        num_experts=6,
        shared_expert_intermediate_size=64,
    ),
}


def without_experts(model: PreTrainedModel, neurons: int = 0) -> PrunedModel:
    """Return a model without the first expert of each class of each block.

    Each of the others has lost its last `neurons`.
    """

    def choose(unit) -> torch.Tensor:
        removed = torch.zeros(unit.candidates, dtype=torch.bool)
        if unit.coupled.kind is Coupling.EXPERTS:
            removed[
                : unit.coupled.groups : unit.coupled.groups // unit.coupled.classes
            ] = True
            removed[unit.candidates - neurons :] = True
        return removed

    plan = without(model, choose, Structure.EXPERTS_AND_NEURONS)
    hide_removed_experts(model)
    return pruned(model, plan)


def save_mxfp4(folder: Path) -> None:
    """Save GPT-OSS as it is published: with experts in MXFP4, the rest in bfloat16."""
    MIXTURES["gpt_oss"]().bfloat16().save_pretrained(folder)
    byte_pairs().save_pretrained(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name in [x for x in tensors if x.endswith("_proj") and ".experts." in x]:
        experts, columns, rows = tensors.pop(name).shape
        shape = (experts, rows, columns // 32)
        blocks = torch.randint(256, (*shape, 16), dtype=torch.uint8)
        tensors[f"{name}_blocks"] = blocks
        tensors[f"{name}_scales"] = torch.randint(119, 124, shape, dtype=torch.uint8)
    save_file(tensors, path, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4"}
    (folder / "config.json").write_text(json.dumps(config))
