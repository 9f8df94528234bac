"""Random models whose blocks get arguments that depend on the tokens.

In all but one, the last blocks read keys and values of earlier ones.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
)

from tests.helpers.tiny_models import VOCABULARY, byte_tokenizer

# The heads of block 0 alone can be removed. Blocks 1 and 2 write keys and values; two
# other blocks read the ones of block 1.
BLOCKS = 6
SMALL = {
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size": 16,
    "hidden_size_per_layer_input": 8,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "num_kv_shared_layers": 3,
    "layer_types": [*["sliding_attention"] * 2, "full_attention"] * 2,
    "sliding_window": 8,
    "max_position_embeddings": 64,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
}
_GEMMA_3N = SMALL | {
    "intermediate_size": [24] * BLOCKS,
    "activation_sparsity_pattern": [0.0] * BLOCKS,
    "laurel_rank": 4,
}
# The MLPs of the blocks that read keys are twice as wide.
_GEMMA_4 = SMALL | {
    "intermediate_size": 24,
    "global_head_dim": 6,
    "use_double_wide_mlp": True,
}
# Like the larger ones: no keys are shared, and the widths of blocks differ.
_GEMMA_4_DENSE = _GEMMA_4 | {
    "num_kv_shared_layers": 0,
    "use_double_wide_mlp": False,
    "attention_k_eq_v": True,
    "num_global_key_value_heads": 1,
}
_IMAGES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "global_head_dim": 8,
    "patch_size": 4,
    "pooling_kernel_size": 2,
    "position_embedding_size": 16,
}


def _text(model_type: str, **options: object) -> PreTrainedModel:
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **options))


def _gemma_4_with_images() -> PreTrainedModel:
    config = AutoConfig.for_model(
        "gemma4",
        text_config=_GEMMA_4 | {"vocab_size": VOCABULARY + 3},
        vision_config=_IMAGES,
        audio_config=None,
        image_token_id=VOCABULARY,
        boi_token_id=VOCABULARY + 1,
        eoi_token_id=VOCABULARY + 2,
    )
    return AutoModelForImageTextToText.from_config(config)


def gemma_3n(**options: object) -> PreTrainedModel:
    return _text("gemma3n_text", **_GEMMA_3N | options)


SHARED_KEYS: dict[str, Callable[[], PreTrainedModel]] = {
    "gemma3n_text": gemma_3n,
    "gemma4_text": lambda: _text("gemma4_text", **_GEMMA_4),
    "gemma4": _gemma_4_with_images,
    "gemma4_dense": lambda: _text("gemma4_text", **_GEMMA_4_DENSE),
}


def model_with_shared_keys(family: str) -> PreTrainedModel:
    """Return a frozen random model in which every weight matters."""
    torch.manual_seed(0)
    model = SHARED_KEYS[family]().eval().requires_grad_(False)
    for weight in model.parameters():
        if weight.ndim == 2:
            weight.normal_(std=0.3)
    return model


def save_model_with_shared_keys(folder: Path, family: str) -> Path:
    """Write a model folder with transformers."""
    model_with_shared_keys(family).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder
