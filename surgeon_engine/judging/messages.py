"""What a process answers that runs a GGUF file by llama.cpp."""

from __future__ import annotations

import msgspec


class Answered(msgspec.Struct, frozen=True):
    """An answer."""

    text: str
    is_complete: bool  # it has ended by itself


class AllAnswered(msgspec.Struct, frozen=True):
    """The answers, in the order of the prompts."""

    answers: tuple[Answered, ...]
    # Of the last answer: what it took after the first token.
    tokens: int = 0
    seconds: float = 0.0
    drafted: int = 0  # tokens
    accepted: int = 0  # of them
