"""From a checkpoint that was exported back to a model in memory.

Surgeon never runs the code that lies in a checkpoint, not even its own: it builds the
smaller layers by the module that was copied there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from torch import Tensor
from transformers import (
    AutoConfig,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils import GENERATION_CONFIG_NAME

from surgeon_engine.errors import ModelError
from surgeon_engine.export.plan import Plan, load_plan, read_config
from surgeon_engine.export.shrink import compact, pruned_class
from surgeon_engine.export.transformers_files import KEPT
from surgeon_engine.export.writer import Pruned
from surgeon_engine.model.layers import find_blocks, prunable_layers
from surgeon_engine.model.load import LoadedModel, load_tokenizer
from surgeon_engine.model.source import ModelSource

_PREFIX = "Pruned"  # of the names of compact classes


def is_compact(folder: Path) -> bool:
    """Whether the checkpoint in `folder` is a compact one."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return "pruned" in config


def load_compact(folder: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The compact model in `folder`, as small as it lies there.

    Raises:
        ModelError: it names an architecture that transformers does not have.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    (name,) = config.architectures
    built = pruned_class(_stock_class(name.removeprefix(_PREFIX)))
    model = built.from_pretrained(
        folder, config=config, dtype=dtype or "auto", local_files_only=True
    )
    return model.eval().requires_grad_(False)


def restore(folder: Path) -> Pruned:
    """The pruned model of the checkpoint in `folder`, with zeros where weights went.

    Raises:
        ModelError: the checkpoint is not one of Surgeon's.
    """
    source = ModelSource(folder.name, folder)
    if (folder / KEPT).is_file():
        model, plan = _masked(folder)
    else:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        model = _stock_class(config.architectures[0]).from_pretrained(
            folder, dtype="auto", local_files_only=True
        )
        plan = Plan()
    model.eval().requires_grad_(False)
    if (folder / GENERATION_CONFIG_NAME).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    loaded = LoadedModel(
        source,
        model,
        load_tokenizer(source),
        find_blocks(model),
        prunable_layers(model),
    )
    return Pruned(loaded, plan)


def filled(
    stock: type[PreTrainedModel],
    config: PretrainedConfig,
    plan_for: Callable[[PreTrainedModel], Plan],
    tensors: Mapping[str, Tensor],
) -> tuple[PreTrainedModel, Plan]:
    """A model of full size on the host, and its plan: what has stayed, and zeros.

    `tensors` are those of a compact model.
    """
    shapes = _shapes(stock, config)
    dtype = next(x.dtype for x in tensors.values() if x.is_floating_point())
    model = stock.from_pretrained(
        None,
        config=config,
        state_dict={name: torch.zeros(s, dtype=dtype) for name, s in shapes.items()},
        dtype=dtype,
    )
    plan = plan_for(model)
    for name, piece in compact(model, plan).pieces.items():
        if piece.whole.is_floating_point():  # an index list is in the plan
            piece.put(tensors[name].cpu())
    return model.eval().requires_grad_(False), plan


def _masked(folder: Path) -> tuple[PreTrainedModel, Plan]:
    """The model of a checkpoint in its full size, whether it was written so or not."""
    config = AutoConfig.for_model(**read_config(folder / KEPT))
    stock = _stock_class(config.architectures[0])
    written = dict(_tensors(folder))
    shapes = _shapes(stock, config)
    if any(shapes.get(name) != x.shape for name, x in written.items()):
        return filled(stock, config, lambda m: load_plan(folder / KEPT, m), written)
    model = stock.from_pretrained(folder, config=config, dtype="auto")
    return model, load_plan(folder / KEPT, model)


def _shapes(
    stock: type[PreTrainedModel], config: PretrainedConfig
) -> dict[str, torch.Size]:
    with torch.device("meta"):
        state = stock._from_config(config).state_dict()
    return {name: tensor.shape for name, tensor in state.items()}


def _tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dict)
                yield name, file.get_tensor(name)


def _stock_class(name: str) -> type[PreTrainedModel]:
    stock = getattr(transformers, name, None)
    if stock is None:
        raise ModelError(
            f"This transformers {transformers.__version__} has no {name}.",
            "Install the version that the checkpoint was written with, or a later one.",
        )
    return stock
