"""Say which figures of several runs cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from surgeon_engine.api.config.evaluation import OWN_TEXT
from surgeon_engine.api.messages.run import Evaluation, Fidelity
from surgeon_engine.base.sentences import say


@dataclass(frozen=True, slots=True)
class MeasuredOriginal:
    """The original that the figures of a run are relative to."""

    source: str | None  # model source; None: it is not known
    evaluation: Evaluation | None  # during the run
    fidelity: Sequence[Fidelity]  # on each text, perhaps of a judgment

    @property
    def further_texts(self) -> tuple[tuple[object, ...], ...]:
        """The windows of each text beside the first, and who has written it."""
        return tuple(
            (x.windows, x.window_length, x.text, x.text == OWN_TEXT and self.source)
            for x in self.fidelity[1:]
        )


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
    return len({each.source for each in runs if each.source is not None}) > 1


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
