"""Load an exported checkpoint into memory.

Surgeon never runs the code of a checkpoint, not even its own: it builds smaller layers
by its own `compact_layers`, and not by the checkpoint's copy of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PretrainedConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from surgeon_engine.api.config.run import Device, ModelConfig, Offload
from surgeon_engine.api.model_info.gguf_header import open_model
from surgeon_engine.api.model_info.header import PLAN_FILE
from surgeon_engine.api.report import Report
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.reading import read_json
from surgeon_engine.base.sentences import say
from surgeon_engine.compaction.config_values import config_of
from surgeon_engine.compaction.plan import (
    CompactionPlan,
    PrunedModel,
    load_plan,
    read_config,
)
from surgeon_engine.compaction.shrink import compact, pruned_class
from surgeon_engine.model.experts import hide_removed_experts
from surgeon_engine.model.load import LoadedModel, load_model
from surgeon_engine.model.sinks import fuse_sinks
from surgeon_engine.model.source import UNREADABLE, ModelSource, first_line
from surgeon_engine.model.stored_tensors import stored_dtype
from surgeon_engine.model.tokenizer import load_tokenizer
from surgeon_engine.runtime.failures import is_out_of_memory

_PREFIX = "Pruned"  # prefix of the names of compact classes
_EXPORT_AGAIN = say("Export the run again, or download the file again.")


def is_compact(folder: Path) -> bool:
    """Return whether the checkpoint in `folder` is compact."""
    return "pruned" in read_json(folder / "config.json", dict[str, Any])


def _config_of(folder: Path) -> PretrainedConfig:
    return AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )


def load_compact(folder: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Load the compact model in `folder` with its reduced widths.

    Raises:
        ModelError: transformers does not have its architecture.
    """
    config = _config_of(folder)
    name = _architecture(config).removeprefix(_PREFIX)
    model = pruned_class(_stock_class(name)).from_pretrained(
        folder,
        config=config,
        dtype=dtype or "auto",
        local_files_only=True,
    )
    fuse_sinks(model)
    return model.eval().requires_grad_(False)


def result_of(run: RunFolder, report: Report, original: ModelConfig) -> PrunedModel:
    """Load the model that a finished run has made, at full size.

    The original is read if nothing of it was removed.

    Raises:
        ModelError: Its checkpoint, or the original of a run that has removed nothing,
            cannot be read.
    """
    if report.checkpoint:
        return restore(run.checkpoint_of(report), report.model.name)
    here = dataclasses.replace(original, device=Device.CPU, offload=Offload.OFF, gpus=1)
    return PrunedModel(load_model(here), CompactionPlan())


def restore(folder: Path, name: str) -> PrunedModel:
    """Load a checkpoint of Surgeon as a model of full size, with zeros and its plan.

    Raises:
        ModelError: The checkpoint was not written by Surgeon, or is damaged.
    """
    source = ModelSource(name, folder)
    try:
        stored = _stored_tensors(folder)
        if (folder / PLAN_FILE).is_file():
            model, plan = _load_masked(folder, stored)
        else:
            config = _config_of(folder)
            model = _load(_stock_class(_architecture(config)), folder, config)
            plan = CompactionPlan()
        if (folder / GENERATION_CONFIG_NAME).is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder)
    except UNREADABLE as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            "The checkpoint in {folder} cannot be read: {reason:clause}.",
            _EXPORT_AGAIN,
            folder=folder,
            reason=first_line(error),
        ) from error
    model.eval().requires_grad_(False)
    fuse_sinks(model)
    loaded = LoadedModel(source, model, load_tokenizer(source), model.dtype)
    return PrunedModel(loaded, plan)


def expand_to_full_size(
    stock: type[PreTrainedModel],
    config: PretrainedConfig,
    plan_for: Callable[[PreTrainedModel], CompactionPlan],
    tensor_of: Callable[[str], Tensor],
    dtype: torch.dtype,
    zeros: Callable[..., Tensor] = torch.zeros,
) -> tuple[PreTrainedModel, CompactionPlan]:
    """Build the full-size model on the host, with zeros for removed parts.

    `config` is the config of the unpruned model, `plan_for` returns the plan for it,
    `tensor_of` a tensor of the compact model by its name, `dtype` is the dtype of most
    weights, and `zeros` makes tensors as `torch.zeros` does.

    Raises:
        ModelError: A tensor does not have the shape that follows from the plan.
    """
    with torch.device("meta"):
        state = stock._from_config(config).state_dict()
    model = stock.from_pretrained(
        None,
        config=config,
        state_dict={name: zeros(x.shape, dtype=dtype) for name, x in state.items()},
        dtype=dtype,
    )
    plan = plan_for(model)
    for name, target in compact(model, plan).tensors.items():
        if target.whole.is_floating_point():  # index lists are in the plan
            tensor = tensor_of(name).cpu()
            if tensor.shape != target.shape:
                raise _shape_error(name, tensor.shape, target.shape)
            target.put(tensor)
    hide_removed_experts(model)
    return model.eval().requires_grad_(False), plan


