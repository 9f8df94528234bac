"""Names that another computer is sent."""

from __future__ import annotations

import os

import msgspec

from surgeon_engine.runtime.folders import list_files
from surgeon_engine.runtime.greeting import _sendable


def test_file_names_that_are_no_text_are_left_out(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.gguf")).touch()
    (tmp_path / "model.gguf").touch()
    listed = list_files(str(tmp_path))
    assert [entry.name for entry in listed.entries] == ["model.gguf"]
    assert listed.omitted == 1
    assert msgspec.json.encode(listed)


def test_home_folder_in_another_encoding_can_be_sent():
    assert _sendable("/home/\udcff") == "/home/\N{REPLACEMENT CHARACTER}"
