"""Turn the errors that end a command into events."""

from __future__ import annotations

import traceback

from surgeon_engine.api.errors import EngineError
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.runtime import devices, ranks


def failure(error: Exception) -> Failed:
    """Return the event for an error that ended a command."""
    if isinstance(error, EngineError):
        return Failed(error.message, error.hint)
    if isinstance(error, ranks.RankLost):
        return Failed(
            "Another process of the run has ended, or cannot be reached.",
            "It may have run out of memory. What was saved is not lost: resume the "
            "run, perhaps on fewer GPUs.",
            str(error),
        )
    if devices.is_out_of_memory(error):
        return Failed(
            "There is not enough memory for this.",
            "Use fewer or shorter windows, a smaller batch, or a smaller model.",
            traceback.format_exc(),
        )
    return Failed(
        f"An unexpected error occurred: {type(error).__name__}: {error}",
        "Please report this with the details below.",
        traceback.format_exc(),
    )
