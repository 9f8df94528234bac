"""Notes, tags and sizes of a run, and the deletion of its parts."""

import shutil
from datetime import datetime

import pytest

from surgeon_engine.api.export_marker import write_marker
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.state.runs import reading
from surgeon_gui.state.runs import text as run_text
from surgeon_gui.state.runs.parts import RunPart, delete_part, part_bytes, part_question
from surgeon_gui.state.runs.reading import (
    read_record,
    read_runs,
    write_text,
)
from tests.helpers.fake_runs import write_run, write_saved_state

SAVED = "gguf-q8_0"  # a later export in a number format of its own


@pytest.fixture
def folder(tmp_path):
    """Return a run with all parts."""
    folder = write_run(tmp_path, ending="stopped")
    write_saved_state(folder)
    for name, size in (("export", 3_000), (SAVED, 1_000), ("checkpoint", 500)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "model.safetensors").write_bytes(bytes(size))
    return folder


def test_notes_and_tags_are_kept_in_the_run_folder(folder):
    write_text(RunFolder(folder).notes_path, "  first line\nsecond line\n")
    write_text(RunFolder(folder).tags_path, " baseline \n4 bits,\nbaseline\n")
    record = read_record(folder)
    assert record.notes == "first line\nsecond line"
    assert record.tags == ("baseline", "4 bits")
    write_text(RunFolder(folder).notes_path, "")
    write_text(RunFolder(folder).tags_path, "")
    assert not RunFolder(folder).notes_path.exists()
    assert not RunFolder(folder).tags_path.exists()


def test_failed_write_keeps_the_old_notes(folder, monkeypatch):
    write_text(RunFolder(folder).notes_path, "old")

    def fail(path, data):
        raise OSError("full")

    monkeypatch.setattr(reading, "write_atomically", fail)
    with pytest.raises(OSError, match="full"):
        write_text(RunFolder(folder).notes_path, "new")
    assert reading.read_notes(folder) == "old"


def test_changed_notes_and_tags_are_read_again(folder):
    write_text(RunFolder(folder).tags_path, "old")
    write_text(RunFolder(folder).notes_path, "old")
    (before,) = read_runs(folder.parent, {})
    RunFolder(folder).tags_path.write_text("changed\n")  # in place, by an editor
    (after,) = read_runs(folder.parent, {str(folder): before})
    assert after.tags == ("changed",)
    RunFolder(folder).notes_path.write_text("changed\n")
    (after,) = read_runs(folder.parent, {str(folder): after})
    assert after.notes == "changed"


def test_record_has_the_sizes_of_the_run_and_its_parts(folder):
    record = read_record(folder)
    assert record.export_bytes == 4_000
    assert record.checkpoint_bytes == 500
    assert record.saved_bytes > 0
    assert record.bytes > 4_500 + record.saved_bytes
    details = run_text.disk_space_details(record).replace("\xa0", " ")
    assert "exports 4.0 kB" in details
    assert "checkpoint 500 Bytes" in details
    assert run_text.total_disk_space([record, record]).startswith("2 runs, ")


@pytest.fixture
def marked(folder):
    """Return the run with exports that Surgeon recognizes."""
    for name in ("export", SAVED, "checkpoint"):
        write_marker(folder / name)
    return folder


@pytest.mark.parametrize("part", RunPart)
def test_one_part_is_deleted_and_the_rest_is_kept(marked, part):
    folder = marked
    before = read_record(folder)
    assert delete_part(folder, part) == ""
    after = read_record(folder)
    for other in RunPart:
        expected = 0 if other is part else part_bytes(before, other)
        assert part_bytes(after, other) == expected
    assert after.outcome is before.outcome
    assert after.perplexity_after == before.perplexity_after


def test_run_without_its_exports_says_so(marked):
    def texts():
        record = read_record(marked)
        return run_text.when(record, datetime.fromtimestamp(record.began))

    before = texts()
    assert delete_part(marked, RunPart.EXPORT) == ""
    assert texts() == f"{before}, no exports left"


def test_question_has_the_folders_and_the_size(folder):
    question, details = part_question(read_record(folder), RunPart.EXPORT)
    assert "{run}" in question
    for text in (str(folder / "export"), str(folder / SAVED), "4.0\xa0kB"):
        assert text in details


def test_export_with_other_files_is_not_deleted(marked):
    (marked / SAVED / "thesis.tex").touch()
    assert "thesis.tex" in delete_part(marked, RunPart.EXPORT)
    assert (marked / "export" / "model.safetensors").exists()
    assert (marked / SAVED / "thesis.tex").exists()


def test_linked_parts_are_not_deleted(marked, tmp_path):
    mine = tmp_path / "mine"
    (marked / "checkpoint").rename(mine)
    (mine / "state.json").touch()
    shutil.rmtree(marked / "resume")
    for name in ("checkpoint", "resume"):
        (marked / name).symlink_to(mine)
    assert not RunFolder(marked).saved_state.exists
    assert delete_part(marked, RunPart.SAVED_STATE) == ""
    assert "is a link" in delete_part(marked, RunPart.CHECKPOINT)
    assert {"state.json", "model.safetensors"} <= {x.name for x in mine.iterdir()}


def test_other_files_beside_a_saved_state_are_kept(folder):
    (folder / "resume" / "notes.txt").touch()
    (folder / "resume" / "shot-1.safetensors").touch()
    assert delete_part(folder, RunPart.SAVED_STATE) == ""
    assert [path.name for path in (folder / "resume").iterdir()] == ["notes.txt"]


def test_failed_deletion_is_reported(marked, monkeypatch):
    folder = marked

    def fail(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("surgeon_gui.state.runs.parts.shutil.rmtree", fail)
    assert delete_part(folder, RunPart.CHECKPOINT) == "Permission denied"
