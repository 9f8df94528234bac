"""A whole run on tiny models: the target is reached and the export loads."""

from __future__ import annotations

import dataclasses
import itertools
import shutil

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GenerationConfig

from surgeon_engine import pipeline
from surgeon_engine.commands import Cancel, StopAndKeep
from surgeon_engine.config import (
    CalibrationConfig,
    ExportConfig,
    ModelConfig,
    PruningConfig,
    RunConfig,
    Schedule,
    Structure,
    config_from_toml,
)
from surgeon_engine.errors import EngineError, ExportError, PruningError, RunFolderError
from surgeon_engine.events import (
    BaselineEvaluated,
    Envelope,
    Exported,
    Logged,
    RunFinished,
    RunStarted,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.export.checkpoint import copy_export, verify
from surgeon_engine.model.layers import prunable_layers
from surgeon_engine.pipeline import prune
from surgeon_engine.run_folder import RunFolder
from surgeon_engine.session import RunCancelled, Session
from tests.helpers.tiny_models import COUPLED_FAMILIES, FAMILIES, save_tiny_model

CASES = [(family, Structure.ROWS_AND_COLUMNS) for family in FAMILIES]
CASES += [(family, Structure.HEADS_AND_NEURONS) for family in COUPLED_FAMILIES]


@pytest.fixture(autouse=True)
def _verify_in_this_process(request, monkeypatch):
    """A fresh process takes seconds to import torch; two tests do it for real."""
    if "fresh_process" in request.keywords:
        return
    monkeypatch.setattr(
        pipeline, "verify", lambda folder, *_: Exported(str(folder), 0, 0, 0.0)
    )


def config(folder, **pruning) -> RunConfig:
    return RunConfig(
        model=ModelConfig(source=str(folder)),
        calibration=CalibrationConfig(
            windows=6, validation_windows=3, window_length=32
        ),
        pruning=PruningConfig(**({"sparsity": 0.4, "shots": 2} | pruning)),
    )


class Recorder:
    """Runs the pipeline and keeps its events; `react` may answer them."""

    def __init__(self):
        self.events = []
        self.session = Session("test", self._receive)
        self.react = lambda event: None

    def _receive(self, envelope):
        assert envelope.run == "test"
        self.events.append(envelope.event)
        self.react(envelope.event)

    def run(self, config, folder):
        prune(config, folder, self.session)
        return self

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@pytest.mark.parametrize(("family", "structure"), CASES)
def test_the_target_is_reached_to_within_one_structure(tmp_path, family, structure):
    source = save_tiny_model(tmp_path / "model", family)
    run = Recorder().run(config(source, structure=structure), tmp_path / "run")
    (started,) = run.of(RunStarted)
    shots = run.of(ShotFinished)
    assert [shot.shot for shot in shots] == [1, 2]
    (exported,) = run.of(Exported)
    model = AutoModelForCausalLM.from_pretrained(exported.folder)

    largest = max(
        max(x.rows, x.columns + 1) for x in started.model.layers
    )  # one row or column
    if structure is Structure.HEADS_AND_NEURONS:
        attention = [x for x in started.model.layers if "attn" in x.kind]
        largest = sum(x.weights for x in attention) // 2 // 2
    last = shots[-1]
    removed = sum(layer.removed for layer in last.layers)
    target = int(0.4 * started.model.prunable)
    assert target - largest < removed <= target
    assert last.sparsity == removed / started.model.prunable <= 0.4
    assert last.parameters == started.model.parameters - removed

    zeros = {x.name: int((x.weight() == 0).sum()) for x in prunable_layers(model)}
    assert zeros == {layer.name: layer.removed for layer in last.layers}


@pytest.mark.fresh_process
def test_a_run_leaves_a_complete_folder(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    wanted = config(source)
    run = Recorder().run(wanted, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert config_from_toml(folder.config_path.read_text()) == wanted
    report = folder.read_report()
    (baseline,) = run.of(BaselineEvaluated)
    assert report.baseline == baseline.evaluation
    assert list(report.shots) == run.of(ShotFinished)
    assert report.exported == run.of(Exported)[0]
    assert report.exported.largest_difference == 0
    assert isinstance(run.events[-1], RunFinished)
    lines = folder.events_path.read_bytes().splitlines()
    kept = [msgspec.json.decode(line, type=Envelope).event for line in lines]
    assert kept == run.events
    exported = {path.name for path in (tmp_path / "run" / "export").iterdir()}
    assert exported >= {
        "config.json", "model.safetensors", "tokenizer.json", "README.md", "run.toml",
    }  # fmt: skip
    card = (tmp_path / "run" / "export" / "README.md").read_text()
    assert f"{report.shots[-1].evaluation.perplexity:.2f}" in card
    assert not list(tmp_path.glob("run/.*"))

    copied = copy_export(str(tmp_path / "run"), str(tmp_path / "copy"))
    assert copied.largest_difference == 0
    assert {path.name for path in (tmp_path / "copy").iterdir()} == exported


@pytest.mark.parametrize("structure", Structure)
def test_the_same_config_gives_the_same_weights(tmp_path, structure):
    source = save_tiny_model(tmp_path / "model")
    exports = []
    for name in ("first", "second"):
        Recorder().run(config(source, structure=structure), tmp_path / name)
        exports.append(tmp_path / name / "export" / "model.safetensors")
    assert exports[0].read_bytes() == exports[1].read_bytes()


def test_what_is_gone_stays_gone(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    run = Recorder().run(
        config(source, shots=4, schedule=Schedule.CUBIC), tmp_path / "run"
    )
    shots = run.of(ShotFinished)
    targets = [shot.target for shot in shots]
    assert targets == sorted(targets)
    assert targets[0] > 0.4 / 4  # cubic: most goes first
    for earlier, later in itertools.pairwise(shots):
        for before, after in zip(earlier.layers, later.layers, strict=True):
            assert before.removed <= after.removed


def test_pruning_costs_less_with_the_update_than_without(tmp_path, monkeypatch):
    source = save_tiny_model(tmp_path / "model")
    losses = {}
    for name in ("with", "without"):
        if name == "without":
            from surgeon_engine.pruning import heads_and_neurons

            monkeypatch.setattr(
                heads_and_neurons,
                "fold_columns",
                lambda W, A, goes: torch.where(goes, torch.zeros_like(W), W),
            )
        run = Recorder().run(config(source, shots=1), tmp_path / name)
        losses[name] = run.of(ShotFinished)[0].evaluation.loss
        losses["before"] = run.of(BaselineEvaluated)[0].evaluation.loss
    assert abs(losses["with"] - losses["before"]) < abs(
        losses["without"] - losses["before"]
    )


def test_stop_and_keep_exports_what_is_there(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    recorder = Recorder()
    recorder.react = lambda event: (
        recorder.session.hear(StopAndKeep(run="test"))
        if isinstance(event, BaselineEvaluated)
        else None
    )
    recorder.run(config(source, shots=5), tmp_path / "run")
    assert len(recorder.of(ShotFinished)) == 1
    assert recorder.events[-1].stopped_early
    assert (tmp_path / "run" / "export" / "model.safetensors").is_file()


def test_cancel_exports_nothing(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    recorder = Recorder()
    recorder.react = lambda event: (
        recorder.session.hear(Cancel(run="test"))
        if isinstance(event, ShotFinished)
        else None
    )
    with pytest.raises(RunCancelled):
        recorder.run(config(source), tmp_path / "run")
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"run.toml", "events.jsonl"}


def test_an_export_elsewhere(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    wanted = dataclasses.replace(
        config(source), export=ExportConfig(str(tmp_path / "a" / "b"))
    )
    run = Recorder().run(wanted, tmp_path / "run")
    assert run.of(Exported)[0].folder == str(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "export").exists()


def refused(wanted, folder, kind) -> EngineError:
    recorder = Recorder()
    with pytest.raises(kind) as error:
        recorder.run(wanted, folder)
    assert error.value.hint
    assert not recorder.of(BaselineEvaluated)  # before any work was done
    return error.value


def test_an_output_folder_that_exists_is_refused_and_left_alone(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    wanted = dataclasses.replace(config(source), export=ExportConfig(str(source)))
    before = sorted(path.name for path in source.iterdir())
    error = refused(wanted, tmp_path / "run", ExportError)
    assert "exists already (folder is not empty)" in error.message
    assert sorted(path.name for path in source.iterdir()) == before
    assert not (tmp_path / "run").exists()


def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    (tmp_path / "file").touch()
    inside_a_file = str(tmp_path / "file" / "export")
    wanted = dataclasses.replace(config(source), export=ExportConfig(inside_a_file))
    error = refused(wanted, tmp_path / "run", ExportError)
    assert "cannot be written" in error.message
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_is_taken_is_refused(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    error = refused(config(source), tmp_path / "run", RunFolderError)
    assert "exists already" in error.message
    assert (tmp_path / "run" / "precious.txt").read_text() == "mine"


def test_a_structure_that_the_model_lacks_is_refused(tmp_path):
    source = save_tiny_model(tmp_path / "model", "gpt_neox")
    error = refused(config(source), tmp_path / "run", PruningError)
    assert "query_key_value" in error.message


def test_more_than_may_go_is_refused_with_the_numbers(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    with pytest.raises(PruningError, match="are to go, but only"):
        Recorder().run(config(source, sparsity=0.95, shots=1), tmp_path / "run")
    assert not (tmp_path / "run" / "export").exists()


@pytest.mark.fresh_process
def test_a_checkpoint_with_other_weights_is_found_out_and_not_called_done(
    tmp_path, monkeypatch
):
    source = save_tiny_model(tmp_path / "model")
    verify = pipeline.verify

    def swap_then_verify(folder, *others):
        shutil.copy(source / "model.safetensors", folder / "model.safetensors")
        return verify(folder, *others)

    monkeypatch.setattr(pipeline, "verify", swap_then_verify)
    recorder = Recorder()
    with pytest.raises(
        ExportError, match="gives other logits: they differ by up"
    ) as error:
        recorder.run(config(source), tmp_path / "run")
    assert not recorder.of(Exported)
    kept = tmp_path / "run" / "export-unverified"
    assert str(kept) in error.value.hint
    assert (kept / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "export").exists()
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.fresh_process
def test_a_checkpoint_that_gives_no_numbers_is_found_out(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    Recorder().run(config(source), tmp_path / "run")
    export = tmp_path / "run" / "export"
    weights = load_file(export / "model.safetensors")
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, export / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExportError, match="they differ beyond measure"):
        verify(export, tmp_path / "run" / "probe.safetensors")


@pytest.mark.fresh_process
def test_cancel_is_heard_while_a_checkpoint_is_verified(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    recorder = Recorder()
    recorder.react = lambda event: (
        recorder.session.hear(Cancel(run="test"))
        if event == StageStarted(Stage.VERIFICATION, 0)
        else None
    )
    with pytest.raises(RunCancelled):
        recorder.run(config(source), tmp_path / "run")
    assert not (tmp_path / "run" / "export").exists()
    assert not list((tmp_path / "run").glob(".*"))


def test_sampling_settings_that_transformers_would_not_write_are_written(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    (source / "generation_config.json").write_text('{"temperature": 0.6}')
    Recorder().run(config(source), tmp_path / "run")
    kept = GenerationConfig.from_pretrained(tmp_path / "run" / "export")
    assert (kept.temperature, kept.do_sample) == (0.6, True)


def test_a_disk_without_room_is_refused_with_the_numbers(tmp_path, monkeypatch):
    source = save_tiny_model(tmp_path / "model")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    error = refused(config(source), tmp_path / "run", ExportError)
    assert "has 0.0 GB free" in error.message


@pytest.mark.parametrize("destination", ["run", "."])
def test_a_destination_that_the_run_itself_fills_is_refused(tmp_path, destination):
    source = save_tiny_model(tmp_path / "model")
    runs = tmp_path / "runs"
    wanted = dataclasses.replace(
        config(source), export=ExportConfig(str(runs / destination))
    )
    error = refused(wanted, runs / "run", ExportError)
    assert "is where the run itself keeps its files" in error.message


def test_a_log_that_cannot_be_written_does_not_end_the_run(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    recorder = Recorder()

    def spoil(event):
        if isinstance(event, BaselineEvaluated):
            log = recorder.session.log.events_path
            log.unlink()
            log.mkdir()

    recorder.react = spoil
    recorder.run(config(source), tmp_path / "run")
    assert "cannot be written any more" in recorder.of(Logged)[0].message
    assert isinstance(recorder.events[-1], RunFinished)


def test_a_model_without_a_tokenizer_is_exported_with_a_warning(tmp_path):
    source = save_tiny_model(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (source / name).unlink()
    tokens = np.random.default_rng(0).integers(0, 90, (4, 32), dtype=np.int32)
    np.save(tmp_path / "a.npy", tokens)
    np.save(tmp_path / "b.npy", tokens[::-1])
    text = CalibrationConfig(
        text=str(tmp_path / "a.npy"), validation_text=str(tmp_path / "b.npy")
    )
    wanted = dataclasses.replace(config(source), calibration=text)
    run = Recorder().run(wanted, tmp_path / "run")
    assert "no tokenizer" in run.of(Logged)[0].message
