"""The three forms that transformers loads: compact, plain and masked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from surgeon_engine.api.config.export import ExportConfig, FileDtype
from surgeon_engine.api.errors import ModelError
from surgeon_engine.api.model_info.header import PLAN_FILE
from surgeon_engine.compaction import compact_layers
from surgeon_engine.compaction.config_values import decoded
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.compaction.shrink import (
    TensorSlice,
    compact,
    head_size,
    stock_config,
    whole_slices,
)
from surgeon_engine.export.base import Check, VerificationResult
from surgeon_engine.export.isolated_process import run_isolated
from surgeon_engine.export.transformers.weight_files import (
    bytes_of,
    file_dtype,
    write_weights,
)
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.source import UNREADABLE, first_line
from surgeon_engine.runtime import devices

KEPT = PLAN_FILE  # so that removed parts can be put back as zeros
LAYERS = "compact_layers.py"
MODELING = "modeling_pruned.py"
CHECK = Path(__file__).with_name("check.py")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
_TEMPLATES = "additional_chat_templates"
# What transformers saves of how a tokenizer was loaded.
_OF_THIS_MACHINE = ("is_local", "local_files_only", "gguf_file")
_MODELING = '''\
"""{model} whose layers have widths of their own; written by Surgeon.

The widths stand in config.json. Load it with

    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
"""

from transformers import {body}, {model}

from .compact_layers import shrink


class Pruned{body}({body}):
    """The model without its head."""

    def __init__(self, config):
        super().__init__(config)
        shrink(self, config)


class Pruned{model}({model}):
    """The model with its head."""

    def __init__(self, config):
        super().__init__(config)
        shrink(self, config)
'''


class MaskedWriter:
    """Zeros in place: the stock model's files, as large as before."""

    def unsupported_reason(self, pruned: PrunedModel) -> str:
        """See `Writer.unsupported_reason`."""
        return ""

    def forecast(self, pruned: PrunedModel, dtype: FileDtype) -> int:
        """See `Writer.forecast`."""
        return bytes_of(self._pieces(pruned), file_dtype(dtype, pruned.loaded))

    def write(self, pruned: PrunedModel, wanted: ExportConfig, folder: Path) -> None:
        """See `Writer.write`."""
        config = stock_config(pruned.loaded.model)
        self._write(pruned, wanted, folder, config, self._pieces(pruned))

    def verify(self, folder: Path, probe: Path, check: Check) -> VerificationResult:
        """See `Writer.verify`."""
        return run_isolated(CHECK, (str(folder), str(probe)), check)

    def _pieces(self, pruned: PrunedModel) -> dict[str, TensorSlice]:
        return whole_slices(pruned.loaded.model)

    def _write(
        self,
        pruned: PrunedModel,
        wanted: ExportConfig,
        folder: Path,
        config: Mapping[str, Any],
        pieces: Mapping[str, TensorSlice],
    ) -> None:
        loaded = pruned.loaded
        dtype = file_dtype(wanted.dtype, loaded)
        write_weights(pieces, dtype, wanted.shard_gigabytes, folder)
        named = dict(config) | {"dtype": devices.name_of(dtype)}
        text = json.dumps(named, indent=2, sort_keys=True) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")
        if not pruned.plan.is_empty:
            pruned.plan.save(folder / KEPT, stock_config(loaded.model))
        if loaded.model.can_generate():
            # Not by save_pretrained, which refuses what many models ship.
            said = loaded.model.generation_config.to_json_string(
                keys_to_pop=["compile_config"]
            )
            (folder / GENERATION_CONFIG_NAME).write_text(said, encoding="utf-8")
        write_tokenizer(loaded, folder)


class _Smaller(MaskedWriter):
    """What is gone is taken out of the tensors."""

    def _pieces(self, pruned: PrunedModel) -> dict[str, TensorSlice]:
        return compact(pruned.loaded.model, pruned.plan).pieces


