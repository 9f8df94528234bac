"""The blocks of a language model to which features of images are added."""

from __future__ import annotations

from transformers import PretrainedConfig


def image_blocks(config: PretrainedConfig) -> int:
    """Return how many of the first blocks get features of images; 0: none.

    They come from layers inside of the tower, and are added by numbers of blocks.
    """
    parts = [config, *(getattr(config, name, None) for name in config.sub_configs)]
    found = [0]
    for part in parts:
        # The layers in the tower: the first is added to block 0, and so on.
        found.append(len(getattr(part, "deepstack_visual_indexes", None) or ()))
        # Pairs of a layer in the tower and a block.
        pairs = getattr(part, "deepstack_layer_map", None) or ()
        found += [1 + block for _, block in pairs]
    return max(found)
