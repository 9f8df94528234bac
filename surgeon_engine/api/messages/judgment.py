"""The losses of a model against the original: values, no sentences.

All differences are the file's figure minus the original's, on the same items, with
95 % intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec

from surgeon_engine.api.config.fields import Limits, Option, check_limits
from surgeon_engine.api.config.run import Device
from surgeon_engine.api.messages.run import (
    Count,
    Estimate,
    Fidelity,
    Positive,
    Seconds,
    Share,
)
from surgeon_engine.base.sentences import Text


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """Items to judge on beside Surgeon's own texts, prompts and probes, and how."""

    prompts: str = ""  # a file of the user: a prompt in each line, or .jsonl
    text: str = ""  # a further one, as `CalibrationConfig.text`; empty: none
    tasks: tuple[str, ...] = ()  # names of tasks of lm_eval
    limit: Annotated[int, Option(Limits(0, 100_000))] = 100  # items of a task; 0: all
    quick: bool = False  # a third of the items
    device: Device = Device.AUTO
    draft: bool = False  # measure the original with the file as its draft model

    def __post_init__(self) -> None:
        check_limits(self)


class Outcome(StrEnum):
    """The outcome of a comparison with the original, beyond chance."""

    SAME = "cannot tell apart"
    WORSE = "worse"
    BETTER = "better"


class TokenClass(StrEnum):
    """Kinds of predicted tokens; the first that fits."""

    NUMBERS = "numbers"
    CODE = "code"
    NAMES = "names"
    RARE_WORDS = "rare words"
    OTHERS = "others"


class Probe(StrEnum):
    """Tests of single abilities."""

    REFUSES_HARM = "refuses harmful requests"
    ANSWERS_HARMLESS = "answers harmless requests"
    JSON = "JSON"
    ARITHMETIC = "arithmetic"
    LANGUAGE = "language of the question"
    NEEDLE_SHORT = "needle, short text"
    NEEDLE_MIDDLE = "needle, middle text"
    NEEDLE_LONG = "needle, long text"
    CONTINUATION = "true continuation"


class Figures(msgspec.Struct, frozen=True):
    """The distance to the original on some tokens."""

    tokens: Positive
    divergence: Estimate  # KL(original || file), nats per token
    agreement: Estimate  # share with the same top token
    overlap: Estimate  # mean of the sum of min(p, q)
    loss: Estimate  # difference, nats per token
    outcome: Outcome  # significance of the loss


class TextJudged(msgspec.Struct, frozen=True):
    """The fidelity on one kind of text."""

    fidelity: Fidelity
    baseline: Fidelity  # fidelity of the original, with its perplexity
    loss: Estimate  # difference, nats per token
    outcome: Outcome  # significance of the loss


class ClassJudged(msgspec.Struct, frozen=True):
    """The distance on the tokens of a class, of all texts."""

    kind: TokenClass
    figures: Figures


class PositionJudged(msgspec.Struct, frozen=True):
    """The distance on the tokens at some positions of a window, of all texts."""

    first: Positive  # the position of the first predicted token is 1
    last: Positive
    figures: Figures


class Answer(msgspec.Struct, frozen=True):
    """The answer of a model that takes the likeliest token each time."""

    text: str
    tokens: Count
    is_complete: bool  # it has ended by itself
    # -log of the probability that the original gives to it; None: it is empty.
    nats_per_byte: float | None = None


class PromptJudged(msgspec.Struct, frozen=True):
    """The answers of both models to a prompt."""

    prompt: str
    is_own: bool  # whether it is a prompt of the user
    original: Answer
    file: Answer
    parts_at: Count | None  # first token that differs; None: the answers are equal

    @property
    def loss(self) -> float | None:
        """How much less likely the original finds the file's answer than its own.

        None: an answer is empty.
        """
        own, other = self.original.nats_per_byte, self.file.nats_per_byte
        return None if own is None or other is None else other - own


class ItemJudged(msgspec.Struct, frozen=True):
    """An item of a probe that one model gets right and the other does not."""

    prompt: str
    original: str  # answer
    file: str
    original_is_right: bool


class ProbeJudged(msgspec.Struct, frozen=True):
    """The results of a probe."""

    probe: Probe
    items: Positive
    original: Count  # items that it gets right
    file: Count
    only_original: Count
    only_file: Count
    difference: Estimate  # difference of the shares of right items
    p: Share  # p-value of McNemar's exact test
    outcome: Outcome
    changed: tuple[ItemJudged, ...] = ()

    @property
    def original_fails(self) -> bool:
        """True if the original fails most items too.

        The probe is then not informative.
        """
        return self.outcome is Outcome.SAME and 2 * self.original < self.items


class TaskJudged(msgspec.Struct, frozen=True):
    """The results of a task of lm_eval."""

    task: str
    metric: str
    items: Positive
    original: float
    file: float
    difference: Estimate
    outcome: Outcome


class DraftJudged(msgspec.Struct, frozen=True):
    """The original in llama.cpp alone, and with the file as its draft model."""

    tokens: Positive  # maximum per draft
    drafted: Count  # drafted tokens
    accepted: Count  # drafted tokens that the original accepted
    speed_alone: float  # tokens per second; 0: unknown
    speed: float


def tokens_per_step(acceptance: float, drafted: int) -> float:
    """Return how many tokens a step of the original gives if a model drafts for it.

    The sum of the powers of the acceptance from 0 on, which assumes that all drafted
    tokens are accepted with the same probability (Leviathan et al., arXiv 2211.17192,
    equation 1). `acceptance` is the mean of the sum of min(p, q).
    """
    return sum(acceptance**power for power in range(drafted + 1))


class Judgment(msgspec.Struct, frozen=True):
    """The losses of a file against the original, stored in `judgment.json`."""

    original: str  # names
    file: str
    original_program: Text  # name of the program that answered
    file_program: Text
    texts: tuple[TextJudged, ...]
    classes: tuple[ClassJudged, ...]
    positions: tuple[PositionJudged, ...]
    prompts: tuple[PromptJudged, ...]  # the worst first
    likelihood: Estimate | None  # mean of their `loss`, nats per byte
    likelihood_outcome: Outcome
    probes: tuple[ProbeJudged, ...]
    tasks: tuple[TaskJudged, ...]
    is_chat: bool  # prompts were put into the chat template of the original
    seconds: Seconds
    draft: DraftJudged | None = None  # None: not asked for


class Judged(msgspec.Struct, frozen=True, tag=True):
    """A file is judged."""

    judgment: Judgment
    path: str  # path of `judgment.json`
