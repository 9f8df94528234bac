"""An engine says that it has started, and lets the reader of models load meanwhile."""

from types import SimpleNamespace

from surgeon_engine.api.messages.events import EngineStarted
from surgeon_engine.model import fenced
from surgeon_engine.runtime import greeting


def test_reader_of_models_loads_beside_the_engine(monkeypatch):
    done = []
    output = SimpleNamespace(write=done.append)
    monkeypatch.setattr(greeting, "JsonOutput", lambda: output)
    monkeypatch.setattr(greeting.fence, "start", lambda *names: done.append(names))
    assert greeting.greet() is output
    greeted, modules = done
    assert isinstance(greeted.event, EngineStarted)
    assert modules == (fenced._DESCRIBE.partition(":")[0],)
