"""What a file has lost against the original, as rows and answers, and their texts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from surgeon_engine.api.verdict import Verdict
from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers
from surgeon_gui.text.verdicts import PHRASES


class Difference(Enum):
    """How a file does in a test, compared with the original."""

    NONE = "none"  # its interval contains zero
    BETTER = "better"
    WORSE = "worse"


@dataclass(frozen=True, slots=True)
class LostRow:
    """One kind of text with its verdict, or one test with its counts."""

    name: str  # as it is shown
    verdict: Verdict | None = None
    share: float = 0.0  # of the tokens that are as the original's
    difference: Difference | None = None
    passed: int = 0  # prompts
    passed_before: int = 0  # by the original
    prompts: int = 0

    @property
    def is_lost(self) -> bool:
        """True if the file is clearly worse than the original here."""
        lost = (Verdict.DIFFERENT, Verdict.BROKEN)
        return self.verdict in lost or self.difference is Difference.WORSE


@dataclass(frozen=True, slots=True)
class Answer:
    """What both models have written after the same prompt."""

    prompt: str
    original: str
    pruned: str
    # The original's nats per byte of each; None: not measured.
    nats: tuple[float, float] | None = None

    @property
    def shared(self) -> str:
        """The beginning that both have in common, up to a space."""
        pairs = zip(self.original, self.pruned, strict=False)
        length = next((n for n, (a, b) in enumerate(pairs) if a != b), -1)
        if length < 0:
            length = min(len(self.original), len(self.pruned))
        if self.original == self.pruned:
            return self.original
        return self.original[: self.original.rfind(" ", 0, length) + 1]


def outcome(row: LostRow) -> str:
    """Return how the file does in a row."""
    if row.verdict is not None:
        return tr("{verdict}; {share} of tokens the same").format(
            verdict=PHRASES[row.verdict],
            share=numbers.percent(row.share, decimals=0),
        )
    if row.difference is Difference.NONE:
        return tr("cannot tell apart ({n} prompts)").format(
            n=numbers.whole(row.prompts)
        )
    return tr("{n} of {all}, original {before}").format(
        n=numbers.whole(row.passed),
        all=numbers.whole(row.prompts),
        before=numbers.whole(row.passed_before),
    )


def likelihood(nats: float) -> str:
    """Return how likely a text is to the original."""
    return tr("{nats} nats per byte").format(nats=numbers.nats(nats))
