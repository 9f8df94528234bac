"""States of a run that follow from events."""

from surgeon_engine.api.messages.events import Envelope, Event
from surgeon_gui.state import run as run_state
from surgeon_gui.state.run import RunState


def with_events(state: RunState, at: float, *events: Event) -> RunState:
    """Return the state of the run "run-1" after these events at a time in seconds."""
    for event in events:
        state = run_state.apply(state, Envelope("run-1", at, event))
    return state
