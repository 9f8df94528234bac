"""What speaks against a job is told before it starts, in a sentence."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Method, PruningConfig, Structure, Target
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.sources import ModelInspected
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
    problems,
    save_problem,
    start_obstacle,
)
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.step_text import Mark, step_view
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_results import exported

MODEL = model_summary()
RUNS = "runs"
READY = AppState(
    model_is_chosen=True,
    engine=Engine.READY,
    requests={RequestKind.INSPECTION: Request("inspect-1", ModelInspected(MODEL))},
)


def test_the_default_job_is_in_order():
    assert problems(RunConfig(), MODEL, RUNS) == {}


def test_a_model_that_is_not_there(tmp_path):
    config = RunConfig(model=ModelConfig(source=str(tmp_path / "none")))
    assert "No model found at" in problems(config, None, RUNS)[Step.MODEL]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.txt", "No file found"),
        ("book.pdf", "Supported: .txt"),
        ("empty.txt", "empty.txt is empty"),
    ],
)
def test_a_text_that_cannot_be_read(tmp_path, name, words):
    (tmp_path / "book.pdf").write_text("text")
    (tmp_path / "empty.txt").touch()
    config = RunConfig(calibration=CalibrationConfig(text=str(tmp_path / name)))
    assert words in problems(config, MODEL, RUNS)[Step.CALIBRATION]


def test_a_text_whose_preview_failed_keeps_the_run_from_starting():
    failed = Request("preview-1", error=Failed("The text has 12 tokens.", "More."))
    state = with_request(READY, RequestKind.PREVIEW, failed)
    assert start_obstacle(state) == "The text has 12 tokens."
    assert step_view(state, Step.CALIBRATION).mark is Mark.PROBLEM
    assert start_obstacle(without_requests(state, RequestKind.PREVIEW)) == ""


def test_windows_longer_than_the_model_can_read():
    config = RunConfig(calibration=CalibrationConfig(window_length=513))
    assert "512" in problems(config, MODEL, RUNS)[Step.CALIBRATION]


def test_a_structure_that_the_model_does_not_have():
    config = RunConfig(pruning=pruning_config(structure=Structure.ROWS_AND_COLUMNS))
    assert problems(config, MODEL, RUNS)[Step.TARGET] == "its layers are tied."


@pytest.mark.parametrize(
    ("pruning", "words"),
    [
        (pruning_config(target=Target.PARAMETERS), "leaves all of the 2,828,736"),
        (
            pruning_config(target=Target.PARAMETERS, million_parameters=0.1),
            "only 2,433,024 of the 2,828,736 parameters can",
        ),
        (
            pruning_config(protect=("mlp.down",)),
            "mlp.down under Protect is the name of",
        ),
    ],
)
def test_a_target_that_cannot_be_reached(pruning, words):
    config = RunConfig(pruning=pruning)
    assert words in problems(config, MODEL, RUNS)[Step.TARGET]
    assert Step.TARGET not in problems(config, None, RUNS)


@pytest.mark.parametrize("method", Method)
def test_a_correction_needs_windows_to_hold_out(method):
    pruning = pruning_config(structure=Structure.ELEMENTS, method=method)
    config = RunConfig(calibration=CalibrationConfig(windows=3), pruning=pruning)
    problem = problems(config, MODEL, RUNS).get(Step.TARGET, "")
    assert ("needs 4 windows" in problem) == (method is Method.LLM_SURGEON)


def test_of_a_token_file_nothing_is_said_that_it_may_not_be():
    calibration = CalibrationConfig(
        text="a.npy", validation_text="b.npy", windows=2, window_length=131_072
    )
    found = problems(RunConfig(calibration=calibration), MODEL, RUNS)
    assert Step.TARGET not in found
    assert "longer than" not in found[Step.CALIBRATION]  # there is no such file
    assert not calibration.cuts_windows
    assert calibration.takes_whole_file


@pytest.mark.parametrize("other", ["", "{folder}/a.npy", "{folder}/./link.npy"])
def test_a_token_file_needs_another_text_to_judge_by(tmp_path, other):
    own = tmp_path / "a.npy"
    own.write_bytes(b"tokens")
    (tmp_path / "link.npy").symlink_to(own)
    calibration = CalibrationConfig(str(own), other.format(folder=tmp_path))
    config = RunConfig(calibration=calibration)
    assert "for validation" in problems(config, MODEL, RUNS)[Step.CALIBRATION]
    with pytest.raises(ConfigError, match="left to judge"):
        config.check_consistency()
    judged = RunConfig(calibration=replace(calibration, validation_text="builtin"))
    assert problems(judged, MODEL, RUNS) == {}
    judged.check_consistency()


@pytest.mark.parametrize("name", ["block 0", "mlp.down_proj", "*.layers.1.*"])
def test_a_layer_is_protected_by_name_kind_or_block(name):
    config = RunConfig(pruning=pruning_config(sparsity=0.1, protect=(name,)))
    assert problems(config, MODEL, RUNS) == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"structure": Structure.HEADS},
            "but at most 442,368 (18.2%) can be removed as heads",
        ),
        ({"min_density": 0.8}, "can be removed as heads and neurons"),
        ({"protect": ("*",)}, "but at most 0 (0.0%) can be removed"),
        (
            {"structure": Structure.HEADS, "sparsity": 0.01},
            "but at least 36,864 (1.52%) are removed as heads",
        ),
    ],
)
def test_what_the_model_does_not_allow_is_told_before_the_start(settings, words):
    config = RunConfig(pruning=pruning_config(**settings))
    assert words in problems(config, MODEL, RUNS)[Step.TARGET]


def test_a_destination_with_something_in_it(tmp_path):
    (tmp_path / "file").touch()
    config = RunConfig(export=ExportConfig(str(tmp_path)))
    assert "not empty" in problems(config, MODEL, RUNS)[Step.EXPORT]


@pytest.mark.parametrize("destination", ["there", "there/runs", "there/new/../runs"])
def test_a_destination_that_holds_the_folders_of_runs(tmp_path, destination):
    config = RunConfig(export=ExportConfig(str(tmp_path / destination)))
    found = problems(config, MODEL, str(tmp_path / "there" / "runs"))
    assert "folders of runs" in found[Step.EXPORT]
    assert problems(config, MODEL, str(tmp_path / "runs")) == {}


def test_what_stands_at_a_destination_goes_only_with_consent(tmp_path):
    (tmp_path / "file").touch()
    asked = RunConfig(export=ExportConfig(str(tmp_path)))
    assert can_replace(asked, RUNS)
    agreed = RunConfig(export=ExportConfig(str(tmp_path), replace=True))
    assert problems(agreed, MODEL, RUNS) == {}
    assert not can_replace(agreed, RUNS)
    a_file = RunConfig(export=ExportConfig(str(tmp_path / "file"), replace=True))
    assert "is a file" in problems(a_file, MODEL, RUNS)[Step.EXPORT]
    assert not can_replace(asked, str(tmp_path / "runs"))


@pytest.mark.parametrize("folder", ["model", "."])
def test_the_original_model_is_never_replaced(tmp_path, folder):
    source = tmp_path / "model"
    source.mkdir()
    (source / "config.json").touch()
    for consent in (False, True):
        config = RunConfig(
            model=ModelConfig(str(source)),
            export=ExportConfig(str(tmp_path / folder), replace=consent),
        )
        assert not can_replace(config, RUNS)
        assert "original model" in problems(config, MODEL, RUNS)[Step.EXPORT]


def test_masked_files_and_a_target_of_a_size_can_be_set_in_any_order():
    config = RunConfig(
        pruning=pruning_config(target=Target.FILE_SIZE, megabytes=8),
        export=ExportConfig(format=Format.MASKED),
    )
    assert "as large as the original" in problems(config, MODEL, RUNS)[Step.EXPORT]
    with pytest.raises(ConfigError, match="as large as the original"):
        config.check_consistency()


@pytest.mark.parametrize(
    ("structure", "multiple", "is_kept"),
    [
        (Structure.HEADS_AND_NEURONS, 1, False),
        (Structure.NEURONS, 8, False),
        (Structure.NEURONS, 64, True),
        (Structure.HEADS, 1, True),
    ],
)
def test_a_size_in_blocks_needs_rows_that_blocks_fill(structure, multiple, is_kept):
    config = RunConfig(
        pruning=pruning_config(
            structure=structure,
            target=Target.FILE_SIZE,
            megabytes=3,
            width_multiple=multiple,
        ),
        export=ExportConfig(format=Format.GGUF, dtype=FileDtype.Q8_0),
    )
    found = problems(config, MODEL, RUNS).get(Step.TARGET, "")
    assert ("Width multiple to 32" not in found) is is_kept
    with nullcontext() if is_kept else pytest.raises(ConfigError, match="16 bits"):
        config.check_consistency()


def test_a_form_that_the_target_does_not_leave():
    config = RunConfig(
        pruning=pruning_config(structure=Structure.ELEMENTS),
        export=ExportConfig(format=Format.COMPACT),
    )
    found = problems(config, MODEL, RUNS)[Step.EXPORT]
    assert found.startswith("transformers, compact is not possible for this target.")


@pytest.mark.parametrize(
    ("folder", "words"),
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
def test_a_save_may_not_take_the_place_of_the_run(folder, words):
    job = RunConfig(model=ModelConfig("/models/original"))
    run = run_state.requested("run-1", job, "/runs/1", 0.0)
    run = replace(run, exported=exported("/runs/1/export", PruningConfig()))
    state = replace(READY, run=run, save_config=ExportConfig(folder))
    assert words in save_problem(state)
    assert bool(words) is bool(save_problem(state))


HOPELESS = ("~nobody-of-this-name/here", "/" + "a" * 5_000, "/with\0nothing")


@pytest.mark.parametrize("path", HOPELESS)
def test_a_path_that_cannot_be_looked_up_is_a_sentence(path):
    config = RunConfig(
        model=ModelConfig(source=path), calibration=CalibrationConfig(text=path)
    )
    found = problems(config, MODEL, RUNS)
    assert found[Step.MODEL].startswith("No model found at")
    assert found[Step.CALIBRATION].startswith("No file found")


def test_a_folder_is_no_text_but_it_is_there(tmp_path):
    config = RunConfig(calibration=CalibrationConfig(text=str(tmp_path)))
    assert "is a folder" in problems(config, MODEL, RUNS)[Step.CALIBRATION]


def test_a_destination_that_cannot_be_looked_up_is_a_sentence():
    config = RunConfig(export=ExportConfig("/" + "a" * 5_000))
    assert "cannot be used" in problems(config, MODEL, RUNS)[Step.EXPORT]
    for parent in HOPELESS:
        assert problems(RunConfig(export=ExportConfig("~nobody")), MODEL, parent) == {}


def test_a_folder_that_may_not_be_looked_into_holds_nothing(monkeypatch):
    def refuse(path, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.stat", refuse)
    config = RunConfig(model=ModelConfig(source="/locked/model"))
    assert "No model found at" in problems(config, MODEL, RUNS)[Step.MODEL]


def test_a_job_in_order_can_be_started():
    assert start_obstacle(READY) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_is_chosen": False}, "Choose a model"),
        ({"engine": Engine.STARTING}, "still starting"),
        ({"engine": Engine.UNAVAILABLE}, "no engine"),
        ({"problems": {Step.TARGET: "Too much."}}, "Too much."),
        (
            {"run": run_state.requested("run-1", RunConfig(), "folder", 0.0)},
            "under way",
        ),
    ],
)
def test_start_obstacle_of_a_state_says_why(changes, words):
    assert words in start_obstacle(replace(READY, **changes))


@pytest.mark.parametrize(
    ("kind", "request_", "words"),
    [
        (RequestKind.INSPECTION, Request("inspect-1"), "still being read"),
        (RequestKind.INSPECTION, Request("i", error=Failed("Broken.")), "Broken."),
        (RequestKind.SAVE, Request("save-1"), "being saved"),
        (RequestKind.MEASUREMENT, Request("measure-1"), "being measured"),
    ],
)
def test_start_obstacle_of_a_request_says_why(kind, request_, words):
    assert words in start_obstacle(with_request(READY, kind, request_))
