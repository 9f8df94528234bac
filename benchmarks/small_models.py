"""Build a tiny instance of any class of transformers, by the names of sizes in configs.

A config gets the sizes of `small_sizes.py`. A class with experts may have a variant
without them, if its config can say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
import transformers
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from benchmarks.small_sizes import (
    BLOCK_KINDS,
    BLOCKS,
    EXPERTS,
    HEAD,
    HEADS,
    HIDDEN,
    KEY_VALUE_HEADS,
    NEURONS,
    SIZES,
    TOKENS,
    Sizes,
    others,
    particular,
)
from surgeon_engine.model.layers import language_model_of

KINDS = {
    "causal": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "image": modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
}
_LARGEST = 80e6  # parameters
_EXPERTS = re.compile(r"Experts|SparseMoe|MoE")  # in the name of a class


def build(kind: str, model_type: str, sizes: Sizes, *, dense: bool) -> PreTrainedModel:
    """Return a random model of a class, if possible one that runs on text.

    Args:
        kind: a key of KINDS.
        model_type: a key of its value.
        sizes: the sizes of the language model.
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
    """Return whether a model has experts, if only one, or none beside shared ones."""
    return any(_EXPERTS.search(type(module).__name__) for module in model.modules())


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
        if parameter.ndim == 2 and not parameter.any():  # a router that is not trained
            parameter.data.normal_(std=0.1)
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
    without = [{**_dense(sizes), **dict.fromkeys(EXPERTS, n)} for n in (4, 0, 1)]
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
        sizes: the sizes of the language model.
        more: further options.
        sections: numbers of rotated features for each axis of a position.
        shortens: shorten the lists with an entry for each block.
    """
    special = particular(sizes).get(kind.model_type, {})
    small = {
        **dict.fromkeys(HIDDEN, sizes.hidden),
        **dict.fromkeys(BLOCKS, sizes.blocks),
        **dict.fromkeys(HEADS, sizes.heads),
        **dict.fromkeys(NEURONS, sizes.neurons),
        **dict.fromkeys(EXPERTS, 4),
        **dict.fromkeys(KEY_VALUE_HEADS, sizes.key_value_heads),
        **dict.fromkeys(HEAD, sizes.head),
        **others(sizes),
        **more,
    }
    try:
        usual = kind()
    except Exception:  # noqa: BLE001
        usual = kind(**special)
    stated = usual.to_dict()
    chosen: dict[str, Any] = dict(TOKENS)
    chosen |= {
        name: x
        for name, x in small.items()
        if stated.get(name) is not None
        or (name in stated and (name in HEAD or name in more))
    }
    if "kv_lora_rank" in chosen:  # each head has its own keys, rotated in part
        chosen |= {n: sizes.heads for n in KEY_VALUE_HEADS if n in stated}
        rotated = stated.get("qk_rope_head_dim")
        chosen |= {
            n: small["qk_rope_head_dim"] for n in HEAD if stated.get(n, 0) == rotated
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
    left_out = {name: x for name, x in more.items() if name in special}
    return kind(**chosen | special | left_out)


def _shortened(
    stated: Mapping[str, Any], blocks: int, *, is_dense: bool
) -> dict[str, list[Any]]:
    """Return the lists with an entry for each block, with all kinds of entries."""
    usual = next((stated[name] for name in BLOCKS if stated.get(name)), 0)
    shortened = {}
    for name, entries in stated.items():
        if not isinstance(entries, list) or not entries:
            continue
        if len(entries) != usual and name not in BLOCK_KINDS:
            continue
        kinds = [x for n, x in enumerate(entries) if x not in entries[:n]]
        if is_dense:
            kinds = [x for x in kinds if x not in ("moe", "sparse")] or ["dense"]
        shortened[name] = (kinds * blocks)[:blocks]
    return shortened
