"""Files of strangers end in a sentence, whatever they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from surgeon_engine.api.errors import UnreadableFileError
from surgeon_engine.api.reading import read_bytes, read_json, read_text


def test_text_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert read_text(path) == "abc"


def test_json_is_read_as_its_type(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"a": [1, 2]}')
    assert read_json(path, dict[str, list[int]]) == {"a": [1, 2]}


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_without_a_writer_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableFileError, match="not a regular file"):
        read_bytes(tmp_path / "pipe")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_a_link_to_an_endless_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(UnreadableFileError, match="not a regular file"):
        read_bytes(tmp_path / "link")


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x" * 11)
    assert read_bytes(path, limit=11) == b"x" * 11
    with pytest.raises(UnreadableFileError, match="larger than"):
        read_bytes(path, limit=10)


@pytest.mark.parametrize("content", [b'{"a": "x"}', b"\xff\xfe", b"[" * 100_000, b""])
def test_json_of_another_form_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match="is damaged"):
        read_json(path, dict[str, int])


def test_deep_json_of_any_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b'{"a":' * 50_000 + b"1" + b"}" * 50_000)
    with pytest.raises(UnreadableFileError, match="nested too deeply"):
        read_json(path, dict[str, Any])


@pytest.mark.parametrize("name", ["missing", "a\0b", "x" * 5_000])
def test_a_path_that_cannot_be_opened_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        read_bytes(tmp_path / name)
