"""The steps during a run: a new model and a new text are read when it has ended."""

from dataclasses import replace

import pytest
from PySide6.QtWidgets import QLabel, QWidget

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.commands import PreviewText, ProbeMachine
from surgeon_engine.api.messages.events import Cancelled, Envelope
from surgeon_engine.api.model_info.header import model_facts
from surgeon_gui.base.settings import Settings
from surgeon_gui.controllers import sources
from surgeon_gui.controllers.sources import TextController
from surgeon_gui.state import run as run_state
from surgeon_gui.state.app import with_request
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.views.new.model_card import ModelCard
from surgeon_gui.views.steps.calibration_page import CalibrationPage
from surgeon_gui.views.steps.export_page import ExportPage
from surgeon_gui.views.steps.model_page import ModelPage
from surgeon_gui.views.steps.plan_card import PlanCard
from surgeon_gui.views.steps.size_input import SizeInput
from surgeon_gui.views.steps.target_page import TargetPage
from tests.helpers.queued_runs import ready_state
from tests.helpers.run_pages import states_of
from tests.helpers.windows import find

NOTE = "{} is read when the run has ended."


@pytest.fixture
def running(tmp_path):
    """Return a state with a run in progress, and a new model and text."""
    text, model = tmp_path / "text.txt", tmp_path / "new.gguf"
    text.write_bytes(b"x" * 100_000)
    model.write_bytes(b"GGUF")
    config = RunConfig(ModelConfig(str(model)), CalibrationConfig(str(text)))
    run = run_state.requested("run-1", RunConfig(), str(tmp_path), 0.0)
    return ready_state(tmp_path, config, run=run)


def unread(state):
    return with_request(state, RequestKind.INSPECTION, Request("inspect-1"))


@pytest.fixture
def model_card(qtbot, session, actions):
    card = ModelCard(session, Settings(), actions)
    qtbot.addWidget(card)
    return card


def test_new_model_waits_for_the_run(qtbot, model_card, running):
    card = PlanCard()
    qtbot.addWidget(card)
    line = find(model_card, "model_line", QLabel)
    model_card.show_state(unread(running))
    card.show_state(unread(running), "")
    assert line.text() == NOTE.format("new.gguf")
    assert find(card, "plan_waiting").text().endswith(NOTE.format("new.gguf"))
    assert not find(card, "plan_waiting").isHidden()
    model_card.show_state(running)
    card.show_state(running, "")
    assert line.text().startswith("2.83\N{NO-BREAK SPACE}M parameters")
    assert find(card, "plan_waiting").isHidden()


def test_bad_model_shows_its_reason_alone(qtbot, model_card, running):
    card = PlanCard()
    qtbot.addWidget(card)
    facts = model_facts(running.config.model.source)
    state = replace(unread(running), facts=facts)
    model_card.show_state(state)
    card.show_state(state, "")
    assert find(model_card, "model_problem").text().startswith("new.gguf ")
    assert NOTE.format("text.txt") not in find(model_card, "model_line", QLabel).text()
    assert find(card, "plan_waiting").isHidden()


def test_new_text_waits_for_the_run(qtbot, session, running):
    page = CalibrationPage(session)
    qtbot.addWidget(page)
    page.show_state(running)
    assert find(page, "preview_counts").text() == NOTE.format("text.txt")
    assert find(page, "preview_button").text() == "Preview"
    page.show_state(replace(running, run=run_state.RunState()))
    assert find(page, "preview_counts").isHidden()


def test_text_is_read_before_the_next_run_begins(session, engine, running):
    TextController(session, session)
    session.store.set(running)
    assert engine.commands == []
    engine.deliver([Envelope("run-1", 1.0, Cancelled())])
    assert [type(each) for each in engine.commands] == [PreviewText, ProbeMachine]


def test_edited_text_is_read_after_a_while(
    qtbot, session, engine, running, monkeypatch
):
    monkeypatch.setattr(sources, "_CHECK_DELAY_MS", 50)
    TextController(session, session)
    idle = replace(running, run=run_state.RunState())
    session.store.set(with_request(idle, RequestKind.PREVIEW, Request("preview-1")))
    session.draft.edit_part(replace(idle.config.calibration, windows=8))
    assert engine.commands == []
    qtbot.wait(2 * sources._CHECK_DELAY_MS)
    assert [type(each) for each in engine.commands] == [PreviewText]


PAGES = {
    "model": ModelPage,
    "calibration": CalibrationPage,
    "target": lambda session: TargetPage(session, SizeInput(Settings())),
    "export": ExportPage,
}


@pytest.mark.parametrize("name", PAGES)
def test_page_shows_nothing_of_a_run_but_its_status(qtbot, session, tmp_path, name):
    """The window does not draw it again while a run goes on."""
    page = PAGES[name](session)
    qtbot.addWidget(page)
    states = states_of("run-1")
    running = [x for x in states if x.status is run_state.Status.RUNNING]
    looks = []
    for run in (running[0], running[-1]):
        page.show_state(ready_state(tmp_path, run=run))
        widgets = page.findChildren(QWidget)
        looks.append([(x.isHidden(), x.isEnabled(), text_of(x)) for x in widgets])
    assert running[0].history != running[-1].history
    assert looks[0] == looks[1]


def text_of(widget):
    value = getattr(widget, "text", None) or getattr(widget, "currentText", str)
    return value()
