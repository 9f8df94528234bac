"""Measures of the quality of a pruned model: their names and their values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum

from surgeon_engine.api.messages.run import Evaluation, Fidelity
from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState
from surgeon_gui.state.verdict import fidelity_of


class Quality(Enum):
    """A measure of quality on held-out text."""

    DIVERGENCE = "divergence"
    AGREEMENT = "agreement"
    PERPLEXITY = "perplexity"
    LOSS = "loss"


OF_FIDELITY = (Quality.DIVERGENCE, Quality.AGREEMENT)
OF_TEXT = (Quality.PERPLEXITY, Quality.LOSS)
NAMES = {
    Quality.DIVERGENCE: tr("Fidelity (KL)"),
    Quality.AGREEMENT: tr("Same top token"),
    Quality.PERPLEXITY: tr("Perplexity"),
    Quality.LOSS: tr("Loss"),
}
AXES = {
    Quality.DIVERGENCE: tr("KL (nats per token)"),
    Quality.AGREEMENT: tr("Same top token (%)"),
    Quality.PERPLEXITY: tr("Perplexity (per token)"),
    Quality.LOSS: tr("Loss (nats per token)"),
}


def measures(runs: Iterable[RunState]) -> tuple[Quality, ...]:
    """Return the measures of these runs, first those that all runs have.

    Runs of an earlier version have no fidelity.
    """
    baselines = [run.baseline for run in runs if run.baseline is not None]
    has_fidelity = [bool(baseline.fidelity) for baseline in baselines]
    if all(has_fidelity):
        return OF_FIDELITY + OF_TEXT
    return OF_TEXT + OF_FIDELITY if any(has_fidelity) else OF_TEXT


def evaluations(run: RunState) -> list[tuple[int, Evaluation]]:
    """Return the evaluations of the original, of each shot and after recovery.

    Each has the number of shots before it.
    """
    if run.baseline is None:
        return []
    points = [(0, run.baseline)]
    points += [(s.shot, s.evaluation) for s in run.history if s.evaluation is not None]
    if run.recovered is not None:
        points.append((len(run.history), run.recovered.evaluation))
    return points


def value_of(evaluation: Evaluation, measure: Quality) -> float:
    """Return a measure; not a number if it was not measured."""
    match measure:
        case Quality.PERPLEXITY:
            return evaluation.perplexity
        case Quality.LOSS:
            return evaluation.loss
    if not evaluation.fidelity:
        return math.nan
    return fidelity_value(evaluation.fidelity[0], measure)


def fidelity_value(fidelity: Fidelity, measure: Quality) -> float:
    """Return the KL on a text, or the percentage of same top tokens."""
    if measure is Quality.AGREEMENT:
        return 100 * fidelity.agreement.value
    return fidelity.divergence.value


def file_nats(run: RunState) -> float:
    """Return the KL of the file to the original in nats; NaN: not measured.

    For a file that was not evaluated, it is the sum of pruning and saving.
    """
    found, exported = fidelity_of(run), run.exported
    if not found:
        return math.nan
    nats = found[0].divergence.value
    if exported is None or exported.fidelity:
        return nats
    return nats + (exported.saving_divergence or 0.0)
