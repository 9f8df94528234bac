"""What two models write after a prompt, and how far apart they are at each token.

    p, q   vocabulary   what the original and the pruned model expect of the next token

KL(p || q) = sum p (log p - log q), in nats, given the same tokens before: both models
read both texts, whoever wrote them. Imports neither torch nor Qt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Annotated

import msgspec

from surgeon_engine.api.config.fields import Limits, Option, check_limits
from surgeon_engine.api.config.run import Device, Dtype


class Side(StrEnum):
    """Which of the two models."""

    ORIGINAL = "original"
    PRUNED = "pruned"


class Stop(Enum):
    """Why a text ends where it does."""

    LENGTH = "length"  # it has as many tokens as were asked for
    END_OF_TEXT = "end of text"  # the model has ended it
    WINDOW = "window"  # the model can read no more
    ASKED = "asked"  # the user has ended it


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How both texts are made."""

    new_tokens: Annotated[int, Option(Limits(1, 4096))] = 64  # at most
    # 0: always the likeliest token.
    temperature: Annotated[float, Option(Limits(0.0, 5.0))] = 0.0
    top_p: Annotated[float, Option(Limits(0.0, 1.0, low_is_open=True))] = 1.0
    seed: Annotated[int, Option(Limits(0, 2**31 - 1))] = 0
    as_chat: bool = False  # put the prompt into the tokenizer's chat template
    dtype: Dtype = Dtype.FLOAT32
    device: Device = Device.AUTO

    def __post_init__(self) -> None:
        check_limits(self)


class ModelsLoaded(msgspec.Struct, frozen=True, tag=True):
    """Both models are in memory."""

    original: str  # their names
    pruned: str
    has_chat_template: bool


class TokenWritten(msgspec.Struct, frozen=True, tag=True):
    """One more token of one text, or the rest of its last one.

    A character can take several tokens: the pieces of all but the last are empty then.
    Where a text ends in the middle of one, what there is of it comes last.
    """

    side: Side
    index: int  # in the text, from 0
    piece: str


class Guess(msgspec.Struct, frozen=True):
    """What a model expects at one place of a text."""

    likeliest: str  # the text of the token that it puts first
    probability: float  # of that token
    of_written: float  # of the token that stands there


class Disagreement(msgspec.Struct, frozen=True):
    """Two models at one place of a text."""

    nats: float  # KL(original || pruned)
    agrees: bool  # whether both put the same token first
    original: Guess
    pruned: Guess


class TextCompared(msgspec.Struct, frozen=True, tag=True):
    """A stretch of a text has been read by both models."""

    side: Side  # whose text
    first: int  # index of the first token of the stretch
    found: tuple[Disagreement, ...]


class Written(msgspec.Struct, frozen=True):
    """One text, and what it took."""

    name: str  # of the model
    tokens: int
    prompt_tokens: int
    prompt_seconds: float  # to read the prompt; its last step gives the first token
    seconds: float  # for all tokens after the first
    memory_bytes: int  # most in use by the model's process, on a GPU by its tensors
    stop: Stop
    parameters: int = 0

    @property
    def tokens_per_second(self) -> float | None:
        """How fast tokens came after the first; None: there was only that one."""
        return (self.tokens - 1) / self.seconds if self.tokens > 1 else None


class Generated(msgspec.Struct, frozen=True, tag=True):
    """Both texts are complete and compared."""

    original: Written
    pruned: Written
    device: str  # in words
