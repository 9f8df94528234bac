"""The responses of a generation worker."""

from __future__ import annotations

import msgspec

from surgeon_engine.base.sentences import Text


class Opened(msgspec.Struct, frozen=True):
    """The model is in memory."""

    name: str
    vocabulary: int
    longest_window: int  # tokens; 0: not stated by the model
    device: Text  # display name
    has_chat_template: bool
    has_fewer_tokens: bool = False  # which are some of the original's


class TokenGenerated(msgspec.Struct, frozen=True):
    """A generated token and the time it took."""

    token: int
    piece: str  # text of the token; empty until a character is complete
    seconds: float
    ends: bool  # an end-of-text token, which is not part of the text


class TextFinished(msgspec.Struct, frozen=True):
    """The end of a text."""

    rest: str  # text of an incomplete last character
    bytes_in_use: int  # maximum since its beginning
