"""Verdicts on a model: words and colors."""

from __future__ import annotations

from surgeon_engine.api.verdict import Verdict
from surgeon_gui.base.translation import tr

VERDICTS = {
    Verdict.NEARLY_SAME: tr("Nearly the same"),
    Verdict.CLOSE: tr("Close to the original"),
    Verdict.DIFFERENT: tr("Noticeably different"),
    Verdict.BROKEN: tr("Broken"),
}
PHRASES = {each: tr(each.value) for each in Verdict}
# Fields of `Theme` with their colors.
COLORS = {
    Verdict.NEARLY_SAME: "good",
    Verdict.CLOSE: "accent",
    Verdict.DIFFERENT: "warning",
    Verdict.BROKEN: "bad",
}
NOT_MEASURED = tr("Not compared with the original")
ON_WEIGHTS = tr("Judged on the weights before rounding, not on the file.")


def title(verdict: Verdict | None) -> str:
    """Return a verdict as a title; None: there is none."""
    return NOT_MEASURED if verdict is None else VERDICTS[verdict]
