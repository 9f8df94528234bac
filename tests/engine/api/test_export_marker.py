"""The marker of an export proves which files Surgeon wrote, and notices changes."""

import os
from pathlib import Path

import pytest

from surgeon_engine.api.export_marker import (
    MARKER,
    differences,
    name_list,
    read_marker,
    write_marker,
)
from surgeon_engine.base.errors import UnreadableFileError


@pytest.fixture
def export(tmp_path):
    folder = tmp_path / "export"
    (folder / "templates").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "templates" / "tool.jinja").write_bytes(b"{{ x }}")
    write_marker(folder)
    return folder


def test_marker_lists_all_files_with_their_sizes(export):
    marker = read_marker(export)
    assert set(marker.files) == {"model.safetensors", "templates/tool.jinja"}
    assert marker.bytes == 14
    assert not differences(export).all
    (export / "README.md").write_text("card")
    write_marker(export)
    assert "README.md" in read_marker(export).files


def test_changes_are_found(export):
    (export / "model.safetensors").write_bytes(b"Weights")  # same size
    (export / "templates" / "tool.jinja").unlink()
    (export / "notes.txt").touch()
    found = differences(export)
    assert found.changed == ("model.safetensors",)
    assert found.missing == ("templates/tool.jinja",)
    assert found.added == ("notes.txt", "templates")
    assert not differences(export, by_content=False).changed


def linked(path):
    path.rename(path.with_name("copy"))
    path.symlink_to("copy")


def piped(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("replace", [linked, piped])
def test_link_and_pipe_count_as_changed(export, replace):
    replace(export / "model.safetensors")
    assert "model.safetensors" in differences(export).changed


def test_folders_and_links_to_folders_count_as_added(export):
    (export / "empty").mkdir()
    (export / "documents").symlink_to(export.parent)
    assert differences(export).added == ("documents", "empty")


DAMAGES = [
    Path.unlink,
    lambda path: path.write_text(path.read_text().replace('"bytes": 7', '"bytes": 8')),
    lambda path: path.write_text("[" * 100_000),
    lambda path: path.write_text("{}"),
    linked,
    piped,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=range(len(DAMAGES)))
def test_damaged_marker_is_no_marker(export, damage):
    damage(export / MARKER)
    with pytest.raises(UnreadableFileError):
        read_marker(export)


def test_list_of_many_and_long_names_is_short():
    names = ["\x1b[2J\n", "x" * 100_000, *map(str, range(100_000))]
    shown = name_list(names)
    assert shown.startswith("\\x1b[2J\\n, xxx")
    assert shown.endswith(" and 99,999 more")
    assert len(shown) < 400
