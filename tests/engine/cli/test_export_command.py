"""Exports and measurements from the command line."""

from __future__ import annotations

import dataclasses
import json

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.run import Device
from surgeon_engine.api.messages.benchmark import (
    BenchmarkSettings,
    Measured,
    ModelMeasured,
    Rate,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.cli.main import main
from surgeon_engine.measurement import measure as conductor
from tests.helpers.runs import Recorder, check_nothing, job


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """The folder of a run that has exported compact files."""
    check_nothing(monkeypatch)
    config = dataclasses.replace(job(tmp_path), export=ExportConfig())
    Recorder().run(config, tmp_path / "run")
    return tmp_path / "run"


def test_the_formats_of_a_run_are_told_with_reasons(finished, capsys):
    assert main(["export", str(finished)]) == 0
    said = capsys.readouterr().out
    assert "compact   is in" in said
    assert "stock     no: No plain model has these widths" in said
    assert "masked    Loads wherever" in said


def test_a_run_is_exported_again(finished, tmp_path, capsys):
    arguments = ["export", str(finished), "--to", str(tmp_path / "half")]
    arguments += ["--format", "compact", "--dtype", "bfloat16"]
    assert main(arguments) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "  load"
    assert said[-3:-1] == ["  export", "  verification"]
    assert "compact, bfloat16" in said[-1]
    assert any(line.startswith("info: ") for line in said)
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert main(arguments) == 1
    assert "not empty" in capsys.readouterr().err
    assert main([*arguments, "--replace"]) == 0


def test_a_format_that_is_not_possible_is_refused(finished, tmp_path, capsys):
    arguments = ["export", str(finished), "--to", str(tmp_path / "plain")]
    assert main([*arguments, "--format", "stock"]) == 1
    assert "Choose one of" in capsys.readouterr().err
    assert not (tmp_path / "plain").exists()


def test_a_format_without_a_destination_is_an_error(finished, capsys):
    assert main(["export", str(finished), "--format", "gguf"]) == 1
    said = capsys.readouterr()
    assert "Give --to FOLDER." in said.err
    assert said.out == ""


def test_a_run_whose_export_failed_says_where_its_checkpoint_is(finished, capsys):
    run = RunFolder(finished)
    run.write_report(msgspec.structs.replace(run.read_report(), exported=None))
    assert main(["export", str(finished)]) == 0
    said = capsys.readouterr().out
    assert "has failed" in said
    assert str(finished / "export") in said


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert main(["export", str(tmp_path)]) == 1
    assert "not the folder of a finished run" in capsys.readouterr().err


def test_models_are_measured_in_turns(monkeypatch, capsys):
    rate = Rate(10.0, 9.0, 11.0, (10.0,))
    models = tuple(
        ModelMeasured(name, 10, 20, rate, rate, 30, 40) for name in ("a", "b")
    )
    told = []
    settings = ["--device", "cpu", "--prompt-tokens", "64", "--generated-tokens", "8"]

    def measured(sources, settings, check):
        told.append((sources, settings))
        return Measured(models, 1, 2, 3, 1, "CPU")

    monkeypatch.setattr(conductor, "measure", measured)
    assert main(["measure", "a", "b", "--rounds", "1", "--threads", "2"]) == 0
    assert told == [(["a", "b"], BenchmarkSettings(rounds=1, threads=2))]
    said = capsys.readouterr().out
    assert main(["measure", "a", "b", *settings]) == 0
    asked = BenchmarkSettings(prompt_tokens=64, generated_tokens=8, device=Device.CPU)
    assert told[1] == (["a", "b"], asked)
    assert "generation, tokens/s" in said
    assert "not measurably faster here" in said
