"""The verdict on the file of a run, and its words."""

from __future__ import annotations

import math
from enum import StrEnum

from surgeon_engine.api.messages.run import Fidelity
from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState


class Verdict(StrEnum):
    """How a model compares with the original, from the best to the worst."""

    NEARLY_SAME = "nearly the same"
    CLOSE = "close"
    DIFFERENT = "noticeably different"
    BROKEN = "broken"


WORDS = {
    Verdict.NEARLY_SAME: tr("Nearly the same"),
    Verdict.CLOSE: tr("Close to the original"),
    Verdict.DIFFERENT: tr("Noticeably different"),
    Verdict.BROKEN: tr("Broken"),
}
# Fields of `Theme` with their colors.
COLORS = {
    Verdict.NEARLY_SAME: "good",
    Verdict.CLOSE: "accent",
    Verdict.DIFFERENT: "warning",
    Verdict.BROKEN: "bad",
}


def fidelity_of(run: RunState) -> tuple[Fidelity, ...]:
    """Return the fidelity of the file on each text; empty if it was not measured."""
    return run.evaluation.fidelity if run.evaluation is not None else ()


def file_nats(run: RunState) -> float:
    """Return the KL of the file in nats, with that of saving; NaN: not measured."""
    found = fidelity_of(run)
    saving = run.exported.saving_divergence if run.exported is not None else None
    return found[0].divergence.value + (saving or 0.0) if found else math.nan


def verdict_of_run(run: RunState) -> Verdict | None:
    """Return the verdict on the result of a run; None: it has none, or no fidelity."""
    found = fidelity_of(run)
    if not found or run.result is None:
        return None
    nats, same = found[0].divergence.value, found[0].agreement.value
    for verdict, limit, least in (
        (Verdict.NEARLY_SAME, 0.05, 0.85),
        (Verdict.CLOSE, 0.25, 0.70),
        (Verdict.DIFFERENT, 2.0, 0.35),
    ):
        if nats <= limit and same >= least:
            return verdict
    return Verdict.BROKEN
