"""Locks of processes on other computers, which this one cannot see."""

from pathlib import Path

import msgspec

from surgeon_engine.base.process_lock import Holder, this_process

ELSEWHERE = {"computer": "atlas", "machine": "another", "boot": "another"}


def write_lock(path: Path, **changes: object) -> Holder:
    """Write a lock that no process holds; by default, of another computer."""
    holder = msgspec.structs.replace(this_process(), **(changes or ELSEWHERE))
    path.write_bytes(msgspec.json.encode(holder))
    return holder
