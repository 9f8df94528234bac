"""Verdicts on a model in words."""

from __future__ import annotations

from surgeon_engine.api.verdict import Verdict
from surgeon_gui.base.translation import tr

VERDICTS = {
    Verdict.NEARLY_SAME: tr("Nearly the same"),
    Verdict.CLOSE: tr("Close to the original"),
    Verdict.DIFFERENT: tr("Noticeably different"),
    Verdict.BROKEN: tr("Broken"),
}
