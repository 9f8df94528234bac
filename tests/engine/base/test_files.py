"""Files and folders of runs are written whole; dead processes leave no remnants."""

import errno
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.api.litter import remove_litter
from surgeon_engine.api.run_folder import RunFolder, new_run_folder
from surgeon_engine.base import files
from surgeon_engine.base.errors import ExportError, RunFolderError
from surgeon_engine.base.files import (
    check_not_occupied,
    expand_path,
    file_written_atomically,
    name_beside,
    remove_leftovers,
    remove_temporary_folders,
    temporary_folder,
    to_trash,
    write_atomically,
    write_folder_atomically,
)
from surgeon_engine.base.process_lock import process_tag
from tests.helpers.fake_runs import write_run, write_saved_state

DEAD = f"4194999-1700000000-{process_tag().rpartition('-')[2]}"
# Begins to write a file and a folder, and dies.
DYING = """
import os, sys
from pathlib import Path
from surgeon_engine.base import files
from surgeon_engine.base.files import (
    file_written_atomically, temporary_folder, write_folder_atomically,
)

run = Path(sys.argv[1])
kept = temporary_folder()
with file_written_atomically(run / "report.json") as file:
    file.write_text("half")
    with write_folder_atomically(run / "export") as folder:
        (folder / "model.safetensors").write_text("half")
        print(kept.name, flush=True)
        os._exit(9)
"""


def test_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "x"
    write_atomically(path, b"one")
    with pytest.raises(KeyboardInterrupt), file_written_atomically(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_parent_of_a_link_is_that_of_its_target(tmp_path, monkeypatch):
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/sub")
    monkeypatch.chdir(tmp_path)
    assert expand_path("link/../run") == tmp_path.resolve() / "real" / "run"
    assert expand_path("./link/") == Path.cwd() / "link"


def test_leftovers_of_a_dead_process_are_removed(tmp_path, monkeypatch):
    # In a folder of its own: other processes clean up the usual one meanwhile.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    run = write_run(tmp_path, ending="killed")
    before = {path.name for path in run.iterdir()}
    for folder in (run, write_saved_state(run)):
        (folder / ".tmpZ4zXyz").write_text("half")  # as by safetensors
    before |= {"resume"}
    done = subprocess.run(
        [sys.executable, "-c", DYING, run], stdout=subprocess.PIPE, text=True
    )
    temporary = done.stdout.strip()
    assert done.returncode == 9
    assert os.path.isdir(temporary)
    assert len(list(run.iterdir())) == len(before) + 3
    remove_litter(tmp_path)
    assert {path.name for path in run.iterdir()} == before
    left = sorted(path.name for path in (run / "resume").iterdir())
    assert left == ["state.json"]
    assert not os.path.exists(temporary)


def test_files_of_living_processes_stay(tmp_path):
    names = [
        f".report.json.{process_tag()}-k3x1",
        f".export.{process_tag()}-partial",
        ".hidden",
        ".git-2024-01",
        "report.json",
    ]
    for name in names:
        (tmp_path / name).touch()
    with temporary_folder() as folder:
        remove_leftovers(tmp_path)
        remove_temporary_folders()
        assert os.path.isdir(folder)
    assert {path.name for path in tmp_path.iterdir()} == {*names}


def test_folder_in_the_way_is_kept_beside(tmp_path):
    target = tmp_path / "export"
    for _ in range(2):
        with write_folder_atomically(target, name_beside(target)) as folder:
            (folder / "a").touch()
        (target / "precious").touch()
    assert [path.name for path in tmp_path.glob("*/precious")] == ["precious"] * 2
    assert name_beside(target).name == "export-replaced-2"


def test_nothing_is_moved_to_a_trash_that_is_not_there(tmp_path, monkeypatch):
    def none(path):
        raise OSError("no trash")

    monkeypatch.setattr("surgeon_engine.base.files.send2trash", none)
    assert not to_trash(tmp_path)
    assert tmp_path.is_dir()


def test_litter_behind_links_stays(tmp_path):
    """A run folder, or its saved state, may be a link to a folder of a person."""
    mine, runs = tmp_path / "mine", tmp_path / "runs"
    names = {"run.toml", "state.json", ".tmpZ4zXyz", f".x.{DEAD}-partial"}
    mine.mkdir()
    for name in names:
        (mine / name).touch()
    run = write_run(runs)
    (runs / "linked").symlink_to(mine)
    (run / "resume").symlink_to(mine)
    remove_litter(runs)
    assert {path.name for path in mine.iterdir()} == names


def test_links_are_removed_and_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / f".export.{DEAD}-partial").symlink_to(precious)
    remove_leftovers(runs)
    assert not list(runs.iterdir())
    assert (precious / "file").exists()


