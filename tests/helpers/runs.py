"""Whole runs on tiny models and random tokens, with their events and results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Damping, Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.commands import Command
from surgeon_engine.api.messages.events import Event, Level, Logged
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Progressed,
    RunStarted,
    ShotFinished,
    Stage,
)
from surgeon_engine.base.errors import EngineError
from surgeon_engine.export.base import VerificationResult
from surgeon_engine.export.formats import WRITERS
from surgeon_engine.model.layers import PrunableLayer, prunable_layers
from surgeon_engine.run.pipeline import prune
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.configs import pruning_config
from tests.helpers.tiny_models import VOCABULARY, save_tiny_model

LENGTH = 16  # tokens of a window
# Stages that search, or measure again what was measured too roughly.
OPEN_ENDED = (Stage.DAMPING, Stage.EVALUATION)
# One of each kind: coupled groups, lines, single weights and N:M patterns.
STRUCTURES = (
    Structure.HEADS_AND_NEURONS,
    Structure.ROWS_AND_COLUMNS,
    Structure.ELEMENTS,
    Structure.N_M,
)


class Recorder:
    """Run the pipeline and record its events; `react` is called with each."""

    def __init__(self):
        self.events = []
        self.context = RunContext("test", self._receive)
        self.react = lambda event: None

    def _receive(self, envelope):
        assert envelope.run == "test"
        match envelope.event:
            case Progressed(stage=stage, done=done, total=total):
                assert done <= total or stage in OPEN_ENDED
        self.events.append(envelope.event)
        self.react(envelope.event)

    def run(self, config: RunConfig, folder: Path) -> Recorder:
        """Run the job and return this recorder."""
        prune(config, folder, self.context)
        return self

    def send_at(self, is_time: Callable[[Event], bool], command: type[Command]) -> None:
        """Send a command to the run at each event for which `is_time` holds."""

        def react(event: Event) -> None:
            if is_time(event):
                self.context.handle(command(run="test"))

        self.react = react

    def warnings(self) -> list[Logged]:
        """Return the logged warnings and errors."""
        return [event for event in self.of(Logged) if event.level is not Level.INFO]

    def of(self, kind: type) -> list[Any]:
        """Return the events of a type."""
        return [event for event in self.events if isinstance(event, kind)]


@dataclasses.dataclass(frozen=True, eq=False)  # no slots: there are cached properties
class Outcome:
    """The events of a run, the original weights and the exported model."""

    recorder: Recorder
    config: RunConfig
    exported: tuple[PrunableLayer, ...]
    folder: Path

    @cached_property
    def before(self) -> dict[str, torch.Tensor]:
        """The original W by layer."""
        original = AutoModelForCausalLM.from_pretrained(self.config.model.source)
        return {layer.name: layer.weight() for layer in prunable_layers(original)}

    @property
    def started(self) -> RunStarted:
        """The start of the run."""
        return self.recorder.of(RunStarted)[0]

    @property
    def shots(self) -> list[ShotFinished]:
        """The shots of the run."""
        return self.recorder.of(ShotFinished)

    @property
    def after(self) -> dict[str, torch.Tensor]:
        """Exported W by layer."""
        return {layer.name: layer.weight() for layer in self.exported}

    @property
    def zeros(self) -> dict[str, int]:
        """Number of zeros by exported layer."""
        return {name: int((W == 0).sum()) for name, W in self.after.items()}

    @property
    def reported(self) -> dict[str, int]:
        """Number of removed weights by layer, according to the last shot."""
        return {layer.name: layer.removed for layer in self.shots[-1].layers}


def job(
    folder: Path,
    family: str = "llama",
    windows: int = 4,
    *,
    export: ExportConfig = ExportConfig(format=Format.MASKED),  # noqa: B008
    recovery: RecoveryConfig = RecoveryConfig(Recovery.OFF),  # noqa: B008
    **pruning,
) -> RunConfig:
    """Return a job of one shot with fixed damping on random tokens.

    Writes the model and the token files.
    """
    source = folder / family
    if not source.exists():
        save_tiny_model(source, family)
    plain = {"shots": 1, "damping": Damping.FIXED}
    settings = plain | {"sparsity": 0.3} | pruning
    return RunConfig(
        ModelConfig(str(source)),
        tokens(folder, windows),
        pruning_config(**settings),
        export,
        recovery,
        EvaluationConfig(windows=0),
    )


def skip_verification(monkeypatch) -> None:
    """Let exports skip the verification in another process."""
    unverified = VerificationResult(0, 0.0, 0.0, 1.0, None, "nothing")
    for writer in WRITERS.values():
        monkeypatch.setattr(type(writer), "verify", lambda *_: unverified)


def tokens(folder: Path, windows: int = 4, length: int = LENGTH) -> CalibrationConfig:
    """Write files of random tokens, which are read quickly."""
    paths = []
    for seed, (part, count) in enumerate([("fit", windows), ("validate", 3)]):
        path = folder / f"{part}_{windows}_{length}.npy"
        random = np.random.default_rng(seed)
        np.save(path, random.integers(VOCABULARY, size=(count, length), dtype=np.int32))
        paths.append(str(path))
    return CalibrationConfig(
        text=paths[0], validation_text=paths[1], windows=windows, window_length=length
    )


def exported_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors that a run has exported to one file."""
    return load_file(folder / "export" / "model.safetensors")


def assert_same_tensors(
    one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]
) -> None:
    """Check that tensors have the same names and the same numbers."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def run(folder: Path, family: str = "llama", name: str = "run", **settings) -> Outcome:
    """Run `job` with these settings."""
    return outcome(job(folder, family, **settings), folder / name)


def outcome(config: RunConfig, folder: Path) -> Outcome:
    """Run a job and load the exported model."""
    recorder = Recorder().run(config, folder)
    model = AutoModelForCausalLM.from_pretrained(folder / "export")
    return Outcome(recorder, config, prunable_layers(model), folder)


def preflight_error(
    config: RunConfig, folder: Path, kind: type[EngineError]
) -> EngineError:
    """Return the error that a run raises before any work is done."""
    recorder = Recorder()
    with pytest.raises(kind) as error:
        recorder.run(config, folder)
    assert error.value.hint
    assert not recorder.of(BaselineEvaluated)
    return error.value
