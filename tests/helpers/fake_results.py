"""Results of the fake engine: exported files and measured speed."""

from __future__ import annotations

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import BY_LAYER, SPARSE, PruningConfig
from surgeon_engine.api.messages.benchmark import (
    BenchmarkSettings,
    Measured,
    ModelMeasured,
    rate_of,
)
from surgeon_engine.api.messages.run import Exported, FormatSupport

COMPARED_TOKENS = 512
WHOLE_BYTES = 2_828_736 * 4  # of all parameters in float32
PRUNED_BYTES = 2_098_829 * 4
HEADER_BYTES = 8_192
RAGGED = "No plain model has these widths: 500 and 512."
READ_BACK = "gguf: the 57 tensors were read back and fit the header"
_SHRINKING = {FileDtype.SAME: 1, FileDtype.FLOAT32: 1, FileDtype.Q8_0: 4}


def exported(
    folder: str,
    pruning: PruningConfig,
    export: ExportConfig | None = None,
    *,
    pruned_bytes: int = PRUNED_BYTES,
    is_run: bool = True,
) -> Exported:
    """Return the result of an export; `is_run` is False if no program could run it."""
    export = export or ExportConfig()
    is_sparse = pruning.kind in SPARSE
    file_format = export.format
    if file_format is Format.AUTOMATIC:
        file_format = Format.MASKED if is_sparse else Format.COMPACT
    size = WHOLE_BYTES if is_sparse or file_format is Format.MASKED else pruned_bytes
    size = size // _SHRINKING.get(export.dtype, 2) + HEADER_BYTES
    is_exact = export.dtype in (FileDtype.SAME, FileDtype.FLOAT32)
    program = (
        "llama-cpp-python 0.3.36"
        if file_format is Format.GGUF
        else "transformers 5.5.0"
    )
    return Exported(
        folder=folder,
        bytes=size + 217_000,
        tokens_compared=COMPARED_TOKENS if is_run else 0,
        largest_difference=(1.5e-6 if is_exact else 0.03) if is_run else 0.0,
        format=file_format,
        dtype=FileDtype.FLOAT32 if is_exact else export.dtype,
        weight_bytes=size,
        forecast_bytes=size,
        agreement=1.0 if is_exact else 0.998,
        perplexity=14.62 if is_run else None,
        expected_perplexity=14.62,
        divergence=0.184 if is_run else None,
        expected_divergence=0.184,
        checked_with=program if is_run else READ_BACK,
        others=others(pruning),
    )


def others(pruning: PruningConfig) -> tuple[FormatSupport, ...]:
    """Return the formats in which the pruned model can be saved."""
    is_sparse = pruning.kind in SPARSE
    widths = "Its layers are lists." if pruning.kind in BY_LAYER else RAGGED
    return (
        FormatSupport(Format.COMPACT, "No whole structure was removed." * is_sparse),
        FormatSupport(Format.STOCK, widths),
        FormatSupport(Format.MASKED),
        FormatSupport(Format.GGUF),
    )


def measured(settings: BenchmarkSettings | None = None) -> Measured:
    """Return the speed of two models; the second is about 25 % faster."""
    settings = settings or BenchmarkSettings()
    return Measured(
        models=(
            _timed("demo", 5_700_000, 2_828_736, 0.40),
            _timed("export", PRUNED_BYTES + HEADER_BYTES, 2_098_829, 0.31),
        ),
        threads=2,
        prompt_tokens=settings.prompt_tokens,
        generated_tokens=settings.generated_tokens,
        rounds=settings.rounds,
        device="a processor",
        dtype=settings.dtype,
    )


def _timed(name: str, file_bytes: int, parameters: int, seconds: float):
    rounds = [seconds + 0.002 * number for number in range(7)]
    return ModelMeasured(
        name=name,
        file_bytes=file_bytes,
        parameters=parameters,
        prompt=rate_of(512, rounds),
        generation=rate_of(32, [1.7 * seconds for seconds in rounds]),
        loaded_bytes=400_000_000 + 4 * parameters,
        peak_bytes=420_000_000 + 8 * parameters,
    )
