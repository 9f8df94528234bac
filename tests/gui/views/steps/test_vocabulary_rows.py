"""The preview of a smaller vocabulary below its settings."""

from dataclasses import replace

import pytest
from PySide6.QtWidgets import QLabel

from surgeon_engine.api.config.pruning import Vocabulary
from surgeon_engine.api.messages.commands import PreviewVocabulary
from surgeon_engine.api.messages.events import Envelope, Failed
from surgeon_gui.controllers import sources
from surgeon_gui.state.app import with_request
from surgeon_gui.state.request import RequestKind
from surgeon_gui.views.steps.vocabulary_rows import VocabularyRows
from tests.helpers.configs import some_tokens
from tests.helpers.fake_sources import fewer_tokens
from tests.helpers.queued_runs import ready_state
from tests.helpers.windows import find

SOME = some_tokens(1_500)


@pytest.fixture
def rows(qtbot, session, engine, tmp_path, monkeypatch):
    """Return the rows of a session that follows its engine."""
    monkeypatch.setattr(sources, "_CHECK_DELAY_MS", 20)
    rows = VocabularyRows(session)
    qtbot.addWidget(rows)
    session.store.set(ready_state(tmp_path))
    engine.commands.clear()
    return rows


def choose(session, chosen) -> None:
    pruning = replace(session.state.config.pruning, **chosen)
    session.draft.edit_part(pruning)


def previews(engine) -> list[PreviewVocabulary]:
    return [x for x in engine.commands if isinstance(x, PreviewVocabulary)]


def respond(session, engine, command) -> None:
    event = fewer_tokens(command.tokens, command.kept_texts)
    engine.deliver([Envelope(command.run, 1.0, event)])


def test_last_choice_is_previewed_once(qtbot, session, engine, rows):
    choose(session, some_tokens(1_000))
    choose(session, SOME)
    qtbot.waitUntil(lambda: bool(previews(engine)))
    qtbot.wait(60)
    (command,) = previews(engine)
    assert (command.tokens, command.kept_texts) == (1_500, ())
    rows.show_state(session.state)
    assert find(rows, "vocabulary_line", QLabel).text() == "Looking at the tokens…"
    respond(session, engine, command)
    rows.show_state(session.state)
    assert find(rows, "vocabulary_line", QLabel).text().startswith("1,500 of 2,048")
    assert "Cyrillic" in find(rows, "vocabulary_warning", QLabel).text()
    shown = {x.text() for x in find(rows, "vocabulary_scripts").findChildren(QLabel)}
    assert "495 of 1,668 removed: tensor  els  node" in shown
    choose(session, some_tokens(1_200))  # the preview is of another number
    rows.show_state(session.state)
    assert find(rows, "vocabulary_line", QLabel).text() == "Looking at the tokens…"


def test_whole_vocabulary_is_not_previewed(qtbot, session, engine, rows):
    choose(session, SOME)
    choose(session, {"vocabulary": Vocabulary.WHOLE})
    qtbot.wait(60)
    assert previews(engine) == []
    rows.show_state(session.state)
    assert rows.isHidden()


def test_error_keeps_the_run_from_starting(qtbot, session, engine, rows):
    choose(session, some_tokens(1_500, ("broken",)))
    qtbot.waitUntil(lambda: bool(previews(engine)))
    respond(session, engine, *previews(engine))
    rows.show_state(session.state)
    assert rows.isHidden()  # the form shows the error of a setting
    assert session.start_obstacle() is not None
    request = replace(
        session.state.request(RequestKind.VOCABULARY), error=Failed("No.")
    )
    rows.show_state(with_request(session.state, RequestKind.VOCABULARY, request))
    assert find(rows, "vocabulary_problem", QLabel).text() == "No."
    assert not rows.isHidden()
