"""Write GGUF files for llama.cpp and the programs that are built on it.

The header of a GGUF file names one of llama.cpp's architectures and its sizes
(`header.py`); the tensors follow (`layout.py`). `support.py` chooses one of the
architectures that model/families.py lists for each family.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFWriter, LlamaFileType
from torch import Tensor
from typing_extensions import override

from surgeon_engine.api.config.export import QUANTIZED, ExportConfig, FileDtype
from surgeon_engine.api.model_info.files import GGUF_FILE
from surgeon_engine.api.model_info.source_names import without_number_format
from surgeon_engine.base.files import temporary_folder
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.compaction.shrink import compact
from surgeon_engine.export.base import Calibration, Check, VerificationResult, Writer
from surgeon_engine.export.gguf.calibrated import encoded
from surgeon_engine.export.gguf.header import Options, add_options, rope_tensors
from surgeon_engine.export.gguf.importances import (
    IMATRIX_NAME,
    mean_squares,
    write_imatrix,
)
from surgeon_engine.export.gguf.layout import layout_of
from surgeon_engine.export.gguf.quantizer import check_installed
from surgeon_engine.export.gguf.support import (
    architecture_of,
    notes,
    unsupported_reason,
)
from surgeon_engine.export.gguf.tensors import FileTensor
from surgeon_engine.export.gguf.tokenizer import (
    add_tokenizer,
    tokenizer_unsupported_reason,
)
from surgeon_engine.export.isolated_process import run_isolated
from surgeon_engine.export.provenance import Provenance, provenance_of
from surgeon_engine.export.transformers.files import compact_unsupported_reason
from surgeon_engine.export.transformers.weight_files import named_dtype
from surgeon_engine.planning.gguf_types import Mixture, about_fallbacks

CHECK = Path(__file__).with_name("check.py")
_FILE_TYPES = {
    FileDtype.FLOAT32: LlamaFileType.ALL_F32,
    FileDtype.FLOAT16: LlamaFileType.MOSTLY_F16,
    FileDtype.BFLOAT16: LlamaFileType.MOSTLY_BF16,
    **{dtype: LlamaFileType[f"MOSTLY_{dtype.name}"] for dtype in QUANTIZED},
}


@dataclass(frozen=True)
class GgufWriter(Writer):
    """Writes a model as `model.gguf`."""

    feeds_errors: bool = True  # where the type allows it
    calibration: Calibration | None = None  # for types that quantize

    @override
    def on_text(self, calibration: Calibration | None) -> GgufWriter:
        return replace(self, calibration=calibration)

    @override
    def unsupported_reason(self, pruned: PrunedModel) -> str:
        return (
            compact_unsupported_reason(pruned)
            or unsupported_reason(pruned)
            or tokenizer_unsupported_reason(pruned.loaded)
        )

    @override
    def notes(self, pruned: PrunedModel, dtype: FileDtype) -> tuple[str, ...]:
        mixture = _mixture(pruned, dtype)
        found = Counter(
            each.type(mixture)
            for each in file_tensors(pruned)
            if not each.is_float32 and mixture.falls_back(each.name, each.shape[-1])
        )
        about = about_fallbacks(found, mixture.dtype.label)
        others = notes(compact(pruned.loaded.model, pruned.plan))
        return (about, *others) if about else others

    @override
    def forecast(self, pruned: PrunedModel, dtype: FileDtype) -> int:
        # Exact: the header is written to a temporary file.
        mixture = _mixture(pruned, dtype)
        with temporary_folder() as folder:
            path = Path(folder) / GGUF_FILE
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
        with _open_with_header(pruned, mixture, folder / GGUF_FILE) as opened:
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


def file_tensors(pruned: PrunedModel) -> list[FileTensor]:
    """Return the tensors of a model's file, without the factors of rotary positions."""
    compacted = compact(pruned.loaded.model, pruned.plan)
    return layout_of(compacted, architecture_of(compacted)).tensors


@contextmanager
def _open_with_header(
    pruned: PrunedModel, mixture: Mixture, path: Path
) -> Iterator[tuple[GGUFWriter, list[FileTensor]]]:
    """Yield a file with its header, and the tensors to write, in order."""
    compacted = compact(pruned.loaded.model, pruned.plan)
    architecture, options = architecture_of(compacted), Options(compacted)
    layout = layout_of(compacted, architecture)
    tensors = [*layout.tensors, *rope_tensors(options, layout.widths, architecture)]
    writer = GGUFWriter(path, architecture.architecture)
    writer.add_type("model")
    writer.add_name(without_number_format(pruned.loaded.source.name))
    writer.add_file_type(_FILE_TYPES[mixture.dtype])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    _add_provenance(writer, provenance_of(pruned.loaded.source))
    add_options(writer, options, layout.widths, architecture)
    add_tokenizer(writer, pruned.loaded, options.config.vocab_size)
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
    layout = layout_of(compacted, architecture_of(compacted))
    widths = layout.widths
    return Mixture(
        named_dtype(dtype, loaded),
        blocks=len(widths.heads),
        queries_per_key=max(widths.heads) // max(1, *widths.kv_heads),
        has_head=any(each.name == "output.weight" for each in layout.tensors),
        experts=max(widths.experts),
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


def _padded(size: int) -> int:
    return int(GGUFWriter.ggml_pad(size, 32))
