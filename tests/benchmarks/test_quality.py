"""The quality table has the figures of plain runs and resumes after an interruption."""

import csv
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.quality_table import command, job, measuring
from benchmarks.quality_table.plan import (
    Base,
    PlannedShot,
    Rival,
    expand_runs,
    read_plan,
)
from benchmarks.quality_table.results import Results
from benchmarks.quality_table.tables import Heading, to_csv, to_markdown
from benchmarks.quality_table.texts import Texts
from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Damping, Method, PruningConfig, Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.run import ShotFinished
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.run import pipeline
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.configs import pruning_config
from tests.helpers.runs import skip_verification
from tests.helpers.tiny_models import VOCABULARY, save_tiny_model

pytestmark = [pytest.mark.usefixtures("quick_runs")]

ROOT = Path(__file__).parents[2]
PLANS = sorted((ROOT / "benchmarks" / "plans").glob("*.toml"))
LENGTH = 24
TWO_JOBS = """
[defaults]
sparsities = [0.2, 0.4]
[defaults.pruning]
structure = "rows_and_columns"
damping = "fixed"
[[job]]
name = "all at once"
[[job]]
name = "by size"
separate = true
pruning = { method = "magnitude", shots = 3 }
"""
ONE_FAILS = """
[[job]]
name = "too much"
pruning = { structure = "heads", sparsity = 0.9 }
[[job]]
name = "works"
pruning = { method = "magnitude", shots = 1 }
"""
WITH_RECOVERY = """
[defaults]
sparsities = [0.6]
separate = true
[[job]]
name = "plain"
[[job]]
name = "refit"
recovery = { level = "distillation", general_windows = 0, epochs = 20 }
"""
WITH_RIVAL = """
[defaults]
sparsities = [0.2]
separate = true
[[job]]
name = "first"
[[job]]
name = "rival"
rival = true
seconds_of = "first"
"""
ONE_JOB = '[[job]]\nname = "only"\npruning = { method = "magnitude", shots = 2 }\n'


