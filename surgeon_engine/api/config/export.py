"""The export part of a job, and the formats in which a pruned model can be written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from surgeon_engine.api.config.fields import Limits, Option, check_limits
from surgeon_engine.base.errors import ConfigError

LLAMA_PACKAGE = "xllamacpp"  # runs GGUF files and rounds to their types; optional


class Format(StrEnum):
    """Formats of a pruned model."""

    AUTOMATIC = "automatic"  # like the original's
    COMPACT = "compact"
    PLAIN = "plain"
    MASKED = "masked"
    GGUF = "gguf"


class FileDtype(StrEnum):
    """Number formats of exported files."""

    SAME = "same"  # as in the original's files; `planning/file_form.py` has details
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    # Formats for GGUF only, by llama.cpp's names.
    Q8_0 = "q8_0"  # 8 bits a weight, in blocks of 32 with a scale each
    Q6_K = "q6_k"  # K: blocks of 256 with several scales
    Q5_K_M = "q5_k_m"  # M: longer numbers for the most sensitive matrices
    Q4_K_M = "q4_k_m"
    IQ4_NL = "iq4_nl"  # 4 bits with uneven steps, in blocks of 32
    Q4_0 = "q4_0"  # 4 bits with even steps
    MXFP4_MOE = "mxfp4_moe"  # experts in 4 bits as GPT-OSS has them, the rest in Q8_0

    @property
    def label(self) -> str:
        """The name in sentences: llama.cpp's own, if it is one of GGUF only."""
        return self.name if "_" in self.name else self.value


@dataclass(frozen=True, slots=True)
class Description:
    """Description of a format for users."""

    label: str
    can: str
    cannot: str
    dtypes: tuple[FileDtype, ...]


# transformers loads these; the other formats can be made from them.
FOR_TRANSFORMERS = (
    Format.AUTOMATIC,
    Format.COMPACT,
    Format.PLAIN,
    Format.MASKED,
)
_FLOATS = (
    FileDtype.SAME,
    FileDtype.FLOAT32,
    FileDtype.BFLOAT16,
    FileDtype.FLOAT16,
)
# Formats of less than 16 bits for matrices of any kind, the longest first.
FOR_ANY_MODEL = (
    FileDtype.Q8_0,
    FileDtype.Q6_K,
    FileDtype.Q5_K_M,
    FileDtype.Q4_K_M,
    FileDtype.IQ4_NL,
    FileDtype.Q4_0,
)
QUANTIZED = (*FOR_ANY_MODEL, FileDtype.MXFP4_MOE)
# Formats with blocks of 256 numbers; the others have blocks of 32.
K_FORMATS = (FileDtype.Q6_K, FileDtype.Q5_K_M, FileDtype.Q4_K_M)
DESCRIPTIONS: dict[Format, Description] = {
    Format.AUTOMATIC: Description(
        "Like the original",
        "The default. A GGUF file or a quantized model becomes a GGUF file, if there "
        "can be one. Other models become a checkpoint for transformers: plain if all "
        "layers have the same widths, otherwise compact; masked for single weights.",
        "",
        (*_FLOATS, *QUANTIZED),
    ),
    Format.COMPACT: Description(
        "transformers, compact",
        "Really smaller, for every structure except single weights. Loads with "
        "trust_remote_code=True; the code is in the folder, Surgeon is not needed.",
        "Not for programs that do not run the code of a checkpoint.",
        _FLOATS,
    ),
    Format.PLAIN: Description(
        "transformers, plain",
        "Really smaller. Loads in every program that knows the architecture.",
        "Only if all layers have the same widths. Heads can be removed only where the "
        "architecture allows fewer.",
        _FLOATS,
    ),
    Format.MASKED: Description(
        "transformers, masked",
        "Loads wherever the original does.",
        "Removed weights are stored as zeros: same size, same speed.",
        _FLOATS,
    ),
    Format.GGUF: Description(
        "GGUF for llama.cpp",
        "One file for llama.cpp and programs built on it. In models like Llama, each "
        "layer may have its own widths.",
        "Only families that llama.cpp computes; no rows and columns.",
        (*_FLOATS, *QUANTIZED),
    ),
}


def check_dtype(wanted: Format, dtype: FileDtype) -> None:
    """Check that a format can hold a number format.

    Raises:
        ConfigError: The format cannot hold it.
    """
    if dtype not in DESCRIPTIONS[wanted].dtypes:
        possible = ", ".join(DESCRIPTIONS[wanted].dtypes)
        raise ConfigError(
            "{label} does not hold {dtype}.",
            "Choose one of: {possible}.",
            settings=("dtype", "format"),
            label=DESCRIPTIONS[wanted].label,
            dtype=dtype.label,
            possible=possible,
        )


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """Destination and format of the pruned checkpoint."""

    folder: str = ""  # empty: `export` inside the run's own folder
    format: Format = Format.AUTOMATIC
    dtype: Annotated[FileDtype, Option(advanced=True)] = FileDtype.SAME
    shard_gigabytes: Annotated[
        float,
        Option(Limits(0.001, 1000), advanced=True, used_if="has_shards"),
    ] = 5.0
    # Whether the run keeps its state on the disk, so that it can go on after an
    # interruption.
    save_progress: Annotated[bool, Option(advanced=True)] = True

    def __post_init__(self) -> None:
        check_limits(self)
        check_dtype(self.format, self.dtype)

    @property
    def has_shards(self) -> bool:
        """True if the weights may be divided among several files."""
        return self.format in FOR_TRANSFORMERS
