"""A sealed file is read as it was written, or not at all."""

from __future__ import annotations

import msgspec
import pytest

from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.sealed_json import read_sealed_json, sealed_json


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
    with pytest.raises(UnreadableFileError, match="damaged"):
        read_sealed_json(path, list, 1)
