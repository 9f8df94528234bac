"""Requests to a generation worker and its responses, sent as lines of JSON.

The worker handles one request at a time and sends one response to each.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.generation import (
    Disagreement,
    GenerationSettings,
    Guess,
)
from surgeon_engine.base.json_process import RequestFailed
from surgeon_engine.base.sentences import Text


class Open(msgspec.Struct, frozen=True, tag=True):
    """Load a model. The response is `Opened`."""

    model: ModelConfig
    tokenizer: str = ""  # source of the original's, for a model that has none


class Encode(msgspec.Struct, frozen=True, tag=True):
    """Tokenize a prompt. The response is `Encoded`."""

    prompt: str
    as_chat: bool


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Process a prompt and generate a token. The response is `TokenGenerated`."""

    tokens: tuple[int, ...]
    settings: GenerationSettings


class Next(msgspec.Struct, frozen=True, tag=True):
    """Generate one more token. The response is `TokenGenerated`."""


class FinishText(msgspec.Struct, frozen=True, tag=True):
    """End a text. The response is `TextFinished`."""


class Read(msgspec.Struct, frozen=True, tag=True):
    """Process the prompt of a text to be compared. The response is `Done`."""

    tokens: tuple[int, ...]


class Score(msgspec.Struct, frozen=True, tag=True):
    """Score the next tokens and write their logits to `path`: `Scored`."""

    tokens: tuple[int, ...]
    path: str


class Compare(msgspec.Struct, frozen=True, tag=True):
    """Score the next tokens and compare with the logits at `path`: `Compared`."""

    tokens: tuple[int, ...]
    path: str
    guesses: tuple[Guess, ...]  # of the model that wrote the logits


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The model is in memory."""

    name: str
    vocabulary: int
    longest_window: int  # tokens; 0: not stated by the model
    device: Text  # display name
    has_chat_template: bool
    has_fewer_tokens: bool = False  # which are some of the original's


class Encoded(msgspec.Struct, frozen=True, tag=True):
    """The tokens of a prompt."""

    tokens: tuple[int, ...]


class TokenGenerated(msgspec.Struct, frozen=True, tag=True):
    """A generated token and the time it took."""

    token: int
    piece: str  # text of the token; empty until a character is complete
    seconds: float
    ends: bool  # an end-of-text token, which is not part of the text


class TextFinished(msgspec.Struct, frozen=True, tag=True):
    """The end of a text."""

    rest: str  # text of an incomplete last character
    bytes_in_use: int  # maximum since `Begin`


class Done(msgspec.Struct, frozen=True, tag=True):
    """The request has been handled."""


class Scored(msgspec.Struct, frozen=True, tag=True):
    """The predictions at each of the tokens."""

    guesses: tuple[Guess, ...]


class Compared(msgspec.Struct, frozen=True, tag=True):
    """The disagreement of two models at each of the tokens."""

    found: tuple[Disagreement, ...]


Request = Open | Encode | Begin | Next | FinishText | Read | Score | Compare
Response = (
    Opened
    | Encoded
    | TokenGenerated
    | TextFinished
    | Done
    | Scored
    | Compared
    | RequestFailed
)
