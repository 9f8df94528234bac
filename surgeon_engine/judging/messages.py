"""Requests to a process that runs a GGUF file by llama.cpp, and its responses."""

from __future__ import annotations

import msgspec

from surgeon_engine.base.json_process import RequestFailed


class OpenFile(msgspec.Struct, frozen=True, tag=True):
    """Load a GGUF file. The response is `FileOpened`."""

    path: str
    window: int  # tokens of prompt and answer together


class FileOpened(msgspec.Struct, frozen=True, tag=True):
    """The file is loaded."""

    version: str  # of the package


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Continue a prompt with the likeliest tokens. The response is `Answered`."""

    tokens: tuple[int, ...]
    limit: int  # tokens of the answer


class Answered(msgspec.Struct, frozen=True, tag=True):
    """An answer."""

    text: str
    is_complete: bool  # it has ended by itself


Request = OpenFile | Ask
Response = FileOpened | Answered | RequestFailed
