"""A process lock counts only while the process that wrote it is alive."""

from __future__ import annotations

import msgspec
import psutil
import pytest

from surgeon_engine.api.process_lock import (
    ProcessLock,
    encode_process_lock,
    is_locked,
)


def test_lock_of_a_living_process_is_locked(tmp_path):
    path = tmp_path / "process.json"
    path.write_bytes(encode_process_lock())
    assert is_locked(path)


def test_lock_of_an_earlier_process_with_the_same_id_is_not_locked(tmp_path):
    path = tmp_path / "process.json"
    process = psutil.Process()
    lock = ProcessLock(process.pid, process.create_time() - 3600)
    path.write_bytes(msgspec.json.encode(lock))
    assert not is_locked(path)


@pytest.mark.parametrize(
    "text", ["", "[", '{"pid": 4194999, "created": 1.0}', '{"pid": -5, "created": 1.0}']
)
def test_missing_or_invalid_lock_is_not_locked(tmp_path, text):
    path = tmp_path / "process.json"
    assert not is_locked(path)
    path.write_text(text)
    assert not is_locked(path)
