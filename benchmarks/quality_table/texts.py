"""The windows of each run, read before the first begins, and what identifies a run.

Every run gets its windows as token files, so that pruning and comparing see the same
ones. A run is identified by the contents of the model's files, by these windows and by
all its settings, wherever the files lie.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from surgeon_engine.api.config.calibration import (
    BUILTIN_TEXT,
    CalibrationConfig,
    is_token_file,
)
from surgeon_engine.api.config.fields import settings_of, values_of
from surgeon_engine.api.config.pruning import Fisher, PruningConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.errors import CalibrationError, ConfigError
from surgeon_engine.calibration.windows import load_windows, vocabulary_of
from surgeon_engine.model.load import load_tokenizer
from surgeon_engine.model.source import locate, read_model_config
from surgeon_engine.runtime import devices

from .plan import Run

_DIGITS = 16  # of a digest in hexadecimal; enough to tell some thousand runs apart


@dataclass(frozen=True, slots=True, eq=False)
class ReadyRun:
    """A run with its windows."""

    run: Run
    config: RunConfig  # that of the run, with its windows as token files
    identity: str
    validation: Tensor  # windows x length
    calibration_words: str
    validation_words: str


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    path: Path
    digest: str
    windows: Tensor
    words: str


class Texts:
    """The windows of runs on one model, each read once."""

    def __init__(self, model: ModelConfig, folder: Path) -> None:
        source = locate(model.source)
        config = read_model_config(source)
        self._folder = folder
        self._tokenizer = load_tokenizer(source)
        self._vocabulary = vocabulary_of(config)
        self._device = devices.choose(model.device).type
        # A GGUF file holds its config itself.
        config_file = () if source.gguf_file else (source.folder / "config.json",)
        self._model = digest_of_files((*config_file, *source.weight_files))
        self._parts: dict[tuple[object, ...], tuple[_Part, _Part]] = {}

    def ready(self, run: Run) -> ReadyRun:
        """Return the run with its windows.

        Raises:
            CalibrationError: A text cannot be read, or is too short.
        """
        calibration, validation = self._windows_of(run)
        text = dataclasses.replace(
            run.config.calibration,
            text=str(calibration.path),
            validation_text=str(validation.path),
        )
        return ReadyRun(
            run,
            dataclasses.replace(run.config, calibration=text),
            self._identity(run, calibration.digest, validation.digest),
            validation.windows,
            calibration.words,
            validation.words,
        )

    def _windows_of(self, run: Run) -> tuple[_Part, _Part]:
        config = run.config.calibration
        key = (config, run.given)
        if key not in self._parts:
            found = load_windows(config, self._tokenizer, self._vocabulary)
            validation_text = config.validation_text or config.text
            calibration, validation = found.calibration, found.validation
            if is_token_file(config.text):
                calibration = _drawn(calibration, config, run.given)
            if is_token_file(validation_text):
                validation = _first(validation, config, run.given)
            self._parts[key] = (
                self._part("calibration", config.text, calibration),
                self._part("validation", validation_text, validation),
            )
        return self._parts[key]

    def _part(self, part: str, text: str, windows: Tensor) -> _Part:
        array = windows.numpy().astype(np.int32)
        digest = hashlib.sha256(str(array.shape).encode() + array.tobytes())
        short = digest.hexdigest()[:_DIGITS]
        path = self._folder / f"{part}-{short}.npy"
        np.save(path, array)
        name = "the built-in text" if text == BUILTIN_TEXT else Path(text).name
        count, length = array.shape
        return _Part(
            path, short, windows, f"{name}, {count:,} windows of {length:,} tokens"
        )

    def _identity(self, run: Run, *windows: str) -> str:
        config = msgspec.to_builtins(run.config)
        config["pruning"] = _pruning_of_first_version(run.config.pruning)
        config["model"]["source"] = config["export"] = ""
        config["calibration"]["text"] = config["calibration"]["validation_text"] = ""
        all_of_it = [self._model, self._device, *windows, config, run.shots]
        return hashlib.sha256(msgspec.json.encode(all_of_it)).hexdigest()[:_DIGITS]


# The settings of the first version, whose results have kept their identities.
_FIRST_VERSION = {
    "structure": "structure",
    "kept": "pattern",
    "of": "pattern",
    "method": "method",
    "target": "target",
    "sparsity": "sparsity",
    "million_parameters": "million_parameters",
    "megabytes": "megabytes",
    "perplexity_rise": "max_perplexity_increase",
    "shots": "shots",
    "width_multiple": "width_multiple",
    "widths": "widths",
    "protect": "protect",
    "keep_at_least": "min_density",
    "limits": "layer_min_density",
    "schedule": "schedule",
    "fisher": "fisher",
    "cost_basis": "cost_basis",
    "update": "update",
    "max_correlated": "max_correlated",
    "correction": "correction",
    "damping": "damping",
    "cost_damping": "cost_damping",
    "update_damping": "update_damping",
}


def _pruning_of_first_version(pruning: PruningConfig) -> dict[str, Any]:
    """Return all settings under their first names, unused ones with their defaults."""
    values = {
        name: setting.default for name, setting in settings_of(PruningConfig).items()
    } | values_of(pruning)
    found = {old: values[name] for old, name in _FIRST_VERSION.items()}
    found["kept"], found["of"] = map(int, values["pattern"].split(":"))
    return found


def check_seeds_differ(runs: Sequence[ReadyRun]) -> None:
    """Check that different seeds draw different windows or labels.

    Raises:
        ConfigError: Two seeds of a job have the same windows, and draw no labels.
    """
    seen: dict[tuple[str, str], int] = {}
    for ready in runs:
        run = ready.run
        key = (run.job, ready.config.calibration.text)
        other = seen.setdefault(key, run.seed)
        sampled = run.config.pruning.fisher is Fisher.SAMPLED
        if other != run.seed and not sampled:
            raise ConfigError(
                f"Job {run.job!r}: the seeds {other} and {run.seed} have the same "
                "windows, since the token file is used whole.",
                "Give --windows, fewer than the file holds: the seed draws them.",
            )


def digest_of_files(paths: Sequence[Path]) -> str:
    """Return the digest of the contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:_DIGITS]


def _drawn(windows: Tensor, config: CalibrationConfig, given: frozenset[str]) -> Tensor:
    """Return the given number of windows, drawn by the seed; all if none is given."""
    _check_length(windows, config, given)
    if "windows" not in given or config.windows == len(windows):
        return windows
    _check_enough(windows, config.windows)
    generator = torch.Generator().manual_seed(config.seed)
    return windows[torch.randperm(len(windows), generator=generator)[: config.windows]]


def _first(windows: Tensor, config: CalibrationConfig, given: frozenset[str]) -> Tensor:
    """Return the first windows, as many as are given."""
    _check_length(windows, config, given)
    if "validation_windows" not in given:
        return windows
    _check_enough(windows, config.validation_windows)
    return windows[: config.validation_windows]


def _check_enough(windows: Tensor, wanted: int) -> None:
    if wanted > len(windows):
        raise CalibrationError(
            f"The token file holds {len(windows):,} windows, not {wanted:,}.",
            "Ask for fewer, or for none to use them all.",
        )


def _check_length(
    windows: Tensor, config: CalibrationConfig, given: frozenset[str]
) -> None:
    length = windows.shape[1]
    if "window_length" in given and length != config.window_length:
        raise CalibrationError(
            f"The windows of the token file have {length:,} tokens, "
            f"{config.window_length:,} were asked for.",
            "Leave --window-length out, or use another token file.",
        )
