"""A destination is replaced only if it holds an unchanged export and nothing else."""

import os
import shutil
from pathlib import Path

import pytest

from surgeon_engine.api.export_marker import MARKER, write_marker
from surgeon_engine.api.messages.commands import Cancel
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import ExportError, RunCancelled
from surgeon_engine.export.destination import check_destination, write_checkpoint_at
from tests.helpers.exports import write_export
from tests.helpers.runs import Recorder

TEMPLATES = "additional_chat_templates"


@pytest.fixture
def destination(tmp_path):
    """Return the folder of an export."""
    folder = tmp_path / "export"
    (folder / TEMPLATES).mkdir(parents=True)
    (folder / TEMPLATES / "tool.jinja").touch()
    return write_export(folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def check(folder: Path, context=None, *, replace: bool = True) -> None:
    run, context = RunFolder(folder.parent / "run"), context or Recorder().context
    check_destination(folder, run, (), context, replace=replace)


def test_export_is_replaced_only_if_a_person_allows_it(destination):
    check(destination)
    with pytest.raises(ExportError, match="not empty") as caught:
        check(destination, replace=False)
    assert "--" not in caught.value.hint  # the window has no such option


def test_empty_folders_are_left_out_of_an_export(destination):
    (destination / "empty" / "nested").mkdir(parents=True)
    write_marker(destination)
    check(destination)
    assert "empty" not in names(destination)


CHANGES = {
    "file": lambda folder: (folder / "notes.txt").write_text("mine"),
    "edited card": lambda folder: (folder / "README.md").write_text("mine"),
    "folder": lambda folder: (folder / "photos").mkdir(),
    "nested": lambda folder: (folder / TEMPLATES / "mine.txt").touch(),
    "link": lambda folder: (folder / "documents").symlink_to(folder.parent),
    "missing": lambda folder: (folder / "README.md").unlink(),
    "no marker": lambda folder: (folder / MARKER).unlink(),
    "invalid name": lambda folder: (folder / os.fsdecode(b"\xff\x1b[31m")).touch(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_folder_that_is_no_unchanged_export_is_refused(destination, change):
    change(destination)
    with pytest.raises(ExportError) as error:
        check(destination)
    assert error.value.message.encode()  # no half characters
    assert error.value.hint


def test_check_can_be_cancelled(destination):
    recorder = Recorder()
    recorder.context.handle(Cancel(run="run"))
    with pytest.raises(RunCancelled):
        check(destination, recorder.context)


def test_refusal_names_some_files(destination):
    for number in range(9):
        (destination / f"note-{number}").touch()
    with pytest.raises(ExportError, match=r"note-0, note-1, note-2 and 6 more\."):
        check(destination)


@pytest.mark.parametrize("replace", [False, True])
def test_links_are_refused(destination, replace):
    empty = destination.with_name("empty")
    empty.mkdir()
    for name, target in (("a", destination), ("b", empty), ("c", Path("missing"))):
        link = destination.with_name(name)
        link.symlink_to(target)
        with pytest.raises(ExportError, match="link"):
            check(link, replace=replace)


@pytest.mark.parametrize("replace", [False, True])
def test_impossible_paths_end_in_a_sentence(tmp_path, replace):
    (tmp_path / "circle").symlink_to("circle")
    for folder in (tmp_path / "circle" / "a", tmp_path / ("/d" * 3_000).lstrip("/")):
        with pytest.raises(ExportError) as error:
            check(folder, replace=replace)
        assert error.value.hint


@pytest.mark.parametrize("change", [None, *CHANGES.values()])
def test_replaced_folder_is_in_the_trash_or_beside(destination, change, monkeypatch):
    """A folder that changed during the run is not moved to the trash."""
    trashed = []

    def trash(path):
        trashed.append(path)
        shutil.rmtree(path)

    monkeypatch.setattr("surgeon_engine.base.files.send2trash", trash)
    if change is not None:
        change(destination)
    before = names(destination)
    recorder = Recorder()
    with write_checkpoint_at(destination, recorder.context, replace=True) as folder:
        (folder / "new").touch()
    assert names(destination) == ["new", MARKER]
    aside = destination.with_name("export-replaced")
    if change is None:
        assert trashed == [aside]
        assert not recorder.of(Logged)
    else:
        assert not trashed
        assert names(aside) == before
        assert str(aside) in recorder.of(Logged)[0].message


def test_folder_without_trash_is_kept_beside(destination, monkeypatch):
    def none(path):
        raise OSError("no trash")

    monkeypatch.setattr("surgeon_engine.base.files.send2trash", none)
    with write_checkpoint_at(destination, Recorder().context, replace=True) as folder:
        (folder / "new").touch()
    aside = destination.with_name("export-replaced")
    assert (aside / "model.safetensors").read_bytes() == b"weights"


def test_earlier_unverified_checkpoint_is_not_deleted(destination):
    run = RunFolder(destination.parent / "run")
    mine = run.path / "export-unverified" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    kept = run.keep_unverified(destination)
    assert (kept / "model.safetensors").is_file()
    aside = run.path / "export-unverified-replaced"
    assert (aside / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name", [".", "run", "run/checkpoint", "run/export/x", "run/a/b"]
)
@pytest.mark.parametrize("replace", [False, True])
def test_folders_of_the_run_itself_are_refused(tmp_path, name, replace):
    with pytest.raises(ExportError, match="keeps its files"):
        check_destination(
            tmp_path / name,
            RunFolder(tmp_path / "run"),
            (),
            Recorder().context,
            replace=replace,
        )
