"""Files and folders are written atomically; nothing is overwritten."""

from __future__ import annotations

import pytest

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.api.run_folder import RunFolder, new_run_folder
from surgeon_engine.base.errors import ExportError, RunFolderError
from surgeon_engine.base.files import (
    check_not_occupied,
    write_atomically,
    write_folder_atomically,
)


def test_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_folder_appears_when_complete(tmp_path):
    target = tmp_path / "deep" / "export"
    with write_folder_atomically(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("x")
        (folder / "sub" / "a").chmod(0o600)
        assert not target.exists()
    assert (target / "sub" / "a").read_text() == "x"
    assert [p.name for p in target.parent.iterdir()] == ["export"]
    assert target.stat().st_mode & 0o777 == 0o755
    assert (target / "sub" / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_interrupted_folder_leaves_nothing(tmp_path, error):
    with (
        pytest.raises(type(error)),
        write_folder_atomically(tmp_path / "export") as folder,
    ):
        (folder / "a").write_text("x")
        raise error
    assert not list(tmp_path.iterdir())


def test_only_empty_folders_are_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    check_not_occupied(tmp_path / "empty", ExportError)
    with write_folder_atomically(tmp_path / "empty") as folder:
        (folder / "a").write_text("x")
    with pytest.raises(ExportError, match=r"exists already \(folder is not empty\)"):
        check_not_occupied(tmp_path / "empty", ExportError)
    with pytest.raises(ExportError, match=r"exists already \(is a file\)"):
        check_not_occupied(tmp_path / "empty" / "a", ExportError)


def test_new_run_folder_holds_its_config(tmp_path):
    run = RunFolder(tmp_path / "runs" / "first")
    with run.created(RunConfig()):
        assert run.is_being_worked_on
    assert not run.is_being_worked_on
    assert config_from_toml(run.config_path.read_text()) == RunConfig()


def test_create_unwritable_run_folder_raises(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="cannot be written: Not a directory"):
        RunFolder(tmp_path / "file" / "run").created(RunConfig()).__enter__()


@pytest.mark.parametrize("text", [None, "", "{}", "no json"])
def test_read_report_of_other_folder_raises(tmp_path, text):
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(RunFolderError, match="is not the folder of a finished run"):
        RunFolder(tmp_path).read_report()


@pytest.mark.parametrize(
    ("model", "ending"),
    [
        ("/models/Some-Model.Q4_1.gguf", "_Some-Model.Q4_1"),
        ("/models/Qwen2.5-1.5B", "_Qwen2.5-1.5B"),
        ("/models/my model/", "_my-model"),
        ("demo", "_demo"),
        ("..", "_model"),
    ],
)
def test_new_run_folder_is_named_by_time_and_model(tmp_path, model, ending):
    folder = new_run_folder(tmp_path, model)
    assert folder.name.endswith(ending)
    folder.mkdir()
    assert not new_run_folder(tmp_path, model).exists()
