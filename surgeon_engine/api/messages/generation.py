"""Text that two models generate from a prompt, and their difference at each token.

    p, q   vocabulary   predictions of the original and the pruned model

KL(p || q) = sum p (log p - log q), in nats, given the same preceding tokens: both
models score both texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Annotated

import msgspec

from surgeon_engine.api.config.fields import Limits, Option, check_limits
from surgeon_engine.api.config.run import Device, Dtype
from surgeon_engine.base.sentences import Text


class Side(StrEnum):
    """One of the two models."""

    ORIGINAL = "original"
    PRUNED = "pruned"


class Stop(Enum):
    """The reason why a text ends."""

    LENGTH = "length"  # the requested number of tokens
    END_OF_TEXT = "end of text"  # the model generated an end-of-text token
    WINDOW = "window"  # the window of the models is full
    ASKED = "asked"  # the user has stopped it


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """Settings for both texts."""

    new_tokens: Annotated[int, Option(Limits(1, 4096))] = 64  # at most
    # 0: always the top token.
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

    has_chat_template: bool
    is_before_rounding: bool = False  # the pruned one, in place of its file


class TokenWritten(msgspec.Struct, frozen=True, tag=True):
    """One more token of one text, or the rest of its last token.

    The pieces of tokens that do not complete a character are empty. If a text ends with
    an incomplete character, a last event holds its text.
    """

    side: Side
    index: int  # in the text, from 0
    piece: str


class Guess(msgspec.Struct, frozen=True):
    """The prediction of a model at one token of a text."""

    likeliest: str  # text of the top token
    probability: float  # probability of the top token
    of_written: float  # probability of the token in the text


class Disagreement(msgspec.Struct, frozen=True):
    """The difference of two models at one token of a text."""

    nats: float  # KL(original || pruned)
    agrees: bool  # whether both have the same top token
    original: Guess
    pruned: Guess


class TextCompared(msgspec.Struct, frozen=True, tag=True):
    """Both models have scored a chunk of a text."""

    side: Side  # the model that generated the text
    first: int  # index of the first token of the chunk
    found: tuple[Disagreement, ...]


class Written(msgspec.Struct, frozen=True):
    """The figures of one text."""

    tokens: int
    prompt_tokens: int
    prompt_seconds: float  # for the prompt and the first token
    seconds: float  # for all tokens after the first
    memory_bytes: int  # peak of the model's process; on a GPU: of its tensors
    stop: Stop

    @property
    def tokens_per_second(self) -> float | None:
        """Speed after the first token; None if there is only one token."""
        return (self.tokens - 1) / self.seconds if self.tokens > 1 else None


class Generated(msgspec.Struct, frozen=True, tag=True):
    """Both texts are complete and compared."""

    original: Written
    pruned: Written
    device: Text  # display name
    is_compared: bool = True  # False: the models have different tokens


GenerationEvent = ModelsLoaded | TokenWritten | TextCompared | Generated
