"""Checks of a job before it starts: problems by step, and obstacles."""

import os
import typing
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import PruningConfig, Structure, Target
from surgeon_engine.api.config.recovery import RecoveryConfig, TrainedWeights
from surgeon_engine.api.config.run import ModelConfig, Offload, RunConfig
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.planning.job_check import job_errors
from surgeon_engine.planning.limits import max_removable
from surgeon_gui.state import run as run_state
from surgeon_gui.state.app import AppState, Engine, with_request
from surgeon_gui.state.job.checks import (
    can_replace,
    find_problems,
    save_problem,
    start_obstacle,
)
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.text.problems import Kind, Problem, Step, blocking, sentence
from tests.helpers.configs import pruning_config
from tests.helpers.exports import write_export
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_machine import machine
from tests.helpers.fake_results import exported
from tests.helpers.mixtures import mixture_job, mixture_summary

MODEL = model_summary()
RUNS = "runs"
TEXT = Step.CALIBRATION
PARTS = {kind: part for part, kind in typing.get_type_hints(RunConfig).items()}
READY = AppState(
    model_is_chosen=True,
    engine=Engine.READY,
    machine=machine(),
    requests={RequestKind.INSPECTION: Request("inspect-1", ModelInspected(MODEL))},
)


def kind_of(config: RunConfig, step: Step, runs: str = RUNS, **options) -> Kind | None:
    """Return the kind of the problem of a step; None if there is none."""
    problem = find_problems(config, MODEL, runs, **options).get(step, (None,))[0]
    return problem.kind if problem is not None else None


def test_runs_folder_below_a_file_is_a_problem(tmp_path):
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "runs")
    problem = find_problems(RunConfig(), MODEL, folder)[Step.RUN][0]
    values = {"path": str(tmp_path / "file")}
    assert problem == Problem(Kind.RUNS_IN_FILE, values, Step.RUN)
    assert find_problems(RunConfig(), MODEL, str(tmp_path / "new" / "runs")) == {}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder of Linux")
def test_runs_folder_of_the_system_is_a_problem():
    problem = find_problems(RunConfig(), MODEL, "/proc/runs")[Step.RUN][0]
    assert problem == Problem(Kind.RUNS_UNWRITABLE, {"path": "/proc"}, Step.RUN)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write")
def test_runs_folder_without_permission_is_a_problem(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    folder = str(tmp_path / "closed" / "runs")
    assert kind_of(RunConfig(), Step.RUN, folder) is Kind.RUNS_UNWRITABLE


TOO_LONG = "~" + "/a" * 2_047  # as long as a setting may be; too long for the system
UNKNOWN = "~nobody-of-this-name/here"
LINUX = pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux has it")
PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
NO_FURTHER = CalibrationConfig(more_texts=(MoreText("none.txt"),))
MIXED = CalibrationConfig("tokens.npy", "builtin", more_texts=(MoreText("builtin"),))
TIED = pruning_config(structure=Structure.ROWS_AND_COLUMNS)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Make files and a pipe in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("book.pdf", "tokens.npy"):
        Path(name).write_text("text")
    Path("empty.txt").touch()
    Path("occupied").mkdir()
    Path("occupied", "thesis.tex").touch()
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe.jsonl")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("part", "step", "kind", "setting"),
    [
        (ModelConfig("none"), Step.MODEL, Kind.MODEL_MISSING, "source"),
        (ModelConfig(UNKNOWN), Step.MODEL, Kind.MODEL_MISSING, "source"),
        (ModelConfig(TOO_LONG), Step.MODEL, Kind.MODEL_MISSING, "source"),
        (CalibrationConfig("none.txt"), TEXT, Kind.ERROR, "text"),
        (CalibrationConfig(UNKNOWN), TEXT, Kind.ERROR, "text"),
        (CalibrationConfig(TOO_LONG), TEXT, Kind.ERROR, "text"),
        (NO_FURTHER, TEXT, Kind.ERROR, "more_texts"),
        (CalibrationConfig("book.pdf"), TEXT, Kind.ERROR, "text"),
        (CalibrationConfig("empty.txt"), TEXT, Kind.ERROR, "text"),
        (CalibrationConfig("."), TEXT, Kind.ERROR, "text"),
        pytest.param(
            *(CalibrationConfig("pipe.jsonl"), TEXT, Kind.ERROR, "text"),
            marks=PIPES,
        ),
        (MIXED, TEXT, Kind.ERROR, "more_texts"),
        (
            CalibrationConfig(window_length=513),
            *(TEXT, Kind.ERROR, "window_length"),
        ),
        (TIED, Step.TARGET, Kind.ERROR, "structure"),
        (ExportConfig("occupied"), Step.EXPORT, Kind.ERROR, "folder"),
        (ExportConfig(TOO_LONG), Step.EXPORT, Kind.ERROR, "folder"),
        pytest.param(
            *(
                ExportConfig("/proc/no/x"),
                Step.EXPORT,
                Kind.PARENT_UNWRITABLE,
                "folder",
            ),
            marks=LINUX,
        ),
    ],
)
def test_setting_that_cannot_be_used_is_a_problem(part, step, kind, setting):
    config = RunConfig(**{PARTS[type(part)]: part})
    problem = find_problems(config, MODEL, RUNS)[step][0]
    assert (problem.kind, problem.setting) == (kind, setting)


