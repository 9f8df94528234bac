"""What is wanted of a run: plain frozen dataclasses, read from and written to TOML.

Every field states its range and whether it is for experts, so that the
checks here and the forms of the window come from one place. Imports neither torch
nor Qt.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from surgeon_engine.errors import ConfigError

DEMO = "demo"  # the model source that names the bundled demo
BUILTIN_TEXT = "builtin"  # the text source that names the built-in text


class Structure(StrEnum):
    """What is removed as a whole."""

    HEADS_AND_NEURONS = "heads_and_neurons"
    ROWS_AND_COLUMNS = "rows_and_columns"


class CostBasis(StrEnum):
    """What the global threshold compares."""

    PER_PARAMETER = "per_parameter"  # cost / weights removed: the budgeted optimum
    RAW = "raw"  # the cost alone, as the paper does


class UpdateKind(StrEnum):
    """How the kept weights of a layer that loses rows and columns change."""

    JOINT = "joint"  # the exact minimiser over all kept weights
    SEPARATE = "separate"  # row and column updates added up, as the paper's code does


class Schedule(StrEnum):
    """How the target sparsity is spread over the shots."""

    LINEAR = "linear"  # equal steps
    CUBIC = "cubic"  # large steps first


class Dtype(StrEnum):
    """The number format in which a model is loaded and pruned."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Device(StrEnum):
    """Where the engine computes."""

    AUTO = "auto"  # a GPU when there is one
    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class Limits:
    """The range of a number: from `low`, up to `high` or, if it is open, below it."""

    low: float
    high: float
    low_is_open: bool = False
    high_is_open: bool = False

    def contain(self, value: float) -> bool:
        """Whether `value` lies inside."""
        above = value > self.low if self.low_is_open else value >= self.low
        below = value < self.high if self.high_is_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        opening = "(" if self.low_is_open else "["
        closing = ")" if self.high_is_open else "]"
        return f"{opening}{self.low:g}, {self.high:g}{closing}"


def _option(
    default: Any, limits: Limits | None = None, *, advanced: bool = False
) -> Any:
    metadata = {"limits": limits, "advanced": advanced}
    return field(default=default, metadata=metadata)


def _check_limits(config: Any) -> None:
    for item in dataclasses.fields(config):
        limits = item.metadata.get("limits")
        value = getattr(config, item.name)
        if limits is not None and not limits.contain(value):
            raise ConfigError(
                f"{item.name} must be in {limits}, got {value}.",
                f"Set {item.name} to a value in {limits}.",
            )


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which model is pruned, and how it is held in memory."""

    source: str = DEMO  # "demo", a folder with safetensors, or a .gguf file
    dtype: Dtype = _option(Dtype.FLOAT32, advanced=True)
    device: Device = _option(Device.AUTO, advanced=True)

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise ConfigError(
                "No model was given.", "Choose a folder, a .gguf file or the demo."
            )


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """The text on which curvature is measured, and the one on which loss is."""

    text: str = BUILTIN_TEXT  # "builtin", a .txt/.jsonl file or a .npy token file
    validation_text: str = ""  # as `text`; empty: a held-out part of `text`
    windows: int = _option(64, Limits(1, 100_000))
    validation_windows: int = _option(32, Limits(1, 100_000))
    window_length: int = _option(256, Limits(8, 131_072))  # tokens
    seed: int = _option(0, Limits(0, 2**31 - 1), advanced=True)
    batch: int = _option(4, Limits(1, 1024), advanced=True)

    def __post_init__(self) -> None:
        _check_limits(self)
        if not self.text.strip():
            raise ConfigError(
                "No calibration text was given.",
                "Choose a text file or the built-in text.",
            )


@dataclass(frozen=True, slots=True)
class PruningConfig:
    """How much is removed, in which structure, by which costs and updates."""

    structure: Structure = Structure.HEADS_AND_NEURONS
    sparsity: float = _option(
        0.3, Limits(0, 0.95, low_is_open=True)
    )  # of prunable weights
    shots: int = _option(3, Limits(1, 200))
    schedule: Schedule = _option(Schedule.LINEAR, advanced=True)
    cost_basis: CostBasis = _option(CostBasis.PER_PARAMETER, advanced=True)
    update: UpdateKind = _option(UpdateKind.JOINT, advanced=True)
    cost_damping: float = _option(0.01, Limits(0, 100), advanced=True)
    update_damping: float = _option(0.1, Limits(0, 100), advanced=True)

    def __post_init__(self) -> None:
        _check_limits(self)


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """Where the pruned checkpoint goes."""

    folder: str = ""  # empty: `export` inside the run's own folder


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything that determines a run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    pruning: PruningConfig = field(default_factory=PruningConfig)
    export: ExportConfig = field(default_factory=ExportConfig)


def config_from_toml(text: str) -> RunConfig:
    """The config that `text` describes; what it leaves out has its default.

    Raises:
        ConfigError: not TOML, an unknown name, a wrong type or a value out of range.
    """
    try:
        data = msgspec.toml.decode(text)
        _refuse_unknown_names(data)
        return msgspec.convert(data, RunConfig)
    except msgspec.ValidationError as error:
        # msgspec wraps what __post_init__ raises; our own sentence is the better one.
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise ConfigError(f"The job does not fit: {error}.") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"The job is not valid TOML: {error}.") from error


def config_to_toml(config: RunConfig) -> str:
    """TOML from which `config_from_toml` makes an equal config."""
    return msgspec.toml.encode(config).decode()


def read_config(path: Path) -> RunConfig:
    """The config in the file at `path`; its relative paths start at the file.

    Raises:
        ConfigError: no such file, or see `config_from_toml`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The job {path} cannot be read: {error.strerror}.",
            "Save one in the window, or see the README for what it holds.",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The job {path} is not text: {error}.", "Choose a TOML file."
        ) from error
    return _with_paths_from(path.parent, config_from_toml(text))


def _with_paths_from(base: Path, config: RunConfig) -> RunConfig:
    def absolute(name: str, keyword: str) -> str:
        if name in ("", keyword):
            return name
        return str((base / os.path.expanduser(name)).resolve())

    text = config.calibration
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model, source=absolute(config.model.source, DEMO)
        ),
        calibration=dataclasses.replace(
            text,
            text=absolute(text.text, BUILTIN_TEXT),
            validation_text=absolute(text.validation_text, BUILTIN_TEXT),
        ),
        export=dataclasses.replace(
            config.export, folder=absolute(config.export.folder, "")
        ),
    )


def _refuse_unknown_names(data: Mapping[str, Any]) -> None:
    """A misspelt name would otherwise silently leave a default in force."""
    parts = {item.name: item.default_factory for item in dataclasses.fields(RunConfig)}
    for part, values in data.items():
        if part not in parts:
            raise ConfigError(
                f"The job has no part called {part!r}.",
                f"The parts are {', '.join(parts)}.",
            )
        known = [item.name for item in dataclasses.fields(parts[part])]  # type: ignore[arg-type]
        for name in values if isinstance(values, Mapping) else ():
            if name not in known:
                raise ConfigError(
                    f"{part} has no setting called {name!r}.",
                    f"Its settings are {', '.join(known)}.",
                )
