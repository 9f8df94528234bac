"""A run whose target is 0 % only writes the model and verifies it."""

import dataclasses
from pathlib import Path

import pytest

from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Exported,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import ExportError
from surgeon_engine.base.formatting import format_size
from surgeon_engine.cli import runs
from surgeon_engine.cli.main import main
from surgeon_engine.export.export import export_again
from surgeon_engine.export.gguf import quantizer
from tests.helpers.gguf_files import needs_llama
from tests.helpers.runs import Recorder, job

pytestmark = pytest.mark.usefixtures("quick_runs")


def quantized(folder: Path, dtype: FileDtype = FileDtype.Q4_0):
    """Return a job that only quantizes the demo."""
    common = job(folder)
    calibration = dataclasses.replace(
        common.calibration, text="builtin", validation_text="", window_length=64
    )
    return dataclasses.replace(
        common,
        model=ModelConfig(DEMO),
        calibration=calibration,
        evaluation=EvaluationConfig(windows=0),
        pruning=PruningConfig(sparsity=0.0),
        export=ExportConfig(format=Format.GGUF, dtype=dtype),
    )


@pytest.mark.runtimes
@pytest.mark.fresh_process
@needs_llama
def test_model_is_quantized_verified_and_quantized_again(tmp_path):
    run = Recorder().run(quantized(tmp_path), tmp_path / "run")
    (shot,) = run.of(ShotFinished)
    assert (shot.sparsity, shot.target, shot.threshold) == (0.0, 0.0, None)
    assert all(layer.removed == 0 for layer in shot.layers)
    stages = {event.stage for event in run.of(StageStarted)}
    assert not stages & {Stage.CURVATURE, Stage.UPDATE, Stage.REFIT}
    *_, exported = run.of(Exported)
    assert exported.dtype is FileDtype.Q4_0
    size = f"will take {format_size(exported.weight_bytes)}"
    assert any(size in event.message for event in run.of(Logged))
    assert exported.tokens_compared > 0
    assert 0 < exported.saving_divergence < 0.2
    assert "No weights were removed" in (tmp_path / "run/export/README.md").read_text()
    report = RunFolder(tmp_path / "run").read_report()
    assert report.exported == exported
    assert 0 < report.fidelity[0].divergence.value < 0.2
    assert report.evaluation.divergence == pytest.approx(0.0, abs=1e-6)
    assert (report.checkpoint, len(run.of(Exported))) == ("", 1)  # no copy beside it

    again = ExportConfig(str(tmp_path / "more"), Format.GGUF, FileDtype.Q6_K)
    context = Recorder().context
    longer = export_again(str(tmp_path / "run"), again, context)
    assert longer.saving_divergence < exported.saving_divergence
    nats = longer.fidelity[0].divergence.value
    assert 0 < nats < exported.fidelity[0].divergence.value
    assert [x.text for x in longer.fidelity] == [x.text for x in exported.fidelity]
    assert (tmp_path / "more" / "imatrix.gguf").is_file()
    assert not run.warnings()


@pytest.mark.slow
def test_missing_quantizers_are_reported_before_the_first_shot(tmp_path, monkeypatch):
    def missing() -> None:
        raise ExportError("llama.cpp's quantizers are not installed.")

    monkeypatch.setattr(quantizer, "_library", missing)
    recorder = Recorder()
    with pytest.raises(ExportError, match="not installed"):
        recorder.run(quantized(tmp_path), tmp_path / "run")
    assert not recorder.of(BaselineEvaluated)


@pytest.mark.slow
def test_later_export_without_its_text_warns(tmp_path, monkeypatch):
    config = quantized(tmp_path, FileDtype.Q8_0)
    text = tmp_path / "text.txt"
    text.write_text("Some words, and then some more of them. " * 400)
    calibration = dataclasses.replace(config.calibration, text=str(text))
    config = dataclasses.replace(config, calibration=calibration, export=ExportConfig())
    Recorder().run(config, tmp_path / "run")
    text.unlink()
    recorder = Recorder()
    again = ExportConfig(str(tmp_path / "more"), Format.GGUF, FileDtype.Q8_0)
    export_again(str(tmp_path / "run"), again, recorder.context)
    messages = [event.message for event in recorder.of(Logged)]
    assert any("rounded without the calibration text" in text for text in messages)
    assert not (tmp_path / "more" / "imatrix.gguf").exists()


def test_command_quantizes_a_model(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(
        runs, "_work_on", lambda command, _=None: commands.append(command)
    )
    arguments = ["quantize", "demo", "--dtype", "q4_0", "--run-dir", str(tmp_path)]
    assert main(arguments) == 0
    config = commands[0].config
    assert config.model.source == DEMO
    assert config.pruning.removes_nothing
    assert config.export == ExportConfig(format=Format.GGUF, dtype=FileDtype.Q4_0)