def _load_masked(
    folder: Path, stored: Mapping[str, Path]
) -> tuple[PreTrainedModel, CompactionPlan]:
    """Load a masked, plain or compact checkpoint, with its plan, at full size."""
    path = folder / PLAN_FILE
    try:
        config = config_of(read_config(path))
    except UNREADABLE as error:
        raise _damaged_error(path, error) from error
    stock = _stock_class(_architecture(config))

    def plan_for(model: PreTrainedModel) -> CompactionPlan:
        return load_plan(path, model)

    def read(name: str) -> Tensor:
        if name not in stored:
            raise _missing_error(folder, name)
        with safe_open(stored[name], framework="pt") as file:
            return file.get_tensor(name)

    if is_compact(folder):
        dtype = stored_dtype(ModelSource(folder.name, folder))
        assert dtype is not None  # no checkpoint of Surgeon is quantized
        return expand_to_full_size(stock, config, plan_for, read, dtype)
    # Tensors may have the names and forms of published checkpoints.
    model = _load(stock, folder, _config_of(folder))
    with torch.device("meta"):
        original = type(model)._from_config(config)
    shapes = {name: tensor.shape for name, tensor in original.state_dict().items()}
    if all(shapes.get(x) == y.shape for x, y in model.state_dict().items()):
        return model, plan_for(model)  # it has its full size
    tensors = model.state_dict()
    return expand_to_full_size(
        stock, config, plan_for, tensors.__getitem__, model.dtype
    )


def _load(
    stock: type[PreTrainedModel], folder: Path, config: PretrainedConfig
) -> PreTrainedModel:
    """Load a model; raise if transformers would make a tensor random."""
    model, info = stock.from_pretrained(
        folder,
        config=config,
        dtype="auto",
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    for shapes in info["mismatched_keys"]:
        raise _shape_error(*shapes)
    for name in model.state_dict():
        if name in info["missing_keys"]:
            raise _missing_error(folder, name)
    return model


def _stored_tensors(folder: Path) -> dict[str, Path]:
    """Return the file of each tensor in `folder`, by the headers of the files."""
    stored: dict[str, Path] = {}
    for path in ModelSource(folder.name, folder).weight_files:
        open_model(path).close()  # raises for a pipe, which would never end
        try:
            with safe_open(path, framework="pt") as file:
                stored |= dict.fromkeys(file.keys(), path)
        except (SafetensorError, OSError) as error:
            raise _damaged_error(path, error) from error
    if not stored:
        raise ModelError("{folder} holds no weights.", _EXPORT_AGAIN, folder=folder)
    return stored


def _damaged_error(path: Path, error: Exception) -> ModelError:
    message = say(
        "{path} is damaged ({size:,} bytes): {reason:clause}.",
        path=path,
        size=path.stat().st_size,
        reason=first_line(error),
    )
    return ModelError(message, _EXPORT_AGAIN)


def _shape_error(
    name: str, found: tuple[int, ...], needed: tuple[int, ...]
) -> ModelError:
    return ModelError(
        "{name} is {found}, but the plan requires {needed}.",
        _EXPORT_AGAIN,
        name=name,
        found=" x ".join(map(str, found)),
        needed=" x ".join(map(str, needed)),
    )


def _missing_error(folder: Path, name: str) -> ModelError:
    return ModelError(
        "The weights in {folder} lack {name}.", _EXPORT_AGAIN, folder=folder, name=name
    )


def _architecture(config: PretrainedConfig) -> str:
    names: list[str] = config.architectures or []
    if not names:
        raise ModelError(
            "The config of this checkpoint names no architecture.", _EXPORT_AGAIN
        )
    return names[0]


def _stock_class(name: str) -> type[PreTrainedModel]:
    stock = getattr(transformers, name, None)
    if stock is None:
        raise ModelError(
            "This transformers {version} has no {name}.",
            "Install the version that the checkpoint was written with, or a later one.",
            version=transformers.__version__,
            name=name,
        )
    return stock