def test_problem_has_its_values():
    long = RunConfig(calibration=CalibrationConfig(window_length=513))
    problem = find_problems(long, MODEL, RUNS)[Step.CALIBRATION][0]
    assert "have 513 tokens; the maximum of the model is 512." in sentence(problem)
    missing = find_problems(RunConfig(calibration=NO_FURTHER), MODEL, RUNS)
    text = "There is no text file at none.txt."
    assert missing[Step.CALIBRATION][0].values["message"] == text
    tied = find_problems(RunConfig(pruning=TIED), MODEL, RUNS)[Step.TARGET][0]
    assert sentence(tied).startswith("its layers are tied. Choose one of: heads_")
    config = RunConfig(
        pruning=pruning_config(structure=Structure.ELEMENTS),
        export=ExportConfig(format=Format.COMPACT),
    )
    problem = find_problems(config, MODEL, RUNS)[Step.EXPORT][0]
    assert (problem.kind, problem.setting) == (Kind.ERROR, "format")
    assert "is not possible here. This structure sets weights" in sentence(problem)


@pytest.mark.parametrize(
    "folder", [UNKNOWN, TOO_LONG, "/" + "a" * 5_000, "/with\0nothing"]
)
def test_folder_that_none_can_be_is_left_to_the_engine(folder):
    config = RunConfig(export=ExportConfig("~nobody"))
    assert Step.RUN not in find_problems(config, MODEL, folder)


def test_missing_token_file_has_no_window_problems():
    calibration = CalibrationConfig(
        text="a.npy", validation_text="b.npy", windows=2, window_length=131_072
    )
    found = find_problems(RunConfig(calibration=calibration), MODEL, RUNS)
    assert Step.TARGET not in found
    assert "There is no text file" in sentence(found[Step.CALIBRATION][0])
    assert not calibration.cuts_windows
    assert not calibration.draws_windows


@pytest.mark.parametrize("other", ["", "{folder}/a.npy", "{folder}/./link.npy"])
def test_token_file_requires_another_validation_text(tmp_path, other):
    own = tmp_path / "a.npy"
    own.write_bytes(b"tokens")
    (tmp_path / "link.npy").symlink_to(own)
    calibration = CalibrationConfig(str(own), other.format(folder=tmp_path))
    config = RunConfig(calibration=calibration)
    problem = find_problems(config, MODEL, RUNS)[Step.CALIBRATION][0]
    assert problem.setting == "validation_text"
    with pytest.raises(ConfigError, match="validation text of its own"):
        config.check_consistency()
    valid = RunConfig(calibration=replace(calibration, validation_text="builtin"))
    assert find_problems(valid, MODEL, RUNS) == {}
    valid.check_consistency()


@pytest.mark.parametrize("name", ["block 0", "mlp.down_proj", "*.layers.1.*"])
def test_patterns_match_layers_by_name_kind_or_block(name):
    config = RunConfig(pruning=pruning_config(sparsity=0.1, protect=(name,)))
    assert find_problems(config, MODEL, RUNS) == {}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"structure": Structure.HEADS},
            "but at most 442,368 (18.18 %) can be removed as heads",
        ),
        ({"min_density": 0.8}, "can be removed as heads and neurons"),
        ({"protect": ("*",)}, "Everything that could be removed is protected"),
        ({"protect": ("block 0",), "min_density": 1.0}, "but at most 0 (0 %) can be"),
        (
            {"structure": Structure.HEADS, "sparsity": 0.01},
            "but at least 36,864 (1.52 %) are removed as heads",
        ),
        ({"protect": ("mlp.down",)}, "mlp.down"),
        ({"target": Target.PARAMETERS}, "keeps all 2,828,736"),
        (
            {"target": Target.PARAMETERS, "million_parameters": 0.1},
            "only 2,433,024 can be removed",
        ),
    ],
)
def test_target_beyond_the_limits_of_the_model_is_a_problem(settings, text):
    config = RunConfig(pruning=pruning_config(**settings))
    assert text in sentence(find_problems(config, MODEL, RUNS)[Step.TARGET][0])
    assert Step.TARGET not in find_problems(config, None, RUNS)


