"""What a writing process is asked, and what it answers: lines of JSON.

One request at a time, one reply to each. Imports neither torch nor Qt.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.json_process import RequestFailed
from surgeon_engine.api.messages.generation import (
    Disagreement,
    GenerationSettings,
    Guess,
)


class Open(msgspec.Struct, frozen=True, tag=True):
    """Read a model: answered by `Opened`."""

    model: ModelConfig
    tokenizer: str = ""  # the source of one, for a model that has none beside it


class Encode(msgspec.Struct, frozen=True, tag=True):
    """Cut a prompt into tokens: answered by `Encoded`."""

    prompt: str
    as_chat: bool


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Read a prompt and generate the first token; answered by `TokenGenerated`."""

    tokens: tuple[int, ...]
    settings: GenerationSettings


class Next(msgspec.Struct, frozen=True, tag=True):
    """Write one more token: answered by `TokenGenerated`."""


class FinishText(msgspec.Struct, frozen=True, tag=True):
    """Sum up what was written: answered by `TextFinished`."""


class Read(msgspec.Struct, frozen=True, tag=True):
    """Read what stands before a text that is to be compared: answered by `Done`."""

    tokens: tuple[int, ...]


class Score(msgspec.Struct, frozen=True, tag=True):
    """Read on, and write to `path` what was expected: answered by `Scored`."""

    tokens: tuple[int, ...]
    path: str


class Compare(msgspec.Struct, frozen=True, tag=True):
    """Read on, beside what another expected: answered by `Compared`."""

    tokens: tuple[int, ...]
    path: str
    guesses: tuple[Guess, ...]  # of the other


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The model is in memory."""

    name: str
    parameters: int
    vocabulary: int
    longest_window: int  # tokens; 0: not stated by the model
    device: str  # in words
    has_chat_template: bool


class Encoded(msgspec.Struct, frozen=True, tag=True):
    """The tokens of a prompt."""

    tokens: tuple[int, ...]


class TokenGenerated(msgspec.Struct, frozen=True, tag=True):
    """One token, and how long it took."""

    token: int
    piece: str  # what it adds to the text; empty in the middle of a character
    seconds: float
    ends: bool  # it ends the text and is no part of it


class TextFinished(msgspec.Struct, frozen=True, tag=True):
    """What is known in the end."""

    rest: str  # of a character that was not completed
    bytes_in_use: int  # at most, since the prompt was begun


class Done(msgspec.Struct, frozen=True, tag=True):
    """It has been done, and there is nothing to tell."""


class Scored(msgspec.Struct, frozen=True, tag=True):
    """What was expected at each of the tokens that were read."""

    guesses: tuple[Guess, ...]


class Compared(msgspec.Struct, frozen=True, tag=True):
    """How far apart two models are at each of the tokens that were read."""

    found: tuple[Disagreement, ...]


Request = Open | Encode | Begin | Next | FinishText | Read | Score | Compare
Reply = (
    Opened
    | Encoded
    | TokenGenerated
    | TextFinished
    | Done
    | Scored
    | Compared
    | RequestFailed
)
