"""The export and measure commands."""

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
from surgeon_engine.measurement import measure as measurement
from tests.helpers.runs import Recorder, job, skip_verification


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Return the folder of a run that has exported compact files."""
    skip_verification(monkeypatch)
    config = dataclasses.replace(job(tmp_path), export=ExportConfig())
    Recorder().run(config, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.slow
def test_export_without_destination_lists_formats_with_reasons(finished, capsys):
    assert main(["export", str(finished)]) == 0
    out = capsys.readouterr().out
    assert "compact   is in" in out
    assert "plain     no: No plain model has these widths" in out
    assert "masked    Loads wherever" in out


@pytest.mark.slow
def test_export_writes_model_in_another_dtype(finished, tmp_path, capsys):
    arguments = ["export", str(finished), "--to", str(tmp_path / "half")]
    arguments += ["--format", "compact", "--dtype", "bfloat16"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "  loading the model"
    program = "  a fresh process loads the export and compares it"
    assert lines[-3:-1] == ["  writing the pruned model", program]
    assert "compact, bfloat16" in lines[-1]
    assert any(line.startswith("info: ") for line in lines)
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert main(arguments) == 1
    assert "not empty" in capsys.readouterr().err
    assert main([*arguments, "--replace"]) == 0


@pytest.mark.slow
def test_export_format_without_destination_fails(finished, capsys):
    for option, wanted in (("--format", "gguf"), ("--dtype", "q8_0")):
        assert main(["export", str(finished), option, wanted]) == 1
        captured = capsys.readouterr()
        assert f"for the {wanted} files.\nGive --to FOLDER." in captured.err
        assert captured.out == ""


@pytest.mark.slow
def test_export_after_failed_export_shows_checkpoint(finished, capsys):
    run = RunFolder(finished)
    run.write_report(msgspec.structs.replace(run.read_report(), exported=None))
    assert main(["export", str(finished)]) == 0
    out = capsys.readouterr().out
    assert "has failed" in out
    assert str(finished / "export") in out


def test_export_folder_without_run_fails(tmp_path, capsys):
    assert main(["export", str(tmp_path)]) == 1
    assert "not the folder of a finished run" in capsys.readouterr().err


def test_measure_compares_two_models(monkeypatch, capsys):
    rate = Rate(10.0, 9.0, 11.0, (10.0,))
    models = tuple(
        ModelMeasured(name, 10, 20, rate, rate, 30, 40) for name in ("a", "b")
    )
    calls = []
    settings = ["--device", "cpu", "--prompt-tokens", "64", "--generated-tokens", "8"]

    def fake_measure(sources, settings, check):
        calls.append((sources, settings))
        return Measured(models, 1, 2, 3, 1, "CPU")

    monkeypatch.setattr(measurement, "measure", fake_measure)
    assert main(["measure", "a", "b", "--rounds", "1", "--threads", "2"]) == 0
    assert calls == [(["a", "b"], BenchmarkSettings(rounds=1, threads=2))]
    out = capsys.readouterr().out
    assert main(["measure", "a", "b", *settings]) == 0
    expected = BenchmarkSettings(
        prompt_tokens=64, generated_tokens=8, device=Device.CPU
    )
    assert calls[1] == (["a", "b"], expected)
    assert "generation, tokens/s" in out
    assert "not measurably faster here" in out
