"""The errors that end a command or a part of it, and the events for them."""

from __future__ import annotations

import traceback

import torch

from surgeon_engine.api.messages.events import Failed
from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.sentences import say

# In messages of torch; the second one comes from Windows.
_NO_MEMORY = ("allocate memory", "enough memory", "out of memory", "ALLOC_FAILED")


class RankLost(Exception):
    """Another process of the run has ended, or cannot be reached any more."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if a device ran out of memory.

    The CPU allocator, Apple's GPU and the libraries of a GPU raise a plain
    RuntimeError, which only its message distinguishes.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(x in str(error) for x in _NO_MEMORY)


def failure(error: Exception) -> Failed:
    """Return the event for an error that ended a command."""
    if isinstance(error, EngineError):
        return Failed(error.message, error.hint, settings=error.settings)
    if isinstance(error, RankLost):
        return Failed(
            say("Another process of the run has ended, or cannot be reached."),
            say(
                "It may have run out of memory. What was saved is not lost: resume "
                "the run, perhaps on fewer GPUs."
            ),
            str(error),
        )
    if is_out_of_memory(error):
        return Failed(
            say("There is not enough memory for this."),
            say("Use fewer or shorter windows, a smaller batch, or a smaller model."),
            traceback.format_exc(),
        )
    return Failed(
        say(
            "An unexpected error occurred: {kind}: {error}",
            kind=type(error).__name__,
            error=error,
        ),
        say("Please report this with the details below."),
        traceback.format_exc(),
    )
