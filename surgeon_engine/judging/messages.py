"""Requests to a process that runs a GGUF file by llama.cpp, and its responses."""

from __future__ import annotations

import msgspec

from surgeon_engine.base.json_process import RequestFailed


class OpenFile(msgspec.Struct, frozen=True, tag=True):
    """Load a GGUF file. The response is `FileOpened`."""

    path: str
    window: int  # tokens of prompt and answer together
    at_once: int  # prompts of an `Ask`, at most
    draft: str = ""  # a file with the same tokens that drafts; empty: none
    drafted: int = 0  # tokens of a draft


class FileOpened(msgspec.Struct, frozen=True, tag=True):
    """The file is loaded."""

    version: str  # of the package


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Continue prompts with the likeliest tokens. The response is `AllAnswered`."""

    prompts: tuple[tuple[int, ...], ...]  # tokens
    limit: int  # tokens of an answer


class Answered(msgspec.Struct, frozen=True):
    """An answer."""

    text: str
    is_complete: bool  # it has ended by itself


class AllAnswered(msgspec.Struct, frozen=True, tag=True):
    """The answers, in the order of the prompts."""

    answers: tuple[Answered, ...]
    # Of the last answer: what it took after the first token.
    tokens: int = 0
    seconds: float = 0.0
    drafted: int = 0  # tokens
    accepted: int = 0  # of them


Request = OpenFile | Ask
Response = FileOpened | AllAnswered | RequestFailed
