"""Read the windows of all runs before the first one starts, and identify runs.

A run gets the windows that it draws from token files as token files of its own. The
identity of a run is a digest of the contents of the model's files, of the windows, of
the texts that judge and of all settings; it does not depend on paths.
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
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.pruning import Fisher, PruningConfig
from surgeon_engine.api.config.recovery import Recovery
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.base.errors import CalibrationError, ConfigError
from surgeon_engine.calibration.windows import draw_windows, vocabulary_of
from surgeon_engine.model.source import locate, read_model_config
from surgeon_engine.model.tokenizer import load_tokenizer
from surgeon_engine.runtime import devices

from .plan import Run

_DIGITS = 16  # hexadecimal digits of a digest; enough for thousands of runs


@dataclass(frozen=True, slots=True, eq=False)
class ReadyRun:
    """A run with its windows."""

    run: Run
    config: RunConfig  # config of the run, with its own token files
    identity: str
    calibration_digest: str
    calibration_description: str
    validation_description: str


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    source: str  # the text, or a token file with the windows of the run
    digest: str
    description: str


class Texts:
    """Read the windows of runs on one model, each selection once."""

    def __init__(self, model: ModelConfig, folder: Path) -> None:
        source = locate(model.source)
        config = read_model_config(source)
        self._folder = folder
        self._tokenizer = load_tokenizer(source)
        self._vocabulary = vocabulary_of(config)
        self._device = devices.choose(model.device).type
        # A GGUF file includes its config.
        config_file = () if source.gguf_file else (source.folder / "config.json",)
        self._model = digest_of_files((*config_file, *source.weight_files))
        self._parts: dict[tuple[object, ...], tuple[_Part, _Part]] = {}
        self._identities: dict[tuple[str, int, float], str] = {}

    def prepare(self, run: Run) -> ReadyRun:
        """Return the run with its windows.

        Raises:
            CalibrationError: A text cannot be read, or has too few windows.
        """
        calibration, validation = self._windows_of(run)
        text = dataclasses.replace(
            run.config.calibration,
            text=str(calibration.source),
            validation_text=str(validation.source),
            more_texts=(),
        )
        identity = self._identity(run, calibration.digest, validation.digest)
        for sparsity in run.sparsities:
            self._identities[run.job, run.seed, sparsity] = identity
        return ReadyRun(
            run,
            dataclasses.replace(run.config, calibration=text),
            identity,
            calibration.digest,
            calibration.description,
            validation.description,
        )

    def _windows_of(self, run: Run) -> tuple[_Part, _Part]:
        config = run.config.calibration
        key = (config, run.given)
        if key not in self._parts:
            _, found = draw_windows(config, self._tokenizer, self._vocabulary)
            validation_text = config.validation_text or config.text
            calibration, validation = found.calibration, found.validation
            if is_token_file(config.text):
                calibration = _drawn(calibration, config, run.given)
            if is_token_file(validation_text):
                validation = _first(validation, config, run.given)
            self._parts[key] = (
                self._part("calibration", config.text, calibration),
                self._part(
                    "validation", config.validation_text, validation, config.text
                ),
            )
        return self._parts[key]

    def _part(self, part: str, text: str, windows: Tensor, default: str = "") -> _Part:
        array = windows.numpy().astype(np.int32)
        digest = hashlib.sha256(str(array.shape).encode() + array.tobytes())
        short = digest.hexdigest()[:_DIGITS]
        source = text
        if is_token_file(text):
            source = str(self._folder / f"{part}-{short}.npy")
            np.save(source, array)
        name = name_of_text(text or default)
        count, length = array.shape
        return _Part(source, short, f"{name}, {count:,} windows of {length:,} tokens")

    def _identity(self, run: Run, *windows: str) -> str:
        config = msgspec.to_builtins(run.config)
        config["pruning"] = _pruning_of_first_version(run.config.pruning)
        evaluation, recovery = config.pop("evaluation"), config.pop("recovery")
        config["model"]["source"] = config["export"] = ""
        config["calibration"]["text"] = config["calibration"]["validation_text"] = ""
        # Added after the first version:
        del config["calibration"]["more_texts"], config["samples"]
        del config["model"]["offload"], config["model"]["gpus"]
        parts = [self._model, self._device, *windows, config, run.shots]
        # The first version had neither.
        if run.config.recovery.level is not Recovery.OFF:
            parts.append(recovery)
        if run.config.evaluation != EvaluationConfig():
            texts = map(_digest_of_text, run.config.evaluation.texts)
            parts.append(evaluation | {"texts": list(texts)})
        if run.rival is not None:
            # It is measured again if the job is that gives it its seconds.
            key = (run.rival.seconds_of or "", run.seed, run.sparsities[-1])
            parts.append([run.rival, self._identities.get(key)])
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:_DIGITS]


# Names of the first version, so that the identities of its results stay valid.
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
    values = dataclasses.asdict(pruning)
    values["correction"] = "none"  # the first version had one
    values["width_multiple"] = values["width_multiple"] or 1  # nothing was automatic
    found = {old: values[name] for old, name in _FIRST_VERSION.items()}
    found["kept"], found["of"] = map(int, values["pattern"].split(":"))
    return found


def check_seeds_differ(runs: Sequence[ReadyRun]) -> None:
    """Check that seeds change something; otherwise their spread would be zero.

    Raises:
        ConfigError: Two seeds of a job have the same windows and no sampled labels.
    """
    seen: dict[tuple[str, str], int] = {}
    for ready in runs:
        run = ready.run
        key = (run.job, ready.calibration_digest)
        other = seen.setdefault(key, run.seed)
        sampled = run.config.pruning.fisher is Fisher.SAMPLED
        if other != run.seed and not sampled:
            raise ConfigError(
                f"Job {run.job!r}: the seeds {other} and {run.seed} have the same "
                "windows, since all windows of the token file are used.",
                "Set --windows to fewer than the file holds: the seed draws them.",
            )


def name_of_text(text: str) -> str:
    """Return the name of a text for the tables."""
    return "the built-in text" if text == BUILTIN_TEXT else Path(text).name


def _digest_of_text(text: str) -> str:
    return digest_of_files([Path(text)]) if Path(text).is_file() else text


def digest_of_files(paths: Sequence[Path]) -> str:
    """Return a digest of the contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:_DIGITS]