def test_destination_below_a_file_is_a_problem(tmp_path):
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "new" / "export")
    values = {"destination": Path(folder), "path": str(tmp_path / "file")}
    problem = Problem(Kind.PARENT_IS_FILE, values, Step.EXPORT, "folder")
    config = RunConfig(export=ExportConfig(folder))
    assert find_problems(config, MODEL, RUNS) == {Step.EXPORT: (problem,)}
    found = find_problems(config, MODEL, RUNS, may_replace=True)
    assert found == {Step.EXPORT: (problem,)}
    run = run_state.requested("run-1", RunConfig(), str(tmp_path / "run"), 0.0)
    run = replace(run, exported=exported(str(tmp_path / "run"), PruningConfig()))
    state = replace(READY, run=run, save_draft=ExportConfig(folder))
    assert save_problem(state) == problem
    new = RunConfig(export=ExportConfig(str(tmp_path / "new" / "export")))
    assert find_problems(new, MODEL, RUNS) == {}


@pytest.mark.parametrize("destination", ["there", "there/runs", "there/new/../runs"])
def test_destination_that_contains_the_folder_for_runs_is_a_problem(
    tmp_path, destination
):
    config = RunConfig(export=ExportConfig(str(tmp_path / destination)))
    runs = str(tmp_path / "there" / "runs")
    problem = find_problems(config, MODEL, runs)[Step.EXPORT][0]
    assert "the run itself keeps its files" in sentence(problem)
    assert find_problems(config, MODEL, str(tmp_path / "runs")) == {}


def test_occupied_destination_is_replaced_only_with_consent(tmp_path, monkeypatch):
    config = RunConfig(export=ExportConfig(str(write_export(tmp_path / "out"))))
    assert can_replace(config, RUNS)
    assert kind_of(config, Step.EXPORT) is Kind.ERROR
    assert find_problems(config, MODEL, RUNS, may_replace=True) == {}
    assert not can_replace(config, str(tmp_path / "out" / "runs"))
    assert not can_replace(config, RUNS, is_remote=True)
    no_export = RunConfig(export=ExportConfig(str(tmp_path)))
    assert not can_replace(no_export, RUNS)
    monkeypatch.chdir(tmp_path / "out")
    assert not can_replace(RunConfig(), RUNS)
    a_file = RunConfig(export=ExportConfig(str(tmp_path / "out" / "README.md")))
    assert kind_of(a_file, Step.EXPORT, may_replace=True) is Kind.ERROR


@pytest.mark.parametrize("folder", ["model", "."])
def test_original_model_is_never_replaced(tmp_path, folder):
    source = tmp_path / "model"
    write_export(source)
    config = RunConfig(
        model=ModelConfig(str(source)), export=ExportConfig(str(tmp_path / folder))
    )
    assert not can_replace(config, RUNS)
    for consent in (False, True):
        found = find_problems(config, MODEL, RUNS, may_replace=consent)
        text = sentence(found[Step.EXPORT][0])
        assert text.count(str(source)) == 1
        assert "must not be replaced" in text


@pytest.mark.parametrize("model", [MODEL, None])
@pytest.mark.parametrize(
    ("job", "step", "setting"),
    [
        (
            RunConfig(
                ModelConfig(offload=Offload.ON),
                recovery=RecoveryConfig(trained_weights=TrainedWeights.FULL),
            ),
            *(Step.TARGET, "trained_weights"),
        ),
        (
            RunConfig(
                ModelConfig(gpus=2),
                pruning=PruningConfig(dropped_blocks=1),
            ),
            *(Step.MODEL, "gpus"),
        ),
    ],
)
def test_settings_that_contradict_each_other_are_a_problem(job, step, setting, model):
    assert find_problems(job, model, RUNS)[step][0].setting == setting
    with pytest.raises(ConfigError):
        job.check_consistency()


@pytest.mark.parametrize(
    ("structure", "multiple", "is_valid"),
    [
        (Structure.HEADS_AND_NEURONS, 1, False),
        (Structure.NEURONS, 8, False),
        (Structure.NEURONS, 64, True),
        (Structure.HEADS, 1, True),
    ],
)
def test_file_size_in_gguf_requires_whole_blocks(structure, multiple, is_valid):
    config = RunConfig(
        pruning=pruning_config(
            structure=structure,
            target=Target.FILE_SIZE,
            megabytes=3,
            width_multiple=multiple,
        ),
        export=ExportConfig(format=Format.GGUF),
    )
    problem = find_problems(config, MODEL, RUNS)[Step.TARGET][0]
    assert ("multiples of 32" not in sentence(problem)) is is_valid
    with (
        nullcontext()
        if is_valid
        else pytest.raises(ConfigError, match="multiples of 32")
    ):
        config.check_consistency()


