"""Write ONNX files for onnxruntime: a graph, and its weights in a second file.

    model.onnx        the graph
    model.onnx.data   the weights in float32
    config.json       for programs that look there for the kind of model

    input_ids         batch x length          int64
    attention_mask    batch x length          int64, 0 where a text is padded
    logits            batch x length x vocab  float32

Batch and length are dynamic. There is no cache: each new token computes the whole text
again. Positions are the model's defaults.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging
from typing_extensions import override

from surgeon_engine.api.config.export import ExportConfig, FileDtype
from surgeon_engine.base.errors import ExportError
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.compaction.shrink import compact, compact_model, stock_config
from surgeon_engine.export.base import Check, VerificationResult, Writer
from surgeon_engine.export.isolated_process import run_isolated
from surgeon_engine.export.transformers.files import (
    compact_unsupported_reason,
    write_configs,
    write_tokenizer,
)
from surgeon_engine.model.source import first_line

GRAPH = "model.onnx"
CHECK = Path(__file__).with_name("check.py")
_EXTRA = ("onnx", "onnxscript", "onnxruntime")
_AXES = {0: "batch", 1: "length"}
# Warnings that appear for every model.
_HARMLESS_WARNINGS = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # about torch's own code
    r"# The axis name: \w+ will not be used",  # both inputs share their axes
)
_BYTES = 4  # of a float32
_WITHOUT_CACHE = {"use_cache": False, "dtype": "float32"}
# Size of model.onnx, measured with the 22 supported tiny models of the tests: 6,388 to
# 13,571 bytes, and 5,900 to 12,865 bytes for each block.
_GRAPH_BYTES = 9_000
_BLOCK_BYTES = 9_000


class OnnxWriter(Writer):
    """Writes `model.onnx`, for pruned heads, neurons and single weights."""

    @override
    def unsupported_reason(self, pruned: PrunedModel) -> str:
        missing = [name for name in _EXTRA if find_spec(name) is None]
        if missing:
            return (
                f"ONNX files need packages that are not installed: "
                f"{', '.join(missing)}. Install them with "
                f"`pip install {' '.join(missing)}`."
            )
        if pruned.plan.layers:
            return (
                "Layers with removed rows and columns gather and scatter their "
                "features; ONNX files support removed heads and neurons only."
            )
        config = pruned.loaded.model.config.get_text_config()
        if config.model_type == "falcon" and config.alibi:
            return (
                "This Falcon computes its positions (ALiBi) in bfloat16, which "
                "onnxruntime cannot do on a CPU."
            )
        return compact_unsupported_reason(pruned)

    @override
    def forecast(self, pruned: PrunedModel, dtype: FileDtype) -> int:
        # Weights, buffers that are not in checkpoints (the causal masks of GPT-Neo are
        # large), and the graph, whose size is known to a few thousand bytes a block:
        # less than 1 % for blocks of more than about 0.5 million weights.
        model = pruned.loaded.model
        compacted = compact(model, pruned.plan)
        tensors = compacted.tensors
        numbers = sum(torch.Size(tensor.shape).numel() for tensor in tensors.values())
        stored = model.state_dict().keys()
        buffers = sum(
            x.nbytes for name, x in model.named_buffers() if name not in stored
        )
        graph = _GRAPH_BYTES + _BLOCK_BYTES * len(compacted.blocks)
        return _BYTES * numbers + buffers + graph

    @override
    def write(self, pruned: PrunedModel, config: ExportConfig, folder: Path) -> None:
        loaded = pruned.loaded
        with _without_harmless_warnings():
            small = compact_model(loaded.model, pruned.plan).float()
            program = _onnx_program(small)
        _remove_metadata(program.model.graph)
        program.save(folder / GRAPH, external_data=True)
        compacted = compact(loaded.model, pruned.plan)
        config_values = stock_config(loaded.model) | compacted.config
        write_configs(loaded.model, config_values | _WITHOUT_CACHE, folder)
        write_tokenizer(loaded, folder)

    @override
    def verify(self, folder: Path, probe: Path, check: Check) -> VerificationResult:
        return run_isolated(CHECK, (str(folder / GRAPH), str(probe)), check)


class _LogitsModel(nn.Module):
    """A model with the inputs and outputs of the graph."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map two batch x length inputs to batch x length x vocabulary logits."""
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).logits


def _onnx_program(model: PreTrainedModel) -> Any:
    """Convert `model` to a `torch.onnx.ONNXProgram`.

    Raises:
        ExportError: torch cannot convert this model.
    """
    # torch would treat sizes of 1, and a mask without padding, as constants.
    tokens = torch.ones(2, 16, dtype=torch.int64)
    mask = torch.ones_like(tokens)
    mask[0, :3] = 0
    try:
        return torch.onnx.export(
            _LogitsModel(model).eval(),
            kwargs={"input_ids": tokens, "attention_mask": mask},
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": _AXES, "attention_mask": _AXES},
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        cause = error.__cause__
        reason = first_line(cause if isinstance(cause, Exception) else error)
        raise ExportError(
            f"torch cannot write {type(model.base_model).__name__} as an ONNX graph: "
            f"{reason}.",
            "Choose another format.",
        ) from error


def _remove_metadata(graph: Any) -> None:
    """Remove the source location of each node.

    These paths of this machine would make up most of the graph's bytes.
    """
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
    for node in graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


@contextmanager
def _without_harmless_warnings() -> Iterator[None]:
    """Hide progress bars and the warnings that appear for every model."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    verbosity = transformers_logging.get_verbosity()
    has_bars = transformers_logging.is_progress_bar_enabled()
    exporter.setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            for message in _HARMLESS_WARNINGS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        exporter.setLevel(level)
        transformers_logging.set_verbosity(verbosity)
        if has_bars:
            transformers_logging.enable_progress_bar()
