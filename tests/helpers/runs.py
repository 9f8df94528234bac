"""Whole runs on tiny models and random tokens, with all that they tell."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Correction, Damping
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.errors import EngineError
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import BaselineEvaluated, RunStarted, ShotFinished
from surgeon_engine.export.base import VerificationResult
from surgeon_engine.export.formats import WRITERS
from surgeon_engine.model.layers import PrunableLayer, prunable_layers
from surgeon_engine.pipeline import prune
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.configs import pruning_config
from tests.helpers.tiny_models import VOCABULARY, save_tiny_model

LENGTH = 16  # tokens of a window


class Recorder:
    """Runs the pipeline and keeps its events; `react` may answer them."""

    def __init__(self):
        self.events = []
        self.context = RunContext("test", self._receive)
        self.react = lambda event: None

    def _receive(self, envelope):
        assert envelope.run == "test"
        self.events.append(envelope.event)
        self.react(envelope.event)

    def run(self, config: RunConfig, folder: Path) -> Recorder:
        """Run it all; gives itself."""
        prune(config, folder, self.context)
        return self

    def warnings(self) -> list[Logged]:
        """What was logged beside mere information."""
        return [event for event in self.of(Logged) if event.level is not Level.INFO]

    def of(self, kind: type) -> list[Any]:
        """The events of that kind."""
        return [event for event in self.events if isinstance(event, kind)]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a run told, and what is left of the model."""

    recorder: Recorder
    before: dict[str, torch.Tensor]  # W by layer
    exported: tuple[PrunableLayer, ...]
    folder: Path

    @property
    def started(self) -> RunStarted:
        """What the run began with."""
        return self.recorder.of(RunStarted)[0]

    @property
    def shots(self) -> list[ShotFinished]:
        """Its shots."""
        return self.recorder.of(ShotFinished)

    @property
    def after(self) -> dict[str, torch.Tensor]:
        """W by layer, as exported."""
        return {layer.name: layer.weight() for layer in self.exported}

    @property
    def zeros(self) -> dict[str, int]:
        """How many zeros each exported layer has."""
        return {name: int((W == 0).sum()) for name, W in self.after.items()}

    @property
    def reported(self) -> dict[str, int]:
        """How many weights of each layer went, as the last shot tells."""
        return {layer.name: layer.removed for layer in self.shots[-1].layers}


def job(folder: Path, family: str = "llama", windows: int = 4, **pruning) -> RunConfig:
    """One shot with fixed damping on random tokens, exported masked.

    Makes the model and the text.
    """
    source = folder / family
    if not source.exists():
        save_tiny_model(source, family)
    plain = {"shots": 1, "damping": Damping.FIXED, "correction": Correction.NONE}
    settings = plain | {"sparsity": 0.3} | pruning
    return RunConfig(
        ModelConfig(str(source)),
        tokens(folder, windows),
        pruning_config(**settings),
        ExportConfig(format=Format.MASKED),
    )


def check_nothing(monkeypatch) -> None:
    """Let no fresh process look at what is exported."""
    unchecked = VerificationResult(0, 0.0, 0.0, 1.0, None, "nothing")
    for writer in WRITERS.values():
        monkeypatch.setattr(type(writer), "verify", lambda *_: unchecked)


def tokens(folder: Path, windows: int = 4, length: int = LENGTH) -> CalibrationConfig:
    """Files of random tokens; reading them takes no time."""
    paths = []
    for seed, (part, count) in enumerate([("fit", windows), ("validate", 3)]):
        path = folder / f"{part}_{windows}_{length}.npy"
        random = np.random.default_rng(seed)
        np.save(path, random.integers(VOCABULARY, size=(count, length), dtype=np.int32))
        paths.append(str(path))
    return CalibrationConfig(
        text=paths[0], validation_text=paths[1], windows=windows, window_length=length
    )


def run(folder: Path, family: str = "llama", name: str = "run", **settings) -> Outcome:
    """A whole run of `job` with these settings."""
    return outcome(job(folder, family, **settings), folder / name)


def outcome(config: RunConfig, folder: Path) -> Outcome:
    """A whole run, and the model that it exported."""
    original = AutoModelForCausalLM.from_pretrained(config.model.source)
    recorder = Recorder().run(config, folder)
    model = AutoModelForCausalLM.from_pretrained(folder / "export")
    before = {layer.name: layer.weight() for layer in prunable_layers(original)}
    return Outcome(recorder, before, prunable_layers(model), folder)


def refused(config: RunConfig, folder: Path, kind: type[EngineError]) -> EngineError:
    """The error with which a run ends before any work was done."""
    recorder = Recorder()
    with pytest.raises(kind) as error:
        recorder.run(config, folder)
    assert error.value.hint
    assert not recorder.of(BaselineEvaluated)
    return error.value
