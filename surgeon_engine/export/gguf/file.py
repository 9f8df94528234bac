"""One GGUF file for llama.cpp and what is built on it.

llama.cpp runs a model that is described by numbers in the header of the file; the
architectures it knows are programs of its own. Three of them compute what is wanted:

    llama   blocks like Llama's, all of the same widths
    qwen2   the same, for models of that name that have kept all their heads
    deci    blocks like Llama's, each of its own widths (made for Nemotron-NAS)

llama and deci rotate neighbouring numbers of a query or key, transformers rotates those
that are half a head apart: for them rows of q and k are put in another order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from gguf import (
    GGML_QUANT_SIZES,
    GGML_QUANT_VERSION,
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
)
from gguf.quants import quantize
from torch import Tensor
from transformers import PretrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.errors import ExportError
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.compaction.shrink import TensorSlice, compact, head_size
from surgeon_engine.export.base import Check, VerificationResult
from surgeon_engine.export.gguf.check import FILE_NAME
from surgeon_engine.export.gguf.tokenizer import (
    add_tokenizer,
    tokenizer_unsupported_reason,
)
from surgeon_engine.export.isolated_process import run_isolated
from surgeon_engine.export.transformers.files import compact_unsupported_reason
from surgeon_engine.export.transformers.weight_files import named_dtype

CHECK = Path(__file__).with_name("check.py")
_MODEL_TYPES = ("llama", "mistral", "qwen2")
_TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_IN_BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_BLOCK_TENSOR = re.compile(
    r"model\.layers\.(?P<block>\d+)\.(?P<module>.+)\.(?P<suffix>weight|bias)"
)
_ROPE_FACTORS = "rope_freqs.weight"
_ROPE_TYPES = ("default", "linear", "llama3")
_Type = GGMLQuantizationType
_TYPES = {
    FileDtype.FLOAT32: (_Type.F32, LlamaFileType.ALL_F32),
    FileDtype.FLOAT16: (_Type.F16, LlamaFileType.MOSTLY_F16),
    FileDtype.BFLOAT16: (_Type.BF16, LlamaFileType.MOSTLY_BF16),
    FileDtype.Q8_0: (_Type.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_Q8_0_STEPS = 127  # on each side of zero; their size is a float16


@dataclass(frozen=True, slots=True)
class _Widths:
    """What is left of the blocks, first block first."""

    neurons: list[int]
    heads: list[int]
    kv_heads: list[int]

    @property
    def are_uniform(self) -> bool:
        return all(
            len(set(each)) == 1 for each in (self.neurons, self.heads, self.kv_heads)
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """A tensor of the file."""

    name: str
    piece: TensorSlice
    heads: int  # whose rows are put in another order; 0: as they are

    def tensor(self) -> Tensor:
        """The numbers in the order of the file."""
        tensor = self.piece.tensor()
        if not self.heads:
            return tensor
        halves = tensor.unflatten(0, (self.heads, 2, -1))
        return halves.transpose(1, 2).reshape(tensor.shape)

    def type(self, wanted: GGMLQuantizationType) -> GGMLQuantizationType:
        """Vectors stay float32; blocks do not run over the end of a row."""
        shape = self.piece.shape
        if len(shape) == 1:
            return _Type.F32
        return wanted if shape[-1] % GGML_QUANT_SIZES[wanted][0] == 0 else _Type.F16


class GgufWriter:
    """Writes a model like Llama as `model.gguf`."""

    def unsupported_reason(self, pruned: PrunedModel) -> str:
        """Why llama.cpp cannot hold this model; empty: it can."""
        return (
            _architecture_unsupported_reason(pruned)
            or compact_unsupported_reason(pruned)
            or _tensor_unsupported_reason(pruned)
            or tokenizer_unsupported_reason(pruned.loaded)
        )

    def forecast(self, pruned: PrunedModel, dtype: FileDtype) -> int:
        """How many bytes `model.gguf` will take: exactly, as its header is written."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / FILE_NAME
            with _begun(pruned, dtype, path) as (_, stored):
                pass
            wanted = _TYPES[named_dtype(Format.GGUF, dtype, pruned.loaded)][0]
            header = _padded(path.stat().st_size)
        return header + sum(_padded(_bytes(each, wanted)) for each in stored)

    def write(self, pruned: PrunedModel, wanted: ExportConfig, folder: Path) -> None:
        """Write `model.gguf` into the empty `folder`, a tensor at a time.

        Raises:
            ExportError: a number is too large for float16.
        """
        kind = _TYPES[named_dtype(Format.GGUF, wanted.dtype, pruned.loaded)][0]
        with _begun(pruned, wanted.dtype, folder / FILE_NAME) as (writer, stored):
            for each in stored:
                numbers = _encoded(each.name, each.tensor(), each.type(kind))
                writer.write_tensor_data(numbers)

    def verify(self, folder: Path, probe: Path, check: Check) -> VerificationResult:
        """Load the file with llama.cpp in a fresh process; without it, read it back.

        Raises:
            ExportError: it does not load, or its header does not fit its tensors.
        """
        arguments = (str(folder), str(probe))
        return run_isolated(CHECK, arguments, check, "error loading model: ")


