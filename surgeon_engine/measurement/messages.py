"""Requests to a benchmark process and its responses, as JSON lines.

The process handles one request at a time. This module imports neither torch nor Qt.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.base.json_process import RequestFailed
from surgeon_engine.base.sentences import Text


class Load(msgspec.Struct, frozen=True, tag=True):
    """Load a model. The response is `Loaded`."""

    model: ModelConfig
    threads: int  # 0: the default of the library
    window: int = 0  # tokens of prompt and answer together; 0: any


class ReadPrompt(msgspec.Struct, frozen=True, tag=True):
    """Read a random prompt in one pass. The response is `Timed`."""

    tokens: int
    vocabulary: int  # token numbers are below it
    seed: int


class GenerateTokens(msgspec.Struct, frozen=True, tag=True):
    """Generate tokens one by one after a random prompt. The response is `Timed`."""

    prompt_tokens: int  # not timed
    tokens: int
    vocabulary: int
    seed: int


class FinishBenchmark(msgspec.Struct, frozen=True, tag=True):
    """Report memory and zeros. The response is `BenchmarkFinished`."""


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded."""

    name: str
    file_bytes: int
    parameters: int
    vocabulary: int
    longest_window: int  # tokens; 0 if the model does not state it
    bytes_in_use: int  # the peak while loading
    threads: int
    device: Text  # its name for display


class Timed(msgspec.Struct, frozen=True, tag=True):
    """The duration of the requested work."""

    seconds: float


class BenchmarkFinished(msgspec.Struct, frozen=True, tag=True):
    """Memory and zeros of the model."""

    bytes_in_use: int  # the peak since the model was loaded
    zeros: int  # parameters that are exactly 0


Request = Load | ReadPrompt | GenerateTokens | FinishBenchmark
Response = Loaded | Timed | BenchmarkFinished | RequestFailed
