"""The dialog that finds a model: typing, results, choice, no network."""

from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QDialog, QTreeWidget

from surgeon_engine.api.messages.commands import Cancel, SearchHub
from surgeon_engine.api.model_info.source_names import hub_name
from surgeon_gui.state.request import RequestKind
from surgeon_gui.views.steps import hub_search
from tests.helpers.fake_sources import OFFLINE, cached
from tests.helpers.widget_queries import shown
from tests.helpers.windows import TIMEOUT_MS, click, find, trigger, wait_until

CACHED = "hf://someone/tiny"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Place one model in an empty Hub cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    cached(hub_name(CACHED))


@pytest.fixture
def sent(monkeypatch):
    """Return the list of all commands to the engine."""
    from surgeon_gui.controllers.store import Store

    commands, send = [], Store.send

    def record_and_send(session, command):
        commands.append(command)
        send(session, command)

    monkeypatch.setattr(Store, "send", record_and_send)
    return commands


def open_search(window):
    trigger(window, "search_hub_action")
    dialog = find(window, "search_dialog", QDialog)
    assert dialog.isVisible()
    return dialog


def close_search(window):
    find(window, "search_dialog", QDialog).reject()


def type_words(window, words):
    line = find(window, "search_edit")
    line.selectAll()
    QTest.keyClicks(line, words)


def press(window, key):
    QTest.keyClick(find(window, "search_edit"), key)


def names(window):
    tree = find(window, "search_list", QTreeWidget)
    groups = (tree.topLevelItem(i) for i in range(tree.topLevelItemCount()))
    return {
        group.text(0): [group.child(i).text(0) for i in range(group.childCount())]
        for group in groups
    }


def select(window, name):
    tree = find(window, "search_list", QTreeWidget)
    (item,) = tree.findItems(name, Qt.MatchFlag.MatchRecursive)
    tree.setCurrentItem(item)
    return item


def search(qtbot, window, words):
    type_words(window, words)
    request = window.session.state.request

    def has_ended():
        latest = request_of(window)
        return getattr(latest, "query", "") == words and not latest.is_open

    qtbot.waitUntil(has_ended, timeout=TIMEOUT_MS)
    return request


def until_estimated(qtbot, window):
    tree = find(window, "search_list", QTreeWidget)
    flag = Qt.MatchFlag.MatchRecursive

    def is_estimated():
        return not tree.findItems("…", flag, 6)

    qtbot.waitUntil(is_estimated, timeout=TIMEOUT_MS)


def request_of(window):
    return window.session.state.request(RequestKind.SEARCH)


def test_local_models_are_offered_before_anything_is_typed(window):
    window.settings.recent_models = ["demo"]
    open_search(window)
    assert names(window) == {"On this computer": ["Bundled demo", "someone/tiny"]}
    assert not find(window, "search_choose_button").isEnabled()
    close_search(window)


def test_models_of_the_computer_of_the_engine_are_offered(qtbot, window, monkeypatch):
    monkeypatch.setattr(hub_search, "cached_models", lambda: ("hf://only/here",))
    window.settings.recent_models = ["/models/here"]
    session = window.session
    session.store.set(replace(session.state, computer="me@box"))
    open_search(window)
    there = {"On me@box": ["someone/tiny"]}  # the fake engine reads the cache
    wait_until(qtbot, lambda: names(window) == there)
    close_search(window)
    session.store.set(replace(session.state, computer=""))


def test_local_model_is_chosen_without_a_network(qtbot, window, sent):
    open_search(window)
    press(window, Qt.Key.Key_Down)
    press(window, Qt.Key.Key_Down)
    press(window, Qt.Key.Key_Return)
    assert window.session.state.config.model.source == CACHED
    assert not find(window, "download_card").isVisible()
    assert not [x for x in sent if isinstance(x, SearchHub)]


def test_found_model_is_chosen_as_a_typed_name(qtbot, window):
    open_search(window)
    search(qtbot, window, "some")
    found = ["someone/small", "someone/large", "someone/experts"]
    assert names(window)["On the Hugging Face Hub"] == found
    until_estimated(qtbot, window)
    item = select(window, "someone/small")
    assert item.text(6) == "Fits"
    assert "LlamaForCausalLM" in shown(window, "search_note")
    click(window, "search_choose_button")
    assert window.session.state.config.model.source == "hf://someone/small"
    assert find(window, "download_card").isVisible()
    assert not request_of(window).id  # the results are forgotten


def test_unsupported_model_cannot_be_chosen(qtbot, window):
    open_search(window)
    search(qtbot, window, "some")
    item = select(window, "someone/experts")
    assert not find(window, "search_choose_button").isEnabled()
    find(window, "search_list", QTreeWidget).itemActivated.emit(item, 0)
    assert find(window, "search_dialog", QDialog).isVisible()
    assert "It is a mixture" in shown(window, "search_note")
    close_search(window)


def test_enter_searches_at_once(qtbot, window, sent):
    open_search(window)
    type_words(window, "tiny")
    press(window, Qt.Key.Key_Return)
    assert [x.query for x in sent if isinstance(x, SearchHub)] == ["tiny"]
    press(window, Qt.Key.Key_Return)
    assert len([x for x in sent if isinstance(x, SearchHub)]) == 1
    close_search(window)


def test_latest_words_win_and_closing_cancels_the_search(qtbot, make_window, sent):
    window = make_window("--pause", "0.3")
    open_search(window)
    type_words(window, "first")
    press(window, Qt.Key.Key_Return)
    first = request_of(window).id
    search(qtbot, window, "nothing")  # after a pause in typing
    assert [x.query for x in sent if isinstance(x, SearchHub)] == ["first", "nothing"]
    assert Cancel(run=first) in sent
    assert "nothing" in shown(window, "search_status")
    assert names(window) == {}
    type_words(window, "tiny")
    press(window, Qt.Key.Key_Return)
    id_ = request_of(window).id
    close_search(window)
    assert Cancel(run=id_) in sent
    assert not request_of(window).id


def test_offline_search_says_so_and_keeps_local_models(qtbot, window):
    open_search(window)
    search(qtbot, window, "offline")
    assert shown(window, "search_status") == OFFLINE
    type_words(window, "tiny")
    assert names(window)["On this computer"] == ["someone/tiny"]
    close_search(window)


def test_selection_survives_a_redraw_and_cleared_words_forget_the_search(qtbot, window):
    open_search(window)
    search(qtbot, window, "some")
    select(window, "someone/small")
    window.session.draft.set_run_parent("/elsewhere")
    until_estimated(qtbot, window)
    assert find(window, "search_choose_button").isEnabled()
    find(window, "search_edit").clear()
    assert names(window) == {"On this computer": ["someone/tiny"]}
    assert not request_of(window).id
    close_search(window)
