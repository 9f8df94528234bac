"""A whole run: its folder, its events, its shots, and how it stops."""

import dataclasses
import itertools
import sys
from collections import Counter

import pytest
import torch

from surgeon_engine.api.config.pruning import Damping
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.api.messages.commands import Cancel, StopAndKeep
from surgeon_engine.api.messages.events import Envelope, Logged
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Exported,
    RunFinished,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import CurvatureError, RunCancelled
from surgeon_engine.base.sealed_json import decode_sealed_line
from surgeon_engine.model import inspect, source, stored_tensors
from surgeon_engine.shots import shot as shot_module
from tests.helpers.runs import Recorder, assert_same_tensors, exported_tensors, job

pytestmark = pytest.mark.usefixtures("quick_runs")


@pytest.mark.slow
def test_run_leaves_a_complete_folder(tmp_path):
    config = job(tmp_path)
    run = Recorder().run(config, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert config_from_toml(folder.config_path.read_text()) == config
    report = folder.read_report()
    (baseline,) = run.of(BaselineEvaluated)
    assert report.baseline == baseline.evaluation
    assert list(report.shots) == run.of(ShotFinished)
    assert report.exported == run.of(Exported)[0]
    assert isinstance(run.events[-1], RunFinished)
    logged = [decode_sealed_line(line, Envelope).event for line in folder.log_lines()]
    assert logged == run.events
    exported = {path.name for path in (tmp_path / "run" / "export").iterdir()}
    assert exported >= {
        "config.json", "model.safetensors", "tokenizer.json", "README.md", "run.toml",
    }  # fmt: skip
    card = (tmp_path / "run" / "export" / "README.md").read_text()
    assert f"{report.shots[-1].evaluation.perplexity:.2f}" in card
    assert not list(tmp_path.glob("run/.*"))


def test_run_locates_reads_and_describes_its_model_once(tmp_path, monkeypatch):
    calls = Counter()
    for function in (
        source.locate,
        source.read_model_config,
        stored_tensors.stored_dtype,
        inspect.describe,
    ):
        count_calls(monkeypatch, function, calls)
    Recorder().run(job(tmp_path), tmp_path / "run")
    assert calls == {
        "locate": 2,  # once more in the process that describes the model
        "read_model_config": 2,
        "stored_dtype": 1,
        "describe": 1,
    }


def count_calls(monkeypatch, function, calls):
    """Count the calls of `function` by its name, whichever module imported it."""

    def counted(*arguments, **options):
        calls[function.__name__] += 1
        return function(*arguments, **options)

    for name, module in list(sys.modules.items()):
        if name.startswith("surgeon_engine"):
            for attribute, value in list(vars(module).items()):
                if value is function:
                    monkeypatch.setattr(module, attribute, counted)


@pytest.mark.slow
def test_failed_shot_keeps_the_shots_before_it(tmp_path, monkeypatch):
    config, whole = job(tmp_path, shots=2), Recorder()
    whole.send_at(lambda event: isinstance(event, ShotFinished), StopAndKeep)
    whole.run(config, tmp_path / "whole")
    for name, error, message in (
        ("run", CurvatureError("Not definite."), "Not definite."),
        ("full", torch.OutOfMemoryError(), "There is not enough memory for it."),
    ):
        with monkeypatch.context() as patch:
            fails_in_shot(patch, 2, "curvature", error)
            found = Recorder().run(config, tmp_path / name)
        assert f"The run ends after shot 1 of 2. {message}" in [
            event.message for event in found.of(Logged)
        ]
        assert found.events[-1].stopped_early
        assert [shot.evaluation for shot in found.of(ShotFinished)] == [
            shot.evaluation for shot in whole.of(ShotFinished)
        ]
        assert_same_tensors(
            exported_tensors(tmp_path / name), exported_tensors(tmp_path / "whole")
        )


@pytest.mark.parametrize(("shot", "stage"), [(1, "curvature"), (2, "remove")])
def test_failed_shot_without_a_valid_model_ends_the_run(
    tmp_path, monkeypatch, shot, stage
):
    fails_in_shot(monkeypatch, shot, stage, CurvatureError("Not definite."))
    with pytest.raises(CurvatureError, match=r"Not definite\."):
        Recorder().run(job(tmp_path, shots=3), tmp_path / "run")
    assert not (tmp_path / "run" / "export").exists()


def fails_in_shot(monkeypatch, number, stage, error):
    """Let `stage` raise in a shot, counted from now."""
    works, calls = getattr(shot_module, stage), itertools.count(1)

    def fails(*arguments):
        if next(calls) == number:
            raise error
        return works(*arguments)

    monkeypatch.setattr(shot_module, stage, fails)


@pytest.mark.slow
def test_cancel_exports_nothing(tmp_path):
    recorder = Recorder()
    recorder.send_at(lambda event: isinstance(event, ShotFinished), Cancel)
    with pytest.raises(RunCancelled):
        recorder.run(job(tmp_path), tmp_path / "run")
    left = {path.name for path in (tmp_path / "run").iterdir()}
    files = {"run.toml", "events.jsonl", "probe.safetensors"}
    assert left == files | {"resume"}  # it can go on later


@pytest.mark.slow
def test_stages_follow_one_another_shot_by_shot(tmp_path):
    config = job(tmp_path, windows=8, shots=2, damping=Damping.AUTOMATIC)
    recovery = RecoveryConfig(Recovery.REFIT, general_windows=0)
    config = dataclasses.replace(config, recovery=recovery)
    run = Recorder().run(config, tmp_path / "run")
    stages = [(event.stage, event.shot) for event in run.of(StageStarted)]
    of_shot = [
        Stage.CURVATURE,
        Stage.DAMPING,
        Stage.CURVATURE,  # on the held-out windows
        Stage.SELECTION,
        Stage.UPDATE,
        Stage.EVALUATION,
    ]
    before = [Stage.LOAD, Stage.TEXT, Stage.BASELINE]
    shots = [(stage, shot) for shot in (1, 2) for stage in of_shot]
    after = [
        Stage.REFERENCE,
        Stage.REFIT,
        Stage.EVALUATION,
        Stage.EXPORT,
        Stage.VERIFICATION,
    ]
    outside = [[(stage, 0) for stage in part] for part in (before, after)]
    assert stages == [*outside[0], *shots, *outside[1]]


@pytest.mark.slow
def test_unwritable_log_does_not_end_the_run(tmp_path):
    recorder = Recorder()

    def break_log(event):
        if isinstance(event, BaselineEvaluated):
            log = recorder.context.log.events_path
            log.unlink()
            log.mkdir()

    recorder.react = break_log
    recorder.run(job(tmp_path), tmp_path / "run")
    assert "cannot be written any more" in recorder.of(Logged)[0].message
    assert isinstance(recorder.events[-1], RunFinished)
