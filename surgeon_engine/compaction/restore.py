"""From a checkpoint that was exported back to a model in memory.

Surgeon never runs the code that lies in a checkpoint, not even its own: it builds the
smaller layers by the module that was copied there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PretrainedConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from surgeon_engine.api.errors import ModelError
from surgeon_engine.api.model_info.header import PLAN_FILE
from surgeon_engine.compaction.config_values import decoded
from surgeon_engine.compaction.plan import Plan, PrunedModel, load_plan, read_config
from surgeon_engine.compaction.shrink import compact, pruned_class
from surgeon_engine.model.layers import find_blocks, prunable_layers
from surgeon_engine.model.load import LoadedModel, load_tokenizer
from surgeon_engine.model.source import UNREADABLE, ModelSource, first_line
from surgeon_engine.runtime import devices

_PREFIX = "Pruned"  # of the names of compact classes
_AGAIN = "Export the run again, or fetch the file again."


@dataclass(frozen=True, slots=True)
class _Held:
    """A tensor in a file."""

    path: Path
    shape: torch.Size


class _Written(Mapping[str, Tensor]):
    """The tensors of a checkpoint, each read when it is asked for."""

    def __init__(self, folder: Path, held: Mapping[str, _Held]) -> None:
        self._folder = folder
        self._held = held

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._held:
            raise _lacks(self._folder, name)
        with safe_open(self._held[name].path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


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
    name = _architecture(config).removeprefix(_PREFIX)
    built = pruned_class(_stock_class(name))
    model = built.from_pretrained(
        folder, config=config, dtype=dtype or "auto", local_files_only=True
    )
    return model.eval().requires_grad_(False)


def restore(folder: Path, name: str) -> PrunedModel:
    """The pruned model of the checkpoint in `folder`, with zeros where weights went.

    `name` is that of the model, for people.

    Raises:
        ModelError: the checkpoint is not one of Surgeon's, or damaged.
    """
    source = ModelSource(name, folder)
    try:
        held = _held(folder)
        if (folder / PLAN_FILE).is_file():
            model, plan = _masked(folder, held)
        else:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            model = _loaded(_stock_class(_architecture(config)), folder, config)
            plan = Plan()
        if (folder / GENERATION_CONFIG_NAME).is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder)
    except UNREADABLE as error:
        if devices.is_out_of_memory(error):
            raise
        raise ModelError(
            f"The checkpoint in {folder} cannot be read: {first_line(error)}.", _AGAIN
        ) from error
    model.eval().requires_grad_(False)
    loaded = LoadedModel(
        source,
        model,
        load_tokenizer(source),
        find_blocks(model),
        prunable_layers(model),
    )
    return PrunedModel(loaded, plan)


def filled(
    stock: type[PreTrainedModel],
    config: PretrainedConfig,
    plan_for: Callable[[PreTrainedModel], Plan],
    tensors: Mapping[str, Tensor],
) -> tuple[PreTrainedModel, Plan]:
    """A model of full size on the host, and its plan: what has stayed, and zeros.

    `tensors` are those of a compact model.

    Raises:
        ModelError: one is not as large as the plan says.
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
            tensor = tensors[name].cpu()
            if tensor.shape != piece.shape:
                raise _other_shape(name, tensor.shape, piece.shape)
            piece.put(tensor)
    return model.eval().requires_grad_(False), plan


def _masked(folder: Path, held: Mapping[str, _Held]) -> tuple[PreTrainedModel, Plan]:
    """The model of a checkpoint in its full size, whether it was written so or not."""
    path = folder / PLAN_FILE
    try:
        config = AutoConfig.for_model(**decoded(read_config(path)))
    except UNREADABLE as error:
        raise _damaged(path, error) from error
    stock = _stock_class(_architecture(config))
    shapes = _shapes(stock, config)
    if all(shapes.get(name) == each.shape for name, each in held.items()):
        model = _loaded(stock, folder, config)
        return model, load_plan(path, model)
    written = _Written(folder, held)
    return filled(stock, config, lambda model: load_plan(path, model), written)


def _loaded(
    stock: type[PreTrainedModel], folder: Path, config: PretrainedConfig
) -> PreTrainedModel:
    """What transformers fills with random numbers where a file lacks them is told."""
    model, found = stock.from_pretrained(
        folder,
        config=config,
        dtype="auto",
        local_files_only=True,
        output_loading_info=True,
    )
    for name in sorted(found["missing_keys"]):
        raise _lacks(folder, name)
    return model


def _shapes(
    stock: type[PreTrainedModel], config: PretrainedConfig
) -> dict[str, torch.Size]:
    with torch.device("meta"):
        state = stock._from_config(config).state_dict()
    return {name: tensor.shape for name, tensor in state.items()}


def _held(folder: Path) -> dict[str, _Held]:
    """The tensors in the files of `folder`, by their headers."""
    held: dict[str, _Held] = {}
    for path in ModelSource(folder.name, folder).weight_files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (it is no dict)
                    shape = torch.Size(file.get_slice(name).get_shape())
                    held[name] = _Held(path, shape)
        except (SafetensorError, OSError) as error:
            raise _damaged(path, error) from error
    if not held:
        raise ModelError(f"{folder} holds no weights.", _AGAIN)
    return held


def _other_shape(name: str, found: Sequence[int], wanted: Sequence[int]) -> ModelError:
    shapes = [" x ".join(map(str, shape)) for shape in (found, wanted)]
    return ModelError(f"{name} is {shapes[0]}, but {shapes[1]} should stay.", _AGAIN)


def _damaged(path: Path, error: Exception) -> ModelError:
    size = f"{path.stat().st_size:,} bytes"
    return ModelError(f"{path} is damaged ({size}): {first_line(error)}.", _AGAIN)


def _lacks(folder: Path, name: str) -> ModelError:
    return ModelError(f"The weights in {folder} lack {name}.", _AGAIN)


def _architecture(config: PretrainedConfig) -> str:
    names: list[str] = config.architectures or []
    if not names:
        raise ModelError("The config of this checkpoint names no architecture.", _AGAIN)
    return names[0]


def _stock_class(name: str) -> type[PreTrainedModel]:
    stock = getattr(transformers, name, None)
    if stock is None:
        raise ModelError(
            f"This transformers {transformers.__version__} has no {name}.",
            "Install the version that the checkpoint was written with, or a later one.",
        )
    return stock
