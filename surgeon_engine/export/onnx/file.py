"""The ONNX form: one graph for onnxruntime, its weights in a file beside it.

    model.onnx        the graph
    model.onnx.data   the weights, float32, packed one after the other

    input_ids         batch x length          int64
    attention_mask    batch x length          int64, 0 where a text is padded
    logits            batch x length x vocab  float32

Batch and length are free. There is no cache: each new token computes the whole text
again. Positions are those that the model gives itself when it is told none.
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

from surgeon_engine.api.config.export import ExportConfig, FileDtype
from surgeon_engine.api.errors import ExportError
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.compaction.shrink import compact, compact_model
from surgeon_engine.export.base import Check, VerificationResult
from surgeon_engine.export.isolated_process import run_isolated
from surgeon_engine.export.transformers.files import (
    compact_unsupported_reason,
    write_tokenizer,
)
from surgeon_engine.model.source import first_line

GRAPH = "model.onnx"
CHECK = Path(__file__).with_name("check.py")
_EXTRA = ("onnx", "onnxscript", "onnxruntime")
_AXES = {0: "batch", 1: "length"}
# What is said of every model, sound ones too.
_HARMLESS = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # torch of itself
    r"# The axis name: \w+ will not be used",  # both inputs share their axes
)
_BYTES = 4  # of a number; all are float32
# Of model.onnx. Measured over the 22 tiny models of the tests that can be written:
# 6,388 to 13,571, and 5,900 to 12,865 for each block.
_GRAPH_BYTES = 9_000
_BLOCK_BYTES = 9_000


class OnnxWriter:
    """A graph that onnxruntime computes, for heads, neurons and single weights."""

    def unsupported_reason(self, pruned: PrunedModel) -> str:
        """See `Writer.unsupported_reason`."""
        missing = [name for name in _EXTRA if find_spec(name) is None]
        if missing:
            return (
                f"ONNX files need packages that are not installed: "
                f"{', '.join(missing)}. Install them with "
                f"`pip install {' '.join(missing)}`."
            )
        if pruned.plan.layers:
            return (
                "Rows and columns that went leave layers that gather and scatter "
                "their numbers; an ONNX file is for heads and neurons."
            )
        config = pruned.loaded.model.config.get_text_config()
        if config.model_type == "falcon" and config.alibi:
            return (
                "This Falcon computes its positions (ALiBi) in bfloat16, which "
                "onnxruntime cannot do on a CPU."
            )
        return compact_unsupported_reason(pruned)

    def forecast(self, pruned: PrunedModel, dtype: FileDtype) -> int:
        """See `Writer.forecast`: what the numbers take, and a little for the graph.

        4 bytes for each weight that stays, the buffers that no checkpoint holds (the
        causal masks of GPT-Neo are large), and 9,000 bytes for the graph and for each
        of its blocks, which is right to a few thousand bytes a block: for models with
        more than some 0.5 million weights a block that is less than 1 %.
        """
        model = pruned.loaded.model
        pieces = compact(model, pruned.plan).pieces
        numbers = sum(torch.Size(piece.shape).numel() for piece in pieces.values())
        stored = model.state_dict().keys()
        buffers = sum(
            x.nbytes for name, x in model.named_buffers() if name not in stored
        )
        graph = _GRAPH_BYTES + _BLOCK_BYTES * len(pruned.loaded.blocks)
        return _BYTES * numbers + buffers + graph

    def write(self, pruned: PrunedModel, wanted: ExportConfig, folder: Path) -> None:
        """See `Writer.write`.

        Raises:
            ExportError: torch cannot describe this model as an ONNX graph.
        """
        loaded = pruned.loaded
        with _quietly():
            small = compact_model(loaded.model, pruned.plan).float()
            program = _program(small)
        _forget_origins(program.model.graph)
        program.save(folder / GRAPH, external_data=True)
        write_tokenizer(loaded, folder)

    def verify(self, folder: Path, probe: Path, check: Check) -> VerificationResult:
        """See `Writer.verify`; by onnxruntime, without torch and transformers."""
        return run_isolated(CHECK, (str(folder / GRAPH), str(probe)), check)


class _LogitsAlone(nn.Module):
    """A model that takes and gives what the graph does."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Batch x length, twice -> batch x length x vocabulary."""
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).logits


def _program(model: PreTrainedModel) -> Any:
    """The graph of `model`, a `torch.onnx.ONNXProgram`.

    Raises:
        ExportError: torch cannot make it.
    """
    # Sizes of 1 would be taken for constants; that no text is padded, for granted.
    tokens = torch.ones(2, 16, dtype=torch.int64)
    mask = torch.ones_like(tokens)
    mask[0, :3] = 0
    try:
        return torch.onnx.export(
            _LogitsAlone(model).eval(),
            kwargs={"input_ids": tokens, "attention_mask": mask},
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": _AXES, "attention_mask": _AXES},
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        cause = error.__cause__
        said = first_line(cause if isinstance(cause, Exception) else error)
        raise ExportError(
            f"torch cannot write {type(model.base_model).__name__} as an ONNX graph: "
            f"{said}.",
            "Choose another form of file.",
        ) from error


def _forget_origins(graph: Any) -> None:
    """Drop which line of which file on this machine made each node.

    They would be most of the graph's bytes, and nobody else's business.
    """
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
    for node in graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


@contextmanager
def _quietly() -> Iterator[None]:
    """Without bars, and without what torch and transformers say of sound models."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    verbosity = transformers_logging.get_verbosity()
    has_bars = transformers_logging.is_progress_bar_enabled()
    exporter.setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            for message in _HARMLESS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        exporter.setLevel(level)
        transformers_logging.set_verbosity(verbosity)
        if has_bars:
            transformers_logging.enable_progress_bar()