@dataclass
class Bench:
    """A tiny model with token files, and the command that measures it."""

    folder: Path
    tasks: list[job.Task]  # started by the latest command

    def arguments(self, plan: str) -> list[str]:
        (self.folder / "plan.toml").write_text(plan)
        return [
            str(self.folder / "model"),
            f"--plan={self.folder / 'plan.toml'}",
            f"--calibration={self.folder / 'calibration.npy'}",
            f"--validation={self.folder / 'validation.npy'}",
            f"--out={self.out}",
        ]

    def run(self, plan: str, *more: str) -> int:
        self.tasks.clear()
        return command.main([*self.arguments(plan), *more])

    @property
    def out(self) -> Path:
        return self.folder / "results" / "tiny-0.5"

    def text(self, ending: str) -> str:
        return Path(f"{self.out}{ending}").read_text()

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(self.text(".csv").splitlines()))


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Make a bench whose jobs run in this process: a new one imports torch first."""
    save_tiny_model(tmp_path / "model")
    generator = np.random.default_rng(0)
    for name, count in (("calibration", 8), ("validation", 3)):
        tokens = generator.integers(0, VOCABULARY, (count, LENGTH), dtype=np.int32)
        np.save(tmp_path / f"{name}.npy", tokens)
    tasks: list[job.Task] = []

    def run_in_process(task):
        tasks.append(task)
        log = []
        for message in job.run_task(task, log.append):
            yield from log
            log.clear()
            yield message

    monkeypatch.setattr(measuring, "run_in_process", run_in_process)
    return Bench(tmp_path, tasks)


def plain_run(bench, folder, monkeypatch, **pruning):
    """Return the events of an ordinary run and the exported model."""
    skip_verification(monkeypatch)
    config = RunConfig(
        model=ModelConfig(str(bench.folder / "model")),
        calibration=CalibrationConfig(
            text=str(bench.folder / "calibration.npy"),
            validation_text=str(bench.folder / "validation.npy"),
        ),
        pruning=pruning_config(structure=Structure.ROWS_AND_COLUMNS, **pruning),
        export=ExportConfig(format=Format.MASKED),
        recovery=RecoveryConfig(Recovery.OFF),
    )
    events = []
    context = RunContext("", lambda envelope: events.append(envelope.event))
    pipeline.prune(config, folder, context)
    return events, AutoModelForCausalLM.from_pretrained(folder / "export")


@pytest.mark.slow
def test_plan_of_two_jobs_goes_on_and_writes_lines_csv_and_markdown(
    bench, monkeypatch, capsys
):
    """An interrupted job is repeated, and a finished one is not."""
    real = measuring.run_in_process

    def interrupted(task):
        for number, message in enumerate(real(task)):
            if len(bench.tasks) == 2 and number == 1:
                raise KeyboardInterrupt
            yield message

    with monkeypatch.context() as patch:
        patch.setattr(measuring, "run_in_process", interrupted)
        assert bench.run(TWO_JOBS) == 130
    assert "repeat the command to continue" in capsys.readouterr().err
    assert bench.run(TWO_JOBS) == 0
    assert [task.config.pruning.method for task in bench.tasks] == ["magnitude"] * 2
    rows = bench.rows()
    assert [(row["job"], row["sparsity"]) for row in rows] == [
        (name, sparsity)
        for name in ("all at once", "by size")
        for sparsity in ("0.2", "0.4")
    ]
    assert len(bench.text(".jsonl").splitlines()) == len(rows)
    assert [len(task.shots) for task in bench.tasks] == [3, 3]
    for row in rows:
        assert 0 < float(row["reached"]) <= float(row["sparsity"])
        assert float(row["nats"]) > 0 < float(row["seconds"])
        assert int(row["peak_memory_bytes"]) > 0
    assert [row["cost_damping"] for row in rows] == ["0.01", "0.01", "", ""]

    page = bench.text(".md")
    perplexities = [f"{float(row['perplexity']):.2f}" for row in rows]
    assert f"| all at once | {perplexities[0]} | {perplexities[1]} |" in page
    assert f"| by size | {perplexities[2]} | {perplexities[3]} |" in page
    assert "damping = fixed" in page
    assert "3 shots for each sparsity" in page


@pytest.mark.slow
def test_markdown_names_machine_versions_and_texts(bench):
    bench.run(ONE_JOB)
    page, row = bench.text(".md"), bench.rows()[0]
    for fact in (row["at"][:10], row["machine"], row["versions"], row["engine"]):
        assert fact in page
    assert f"torch {version('torch')}" in page
    assert "# Pruning model" in page
    assert "calibration.npy, 8 windows of 24 tokens" in page
    assert "validation.npy, 3 windows of 24 tokens" in page
    assert f"Perplexity of the original: {float(row['dense_perplexity']):.2f}" in page

    # A later failure does not replace figures.
    path = Path(f"{bench.out}.jsonl")
    line = json.loads(path.read_text())
    with path.open("a") as file:
        file.write(json.dumps(line | {"figures": None, "failure": "No room."}) + "\n")
    assert bench.run(ONE_JOB) == 0
    assert bench.tasks == []
    assert bench.text(".md") == page


@pytest.mark.slow
def test_figures_equal_those_of_a_plain_run(bench, tmp_path, monkeypatch):
    bench.run(TWO_JOBS, "--only", "all at once")
    events, pruned = plain_run(
        bench,
        tmp_path / "run",
        monkeypatch,
        sparsity=0.4,
        shots=2,
        damping=Damping.FIXED,
    )
    rows = bench.rows()
    shots = [event for event in events if isinstance(event, ShotFinished)]
    for row, shot in zip(rows, shots, strict=True):
        assert float(row["perplexity"]) == shot.evaluation.perplexity
        assert float(row["reached"]) == shot.sparsity

    tokens = torch.from_numpy(np.load(bench.folder / "validation.npy")).long()
    dense = AutoModelForCausalLM.from_pretrained(bench.folder / "model").double()
    with torch.no_grad():
        p = dense(tokens).logits[:, :-1].softmax(dim=-1)
        q = pruned.double()(tokens).logits[:, :-1].softmax(dim=-1)
    expected = (p * (p / q).log()).sum(dim=-1).mean().item()
    assert float(rows[-1]["nats"]) == pytest.approx(expected, rel=1e-4)
    agreement = (p.argmax(dim=-1) == q.argmax(dim=-1)).double().mean().item()
    assert float(rows[-1]["agreement"]) == pytest.approx(agreement)


def test_rival_of_a_job_without_figures_fails(bench, capsys):
    assert bench.run(WITH_RIVAL, "--only=rival") == 1
    assert "'first' has no figures" in capsys.readouterr().out


def test_plan_of_the_defaults_compares_a_default_run():
    plan = read_plan(ROOT / "benchmarks" / "plans" / "defaults.toml")
    runs = expand_runs(plan, Base(ModelConfig(), {}, (0,)))
    defaults = [run for run in runs if run.rival is None]
    assert [run.sparsities for run in defaults] == [(0.1,), (0.3,), (0.5,)]
    for run in defaults:
        assert run.config == RunConfig(
            pruning=PruningConfig(sparsity=run.sparsities[0])
        )
    rivals = [run for run in runs if run.rival is not None]
    assert [run.sparsities for run in rivals] == [run.sparsities for run in defaults]
    assert all(run.rival == Rival(None, "default") for run in rivals)


@pytest.mark.slow
def test_text_that_no_seed_draws_keeps_its_name(tmp_path):
    plan = read_plan(ROOT / "benchmarks" / "plans" / "seeds.toml")
    run = expand_runs(plan, Base(ModelConfig(), {"windows": 2}, (0,)))[0]
    calibration = Texts(ModelConfig(), tmp_path).prepare(run).config.calibration
    assert (calibration.text, calibration.validation_text) == ("builtin", "")


@pytest.mark.slow
def test_failed_job_has_a_row_and_the_others_continue(bench, capsys):
    assert bench.run(ONE_FAILS) == 1
    failed, worked = bench.rows()
    assert "can be removed as heads" in failed["failure"]
    assert failed["perplexity"] == ""
    assert float(worked["perplexity"]) > 1
    page = bench.text(".md")
    assert "| too much | - | failed |" in page
    assert "## Failures" in page
    assert "failed: " in capsys.readouterr().out
    assert bench.run(ONE_FAILS) == 1  # the failed job is tried again
    assert len(bench.tasks) == 1


def test_seeds_that_change_nothing_fail(bench, capsys):
    assert bench.run(ONE_JOB, "--seeds=0,1") == 1
    assert "have the same windows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (ONE_JOB.replace("shots", "shotz"), "pruning has no setting called “shotz”"),
        (ONE_JOB + "color = 3", "unknown field `color`"),
        (ONE_JOB + ONE_JOB, "two jobs called 'only'"),
        ("job = []", "no jobs"),
        ("[[job", "is not valid"),
        (ONE_JOB + "calibration = { window_length = 8 }", "the same for all jobs"),
        (ONE_JOB + "sparsities = [0.1, 0.3]", "None of 2 equal shots to 0.3 ends at"),
        (
            TWO_JOBS.replace("damping", 'schedule = "cubic"\ndamping'),
            "schedule follows from the sparsities",
        ),
        (ONE_JOB + "sparsities = [0.4, 0.2]\nseparate = true", "do not increase"),
        (
            WITH_RECOVERY.replace("[0.6]\nseparate = true", "[0.1, 0.6]"),
            "distillation ends a run",
        ),
        (ONE_JOB + "seconds = 3", "a rival has either seconds or seconds_of"),
        (WITH_RIVAL.replace("seconds_of", "# "), "either seconds or seconds_of"),
        (WITH_RIVAL.replace('of = "first"', 'of = "rival"'), "no job before it"),
        (
            WITH_RIVAL + 'pruning = { method = "magnitude" }',
            "a method, shots and labels of its own",
        ),
        (ONE_JOB + "evaluation = { windows = 2 }", "unknown field `evaluation`"),
        (ONE_JOB.replace("shots = 2", 'target = "parameters"'), "shares of the"),
        (ONE_JOB.replace("shots = 2", "shots = 0"), "shots is 0, and must be"),
    ],
)
def test_invalid_plan_fails_with_a_message(bench, capsys, plan, message):
    assert bench.run(plan) == 1
    assert message in capsys.readouterr().err
    assert not bench.out.parent.exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--only=nobody"], "Its jobs are: only"),
        (["--windows=9"], "holds 8 windows, not 9"),
        (["--window-length=16"], "have 24 tokens, not 16"),
        (["--validation=nowhere.npy"], "nowhere.npy"),
    ],
)
def test_invalid_arguments_fail_with_a_message(bench, capsys, more, message):
    assert bench.run(ONE_JOB, *more) == 1
    assert message in capsys.readouterr().err


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="Python 3.11 has the built-in text measured"
)
@pytest.mark.slow
def test_results_of_the_first_version_are_still_valid(tmp_path):
    windows = {"windows": 64, "validation_windows": 32, "window_length": 256}
    plan = read_plan(ROOT / "benchmarks" / "plans" / "damping.toml")
    texts = Texts(ModelConfig(), tmp_path)
    results = Results(ROOT / "benchmarks" / "results" / "damping-demo.jsonl")
    planned = expand_runs(plan, Base(ModelConfig(), windows, (0,)))
    runs = [texts.prepare(run) for run in planned]
    assert all(map(results.is_complete, runs))
    lines = results.newest(runs)
    rows = list(csv.DictReader(to_csv(runs, lines).splitlines()))
    assert len(rows) == len(lines)
    assert all(row["nats"] and not row["nats_low"] for row in rows)
    page = to_markdown(Heading("demo", 1, "damping", "float32"), runs, lines)
    assert f"| {float(rows[0]['nats']):.4f} |" in page


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_bundled_plans_are_valid(path):
    runs = expand_runs(read_plan(path), Base(ModelConfig(), {"windows": 16}, (0, 1)))
    assert {run.seed for run in runs} == {0, 1}
    assert all(run.config.calibration.windows == 16 for run in runs)
    assert all(run.shots[-1].share == 1 for run in runs)


def test_missing_plan_raises(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_plan(tmp_path / "none.toml")


@pytest.mark.runtimes
def test_command_gives_the_same_with_a_process_for_each_job(bench):
    bench.run(ONE_JOB)
    expected = bench.rows()
    Path(f"{bench.out}.jsonl").unlink()
    program = [sys.executable, str(ROOT / "benchmarks" / "quality.py")]
    done = subprocess.run(
        program + bench.arguments(ONE_JOB), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "[1/1] only, seed 0, to 30 %" in done.stdout
    assert "shot 2 of 2" in done.stdout
    for one, other in zip(bench.rows(), expected, strict=True):
        assert one["identity"] == other["identity"]
        for name in ("perplexity", "nats", "dense_perplexity"):
            number = float(
                other[name]
            )  # without products of 16 bits, unlike the command
            assert float(one[name]) == pytest.approx(number, rel=0.01)


@pytest.mark.runtimes
def test_process_that_crashes_is_a_failed_job(bench, monkeypatch):
    monkeypatch.undo()
    config = RunConfig(
        ModelConfig(str(bench.folder / "model")),
        CalibrationConfig(
            str(bench.folder / "calibration.npy"),
            str(bench.folder / "validation.npy"),
        ),
        pruning_config(method=Method.MAGNITUDE),
    )
    task = job.Task(config, (PlannedShot(math.nan, 0.3),), "")  # JSON has no NaN
    (message,) = measuring.run_in_process(task)
    assert isinstance(message, job.JobFailed)
    assert "exited unexpectedly (exit code 1)" in message.message