def test_multiple_of_all_of_a_width_is_a_problem_of_that_setting():
    widest = max(x.groups for x in MODEL.coupled)
    wide = RunConfig(pruning=pruning_config(sparsity=0.1, width_multiple=widest))
    assert [*dict(job_errors(wide, MODEL))] == ["pruning.width_multiple"]
    fitting = RunConfig(pruning=pruning_config(sparsity=0.1, width_multiple=widest - 1))
    assert not [*job_errors(fitting, MODEL)]


def test_target_is_checked_at_the_widths_of_the_device():
    """A layer keeps eight neurons on a GPU, and one on a CPU."""
    pruning = pruning_config(structure=Structure.NEURONS)
    share = max_removable(pruning, MODEL) / MODEL.prunable
    job = RunConfig(pruning=replace(pruning, sparsity=share))
    assert Step.TARGET not in find_problems(job, MODEL, RUNS)
    found = find_problems(job, MODEL, RUNS, on_cuda=True)
    assert found[Step.TARGET][0].setting == "target"


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("", ""),
        ("runs/1/export", "/export must not be replaced"),
        ("runs", "the run itself keeps its files"),
        ("models/original", "/original must not be replaced"),
        ("models", "/original, which must not be replaced"),
        (".", "the run itself keeps its files"),
        ("~", "/home must not be replaced"),
        ("/", "is the root of a disk"),
        ("~nobody-at-all/x", "no user nobody-at-all"),
        ("new/~old/x", ""),
        ("elsewhere", ""),
    ],
)
def test_saving_never_replaces_the_run_or_the_original(
    monkeypatch, tmp_path, folder, text
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for each in ("home", "models/original", "runs/1/export"):
        write_export(tmp_path / each)
    job = RunConfig(model=ModelConfig(str(tmp_path / "models" / "original")))
    run = run_state.requested("run-1", job, str(tmp_path / "runs" / "1"), 0.0)
    own_export = str(tmp_path / "runs" / "1" / "export")
    run = replace(run, exported=exported(own_export, PruningConfig()))
    state = replace(READY, run=run, save_draft=ExportConfig(folder))
    found = sentence(save_problem(state))
    assert text in found
    assert bool(text) == bool(found)


def test_unreadable_folder_counts_as_missing_model(monkeypatch):
    def deny(path, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.stat", deny)
    config = RunConfig(model=ModelConfig(source="/locked/model"))
    assert kind_of(config, Step.MODEL) is Kind.MODEL_MISSING


BROKEN = Request("inspect-1", error=Failed("Broken."))
RUNNING = run_state.requested("run-1", RunConfig(), "folder", 0.0)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (replace(READY, model_is_chosen=False), Kind.NO_MODEL),
        (replace(READY, engine=Engine.STARTING), Kind.ENGINE_STARTING),
        (replace(READY, engine=Engine.UNAVAILABLE), Kind.ENGINE_UNAVAILABLE),
        (replace(READY, problems={Step.TARGET: (Problem(Kind.ERROR),)}), Kind.ERROR),
        (replace(READY, run=RUNNING), Kind.QUEUEABLE),
        (replace(READY, run=RUNNING, engine=Engine.STARTING), Kind.RUN_BUSY),
        (replace(READY, machine=None), Kind.MACHINE_UNKNOWN),
        (with_request(READY, RequestKind.INSPECTION, Request("i")), Kind.MODEL_UNREAD),
        (with_request(READY, RequestKind.INSPECTION, BROKEN), Kind.ERROR),
        (with_request(READY, RequestKind.SAVE, Request("s")), Kind.SAVING),
        (with_request(READY, RequestKind.MEASUREMENT, Request("m")), Kind.MEASURING),
    ],
)
def test_start_obstacle_depends_on_the_state(state, kind):
    assert start_obstacle(state).kind is kind
    assert start_obstacle(READY) is None


def test_start_waits_until_the_free_disk_is_known():
    waiting = start_obstacle(replace(READY, machine=None))
    assert waiting is not None
    assert blocking(waiting) == ""  # it passes by itself


def test_routers_of_a_dense_model_are_a_problem_before_the_start():
    routers = RecoveryConfig(trained_weights=TrainedWeights.ROUTERS)
    found = find_problems(RunConfig(recovery=routers), MODEL, "")[Step.TARGET][0]
    assert found.setting == "trained_weights"
    assert "no routers" in sentence(found)
    mixture = replace(mixture_job(), recovery=routers)
    assert not [*job_errors(mixture, mixture_summary())]