def _architecture_unsupported_reason(pruned: PrunedModel) -> str:
    config = pruned.loaded.model.config
    if config.model_type not in _MODEL_TYPES:
        return (
            "llama.cpp can hold uneven layers of models like Llama, Mistral and "
            f"Qwen 2; this is {config.model_type}."
        )
    if pruned.plan.layers:
        return (
            "llama.cpp has no matrices that lack rows or columns of their own: only "
            "whole heads and neurons can go."
        )
    window = getattr(config, "sliding_window", None)
    if window and window < config.max_position_embeddings:
        return (
            f"Attention of this model sees {window:,} tokens only, which this GGUF "
            "architecture does not know."
        )
    if config.hidden_act != "silu":
        return f"llama.cpp computes SiLU in these MLPs, not {config.hidden_act}."
    rope = config.rope_parameters
    kind = rope.get("rope_type", "default")
    if kind not in _ROPE_TYPES:
        return f"A GGUF file of this kind does not hold positions scaled by {kind}."
    if rope.get("partial_rotary_factor", 1.0) != 1.0 or head_size(config) % 2:
        return "llama.cpp rotates whole queries and keys, this model parts of them."
    return ""


def _tensor_unsupported_reason(pruned: PrunedModel) -> str:
    pieces = compact(pruned.loaded.model, pruned.plan).pieces
    unknown = [name for name in pieces if not _gguf_name(name)]
    if unknown:
        return f"llama.cpp has no place for {unknown[0]}."
    widths = _widths(pruned, pieces)
    if not all(widths.neurons) or not all(widths.heads):
        return "llama.cpp cannot go without all heads or all neurons of a block."
    return ""


def _gguf_name(name: str) -> str:
    """What llama.cpp calls a tensor of transformers' model; empty: it does not."""
    if name in _TOP:
        return _TOP[name]
    found = _BLOCK_TENSOR.fullmatch(name)
    if found is None or found["module"] not in _IN_BLOCK:
        return ""
    return f"blk.{found['block']}.{_IN_BLOCK[found['module']]}.{found['suffix']}"


