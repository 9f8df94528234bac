"""End code of others after some seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from surgeon_engine.base.sentences import say


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the time of the Python functions that the block calls.

    Raises:
        TimeoutError: The time is over.
    """
    until = time.monotonic() + seconds

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if time.monotonic() > until:
            raise TimeoutError(
                say("it takes more than {seconds:g} seconds", seconds=seconds)
            )
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