def test_missing_folder_has_no_litter(tmp_path):
    remove_litter(tmp_path / "missing")
    remove_leftovers(tmp_path / "missing")
    assert not list(tmp_path.iterdir())


def test_files_of_other_programs_stay(tmp_path):
    other = tmp_path / "other" / ".tmpAbCd12"
    other.parent.mkdir()
    other.touch()
    remove_litter(tmp_path)
    assert other.exists()


def test_folder_of_a_run_that_never_began_is_removed(tmp_path):
    begun, other = tmp_path / "run", tmp_path / "other"
    for folder in (begun, other):
        folder.mkdir()
        (folder / f".run.toml.{DEAD}-abc").touch()
    (other / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    remove_litter(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "other"]
    assert [path.name for path in other.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("ending", ["finished", "stopped", "killed"])
def test_state_of_a_complete_run_is_removed(tmp_path, ending):
    run = write_run(tmp_path, ending=ending)
    state = write_saved_state(run)
    remove_litter(tmp_path)
    assert state.exists() == (ending != "finished")


def test_state_without_its_record_is_removed(tmp_path):
    run = write_run(tmp_path, ending="killed")
    state = write_saved_state(run)
    (state / "state.json").rename(state / "shot-1.safetensors")
    with RunFolder(run).locked():
        remove_litter(tmp_path)
        assert state.exists()  # it is being written
    remove_litter(tmp_path)
    assert not state.exists()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EINVAL])
def test_disk_without_rights_and_flushing_is_written(
    tmp_path, monkeypatch, caplog, number
):
    def unsupported(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", unsupported)
    monkeypatch.setattr(Path, "chmod", unsupported)
    monkeypatch.setattr(files, "_warned", set())
    for name in ("a", "b"):
        write_atomically(tmp_path / name, b"text")
        with write_folder_atomically(tmp_path / f"folder {name}") as folder:
            (folder / "file").write_text("text")
    assert (tmp_path / "b").read_bytes() == b"text"
    assert (tmp_path / "folder b" / "file").read_text() == "text"
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "The disk does not support the rights of files",
        "The disk does not support flushing",
    ]


def test_other_errors_of_the_disk_are_raised(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        write_atomically(tmp_path / "a", b"text")
    assert not list(tmp_path.iterdir())


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
    with pytest.raises(
        RunFolderError, match="is not the folder of a finished run"
    ) as found:
        RunFolder(tmp_path).read_report()
    assert ("report.json" in found.value.hint) is (text is None)  # look elsewhere
    (tmp_path / "report.json").unlink(missing_ok=True)
    (tmp_path / "events.jsonl").touch()
    with pytest.raises(RunFolderError, match="has no result yet"):
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
    config = RunConfig(ModelConfig(model))
    folder = new_run_folder(tmp_path, config)
    assert folder.name.endswith(ending)
    folder.mkdir()
    assert not new_run_folder(tmp_path, config).exists()
    whole = PruningConfig(sparsity=0.0)
    short = ExportConfig(format=Format.GGUF, dtype=FileDtype.Q4_K_M)
    only = replace(config, pruning=whole, export=short)
    assert new_run_folder(tmp_path, only).name.endswith(f"{ending}-q4_k_m")
    both = replace(config, export=short)
    assert "q4_k_m" not in new_run_folder(tmp_path, both).name
