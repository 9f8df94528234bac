"""The config of a language model without some of its blocks.

Configs describe blocks by lists with an entry for each, by numbers of blocks, or by
rules for numbers, such as "every second". A list loses entries, and numbers move up; a
rule stays, so that the new config may describe other blocks than the remaining ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from surgeon_engine.base.errors import ModelError
from surgeon_engine.compaction.config_values import config_of
from surgeon_engine.model.image_blocks import image_blocks
from surgeon_engine.model.layers import find_blocks

# Options with the number of a block, the first of a kind: of so many others before it.
_FIRST = ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")
_LAST = ("moe_layer_end_index",)  # with the number of the last of a kind
# With a list of the numbers of blocks.
_NUMBERS = (
    "attn_layer_indices",
    "cross_attention_layers",
    "full_attn_idxs",
    "hybrid_layer_ids",
    "mlp_only_layers",
    "moe_layers",
    "rope_scaling_layers",
)
_BY_NUMBER = ("per_layer_config",)  # with entries by the number of a block


def depth_config(
    model: PreTrainedModel, text: Mapping[str, Any], blocks: Sequence[int]
) -> dict[str, Any]:
    """Return the options that change when only some blocks of a model remain.

    `text` has all options of its language model, as in config.json; `blocks` has the
    numbers of the remaining blocks, ascending.

    Raises:
        ModelError: A block computes something else at another place.
    """
    config = model.config.get_text_config()
    if getattr(config, "scale_attn_by_inverse_layer_idx", False):
        raise ModelError(
            "{model_type} scales its attention by the number of the block, which "
            "changes when blocks before it are dropped.",
            "Choose the masked format.",
            model_type=type(model).__name__,
        )
    taken = image_blocks(model.config)
    if list(blocks[:taken]) != list(range(taken)):
        raise ModelError(
            "{model_type} adds features of images to its first {taken} blocks by their "
            "numbers, so that none of these can be dropped.",
            "Choose the masked format.",
            model_type=type(model).__name__,
            taken=taken,
        )
    total = len(find_blocks(model))
    name = config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    changed: dict[str, Any] = {name: len(blocks)}
    for key, value in text.items():
        if "layer" in key and isinstance(value, list) and len(value) == total:
            changed[key] = [value[block] for block in blocks]
    if "attention_types" in text:  # GPT-Neo: kinds, and how often they repeat
        kinds = changed["attention_layers"]
        changed["attention_types"] = [[[kind], 1] for kind in kinds]
    return changed | _renumbered(text, blocks)


def _renumbered(text: Mapping[str, Any], blocks: Sequence[int]) -> dict[str, Any]:
    """Return the options that hold numbers of blocks, for the remaining blocks."""
    place = {block: index for index, block in enumerate(blocks)}
    found: dict[str, Any] = {}
    for key, value in text.items():
        match value:
            case int() if key in _FIRST:
                found[key] = sum(block < value for block in blocks)
            case int() if key in _LAST:
                found[key] = sum(block <= value for block in blocks) - 1
            case list() if key in _NUMBERS:
                found[key] = [place[block] for block in value if block in place]
            case dict() if key in _BY_NUMBER:
                own = {int(block): each for block, each in value.items()}
                found[key] = {
                    str(place[block]): own[block] for block in own if block in place
                }
    return found


def without_weights(
    model: PreTrainedModel, values: Mapping[str, Any]
) -> PreTrainedModel:
    """Return a model of the class of another one, from the values of its config."""
    config = config_of(values)
    with torch.device("meta"):
        return type(model)._from_config(config)
