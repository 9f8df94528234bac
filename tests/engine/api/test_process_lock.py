"""A mark tells whether the process that made it is alive, not one of its number."""

from __future__ import annotations

import msgspec
import psutil
import pytest

from surgeon_engine.api.process_lock import (
    ProcessMark,
    is_at_work,
    mark_of_this_process,
)


def test_the_process_that_made_the_mark_is_at_work(tmp_path):
    path = tmp_path / "process.json"
    path.write_bytes(mark_of_this_process())
    assert is_at_work(path)


def test_a_process_that_has_got_the_same_number_since_is_another(tmp_path):
    path = tmp_path / "process.json"
    me = psutil.Process()
    mark = ProcessMark(me.pid, me.create_time() - 3600)
    path.write_bytes(msgspec.json.encode(mark))
    assert not is_at_work(path)


@pytest.mark.parametrize(
    "text", ["", "[", '{"pid": 4194999, "created": 1.0}', '{"pid": -5, "created": 1.0}']
)
def test_nobody_is_at_work_where_the_mark_says_nothing(tmp_path, text):
    path = tmp_path / "process.json"
    assert not is_at_work(path)
    path.write_text(text)
    assert not is_at_work(path)
