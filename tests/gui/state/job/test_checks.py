"""Checks of a job before it starts: problems by step, and obstacles."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import (
    PrunableShare,
    PruningConfig,
    Structure,
    Target,
)
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.planning.limits import max_removable
from surgeon_gui.state import run as run_state
from surgeon_gui.state.app import (
    AppState,
    Engine,
    Step,
    with_request,
    without_requests,
)
from surgeon_gui.state.job.checks import (
    can_replace,
    find_problems,
    save_problem,
    start_obstacle,
)
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.step_text import Mark, step_view
from tests.helpers.configs import pruning_config
from tests.helpers.exports import write_export
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_results import exported

MODEL = model_summary()
RUNS = "runs"
READY = AppState(
    model_is_chosen=True,
    engine=Engine.READY,
    requests={RequestKind.INSPECTION: Request("inspect-1", ModelInspected(MODEL))},
)


def test_default_job_has_no_problems():
    assert find_problems(RunConfig(), MODEL, RUNS) == {}


def test_runs_folder_below_a_file_is_a_problem(tmp_path):
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "runs")
    problem = find_problems(RunConfig(), MODEL, folder)[Step.RUN]
    assert problem == f"{tmp_path / 'file'} is a file. Choose a folder for the runs."
    assert find_problems(RunConfig(), MODEL, str(tmp_path / "new" / "runs")) == {}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder of Linux")
def test_runs_folder_of_the_system_is_a_problem():
    problem = find_problems(RunConfig(), MODEL, "/proc/runs")[Step.RUN]
    assert problem.startswith("The folder /proc cannot be written.")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write")
def test_runs_folder_without_permission_is_a_problem(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    folder = str(tmp_path / "closed" / "runs")
    assert "cannot be written" in find_problems(RunConfig(), MODEL, folder)[Step.RUN]


def test_missing_model_is_a_problem(tmp_path):
    config = RunConfig(model=ModelConfig(source=str(tmp_path / "none")))
    assert "No model found at" in find_problems(config, None, RUNS)[Step.MODEL]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none.txt", "No file found"),
        ("book.pdf", "Supported: .txt"),
        ("empty.txt", "empty.txt is empty"),
    ],
)
def test_unreadable_text_is_a_problem(tmp_path, name, text):
    (tmp_path / "book.pdf").write_text("text")
    (tmp_path / "empty.txt").touch()
    config = RunConfig(calibration=CalibrationConfig(text=str(tmp_path / name)))
    assert text in find_problems(config, MODEL, RUNS)[Step.CALIBRATION]


def test_failed_preview_prevents_the_start():
    failed = Request("preview-1", error=Failed("The text has 12 tokens.", "More."))
    state = with_request(READY, RequestKind.PREVIEW, failed)
    assert start_obstacle(state) == "The text has 12 tokens."
    assert step_view(state, Step.CALIBRATION).mark is Mark.PROBLEM
    assert start_obstacle(without_requests(state, RequestKind.PREVIEW)) == ""


def test_windows_longer_than_the_context_length_are_a_problem():
    config = RunConfig(calibration=CalibrationConfig(window_length=513))
    assert "512" in find_problems(config, MODEL, RUNS)[Step.CALIBRATION]


def test_unsupported_structure_is_a_problem():
    config = RunConfig(pruning=pruning_config(structure=Structure.ROWS_AND_COLUMNS))
    assert find_problems(config, MODEL, RUNS)[Step.TARGET] == "its layers are tied."


@pytest.mark.parametrize(
    ("pruning", "text"),
    [
        (pruning_config(target=Target.PARAMETERS), "keeps all 2,828,736"),
        (
            pruning_config(target=Target.PARAMETERS, million_parameters=0.1),
            "only 2,433,024 can be removed",
        ),
        (
            pruning_config(protect=("mlp.down",)),
            "Protect: no layer is called “mlp.down”.",
        ),
    ],
)
def test_unreachable_target_is_a_problem(pruning, text):
    config = RunConfig(pruning=pruning)
    assert text in find_problems(config, MODEL, RUNS)[Step.TARGET]
    assert Step.TARGET not in find_problems(config, None, RUNS)


def test_missing_token_file_has_no_window_problems():
    calibration = CalibrationConfig(
        text="a.npy", validation_text="b.npy", windows=2, window_length=131_072
    )
    found = find_problems(RunConfig(calibration=calibration), MODEL, RUNS)
    assert Step.TARGET not in found
    assert "longer than" not in found[Step.CALIBRATION]  # there is no such file
    assert not calibration.cuts_windows
    assert calibration.takes_whole_file


@pytest.mark.parametrize("other", ["", "{folder}/a.npy", "{folder}/./link.npy"])
def test_token_file_requires_another_validation_text(tmp_path, other):
    own = tmp_path / "a.npy"
    own.write_bytes(b"tokens")
    (tmp_path / "link.npy").symlink_to(own)
    calibration = CalibrationConfig(str(own), other.format(folder=tmp_path))
    config = RunConfig(calibration=calibration)
    assert "for validation" in find_problems(config, MODEL, RUNS)[Step.CALIBRATION]
    with pytest.raises(ConfigError, match="left for validation"):
        config.check_consistency()
    valid = RunConfig(calibration=replace(calibration, validation_text="builtin"))
    assert find_problems(valid, MODEL, RUNS) == {}
    valid.check_consistency()


def test_token_file_cannot_be_mixed_with_further_texts(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"tokens")
    calibration = CalibrationConfig(
        str(tmp_path / "a.npy"), "builtin", more_texts=(MoreText("builtin"),)
    )
    config = RunConfig(calibration=calibration)
    assert (
        "no share for further" in find_problems(config, MODEL, RUNS)[Step.CALIBRATION]
    )


def test_missing_further_text_is_a_problem(tmp_path):
    more = (MoreText("builtin"), MoreText(str(tmp_path / "none.txt")))
    config = RunConfig(calibration=CalibrationConfig(more_texts=more))
    problem = find_problems(config, MODEL, RUNS)[Step.CALIBRATION]
    assert problem == f"No file found at {tmp_path / 'none.txt'}."


@pytest.mark.parametrize("name", ["block 0", "mlp.down_proj", "*.layers.1.*"])
def test_patterns_match_layers_by_name_kind_or_block(name):
    config = RunConfig(pruning=pruning_config(sparsity=0.1, protect=(name,)))
    assert find_problems(config, MODEL, RUNS) == {}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"structure": Structure.HEADS},
            "but at most 442,368 (18.2 %) can be removed as heads",
        ),
        ({"min_density": 0.8}, "can be removed as heads and neurons"),
        ({"protect": ("*",)}, "Everything that could be removed is protected"),
        ({"protect": ("block 0",), "min_density": 1.0}, "but at most 0 (0 %) can be"),
        (
            {"structure": Structure.HEADS, "sparsity": 0.01},
            "but at least 36,864 (1.52 %) are removed as heads",
        ),
    ],
)
def test_target_beyond_the_limits_of_the_model_is_a_problem(settings, text):
    config = RunConfig(pruning=pruning_config(**settings))
    assert text in find_problems(config, MODEL, RUNS)[Step.TARGET]


def test_occupied_destination_is_a_problem(tmp_path):
    (tmp_path / "file").touch()
    config = RunConfig(export=ExportConfig(str(tmp_path)))
    assert "not empty" in find_problems(config, MODEL, RUNS)[Step.EXPORT]


UNMAKEABLE = "{folder} cannot be created: {path} is a file. Choose another folder."


def test_destination_below_a_file_is_a_problem(tmp_path):
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "new" / "export")
    problem = UNMAKEABLE.format(folder=folder, path=tmp_path / "file")
    config = RunConfig(export=ExportConfig(folder))
    assert find_problems(config, MODEL, RUNS) == {Step.EXPORT: problem}
    found = find_problems(config, MODEL, RUNS, may_replace=True)
    assert found == {Step.EXPORT: problem}
    run = run_state.requested("run-1", RunConfig(), str(tmp_path / "run"), 0.0)
    run = replace(run, exported=exported(str(tmp_path / "run"), PruningConfig()))
    state = replace(READY, run=run, save_config=ExportConfig(folder))
    assert save_problem(state) == problem
    new = RunConfig(export=ExportConfig(str(tmp_path / "new" / "export")))
    assert find_problems(new, MODEL, RUNS) == {}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder of Linux")
def test_destination_in_a_folder_of_the_system_is_a_problem():
    config = RunConfig(export=ExportConfig("/proc/nope/x"))
    problem = find_problems(config, MODEL, RUNS)[Step.EXPORT]
    assert "/proc/nope/x cannot be created: /proc cannot be written." in problem


@pytest.mark.parametrize("destination", ["there", "there/runs", "there/new/../runs"])
def test_destination_that_contains_the_folder_for_runs_is_a_problem(
    tmp_path, destination
):
    config = RunConfig(export=ExportConfig(str(tmp_path / destination)))
    found = find_problems(config, MODEL, str(tmp_path / "there" / "runs"))
    assert "folder for runs" in found[Step.EXPORT]
    assert find_problems(config, MODEL, str(tmp_path / "runs")) == {}


def test_occupied_destination_is_replaced_only_with_consent(tmp_path):
    config = RunConfig(export=ExportConfig(str(write_export(tmp_path / "out"))))
    assert can_replace(config, RUNS)
    assert "not empty" in find_problems(config, MODEL, RUNS)[Step.EXPORT]
    assert find_problems(config, MODEL, RUNS, may_replace=True) == {}
    assert not can_replace(config, str(tmp_path / "out" / "runs"))
    assert not can_replace(config, RUNS, is_remote=True)
    no_export = RunConfig(export=ExportConfig(str(tmp_path)))
    assert not can_replace(no_export, RUNS)
    a_file = RunConfig(export=ExportConfig(str(tmp_path / "out" / "README.md")))
    found = find_problems(a_file, MODEL, RUNS, may_replace=True)
    assert "is a file" in found[Step.EXPORT]


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
        assert "original model" in found[Step.EXPORT]


def test_masked_files_with_a_target_file_size_are_a_problem():
    config = RunConfig(
        pruning=pruning_config(target=Target.FILE_SIZE, megabytes=8),
        export=ExportConfig(format=Format.MASKED),
    )
    assert "as large as the original" in find_problems(config, MODEL, RUNS)[Step.EXPORT]
    with pytest.raises(ConfigError, match="keep the original size"):
        config.check_consistency()


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
    found = find_problems(config, MODEL, RUNS).get(Step.TARGET, "")
    assert ("Width multiple to 32" not in found) is is_valid
    with (
        nullcontext()
        if is_valid
        else pytest.raises(ConfigError, match="multiples of 32")
    ):
        config.check_consistency()


def test_target_is_checked_at_the_widths_of_the_device():
    """A layer keeps eight neurons on a GPU, and one on a CPU."""
    pruning = pruning_config(structure=Structure.NEURONS)
    share = max_removable(pruning, MODEL) / MODEL.prunable
    job = RunConfig(pruning=replace(pruning, target=PrunableShare(share)))
    assert Step.TARGET not in find_problems(job, MODEL, RUNS)
    found = find_problems(job, MODEL, RUNS, on_cuda=True)
    assert "can be removed as neurons" in found[Step.TARGET]


def test_impossible_format_is_a_problem():
    config = RunConfig(
        pruning=pruning_config(structure=Structure.ELEMENTS),
        export=ExportConfig(format=Format.COMPACT),
    )
    found = find_problems(config, MODEL, RUNS)[Step.EXPORT]
    assert found.startswith("transformers, compact is not possible for this target.")


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("", ""),
        ("/runs/1/export", "own export"),
        ("/runs", "own export"),
        ("/models/original", "original model"),
        ("/models", "original model"),
        ("~", "home folder"),
        ("/", "own export"),
        ("/elsewhere", ""),
    ],
)
def test_saving_never_replaces_the_run_or_the_original(monkeypatch, folder, text):
    monkeypatch.setattr("surgeon_gui.base.paths.unwritable_folder", lambda path: "")
    job = RunConfig(model=ModelConfig("/models/original"))
    run = run_state.requested("run-1", job, "/runs/1", 0.0)
    run = replace(run, exported=exported("/runs/1/export", PruningConfig()))
    state = replace(READY, run=run, save_config=ExportConfig(folder))
    assert text in save_problem(state)
    assert bool(text) is bool(save_problem(state))


TOO_LONG = "~" + "/a" * 2_047  # as long as a setting may be; too long for the system
INVALID_PATHS = ("~nobody-of-this-name/here", TOO_LONG)


@pytest.mark.parametrize("path", INVALID_PATHS)
def test_invalid_path_is_a_problem(path):
    config = RunConfig(
        model=ModelConfig(source=path), calibration=CalibrationConfig(text=path)
    )
    found = find_problems(config, MODEL, RUNS)
    assert found[Step.MODEL].startswith("No model found at")
    assert found[Step.CALIBRATION].startswith("No file found")


def test_folder_instead_of_a_text_is_a_problem(tmp_path):
    config = RunConfig(calibration=CalibrationConfig(text=str(tmp_path)))
    assert "is a folder" in find_problems(config, MODEL, RUNS)[Step.CALIBRATION]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipe_instead_of_a_text_is_a_problem(tmp_path):
    os.mkfifo(tmp_path / "text.jsonl")
    config = RunConfig(calibration=CalibrationConfig(text=str(tmp_path / "text.jsonl")))
    assert "is a pipe" in find_problems(config, MODEL, RUNS)[Step.CALIBRATION]


def test_invalid_destination_is_a_problem():
    config = RunConfig(export=ExportConfig(TOO_LONG))
    assert "cannot be used" in find_problems(config, MODEL, RUNS)[Step.EXPORT]
    for parent in (*INVALID_PATHS, "/" + "a" * 5_000, "/with\0nothing"):
        assert (
            find_problems(RunConfig(export=ExportConfig("~nobody")), MODEL, parent)
            == {}
        )


def test_unreadable_folder_counts_as_missing_model(monkeypatch):
    def deny(path, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.stat", deny)
    config = RunConfig(model=ModelConfig(source="/locked/model"))
    assert "No model found at" in find_problems(config, MODEL, RUNS)[Step.MODEL]


def test_valid_job_can_be_started():
    assert start_obstacle(READY) == ""


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model_is_chosen": False}, "Choose a model"),
        ({"engine": Engine.STARTING}, "still starting"),
        ({"engine": Engine.UNAVAILABLE}, "engine is not available"),
        ({"problems": {Step.TARGET: "Too much."}}, "Too much."),
        (
            {"run": run_state.requested("run-1", RunConfig(), "folder", 0.0)},
            "in progress",
        ),
    ],
)
def test_start_obstacle_depends_on_the_state(changes, text):
    assert text in start_obstacle(replace(READY, **changes))


@pytest.mark.parametrize(
    ("kind", "request_", "text"),
    [
        (RequestKind.INSPECTION, Request("inspect-1"), "still being read"),
        (RequestKind.INSPECTION, Request("i", error=Failed("Broken.")), "Broken."),
        (RequestKind.SAVE, Request("save-1"), "being saved"),
        (RequestKind.MEASUREMENT, Request("measure-1"), "being measured"),
    ],
)
def test_start_obstacle_depends_on_open_and_failed_requests(kind, request_, text):
    assert text in start_obstacle(with_request(READY, kind, request_))
