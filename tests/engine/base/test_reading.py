"""Files of strangers end in a sentence, whatever they are; sealed ones show damage."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from surgeon_engine.base import reading
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.reading import (
    end_of_last_line,
    open_to_append,
    read_bytes,
    read_json,
    read_lines,
    read_text,
)
from surgeon_engine.base.sealed_json import read_sealed_json, sealed_json


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


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["kmsg", "self/mem", "self/status", "self/pagemap"])
def test_a_file_of_the_kernel_is_refused(tmp_path: Path, name: str) -> None:
    if not Path("/proc", name).exists():
        pytest.skip("no /proc")
    (tmp_path / "link").symlink_to(Path("/proc", name))
    with pytest.raises(UnreadableFileError):
        read_bytes(tmp_path / "link")
    with pytest.raises(UnreadableFileError):
        list(read_lines(tmp_path / "link"))


def test_a_file_that_grows_while_it_is_opened_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").write_bytes(b"abc")
    facts = (tmp_path / "log").stat()
    empty = os.stat_result((*facts[:6], 0, *facts[7:]))
    found = iter([empty])
    monkeypatch.setattr(reading.os, "fstat", lambda descriptor: next(found, facts))
    os.close(reading.open_regular(tmp_path / "log"))
    assert next(found, None) is None


@pytest.mark.parametrize("name", ["missing", "a\0b", "x" * 5_000])
def test_a_path_that_cannot_be_opened_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        read_bytes(tmp_path / name)


def test_lines_of_a_log_are_read_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"a\n\nbc")
    assert list(read_lines(path)) == [b"a\n", b"\n", b"bc"]
    with pytest.raises(UnreadableFileError, match="larger than"):
        list(read_lines(path, limit=4))
    monkeypatch.setattr(reading, "LINE_LIMIT", 2)
    assert len(list(read_lines(path))) == 3
    monkeypatch.setattr(reading, "LINE_LIMIT", 1)
    with pytest.raises(UnreadableFileError, match="has a line"):
        list(read_lines(path))


@pytest.mark.parametrize(
    ("data", "end"), [(b"", 0), (b"ab", 0), (b"a\nb", 2), (b"a\n" + b"x" * 70_000, 2)]
)
def test_end_of_the_last_line_is_found(tmp_path: Path, data: bytes, end: int) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert end_of_last_line(file, path) == end


def test_log_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        with open_to_append(path) as file:
            file.write(b"x\n")
    assert path.read_bytes() == b"x\nx\n"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_only_a_file_is_appended_to(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "events.jsonl", tmp_path / "other"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(other)
    else:
        path.mkdir()
    with pytest.raises((UnreadableFileError, OSError)):
        open_to_append(path)
    assert not other.exists()


class Figures(msgspec.Struct):
    name: str
    numbers: list[float]


FIGURES = Figures("a run", [0.25, 3.0])


@pytest.mark.parametrize("indent", [0, 2])
def test_every_flipped_bit_is_noticed(tmp_path, indent):
    path = tmp_path / "figures.json"
    whole = sealed_json(FIGURES, 1, indent=indent)
    path.write_bytes(whole)
    assert read_sealed_json(path, Figures, 1) == FIGURES
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(UnreadableFileError):
            read_sealed_json(path, Figures, 1)


def test_sealed_file_is_an_object_with_the_fields(tmp_path):
    found = msgspec.json.decode(sealed_json(FIGURES, 1))
    assert next(iter(found)) == "sha256"
    assert found.pop("sha256")
    assert found.pop("version") == 1
    assert found == msgspec.to_builtins(FIGURES)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"name":"a","numbers":[]}', b"[" * 9]
)
def test_file_without_a_seal_is_refused(tmp_path, content):
    path = tmp_path / "figures.json"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match="checksum"):
        read_sealed_json(path, Figures, 1)


def test_sealed_file_of_another_type_is_refused(tmp_path):
    path = tmp_path / "figures.json"
    path.write_bytes(sealed_json(FIGURES, 1))
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        read_sealed_json(path, list, 1)
