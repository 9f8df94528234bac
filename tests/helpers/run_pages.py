"""States of a run, and finished runs with a verdict on their page."""

from dataclasses import replace

import msgspec
from PySide6.QtWidgets import QApplication

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Estimate,
    Fidelity,
    RunFinished,
    RunStarted,
    Stage,
    StageStarted,
)
from surgeon_engine.api.verdict import Verdict
from surgeon_gui.state import run as run_state
from surgeon_gui.state.app import Engine
from tests.helpers.configs import pruning_config
from tests.helpers.fake_live import memory
from tests.helpers.fake_machine import machine
from tests.helpers.fake_results import (
    evaluation,
    exported,
    model_summary,
    shot_finished,
)

SHOTS = 5
CONFIG = RunConfig(pruning=pruning_config(shots=SHOTS, sparsity=0.3))


def states_of(name):
    """Return all states of a run, from its start to its end."""
    run = run_state.requested(name, CONFIG, "folder", at=0.0)
    events = [
        StageStarted(Stage.LOAD, 0),
        RunStarted("folder", SHOTS, model_summary(), "cpu", 100, 50),
        BaselineEvaluated(evaluation(14.2)),
    ]
    for shot in range(1, SHOTS + 1):
        events.append(StageStarted(Stage.CURVATURE, shot))
        events += [memory(10 * shot + number) for number in range(10)]
        events.append(shot_finished(shot, SHOTS, 0.3))
    events.append(RunFinished(False, 9.0, 1))
    states = []
    for at, event in enumerate(events):
        run = run_state.apply(run, Envelope(name, float(at), event))
        states.append(run)
    return states


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
    session = page.session
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
