"""The answers of a benchmark process. This module imports neither torch nor Qt."""

from __future__ import annotations

import msgspec

from surgeon_engine.base.sentences import Text


class Loaded(msgspec.Struct, frozen=True):
    """The model is loaded."""

    name: str
    file_bytes: int
    parameters: int
    vocabulary: int
    longest_window: int  # tokens; 0 if the model does not state it
    bytes_in_use: int  # the peak while loading
    threads: int
    device: Text  # its name for display


class Finished(msgspec.Struct, frozen=True):
    """Memory and zeros of the model."""

    bytes_in_use: int  # the peak since the model was loaded
    zeros: int  # parameters that are exactly 0
