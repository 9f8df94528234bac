"""Random models that read images and text, with a few thousand weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    SiglipVisionConfig,
)

from tests.helpers.tiny_models import VOCABULARY, byte_tokenizer

_IMAGE, _BEGIN, _END, _VIDEO = (VOCABULARY - n for n in (1, 2, 3, 4))
_TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
}
# The tower has more blocks than the language model.
_TOWER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}


def _gemma3() -> PreTrainedModel:
    return Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config=Gemma3TextConfig(**_TEXT, head_dim=8, sliding_window=16),
            vision_config=SiglipVisionConfig(**_TOWER),
            mm_tokens_per_image=4,
            image_token_index=_IMAGE,
            boi_token_index=_BEGIN,
            eoi_token_index=_END,
        )
    )


def _llava() -> PreTrainedModel:
    return LlavaForConditionalGeneration(
        LlavaConfig(
            text_config=LlamaConfig(**_TEXT),
            vision_config=CLIPVisionConfig(**_TOWER, projection_dim=16),
            image_token_index=_IMAGE,
            image_seq_length=4,
        )
    )


def _qwen2_5_vl() -> PreTrainedModel:
    positions = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    tower = {
        "depth": 3,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "patch_size": 4,
        "window_size": 16,
        "fullatt_block_indexes": [1],
        "out_hidden_size": 32,
    }
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config=_TEXT | {"rope_parameters": positions},
            vision_config=tower,
            image_token_id=_IMAGE,
            video_token_id=_VIDEO,
            vision_start_token_id=_BEGIN,
            vision_end_token_id=_END,
        )
    )


MULTIMODAL: dict[str, Callable[[], PreTrainedModel]] = {
    "gemma3": _gemma3,
    "llava": _llava,
    "qwen2_5_vl": _qwen2_5_vl,
}


def save_multimodal(folder: Path, family: str) -> Path:
    """Write the folder of a random model that reads images."""
    torch.manual_seed(0)
    _ = MULTIMODAL[family]().save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"do_resize": true}\n')
    return folder


def image_and_text(family: str) -> dict[str, Any]:
    """Return the inputs for a text with an image in it."""
    draw = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 8, 8, generator=draw)
    tokens = 2 if family == "qwen2_5_vl" else 4
    ids = torch.tensor([[5, _BEGIN, *[_IMAGE] * tokens, _END, 7, 8]])
    match family:
        case "gemma3":
            is_image = (ids == _IMAGE).long()
            return {"input_ids": ids, "pixel_values": image, "token_type_ids": is_image}
        case "llava":
            return {"input_ids": ids, "pixel_values": image}
        case _:
            patches = torch.rand(8, 3 * 2 * 4 * 4, generator=draw)
            grid = torch.tensor([[1, 2, 4]])
            return {"input_ids": ids, "pixel_values": patches, "image_grid_thw": grid}