def _widths(pruned: PrunedModel, pieces: dict[str, TensorSlice]) -> _Widths:
    config = pruned.loaded.model.config
    size = head_size(config)

    def rows(layer: str) -> list[int]:
        return [
            pieces[f"model.layers.{block}.{layer}.weight"].shape[0]
            for block in range(config.num_hidden_layers)
        ]

    return _Widths(
        neurons=rows("mlp.gate_proj"),
        heads=[n // size for n in rows("self_attn.q_proj")],
        kv_heads=[n // size for n in rows("self_attn.k_proj")],
    )


@contextmanager
def _begun(
    pruned: PrunedModel, dtype: FileDtype, path: Path
) -> Iterator[tuple[GGUFWriter, list[_Stored]]]:
    """A file with its whole header, and the tensors that are to follow in turn."""
    config = pruned.loaded.model.config
    pieces = compact(pruned.loaded.model, pruned.plan).pieces
    widths = _widths(pruned, pieces)
    architecture = _architecture(config, widths)
    is_reordered = architecture != "qwen2"
    stored = list(_stored(pieces, widths, is_reordered))
    factors = _rope_factors(config)
    if factors is not None:
        stored.append(_Stored(_ROPE_FACTORS, TensorSlice(factors), 0))
    wanted, file_type = _TYPES[named_dtype(Format.GGUF, dtype, pruned.loaded)]
    writer = GGUFWriter(path, architecture)
    writer.add_type("model")
    writer.add_name(pruned.loaded.source.name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(GGML_QUANT_VERSION)
    _describe(writer, config, widths)
    add_tokenizer(writer, pruned.loaded, config.vocab_size)
    for each in stored:
        kind = each.type(wanted)
        writer.add_tensor_info(
            each.name,
            each.piece.shape,
            np.dtype(np.float32),
            _bytes(each, wanted),
            raw_dtype=kind,
        )
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        yield writer, stored
    finally:
        writer.close()


def _architecture(config: PretrainedConfig, widths: _Widths) -> str:
    if not widths.are_uniform:
        return "deci"
    # llama.cpp's qwen2 has as many queries as the embedding has numbers, and does not
    # scale positions; its llama takes biases just as well.
    queries = widths.heads[0] * head_size(config)
    is_stock = queries == config.hidden_size and _rope_factors(config) is None
    return "qwen2" if config.model_type == "qwen2" and is_stock else "llama"


def _describe(writer: GGUFWriter, config: PretrainedConfig, widths: _Widths) -> None:
    def width(each: list[int]) -> int | list[int]:
        return each[0] if widths.are_uniform else each

    size = head_size(config)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(width(widths.neurons))
    writer.add_head_count(width(widths.heads))
    writer.add_head_count_kv(width(widths.kv_heads))
    # Without them llama.cpp divides the embedding among the heads that are left.
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _stored(
    pieces: dict[str, TensorSlice], widths: _Widths, is_reordered: bool
) -> Iterator[_Stored]:
    for name, piece in pieces.items():
        heads = 0
        if is_reordered and ".self_attn.q_proj." in name:
            heads = widths.heads[int(name.split(".")[2])]
        elif is_reordered and ".self_attn.k_proj." in name:
            heads = widths.kv_heads[int(name.split(".")[2])]
        yield _Stored(_gguf_name(name), piece, heads)


def _rope_factors(config: PretrainedConfig) -> Tensor | None:
    """What each frequency of the rotation is divided by; None: by nothing."""
    rope: dict[str, Any] = config.rope_parameters
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return None
    scaled, _ = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    size = head_size(config)
    powers = torch.arange(0, size, 2, dtype=torch.float32) / size
    return 1.0 / (rope["rope_theta"] ** powers * scaled)


def _bytes(stored: _Stored, wanted: GGMLQuantizationType) -> int:
    numbers, size = GGML_QUANT_SIZES[stored.type(wanted)]
    return int(np.prod(stored.piece.shape)) // numbers * size


def _padded(size: int) -> int:
    return int(GGUFWriter.ggml_pad(size, 32))


def _encoded(name: str, tensor: Tensor, kind: GGMLQuantizationType) -> np.ndarray:
    if kind == _Type.F32:
        return tensor.float().numpy()
    if kind == _Type.BF16:  # numpy has none: its bits
        return tensor.bfloat16().view(torch.int16).numpy()
    largest = float(tensor.abs().max())
    steps = _Q8_0_STEPS if kind == _Type.Q8_0 else 1
    if torch.tensor(largest / steps).half().isinf():
        raise ExportError(
            f"{name} has numbers up to {largest:.3g}, which float16 cannot hold.",
            "Choose bfloat16.",
        )
    if kind == _Type.F16:
        return tensor.half().numpy()
    return quantize(tensor.float().numpy(), kind)
