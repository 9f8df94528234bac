"""Write GGUF files for llama.cpp and the programs that are built on it.

The header of a GGUF file names one of llama.cpp's architectures and its sizes. Surgeon
uses three of them:

    llama   blocks like Llama's, all with the same widths
    qwen2   the same for Qwen 2 models with all their heads
    deci    blocks like Llama's, each with its own widths (made for Nemotron-NAS)

An attention that was removed as a whole has no heads in a deci file, and an MLP has a
few neurons of zeros: llama.cpp would skip the attention of a block without any. So does
the first attention, where llama.cpp reads the size of a head.

llama and deci rotate neighboring features of queries and keys; transformers rotates
features that are half a head apart. For these two the rows of q and k are reordered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import (
    GGML_QUANT_VERSION,
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
)
from torch import Tensor
from transformers import PretrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from typing_extensions import override

from surgeon_engine.api.config.export import (
    QUANTIZED,
    ExportConfig,
    FileDtype,
    Format,
)
from surgeon_engine.base.files import temporary_folder
from surgeon_engine.base.sentences import say
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.compaction.shrink import CompactModel, compact
from surgeon_engine.compaction.slices import TensorSlice
from surgeon_engine.export.base import Calibration, Check, VerificationResult, Writer
from surgeon_engine.export.gguf.calibrated import encoded, mean_squares
from surgeon_engine.export.gguf.check import FILE_NAME
from surgeon_engine.export.gguf.imatrix import IMATRIX_NAME, write_imatrix
from surgeon_engine.export.gguf.quantiser import check_installed
from surgeon_engine.export.gguf.tensors import FileTensor
from surgeon_engine.export.gguf.tokenizer import (
    add_tokenizer,
    tokenizer_unsupported_reason,
)
from surgeon_engine.export.isolated_process import run_isolated
from surgeon_engine.export.provenance import Provenance, provenance_of
from surgeon_engine.export.transformers.files import compact_unsupported_reason
from surgeon_engine.export.transformers.weight_files import named_dtype
from surgeon_engine.model.families import family_of
from surgeon_engine.model.layers import head_size
from surgeon_engine.planning.gguf_types import Mixture, gguf_name

CHECK = Path(__file__).with_name("check.py")
_ROPE_FACTORS = "rope_freqs.weight"
_ROPE_TYPES = ("default", "linear", "llama3")
_FILE_TYPES = {
    FileDtype.FLOAT32: LlamaFileType.ALL_F32,
    FileDtype.FLOAT16: LlamaFileType.MOSTLY_F16,
    FileDtype.BFLOAT16: LlamaFileType.MOSTLY_BF16,
    FileDtype.Q8_0: LlamaFileType.MOSTLY_Q8_0,
    FileDtype.Q6_K: LlamaFileType.MOSTLY_Q6_K,
    FileDtype.Q5_K_M: LlamaFileType.MOSTLY_Q5_K_M,
    FileDtype.Q4_K_M: LlamaFileType.MOSTLY_Q4_K_M,
    FileDtype.IQ4_NL: LlamaFileType.MOSTLY_IQ4_NL,
    FileDtype.Q4_0: LlamaFileType.MOSTLY_Q4_0,
}
_BLOCK = 32  # numbers that share a scale in most quantised types


@dataclass(frozen=True, slots=True)
class _Widths:
    """Widths of the remaining blocks, in order."""

    neurons: list[int]  # in the file
    heads: list[int]
    kv_heads: list[int]

    @property
    def are_uniform(self) -> bool:
        return all(
            len(set(each)) == 1 for each in (self.neurons, self.heads, self.kv_heads)
        )


@dataclass(frozen=True)
class GgufWriter(Writer):
    """Writes a model like Llama as `model.gguf`."""

    feeds_errors: bool = True  # where the type allows it
    calibration: Calibration | None = None  # for types that quantise

    @override
    def on_text(self, calibration: Calibration | None) -> GgufWriter:
        return replace(self, calibration=calibration)

    @override
    def unsupported_reason(self, pruned: PrunedModel) -> str:
        return (
            _architecture_unsupported_reason(pruned)
            or compact_unsupported_reason(pruned)
            or _tensor_unsupported_reason(pruned)
            or tokenizer_unsupported_reason(pruned.loaded)
        )

    @override
    def forecast(self, pruned: PrunedModel, dtype: FileDtype) -> int:
        # Exact: the header is written to a temporary file.
        mixture = _mixture(pruned, dtype)
        with temporary_folder() as folder:
            path = Path(folder) / FILE_NAME
            with _open_with_header(pruned, mixture, path) as (_, tensors):
                pass
            header = _padded(path.stat().st_size)
        return header + sum(_padded(each.bytes(mixture)) for each in tensors)

    @override
    def write(self, pruned: PrunedModel, config: ExportConfig, folder: Path) -> None:
        loaded, mixture = pruned.loaded, _mixture(pruned, config.dtype)
        squares: dict[str, Tensor] = {}
        check_installed(mixture.dtype)
        calibration = self.calibration if mixture.dtype in QUANTIZED else None
        with _open_with_header(pruned, mixture, folder / FILE_NAME) as opened:
            writer, tensors = opened
            if calibration is not None:
                squares = mean_squares(loaded, calibration)
                write_imatrix(folder / IMATRIX_NAME, tensors, squares, calibration)
            text = calibration if self.feeds_errors else None
            for data in encoded(tensors, mixture, loaded, squares, text):
                writer.write_tensor_data(data)

    @override
    def verify(self, folder: Path, probe: Path, check: Check) -> VerificationResult:
        # Without llama.cpp the file is read back and compared with its header.
        arguments = (str(folder), str(probe))
        return run_isolated(CHECK, arguments, check, "error loading model: ")


def _architecture_unsupported_reason(pruned: PrunedModel) -> str:
    config = pruned.loaded.model.config
    if not family_of(config.model_type).gguf:
        return say(
            "llama.cpp supports layers of different widths in models like Llama, "
            "Mistral and Qwen 2; this is {model_type}.",
            model_type=config.model_type,
        )
    if pruned.plan.layers:
        return say(
            "llama.cpp does not support layers with removed rows and columns, "
            "only removed heads and neurons."
        )
    window = getattr(config, "sliding_window", None)
    if window and window < config.max_position_embeddings:
        return say(
            "This model has a sliding window of {window:,} tokens, which this "
            "GGUF architecture does not support.",
            window=window,
        )
    if config.hidden_act != "silu":
        return say(
            "llama.cpp computes SiLU in these MLPs, not {found}.",
            found=config.hidden_act,
        )
    rope = config.rope_parameters
    kind = rope.get("rope_type", "default")
    if kind not in _ROPE_TYPES:
        return say(
            "This GGUF architecture does not support positions scaled by {kind}.",
            kind=kind,
        )
    if rope.get("partial_rotary_factor", 1.0) != 1.0 or head_size(config) % 2:
        return say(
            "llama.cpp rotates whole queries and keys, this model parts of them."
        )
    return ""


def _tensor_unsupported_reason(pruned: PrunedModel) -> str:
    tensors = compact(pruned.loaded.model, pruned.plan).tensors
    unknown = [name for name in tensors if not gguf_name(name)]
    if unknown:
        return say(
            "llama.cpp does not support the tensor {unknown}.", unknown=unknown[0]
        )
    return ""


def _widths(compacted: CompactModel) -> _Widths:
    config, tensors = compacted.model.config, compacted.tensors
    size, blocks = head_size(config), range(len(compacted.blocks))

    def rows(layer: str) -> list[int]:
        names = [f"model.layers.{block}.{layer}.weight" for block in blocks]
        return [tensors[x].shape[0] if x in tensors else 0 for x in names]

    full = config.intermediate_size
    widths = _Widths(
        neurons=[_filled_up(n or 1, full) for n in rows("mlp.gate_proj")],
        heads=[n // size for n in rows("self_attn.q_proj")],
        kv_heads=[n // size for n in rows("self_attn.k_proj")],
    )
    if not widths.heads[0]:
        shared = config.num_attention_heads // config.num_key_value_heads
        widths.heads[0], widths.kv_heads[0] = shared, 1
    return widths


def _filled_up(neurons: int, full: int) -> int:
    """Return the width in the file of an MLP with `neurons` of its `full` neurons.

    Neurons of zeros, which change nothing, fill the rows up to whole blocks of
    quantised numbers. llama.cpp computes such widths faster, too.
    """
    filled = -(-neurons // _BLOCK) * _BLOCK
    return filled if neurons and full % _BLOCK == 0 else neurons


@contextmanager
def _open_with_header(
    pruned: PrunedModel, mixture: Mixture, path: Path
) -> Iterator[tuple[GGUFWriter, list[FileTensor]]]:
    """Yield a file with its header, and the tensors to write, in order."""
    config = pruned.loaded.model.config
    compacted = compact(pruned.loaded.model, pruned.plan)
    widths = _widths(compacted)
    architecture = _architecture(config, widths)
    is_reordered = architecture != "qwen2"
    tensors = list(_file_tensors(compacted, widths, is_reordered))
    factors = _rope_factors(config)
    if factors is not None:
        tensors.append(FileTensor(_ROPE_FACTORS, TensorSlice(factors)))
    writer = GGUFWriter(path, architecture)
    writer.add_type("model")
    writer.add_name(pruned.loaded.source.name)
    writer.add_file_type(_FILE_TYPES[mixture.dtype])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    _add_provenance(writer, provenance_of(pruned.loaded.source))
    _add_sizes(writer, config, widths)
    add_tokenizer(writer, pruned.loaded, config.vocab_size)
    for each in tensors:
        writer.add_tensor_info(
            each.name,
            each.shape,
            np.dtype(np.float32),
            each.bytes(mixture),
            raw_dtype=GGMLQuantizationType[each.type(mixture)],
        )
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        yield writer, tensors
    finally:
        writer.close()


def _mixture(pruned: PrunedModel, dtype: FileDtype) -> Mixture:
    loaded = pruned.loaded
    compacted = compact(loaded.model, pruned.plan)
    tensors, widths = compacted.tensors, _widths(compacted)
    return Mixture(
        named_dtype(Format.GGUF, dtype, loaded),
        blocks=len(widths.heads),
        queries_per_key=widths.heads[0] // widths.kv_heads[0],
        has_head="lm_head.weight" in tensors,
    )


def _add_provenance(writer: GGUFWriter, provenance: Provenance) -> None:
    if provenance.base_model:
        organization, _, name = provenance.base_model.rpartition("/")
        writer.add_base_model_count(1)
        writer.add_base_model_name(0, name)
        if organization:
            writer.add_base_model_organization(0, organization)
        url = f"https://huggingface.co/{provenance.base_model}"
        writer.add_base_model_repo_url(0, url)
    for add, text in (
        (writer.add_license, provenance.license),
        (writer.add_license_name, provenance.license_name),
        (writer.add_license_link, provenance.license_link),
    ):
        if text:
            add(text)
    if provenance.languages:
        writer.add_languages(list(provenance.languages))


def _architecture(config: PretrainedConfig, widths: _Widths) -> str:
    if not widths.are_uniform:
        return "deci"
    # llama.cpp's qwen2 has as many queries as embedding features and does not scale
    # positions; its llama supports biases too.
    queries = widths.heads[0] * head_size(config)
    is_stock = queries == config.hidden_size and _rope_factors(config) is None
    return family_of(config.model_type).gguf if is_stock else "llama"


def _add_sizes(writer: GGUFWriter, config: PretrainedConfig, widths: _Widths) -> None:
    def width(each: list[int]) -> int | list[int]:
        return each[0] if widths.are_uniform else each

    size = head_size(config)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(len(widths.heads))
    writer.add_feed_forward_length(width(widths.neurons))
    writer.add_head_count(width(widths.heads))
    writer.add_head_count_kv(width(widths.kv_heads))
    # Without them llama.cpp divides the embedding by the number of remaining heads.
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _file_tensors(
    compacted: CompactModel, widths: _Widths, is_reordered: bool
) -> Iterator[FileTensor]:
    begun: set[str] = set()  # blocks
    for name, source in compacted.tensors.items():
        file_name = gguf_name(name)
        layer = compacted.original_name(name.rpartition(".")[0])
        if name.startswith("model.layers."):
            block = name.split(".")[2]
            if block not in begun:
                begun.add(block)
                yield from _zero_tensors(compacted, widths, int(block))
            if ".input_layernorm." in name and not widths.heads[int(block)]:
                continue  # llama.cpp does not expect the norm before no attention
        if ".mlp." in name:
            neurons = widths.neurons[int(name.split(".")[2])]
            if ".down_proj.weight" in name:
                added = {"added_columns": neurons - source.shape[1]}
            elif ".down_proj." in name:
                added = {}
            else:
                added = {"added_rows": neurons - source.shape[0]}
            yield FileTensor(file_name, source, layer, **added)
            continue
        heads = 0
        if is_reordered and ".self_attn.q_proj." in name:
            heads = widths.heads[int(name.split(".")[2])]
        elif is_reordered and ".self_attn.k_proj." in name:
            heads = widths.kv_heads[int(name.split(".")[2])]
        yield FileTensor(file_name, source, layer, heads)


def _zero_tensors(
    compacted: CompactModel, widths: _Widths, block: int
) -> Iterator[FileTensor]:
    """Yield the layers of zeros that stand for those of a removed sub-layer."""
    original, tensors = compacted.blocks[block], compacted.tensors
    config = compacted.model.config
    size = head_size(config)
    heads, kv_heads = widths.heads[block] * size, widths.kv_heads[block] * size
    hidden, neurons = config.hidden_size, widths.neurons[block]
    shapes = {
        "self_attn.q_proj": (heads, hidden),
        "self_attn.k_proj": (kv_heads, hidden),
        "self_attn.v_proj": (kv_heads, hidden),
        "self_attn.o_proj": (hidden, heads),
        "mlp.gate_proj": (neurons, hidden),
        "mlp.up_proj": (neurons, hidden),
        "mlp.down_proj": (hidden, neurons),
    }
    parameters = dict(compacted.model.named_parameters())
    for layer, (rows, columns) in shapes.items():
        if f"model.layers.{block}.{layer}.weight" in tensors or not rows * columns:
            continue
        name = gguf_name(f"model.layers.{block}.{layer}")
        like = parameters[f"model.layers.{original}.{layer}.weight"]
        zeros = like.new_zeros(rows, columns, device="cpu")
        yield FileTensor(f"{name}.weight", TensorSlice(zeros))
        if f"model.layers.{original}.{layer}.bias" in parameters:
            bias = like.new_zeros(rows, device="cpu")
            yield FileTensor(f"{name}.bias", TensorSlice(bias))


def _rope_factors(config: PretrainedConfig) -> Tensor | None:
    """Return the divisors of the rotary frequencies; None if they are not scaled."""
    rope: dict[str, Any] = config.rope_parameters
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return None
    scaled, _ = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    size = head_size(config)
    powers = torch.arange(0, size, 2, dtype=torch.float32) / size
    return 1.0 / (rope["rope_theta"] ** powers * scaled)


def _padded(size: int) -> int:
    return int(GGUFWriter.ggml_pad(size, 32))
