"""What a model source names: the demo, a folder with safetensors, or a GGUF file.

Everything that can be refused is refused here, from names, headers and the config,
before a single weight is read.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from surgeon_engine.config import DEMO
from surgeon_engine.errors import ModelError

# What transformers raises on files that make no sense to it.
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    RuntimeError,
    ImportError,
    ZeroDivisionError,
    struct.error,
    SafetensorError,
    StrictDataclassError,
)

PLAN_FILE = "kept.safetensors"  # a plan that lies beside pruned weights

_STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_GGUF_MAGIC = b"GGUF"
_CAUSAL_LM = re.compile(r"ForCausalLM|LMHeadModel")
_EXPERTS = re.compile(r"(num|n)_((local|routed)_)?experts|moe_num_experts")
_SOURCES = "Choose a folder with config.json and .safetensors files, or a .gguf file."


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model's files are."""

    name: str  # for people
    folder: Path
    gguf_file: str | None = None  # its name inside `folder`

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """The files that hold the weights."""
        if self.gguf_file:
            return (self.folder / self.gguf_file,)
        found = self.folder.glob("*.safetensors")
        return tuple(sorted(path for path in found if path.name != PLAN_FILE))

    @property
    def arguments(self) -> dict[str, object]:
        """What `from_pretrained` wants to be told beside the folder."""
        arguments: dict[str, object] = {"local_files_only": True}
        if self.gguf_file:
            arguments["gguf_file"] = self.gguf_file
        return arguments


def locate(source: str) -> ModelSource:
    """The files that `source` names, checked as far as their headers tell.

    Raises:
        ModelError: there is nothing there, something is missing or damaged.
    """
    if source == DEMO:
        folder = Path(str(files("surgeon_resources"))) / "demo"
        return _checked_folder(ModelSource("Demo", folder))
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path):
        return _checked_folder(ModelSource(path.resolve().name, path))
    if os.path.isfile(path):
        return _checked_gguf(path)
    raise ModelError(f"There is no model at {path}.", _SOURCES)


def read_model_config(source: ModelSource) -> PretrainedConfig:
    """The transformers config of a model that can be pruned.

    Raises:
        ModelError: unknown, not a decoder, a mixture of experts, or quantised.
    """
    try:
        config = AutoConfig.from_pretrained(source.folder, **source.arguments)
    except UNREADABLE as error:
        raise ModelError(
            f"The config of {source.name} cannot be used: {first_line(error)}.",
            "Surgeon prunes the decoder-only models that transformers knows; "
            "code that a model brings along is not run.",
        ) from error
    _refuse_other_kinds(source.name, config)
    return config


def stored_dtype(source: ModelSource) -> torch.dtype | None:
    """The number format of most weights in the files; None: they are quantised.

    By the headers: configs are often silent, or say what the model was trained in.
    """
    if source.gguf_file:
        return None
    counts: Counter[str] = Counter()
    for path in source.weight_files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dict)
                part = file.get_slice(name)
                counts[part.get_dtype()] += math.prod(part.get_shape())
    ((most, _),) = counts.most_common(1)
    return _STORED.get(most)


def _checked_folder(source: ModelSource) -> ModelSource:
    config = source.folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{source.folder} has no config.json.", _SOURCES)
    try:
        json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{config} is not valid JSON: {error}.", "Fetch the model's files again."
        ) from error
    if not source.weight_files:
        pickled = list(source.folder.glob("*.bin")) + list(source.folder.glob("*.pt"))
        if pickled:
            raise ModelError(
                f"{source.folder} holds pickled weights only ({pickled[0].name}).",
                "Pickle files can run code when opened: convert them to safetensors.",
            )
        raise ModelError(f"{source.folder} has no .safetensors file.", _SOURCES)
    for path in source.weight_files:
        _check_safetensors(path)
    return source


def _check_safetensors(path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path.name} is damaged ({path.stat().st_size:,} bytes): {error}.",
            "The download may be incomplete: fetch this file again.",
        ) from error


def _checked_gguf(path: Path) -> ModelSource:
    with path.open("rb") as file:
        magic = file.read(len(_GGUF_MAGIC))
    if magic != _GGUF_MAGIC:
        kind = "an empty file" if not magic else f"not a GGUF file (begins {magic!r})"
        raise ModelError(f"{path.name} is {kind}.", _SOURCES)
    return ModelSource(path.stem, path.parent, path.name)


def _refuse_other_kinds(name: str, config: PretrainedConfig) -> None:
    architectures = config.architectures or [
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type, config.model_type)
    ]
    if config.is_encoder_decoder or not any(map(_CAUSAL_LM.search, architectures)):
        raise ModelError(
            f"{name} is not a decoder-only language model "
            f"(its architecture is {', '.join(architectures)}).",
            "Choose a model whose architecture ends in ForCausalLM.",
        )
    if hasattr(config, "pruned"):
        raise ModelError(
            f"{name} is a compact checkpoint: it has been pruned already.",
            "Prune the original further, or export its run in the masked format and "
            "choose that.",
        )
    for option, value in config.to_dict().items():
        if _EXPERTS.fullmatch(option) and isinstance(value, int) and value > 1:
            raise ModelError(
                f"{name} is a mixture of experts ({option} = {value}).",
                "Surgeon prunes dense models; choose one without experts.",
            )
    if getattr(config, "quantization_config", None):
        raise ModelError(
            f"The weights of {name} are quantised.",
            "Choose the model's float32, float16 or bfloat16 files.",
        )


def first_line(error: Exception) -> str:
    """What a library has to say, without the rest of its lecture.

    Of a config that is refused the first line only names the function that did it.
    """
    lines = (str(error).strip() or type(error).__name__).splitlines()
    line = lines[-1 if isinstance(error, StrictDataclassError) else 0]
    return line.strip().rstrip(".")
