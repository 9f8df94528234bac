"""A run that cannot succeed raises before any work and changes no files."""

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable

import pytest

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import (
    CalibrationError,
    EngineError,
    ExportError,
    InsufficientResourcesError,
    ModelError,
    PruningError,
    RunCancelled,
    RunFolderError,
)
from surgeon_engine.planning import target_size
from surgeon_engine.planning.planned_file import PlannedFile
from surgeon_engine.run import pipeline, prepare
from surgeon_engine.run.preflight import preflight
from tests.helpers.runs import Recorder, job, preflight_error

pytestmark = pytest.mark.usefixtures("quick_runs")


def test_existing_output_folder_raises_and_is_left_unchanged(tmp_path):
    config, other = job(tmp_path), tmp_path / "other"
    shutil.copytree(tmp_path / "llama", other)
    for folder, text in (
        (other, "exists already (folder is not empty)"),
        (tmp_path / "llama", "must not be replaced"),
    ):
        config = dataclasses.replace(config, export=ExportConfig(str(folder)))
        before = sorted(path.name for path in folder.iterdir())
        error = preflight_error(config, tmp_path / "run", ExportError)
        assert text in error.message
        assert sorted(path.name for path in folder.iterdir()) == before
        assert not (tmp_path / "run").exists()


def test_existing_run_folder_raises_and_is_left_unchanged(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    error = preflight_error(job(tmp_path), tmp_path / "run", RunFolderError)
    assert "exists already" in error.message
    assert (tmp_path / "run" / "precious.txt").read_text() == "mine"


REFUSED = [
    (
        {"family": "olmo2", "structure": "heads"},
        PruningError,
        "self_attn.q_norm normalizes 16 features",
    ),
    ({"protect": ("block 9",)}, PruningError, "“block 9” protects no layer"),
    (
        {"protect": ("*",)},
        PruningError,
        "Everything that could be removed is protected",
    ),
    ({"dropped_blocks": 2, "sparsity": 0.6}, PruningError, "at most 1 of 2 can be"),
    (
        {"structure": "rows_and_columns", "export": ExportConfig(format=Format.GGUF)},
        ExportError,
        "GGUF for llama.cpp is not possible here. It holds no layers with removed rows",
    ),
    (
        {"structure": "columns", "export": ExportConfig(format=Format.PLAIN)},
        ExportError,
        "transformers, plain is not possible here. It holds no layers with removed",
    ),
    (
        {
            "dropped_sublayers": 1,
            "sparsity": 0.6,
            "export": ExportConfig(format=Format.PLAIN),
        },
        ExportError,
        "a plain model has an attention and an MLP",
    ),
    ({"export": ExportConfig("file/export")}, ExportError, "cannot be written"),
    ({"width_multiple": 1000}, PruningError, "neurons: none of them could be"),
]


@pytest.mark.parametrize(("settings", "kind", "sentence"), REFUSED)
def test_refused_job_leaves_no_run_folder(
    tmp_path, monkeypatch, settings, kind, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    error = preflight_error(job(tmp_path, **settings), tmp_path / "run", kind)
    assert sentence in error.message
    assert not (tmp_path / "run").exists()


def refuse(error: BaseException) -> Callable[..., None]:
    def raise_it(*_: object, **__: object) -> None:
        raise error

    return raise_it


@pytest.mark.parametrize(
    "error",
    [
        CalibrationError("The text is too short.", "Choose another."),
        ModelError("The weights are damaged.", "Download them again."),
        RunCancelled(),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_run_that_ends_before_its_start_leaves_no_folder(tmp_path, monkeypatch, error):
    monkeypatch.setattr(prepare, "load_windows", refuse(error))
    with pytest.raises(type(error)):
        Recorder().run(job(tmp_path), tmp_path / "runs" / "run")
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize("error", [EngineError("No."), RunCancelled(), ValueError()])
def test_run_that_ends_after_its_start_keeps_its_log(tmp_path, monkeypatch, error):
    monkeypatch.setattr(pipeline, "evaluate_original", refuse(error))
    with pytest.raises(type(error)):
        Recorder().run(job(tmp_path), tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    assert b"RunStarted" in run.events_path.read_bytes()
    assert not run.is_being_worked_on


def test_error_that_nobody_expects_keeps_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "load_windows", refuse(ValueError("a bug")))
    with pytest.raises(ValueError, match="a bug"):
        Recorder().run(job(tmp_path), tmp_path / "run")
    assert RunFolder(tmp_path / "run").events_path.exists()


def test_refused_run_keeps_the_notes_of_the_user(tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "run")

    def refused(*_: object) -> None:
        run.notes_path.write_text("mine")
        raise CalibrationError("The text is too short.", "Choose another.")

    monkeypatch.setattr(prepare, "load_windows", refused)
    with pytest.raises(CalibrationError):
        Recorder().run(job(tmp_path), run.path)
    assert [path.name for path in run.path.iterdir()] == ["notes.txt"]


def test_full_disk_raises_with_the_numbers(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    error = preflight_error(job(tmp_path), tmp_path / "run", InsufficientResourcesError)
    assert "of disk space, and 0.0 MB are free" in error.message


@pytest.mark.parametrize("form", [Format.COMPACT, Format.GGUF])
def test_size_of_the_result_is_computed_once(tmp_path, monkeypatch, form):
    """It is one file for transformers; beside another one there is a checkpoint."""
    calls: Counter[str] = Counter()

    def counted(place: object, name: str) -> None:
        function = getattr(place, name)

        def call(*given):
            calls[name] += 1
            return function(*given)

        monkeypatch.setattr(place, name, call)

    counted(target_size, "planned_file")
    counted(target_size, "_goal")
    counted(PlannedFile, "bytes")
    config = job(tmp_path, export=ExportConfig(format=form))
    files = 1 if form is Format.COMPACT else 2
    found = preflight(config, tmp_path / "run", with_time=False)
    assert found.goal.removed > 0
    # `bytes` is called for the goal and for each file.
    assert calls == {"planned_file": files, "_goal": 1, "bytes": 1 + files}
