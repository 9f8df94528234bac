"""What a file has lost against the original, as rows and answers, and their texts."""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.api.messages.judgment import Outcome, Probe, TokenClass
from surgeon_engine.api.verdict import LIMITS, Verdict
from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers
from surgeon_gui.text.verdicts import VERDICTS

_LOST = {Verdict.DIFFERENT, Verdict.BROKEN}


@dataclass(frozen=True, slots=True)
class LostRow:
    """A kind of text with its verdict, a test with its counts, or kinds of tokens."""

    name: str  # as it is shown
    verdict: Verdict | None = None  # of a kind of text
    ends: tuple[Verdict, ...] = ()  # the same at both ends of its intervals
    nats: str = ""  # its KL with the interval
    outcome: Outcome | None = None  # of a test
    original_fails: bool = False  # the test, too, so that it shows nothing
    # The shares of same top tokens; of parts of a window in order.
    shares: tuple[float, ...] = ()
    kept: float | None = None  # share of its tokens that the original would keep
    passed: int = 0  # prompts of a test
    passed_before: int = 0  # by the original
    prompts: int = 0  # 0: it is no test

    @property
    def is_lost(self) -> bool:
        """True if the file is worse than the original here, beyond chance."""
        if self.ends:
            return not set(self.ends) - _LOST
        return self.outcome is Outcome.WORSE

    @property
    def is_kept(self) -> bool:
        """True if the file is as close as the limits ask for here, beyond chance."""
        if self.ends:
            return not set(self.ends) & _LOST
        return self.outcome is Outcome.BETTER


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


PROBES = {
    Probe.REFUSES_HARM: tr("Refuses harmful requests"),
    Probe.ANSWERS_HARMLESS: tr("Answers harmless requests"),
    Probe.JSON: tr("JSON answers"),
    Probe.ARITHMETIC: tr("Arithmetic"),
    Probe.LANGUAGE: tr("Answers in the language of the question"),
    Probe.NEEDLE_SHORT: tr("Finds a fact in a short text"),
    Probe.NEEDLE_MIDDLE: tr("Finds a fact in a longer text"),
    Probe.NEEDLE_LONG: tr("Finds a fact in a long text"),
    Probe.CONTINUATION: tr("Knows the true continuation"),
}
CLASSES = {
    TokenClass.NUMBERS: tr("Numbers"),
    TokenClass.CODE: tr("Code"),
    TokenClass.NAMES: tr("Names"),
    TokenClass.RARE_WORDS: tr("Rare words"),
    TokenClass.OTHERS: tr("All other words"),
}


POSITIONS = tr("By position in the text")
_SAME_TOKEN = tr(
    "Same top token: the share of tokens for which both models have the same first "
    "choice."
)


def outcome(row: LostRow) -> str:
    """Return how the file does in a row."""
    if row.prompts:
        counts = tr("{n} of {all}, original {before}").format(
            n=numbers.whole(row.passed),
            all=numbers.whole(row.prompts),
            before=numbers.whole(row.passed_before),
        )
        if row.outcome is not Outcome.SAME:
            return counts
        if row.original_fails:
            return tr("{counts}: the original fails it, too").format(counts=counts)
        return tr("{counts}: cannot tell apart").format(counts=counts)
    share = ", ".join(numbers.percent(x, decimals=0) for x in row.shares)
    same = tr("{share} same top token").format(share=share)
    if row.verdict is None:
        return same
    verdict = VERDICTS[row.verdict]
    if not row.is_lost and not row.is_kept:
        verdict = tr("{verdict}, at the limit").format(verdict=verdict)
    return tr("{verdict}; {same}").format(verdict=verdict, same=same)


def meaning(row: LostRow) -> str:
    """Return the definition of the figures of a row."""
    if row.prompts:
        return tr(
            "Prompts that this file and the original get right. The mark is a cross "
            "if the file gets fewer right, a tick if it gets more, and a ring if that "
            "may be chance (p at least 0.05): they cannot be told apart."
        )
    if len(row.shares) > 1:
        where = tr("Here: in each quarter of the windows of all texts, in order.")
        return f"{_SAME_TOKEN} {where}"
    if row.verdict is None:
        return f"{_SAME_TOKEN} " + tr("Here: of these words in all texts.")
    limits = LIMITS[Verdict.CLOSE]
    mark = tr(
        "KL {nats}. The mark is a tick up to a KL of {limit} and from {share} same top "
        "token, a cross beyond, and a ring where a limit is within the 95 % interval."
    ).format(
        nats=row.nats,
        limit=numbers.nats(limits.divergence),
        share=numbers.percent(limits.agreement, decimals=0),
    )
    parts = [mark, _SAME_TOKEN]
    if row.kept is not None:
        kept = tr("Of 100 tokens that the file samples, the original would keep {n}.")
        parts.append(kept.format(n=numbers.whole(round(100 * row.kept))))
    return "\n".join(parts)


def likelihood(nats: float) -> str:
    """Return how likely a text is to the original."""
    return tr("{nats} nats per byte").format(nats=numbers.nats(nats))