def _drawn(windows: Tensor, config: CalibrationConfig, given: frozenset[str]) -> Tensor:
    """Draw the requested number of windows by the seed; return all if none is given."""
    _check_length(windows, config, given)
    if "windows" not in given or config.windows == len(windows):
        return windows
    _check_count(windows, config.windows)
    generator = torch.Generator().manual_seed(config.seed)
    return windows[torch.randperm(len(windows), generator=generator)[: config.windows]]


def _first(windows: Tensor, config: CalibrationConfig, given: frozenset[str]) -> Tensor:
    """Return the requested number of first windows, the same for every seed."""
    _check_length(windows, config, given)
    if "validation_windows" not in given:
        return windows
    _check_count(windows, config.validation_windows)
    return windows[: config.validation_windows]


def _check_count(windows: Tensor, count: int) -> None:
    if count > len(windows):
        raise CalibrationError(
            f"The token file holds {len(windows):,} windows, not {count:,}.",
            "Request fewer, or leave the number out to use all.",
        )


def _check_length(
    windows: Tensor, config: CalibrationConfig, given: frozenset[str]
) -> None:
    length = windows.shape[1]
    if "window_length" in given and length != config.window_length:
        raise CalibrationError(
            f"The windows of the token file have {length:,} tokens, "
            f"not {config.window_length:,}.",
            "Leave --window-length out, or use another token file.",
        )
