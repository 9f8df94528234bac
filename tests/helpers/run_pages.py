"""Finished runs with a verdict, shown on their page."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from PySide6.QtWidgets import QApplication

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.messages.run import Estimate, Fidelity
from surgeon_engine.api.verdict import Verdict
from surgeon_gui.state.app import Engine
from tests.gui.views.test_charts_do_not_grow import CONFIG, states_of
from tests.helpers.fake_machine import machine
from tests.helpers.fake_results import exported

STATES = states_of("run-1")
RUNNING = STATES[20]
KL = {
    Verdict.NEARLY_SAME: (0.01, 0.96),
    Verdict.CLOSE: (0.2, 0.8),
    Verdict.DIFFERENT: (0.9, 0.6),
    Verdict.BROKEN: (4.0, 0.1),
}


def show(page, run, now=100.0):
    """Show a run on its page."""
    session = page.details._session
    state = replace(session.state, run=run, engine=Engine.READY, machine=machine())
    session.store.state = state
    page.show_state(state, now)
    QApplication.processEvents()


def finished(verdict=Verdict.CLOSE, file_format=Format.COMPACT, **changes):
    """Return a finished run with a verdict on its file."""
    nats, share = KL[verdict]
    estimates = [Estimate(x, x, x) for x in (nats, share, 14.2)]
    fidelity = (
        Fidelity(*estimates, 32, 256, "built-in", overlap=Estimate(0.5, 0.5, 0.5)),
    )
    result = exported("folder", CONFIG.pruning, ExportConfig(format=file_format))
    result = msgspec.structs.replace(result, fidelity=fidelity)
    return replace(STATES[-1], exported=result, **changes)
