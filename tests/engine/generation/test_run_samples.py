"""A run writes samples if asked for, and its result stays the same."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from surgeon_engine.api.config.pruning import Damping, Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.samples import NEW_TOKENS, SamplesConfig
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import (
    RunFinished,
    SampleWritten,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.generation import run_samples as module
from tests.helpers.runs import Recorder, assert_same_tensors, exported_tensors, job
from tests.helpers.tiny_models import byte_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_runs")]


def run(tmp_path, name, **changes):
    """Run a job of two shots with recovery.

    Returns:
        Its events, its weights, and random numbers drawn after it.
    """
    config = job(
        tmp_path, shots=2, damping=Damping.AUTOMATIC, structure=Structure.NEURONS
    )
    byte_tokenizer().save_pretrained(config.model.source)
    recovery = RecoveryConfig(Recovery.DISTILLATION, general_windows=2)
    config = replace(config, recovery=recovery, **changes)
    torch.manual_seed(0)
    recorder = Recorder().run(config, tmp_path / name)
    drawn = torch.rand(3)
    weights = exported_tensors(tmp_path / name)
    return recorder, weights, drawn


def test_weights_and_random_state_are_the_same_with_and_without_samples(tmp_path):
    plain, without, drawn_without = run(tmp_path, "plain")
    samples = SamplesConfig(after_shots=True, prompt="Hello")
    asked, with_samples, drawn_with = run(tmp_path, "asked", samples=samples)
    assert plain.of(SampleWritten) == []
    assert_same_tensors(without, with_samples)
    assert torch.equal(drawn_without, drawn_with)

    written = asked.of(SampleWritten)
    assert [(x.shot, x.is_recovered) for x in written] == [
        (0, False),
        (1, False),
        (2, False),
        (2, True),
    ]
    assert len(written[0].text) >= NEW_TOKENS
    kinds = [
        type(x) for x in asked.events if isinstance(x, ShotFinished | SampleWritten)
    ]
    assert kinds[:3] == [SampleWritten, ShotFinished, SampleWritten]
    stages = [(x.stage, x.shot) for x in asked.of(StageStarted)]
    assert [x for x in stages if x[0] is Stage.GENERATION] == [
        (Stage.GENERATION, shot) for shot in (1, 2, 0)
    ]
    log = (tmp_path / "asked" / "events.jsonl").read_text()
    assert log.count("SampleWritten") == len(written)


def test_model_without_tokenizer_is_pruned_without_samples(tmp_path):
    config = replace(job(tmp_path), samples=SamplesConfig(after_shots=True))
    for file in Path(config.model.source).glob("*token*"):
        file.unlink()
    recorder = Recorder().run(config, tmp_path / "run")
    assert recorder.of(RunFinished)
    assert recorder.of(SampleWritten) == []
    found = [x.message for x in recorder.of(Logged) if "No samples" in x.message]
    assert found == ["No samples are written: The model has no tokenizer."]


def test_sample_that_fails_does_not_end_the_run(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no memory")

    monkeypatch.setattr(module, "GeneratedText", fail)
    samples = SamplesConfig(after_shots=True)
    recorder, *_ = run(tmp_path, "run", samples=samples)
    assert recorder.of(RunFinished)
    warnings = [x for x in recorder.of(Logged) if x.level is Level.WARNING]
    assert [x.message for x in warnings if "No samples" in x.message] == [
        "No samples are written: no memory."
    ]
