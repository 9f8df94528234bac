"""A process lock counts only while the process that wrote it is alive."""

from __future__ import annotations

import os
import subprocess
import sys
import time

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


@pytest.mark.skipif(os.name != "posix", reason="needs processes without a parent")
def test_lock_of_a_dead_process_that_still_has_an_id_is_not_locked(tmp_path):
    path = tmp_path / "process.json"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as process:
        child = psutil.Process(process.pid)
        path.write_bytes(
            msgspec.json.encode(ProcessLock(child.pid, child.create_time()))
        )
        assert is_locked(path)
        process.kill()
        while child.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert not is_locked(path)


@pytest.mark.parametrize(
    "text", ["", "[", '{"pid": 4194999, "created": 1.0}', '{"pid": -5, "created": 1.0}']
)
def test_missing_or_invalid_lock_is_not_locked(tmp_path, text):
    path = tmp_path / "process.json"
    assert not is_locked(path)
    path.write_text(text)
    assert not is_locked(path)
