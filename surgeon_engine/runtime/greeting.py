"""The beginning of an engine, before its libraries. This module imports no torch."""

from __future__ import annotations

import os
import socket
import time
from importlib.metadata import version

import platformdirs

from surgeon_engine.api.messages.events import EngineStarted, Envelope
from surgeon_engine.runtime import fence
from surgeon_engine.runtime.json_streams import JsonOutput

_READERS = "surgeon_engine.model.inspect"


def greet() -> JsonOutput:
    """Send `EngineStarted` on the standard output; return the output.

    The process that reads models loads its libraries from now on, beside the engine:
    otherwise the first model would wait for both, one after the other.
    """
    output = JsonOutput()
    runs = platformdirs.user_data_path("surgeon") / "runs"
    event = EngineStarted(
        version("surgeon"), _sendable(socket.gethostname()), _sendable(str(runs))
    )
    output.write(Envelope("", time.time(), event))
    fence.start(_READERS)
    return output


def _sendable(name: str) -> str:
    """Return a name that JSON can hold: its bytes may be in an older encoding."""
    return os.fsencode(name).decode(errors="replace")
