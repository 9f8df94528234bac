"""The verdict on the file of a run, and its words."""

from __future__ import annotations

import math

from surgeon_engine.api.messages.run import Fidelity
from surgeon_engine.api.verdict import Verdict, file_fidelity, verdict_of
from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState

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
    if run.evaluation is None:
        return ()
    return file_fidelity(run.exported, run.evaluation)


def file_nats(run: RunState) -> float:
    """Return the KL of the file to the original in nats; NaN: not measured."""
    found, exported = fidelity_of(run), run.exported
    if not found:
        return math.nan
    nats = found[0].divergence.value
    if exported is None or exported.fidelity:
        return nats
    return nats + (exported.saving_divergence or 0.0)


def verdict_of_run(run: RunState) -> Verdict | None:
    """Return the verdict on the result of a run; None: it has none, or no fidelity."""
    if run.result is None or run.baseline is None:
        return None
    return verdict_of(fidelity_of(run), run.baseline.fidelity)
