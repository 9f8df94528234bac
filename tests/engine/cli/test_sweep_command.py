"""A sweep does a run for each value, survives a failed one and goes on if repeated."""

import numpy as np
import pytest

from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import PruningError, RunCancelled
from surgeon_engine.cli.main import main
from surgeon_engine.run import pipeline
from tests.helpers.runs import assert_same_tensors, exported_tensors
from tests.helpers.tiny_models import VOCABULARY, save_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_runs")]

JOB = """
version = 1
[model]
source = "model"
[calibration]
text = "few.npy"
validation_text = "more.npy"
[pruning]
method = "magnitude"
sparsity = 0.4
shots = 1
[recovery]
level = "off"
[evaluation]
windows = 0
[export]
format = "masked"
"""


@pytest.fixture
def sweep(tmp_path, capsys):
    """Return a function that sweeps the job; it returns exit code, output, errors."""
    save_tiny_model(tmp_path / "model")
    for seed, name in enumerate(("few", "more")):
        generator = np.random.default_rng(seed)
        tokens = generator.integers(0, VOCABULARY, (4, 16), dtype=np.int32)
        np.save(tmp_path / f"{name}.npy", tokens)
    (tmp_path / "job.toml").write_text(JOB)

    def run(*settings):
        given = [x for x in settings if "=" not in x]
        sets = [y for x in settings if x not in given for y in ("--set", x)]
        folder = ["--run-dir", str(tmp_path / "runs")]
        code = main(["sweep", str(tmp_path / "job.toml"), *sets, *given, *folder])
        return code, *capsys.readouterr()

    return run


def report_of(tmp_path, name):
    return RunFolder(tmp_path / "runs" / name).read_report()


def test_each_value_is_a_run_of_its_own(sweep, tmp_path):
    code, out, _ = sweep("pruning.sparsity=0.2,0.4", "--context", "512")
    assert code == 0
    assert "memory, 64 tokens" in out  # the longest window of the model
    assert out.rstrip().endswith("0.25 GB")
    assert "Run 2 of 2: pruning.sparsity=0.4" in out
    few = report_of(tmp_path, "job_pruning.sparsity=0.2").shots[-1]
    many = report_of(tmp_path, "job_pruning.sparsity=0.4").shots[-1]
    assert few.sparsity < 0.25 < many.sparsity
    table = out[out.rindex("largest KL") :]
    assert f"{few.evaluation.perplexity:.2f}" in table
    assert f"{many.evaluation.perplexity:.2f}" in table


def test_sweep_below_torchrun_is_refused_once(sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    code, _, error = sweep("pruning.sparsity=0.2,0.4")
    assert code == 1
    assert "does not work below torchrun" in error
    assert "without torchrun" in error
    monkeypatch.setenv("RANK", "1")
    assert sweep("pruning.sparsity=0.2,0.4") == (0, "", "")
    assert not (tmp_path / "runs").exists()


def test_runs_of_a_sweep_measure_the_original_once(sweep, tmp_path):
    gates = ("pruning.method=first_order", "pruning.structure=rows")
    code, out, _ = sweep("pruning.sparsity=0.2,0.4", *gates)
    assert code == 0
    assert out.count("measured before: kept") == 1
    assert out.count("evaluated on these texts before: kept") == 1
    code, out, _ = sweep("pruning.sparsity=0.4", *gates, "evaluation.windows=0")
    assert code == 0
    assert "before: kept" not in out
    folders = sorted((tmp_path / "runs").glob("*sparsity=0.4*"))
    assert len(folders) == 2
    assert_same_tensors(*map(exported_tensors, folders))
    one, two = (RunFolder(x).read_report() for x in folders)
    logs = [RunFolder(x).events_path.read_text() for x in folders]
    assert sorted(log.count('"is_kept":true') for log in logs) == [0, 2]
    assert one.baseline == two.baseline
    assert one.shots[-1].evaluation == two.shots[-1].evaluation


def test_failed_run_does_not_end_the_sweep_and_is_tried_again(
    sweep, tmp_path, monkeypatch
):
    prune, tried = pipeline.prune, []

    def failing(config, folder, context, **_):
        tried.append(folder.name)
        if len(tried) == 1:
            folder.mkdir(parents=True)
            raise PruningError("Made up.", "None.")
        prune(config, folder, context)

    monkeypatch.setattr(pipeline, "prune", failing)
    code, out, _ = sweep("pruning.sparsity=0.2,0.4")
    assert code == 1
    assert "failed: Made up." in out
    assert tried == ["job_pruning.sparsity=0.2", "job_pruning.sparsity=0.4"]
    code, out, _ = sweep("pruning.sparsity=0.2,0.4")
    assert code == 0
    assert tried[2:] == ["job_pruning.sparsity=0.2-2"]  # the other one is complete


def test_lack_of_memory_and_stops_do_not_end_the_sweep(sweep, monkeypatch):
    errors = [MemoryError, RunCancelled]

    def ended(config, folder, context, **_):
        raise errors.pop(0)

    monkeypatch.setattr(pipeline, "prune", ended)
    code, out, _ = sweep("pruning.sparsity=0.2,0.4")
    assert code == 1
    assert "failed: There is not enough memory" in out
    assert "canceled" in out
    assert out.count("failed") == 1


def test_changed_job_is_run_anew(sweep, tmp_path):
    assert sweep("pruning.sparsity=0.2")[0] == 0
    job = tmp_path / "job.toml"
    job.write_text(job.read_text().replace("shots = 1", "shots = 2"))
    assert sweep("pruning.sparsity=0.2")[0] == 0
    assert len(report_of(tmp_path, "job_pruning.sparsity=0.2-2").shots) == 2


def test_run_in_progress_is_left_alone(sweep, tmp_path):
    assert sweep("pruning.sparsity=0.2")[0] == 0
    with RunFolder(tmp_path / "runs" / "job_pruning.sparsity=0.2").locked():
        code, out, _ = sweep("pruning.sparsity=0.2")
    assert code == 1
    assert "Another process works on" in out


def test_interrupted_sweep_goes_on(sweep, tmp_path, monkeypatch):
    export, calls = pipeline.export, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return export(*arguments)

    monkeypatch.setattr(pipeline, "export", interrupted)
    assert sweep("pruning.sparsity=0.2,0.4")[0] == 130
    code, out, _ = sweep("pruning.sparsity=0.2,0.4")
    assert code == 0
    assert "resumed after 1 shot" in out
    assert len(calls) == 3


def test_invalid_setting_ends_before_the_first_run(sweep, tmp_path):
    code, _, err = sweep("pruning.speed=1")
    assert code == 1
    assert "no setting called “speed”" in err
    assert not (tmp_path / "runs").exists()
