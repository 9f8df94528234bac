"""A checkpoint is called done once a fresh process has computed the same with it."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

from surgeon_engine import pipeline
from surgeon_engine.commands import Cancel
from surgeon_engine.config import ExportConfig
from surgeon_engine.errors import ExportError
from surgeon_engine.events import Exported, Logged, Stage, StageStarted
from surgeon_engine.export.checkpoint import verify
from surgeon_engine.session import RunCancelled
from tests.helpers.runs import Recorder, job

pytestmark = pytest.mark.usefixtures("quick_runs")


def test_an_export_elsewhere(tmp_path):
    wanted = dataclasses.replace(
        job(tmp_path), export=ExportConfig(str(tmp_path / "a" / "b"))
    )
    run = Recorder().run(wanted, tmp_path / "run")
    assert run.of(Exported)[0].folder == str(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "export").exists()


@pytest.mark.fresh_process
def test_a_checkpoint_with_other_weights_is_found_out_and_not_called_done(
    tmp_path, monkeypatch
):
    verify = pipeline.verify

    def swap_then_verify(folder, *others):
        shutil.copy(
            tmp_path / "llama" / "model.safetensors", folder / "model.safetensors"
        )
        return verify(folder, *others)

    monkeypatch.setattr(pipeline, "verify", swap_then_verify)
    recorder = Recorder()
    with pytest.raises(
        ExportError, match="gives other logits: they differ by up"
    ) as error:
        recorder.run(job(tmp_path), tmp_path / "run")
    assert not recorder.of(Exported)
    kept = tmp_path / "run" / "export-unverified"
    assert str(kept) in error.value.hint
    assert (kept / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "export").exists()
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.fresh_process
def test_a_checkpoint_that_gives_no_numbers_is_found_out(tmp_path):
    Recorder().run(job(tmp_path), tmp_path / "run")
    export = tmp_path / "run" / "export"
    weights = load_file(export / "model.safetensors")
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, export / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExportError, match="they differ beyond measure"):
        verify(export, tmp_path / "run" / "probe.safetensors")


@pytest.mark.fresh_process
def test_cancel_is_heard_while_a_checkpoint_is_verified(tmp_path):
    recorder = Recorder()
    recorder.react = lambda event: (
        recorder.session.hear(Cancel(run="test"))
        if event == StageStarted(Stage.VERIFICATION, 0)
        else None
    )
    with pytest.raises(RunCancelled):
        recorder.run(job(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run" / "export").exists()
    assert not list((tmp_path / "run").glob(".*"))


def test_sampling_settings_that_transformers_would_not_write_are_written(tmp_path):
    wanted = job(tmp_path)
    (tmp_path / "llama" / "generation_config.json").write_text('{"temperature": 0.6}')
    Recorder().run(wanted, tmp_path / "run")
    kept = GenerationConfig.from_pretrained(tmp_path / "run" / "export")
    assert (kept.temperature, kept.do_sample) == (0.6, True)


def test_a_model_without_a_tokenizer_is_exported_with_a_warning(tmp_path):
    wanted = job(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "llama" / name).unlink()
    run = Recorder().run(wanted, tmp_path / "run")
    assert "no tokenizer" in run.of(Logged)[0].message
    assert (tmp_path / "run" / "export" / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "export" / "tokenizer.json").exists()