class StockWriter(_Smaller):
    """Plain files of a smaller model of the same architecture."""

    def unsupported_reason(self, pruned: PrunedModel) -> str:
        """See `Writer.unsupported_reason`."""
        plan, model = pruned.plan, pruned.loaded.model
        if plan.layers:
            return "Rows and columns that went leave layers that no plain model has."
        if plan.is_empty:
            return "Nothing is gone as a whole: plain files would be no smaller."
        try:
            made = compact(model, plan)
            values = decoded(_uniform_config(model, made.config))
            config = AutoConfig.for_model(**values)
            with torch.device("meta"):
                smaller = AutoModelForCausalLM.from_config(config)
        except (_RaggedError, ModelError, *UNREADABLE) as error:
            return f"No plain model has these widths: {first_line(error)}."
        shapes = {name: tuple(x.shape) for name, x in smaller.state_dict().items()}
        for name, piece in made.pieces.items():
            if shapes.get(name) != piece.shape:
                return (
                    f"No plain {type(model).__name__} has these widths: {name} would "
                    f"be {_times(shapes.get(name, ()))}, not {_times(piece.shape)}."
                )
        return ""

    def write(self, pruned: PrunedModel, wanted: ExportConfig, folder: Path) -> None:
        """See `Writer.write`."""
        model = pruned.loaded.model
        made = compact(model, pruned.plan)
        config = _uniform_config(model, made.config)
        self._write(pruned, wanted, folder, config, made.pieces)


class CompactWriter(_Smaller):
    """What is gone is gone; with the code that builds the smaller layers."""

    def unsupported_reason(self, pruned: PrunedModel) -> str:
        """See `Writer.unsupported_reason`."""
        if pruned.plan.is_empty:
            return "Nothing is gone as a whole: zeros stand in matrices of full size."
        return compact_unsupported_reason(pruned)

    def write(self, pruned: PrunedModel, wanted: ExportConfig, folder: Path) -> None:
        """See `Writer.write`."""
        model = pruned.loaded.model
        words = {"model": type(model).__name__, "body": type(model.base_model).__name__}
        code = _MODELING.format(**words)
        (folder / MODELING).write_text(code, encoding="utf-8")
        shutil.copyfile(compact_layers.__file__, folder / LAYERS)
        module = Path(MODELING).stem
        added = {
            "architectures": [f"Pruned{words['model']}"],
            "auto_map": {
                "AutoModel": f"{module}.Pruned{words['body']}",
                "AutoModelForCausalLM": f"{module}.Pruned{words['model']}",
            },
        }
        made = compact(model, pruned.plan)
        config = stock_config(model) | made.config | added
        self._write(pruned, wanted, folder, config, made.pieces)


def compact_unsupported_reason(pruned: PrunedModel) -> str:
    """Why what is left cannot be told in a config; empty: it can."""
    try:
        _ = compact(pruned.loaded.model, pruned.plan).config
    except ModelError as error:
        return error.message
    return ""


def write_tokenizer(loaded: LoadedModel, folder: Path) -> None:
    """Put the tokenizer of a model into `folder`, if it has one.

    Its files are copied as they are: what transformers saves bears the name of another
    class, and lacks files that other programs read. From a GGUF file it is saved.
    """
    tokenizer, source = loaded.tokenizer, loaded.source
    if tokenizer is None:
        return
    if source.gguf_file is None:
        names = {*_TOKENIZER_FILES, *tokenizer.vocab_files_names.values()}
        found = [name for name in sorted(names) if (source.folder / name).is_file()]
        for name in found:
            shutil.copyfile(source.folder / name, folder / name)
        templates = source.folder / _TEMPLATES
        if templates.is_dir():
            shutil.copytree(
                templates, folder / _TEMPLATES, copy_function=shutil.copyfile
            )
        if found:
            return
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for name in _OF_THIS_MACHINE:
        config.pop(name, None)
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


class _RaggedError(ValueError):
    """Layers differ in their widths."""


def _uniform_config(model: PreTrainedModel, added: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a plain model with the widths that all layers share.

    `added` is what a compact model's config has besides.
    """
    config = stock_config(model)
    per_layer = added["per_layer_config"]
    blocks = model.config.get_text_config().num_hidden_layers
    names = {name for widths in per_layer.values() for name in widths}
    for name in sorted(names):
        found = {widths.get(name) for widths in per_layer.values()}
        if len(found) > 1 or len(per_layer) < blocks or None in found:
            raise _RaggedError(f"{name} differs from layer to layer")
        config[name] = found.pop()
    if "num_attention_heads" in names:
        config["head_dim"] = head_size(model.config.get_text_config())
    return config


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "nothing"
