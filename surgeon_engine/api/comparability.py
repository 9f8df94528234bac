"""Say which figures of several runs cannot be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from surgeon_engine.api.messages.run import Evaluation, Fidelity
from surgeon_engine.base.sentences import say

_ROUNDING = 1e-5  # nats per token


@dataclass(frozen=True, slots=True)
class MeasuredOriginal:
    """The original that the figures of a run are relative to."""

    source: str | None  # model source, perhaps of a copy; None: it is not known
    evaluation: Evaluation | None  # during the run
    fidelity: Sequence[Fidelity]  # on each text, perhaps of a judgment

    @property
    def further_texts(self) -> tuple[tuple[object, ...], ...]:
        """The windows of each text beside the first."""
        return tuple((x.windows, x.window_length, x.text) for x in self.fidelity[1:])


def are_comparable(runs: Sequence[MeasuredOriginal]) -> bool:
    """Return whether one of all files can be the best."""
    return _have_same_text(runs) and not _have_different_originals(runs)


def _have_same_text(runs: Sequence[MeasuredOriginal]) -> bool:
    protocols = {x.evaluation.protocol for x in runs if x.evaluation is not None}
    # A judged file has been measured on other windows than one that was not.
    first = {
        (found.text, found.windows, found.window_length)
        for found, *_ in (each.fidelity for each in runs if each.fidelity)
    }
    return len(protocols) <= 1 and len(first) <= 1


def _have_different_originals(runs: Sequence[MeasuredOriginal]) -> bool:
    """Return whether originals differ. Copies have the same loss on a text."""
    known = [each for each in runs if each.source is not None]
    if len({each.source for each in known}) <= 1:
        return False
    first, *others = (x.evaluation.loss if x.evaluation else math.nan for x in known)
    return not all(abs(loss - first) <= _ROUNDING for loss in others)


def comparison_note(runs: Sequence[MeasuredOriginal]) -> str:
    """Return which figures of runs cannot be compared; empty: all can be."""
    if not _have_same_text(runs):
        return say(
            "These runs were measured on different windows or texts. Their "
            "perplexities and fidelities cannot be compared, so no file is marked as "
            "the best."
        )
    if _have_different_originals(runs):
        return say(
            "These runs pruned different models. KL and same top token compare each "
            "file with its own original, so no file is marked as the best."
        )
    if len({each.further_texts for each in runs if each.fidelity}) > 1:
        return say(
            "These runs measured fidelity on different further texts. Compare only "
            "the figures on the calibration text."
        )
    return ""
