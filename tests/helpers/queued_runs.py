"""Runs of a queue, and the state of an application that can add them."""

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_engine.planning.estimate import Estimate
from surgeon_gui.state.app import AppState, Engine
from surgeon_gui.state.queue.state import QueuedRun
from surgeon_gui.state.request import Request, RequestKind
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_machine import PLENTY, machine

JOB = RunConfig()
MINUTE = 60.0
NEEDS = Estimate(10**9, 10**9, 0, 2 * 10**9, {Stage.CURVATURE: 20 * MINUTE})


def queued(*names, config=JOB, **changes):
    """Return waiting runs with these names."""
    return tuple(QueuedRun(name, config, NEEDS, **changes) for name in names)


def ready_state(run_parent, config=JOB, **changes):
    """Return a state whose draft can be started."""
    inspected = Request("inspect-1", ModelInspected(model_summary()))
    return AppState(
        config=config,
        model_is_chosen=True,
        run_parent=str(run_parent),
        engine=Engine.READY,
        machine=machine(PLENTY),
        requests={RequestKind.INSPECTION: inspected},
        **changes,
    )
