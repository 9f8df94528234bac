"""The verdict on a model: one word, by stated rules, from its distance to the original.

The worst kind of text decides. docs/judging.md gives the reasons for the limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from msgspec import structs

from surgeon_engine.api.config.export import QUANTIZED
from surgeon_engine.api.messages.judgment import Judgment, Outcome, ProbeJudged
from surgeon_engine.api.messages.run import Estimate, Evaluation, Exported, Fidelity

# Significance level of McNemar's test: nine probes at 0.05 often give a false alarm.
_ALPHA = 0.01


class Verdict(StrEnum):
    """The verdict on a model against the original, from the best to the worst."""

    NEARLY_SAME = "nearly the same"
    CLOSE = "close to the original"
    DIFFERENT = "noticeably different"
    BROKEN = "broken"


class Basis(StrEnum):
    """Source of a verdict's figures."""

    FILE = "the file"
    WEIGHTS = "the weights before rounding, not on the file"


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a model may lose to deserve a verdict."""

    divergence: float  # KL(original || model), nats per token
    agreement: float  # smallest share of tokens with the same top token
    perplexity_ratio: float  # perplexity, relative to the original's
    lost_items: float  # share of the items of a probe, where the loss is no chance


# From the best to the worst; a model beyond all of them is broken.
LIMITS = {
    Verdict.NEARLY_SAME: Limits(0.05, 0.85, 1.1, 0.0),
    Verdict.CLOSE: Limits(0.25, 0.70, 1.35, 0.25),
    Verdict.DIFFERENT: Limits(1.0, 0.50, 3.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Beyond:
    """A figure beyond a limit, which keeps a model from a better verdict."""

    measured: Fidelity | ProbeJudged
    figure: str  # its name in `Limits`
    value: float
    limit: float
    better: Verdict  # the verdict that the limit belongs to

    @property
    def excess(self) -> float:
        """How far it is beyond the limit, as a factor."""
        pair = self.value, self.limit
        larger, smaller = pair if self.figure != "agreement" else pair[::-1]
        return larger / smaller if smaller else math.inf


def verdict_of(
    fidelity: Sequence[Fidelity],
    baseline: Sequence[Fidelity],
    probes: Sequence[ProbeJudged] = (),
) -> Verdict | None:
    """Return the verdict on a model; None: it was not measured.

    `baseline` is the fidelity of the original on the same texts.
    """
    return explained_verdict(fidelity, baseline, probes)[0] if fidelity else None


def explained_verdict(
    fidelity: Sequence[Fidelity],
    baseline: Sequence[Fidelity],
    probes: Sequence[ProbeJudged] = (),
) -> tuple[Verdict, Beyond | None]:
    """Return the verdict on a model that was measured, and what has decided it.

    That is the figure furthest beyond the limits of the next better verdict; the best
    verdict has none.
    """
    decision = None
    for verdict, limits in LIMITS.items():
        found = [*_beyond(verdict, limits, fidelity, baseline, probes)]
        if not found:
            return verdict, decision
        decision = max(found, key=lambda each: each.excess)
    return Verdict.BROKEN, decision


def expected_verdict(divergence: float) -> Verdict:
    """Return the verdict on a model of an expected KL."""
    for verdict, limits in LIMITS.items():
        if divergence <= limits.divergence:
            return verdict
    return Verdict.BROKEN


def verdict_range(
    found: Fidelity, baseline: Sequence[Fidelity]
) -> tuple[Verdict, Verdict]:
    """Return the verdicts at both ends of the intervals on a text, the better first.

    These are the intervals of the differences to the original, KL and same top token.
    That of the perplexity comes mostly from the windows, not from the model. A single
    window has no interval, so that any verdict is possible.
    """
    if found.windows < 2:
        return Verdict.NEARLY_SAME, Verdict.BROKEN
    kl, same = found.divergence, found.agreement
    ends = [
        structs.replace(found, divergence=_exactly(nats), agreement=_exactly(share))
        for nats, share in ((kl.low, same.high), (kl.high, same.low))
    ]
    better, worse = (verdict_of((each,), baseline) for each in ends)
    assert better is not None
    assert worse is not None
    return better, worse


def _exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


def judged_verdict(judgment: Judgment) -> Verdict | None:
    """Return the verdict on a file that was judged."""
    fidelity = [each.fidelity for each in judgment.texts]
    baseline = [each.baseline for each in judgment.texts]
    return verdict_of(fidelity, baseline, judgment.probes)


def _lost_items(probe: ProbeJudged) -> float:
    """Return the share of lost items; 0 where it may be chance."""
    is_chance = probe.p >= _ALPHA or probe.outcome is not Outcome.WORSE
    return 0.0 if is_chance else -probe.difference.value


def file_fidelity(
    exported: Exported | None, evaluation: Evaluation
) -> tuple[Fidelity, ...]:
    """Return the fidelity of a file, measured on it or else on the weights in memory.

    The export's own figures come first where rounding changes weights.
    """
    own = exported.fidelity if exported is not None else ()
    return own or evaluation.fidelity


def basis_of(exported: Exported | None, judgment: Judgment | None = None) -> Basis:
    """Return whether the fidelity was measured on the file or on the weights in memory.

    A file that was judged was measured itself. Rounding to 16 bits changes nothing that
    counts: the weights in memory then stand for the file.
    """
    if judgment is not None:
        return Basis.FILE
    if exported is None or (exported.dtype in QUANTIZED and not exported.fidelity):
        return Basis.WEIGHTS
    return Basis.FILE


def _beyond(
    better: Verdict,
    limits: Limits,
    fidelity: Sequence[Fidelity],
    baseline: Sequence[Fidelity],
    probes: Sequence[ProbeJudged],
) -> Iterator[Beyond]:
    """Yield the figures of a model beyond the limits of a verdict."""
    before = {each.text: each.perplexity.value for each in baseline}
    figures: list[tuple[Fidelity | ProbeJudged, str, float]] = []
    for each in fidelity:
        figures += [
            (each, "divergence", each.divergence.value),
            (each, "agreement", each.agreement.value),
        ]
        if original := before.get(each.text):
            ratio = each.perplexity.value / original
            figures.append((each, "perplexity_ratio", ratio))
    figures += [(each, "lost_items", _lost_items(each)) for each in probes]
    for measured, name, value in figures:
        limit = getattr(limits, name)
        is_within = value >= limit if name == "agreement" else value <= limit
        if not is_within:  # a NaN is within no limits
            yield Beyond(measured, name, value, limit, better)
