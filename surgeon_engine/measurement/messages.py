"""What a measuring process is asked, and what it answers: lines of JSON.

One request at a time, one reply to each. Imports neither torch nor Qt.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.json_process import RequestFailed


class Load(msgspec.Struct, frozen=True, tag=True):
    """Read a model: answered by `Loaded`."""

    model: ModelConfig
    threads: int  # 0: as many as torch takes by itself


class ReadPrompt(msgspec.Struct, frozen=True, tag=True):
    """Read a random prompt in one go: answered by `Timed`."""

    tokens: int
    vocabulary: int  # token numbers are below it
    seed: int


class GenerateTokens(msgspec.Struct, frozen=True, tag=True):
    """Generate tokens one by one after a random prompt: answered by `Timed`."""

    prompt_tokens: int  # not timed
    tokens: int
    vocabulary: int
    seed: int


class FinishBenchmark(msgspec.Struct, frozen=True, tag=True):
    """Sum up: answered by `BenchmarkFinished`."""


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model is in memory."""

    name: str
    file_bytes: int
    parameters: int
    vocabulary: int
    longest_window: int  # tokens; 0: not stated by the model
    bytes_in_use: int  # at most, while it was loaded
    threads: int
    device: str  # in words


class Timed(msgspec.Struct, frozen=True, tag=True):
    """The work is done."""

    seconds: float


class BenchmarkFinished(msgspec.Struct, frozen=True, tag=True):
    """What is known in the end."""

    bytes_in_use: int  # at most, since it was loaded
    zeros: int  # parameters that are exactly 0


Request = Load | ReadPrompt | GenerateTokens | FinishBenchmark
Reply = Loaded | Timed | BenchmarkFinished | RequestFailed
