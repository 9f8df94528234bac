"""The Result tab opens at the end of a run, and leads on."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPoint
from PySide6.QtWidgets import QFrame, QMessageBox

from surgeon_engine.api.config.pruning import PrunableShare
from surgeon_gui.controllers.playground import Playground
from surgeon_gui.state.run import Status
from surgeon_gui.text.problems import Step
from tests.helpers.widget_queries import facts, is_on, shown
from tests.helpers.window_audit import settle
from tests.helpers.windows import (
    QUICK,
    click,
    find,
    load_and_wait,
    run_of,
    run_until,
    wait_for_status,
    wait_until,
)


@pytest.fixture
def finished(make_finished):
    return make_finished()


def test_tab_opens_at_the_end_and_says_what_was_made(finished):
    for name in ("result_title", "result_outcome", "result_verified"):
        assert shown(finished, name), name
    assert shown(finished, "result_title").startswith("\N{CHECK MARK} ")
    assert "KL" in facts(finished, "result_quality")
    assert find(finished, "export_facts").isVisible()
    assert find(finished, "report_button").isVisible()


def test_failed_export_has_its_reason_and_no_empty_cards(qtbot, make_window):
    window = make_window("--mishap", "fail", "--at", "export")
    run_until(qtbot, window, Status.FAILED)
    assert find(window, "export_failure").isVisible()
    for name in ("measure_button", "save_button"):
        card = find(window, name).parentWidget().parentWidget()
        assert not card.isVisible()
    assert not is_on(window, "result_try_button")


def test_cancelled_run_keeps_the_charts_open(qtbot, make_window):
    window = make_window("--pause", "0.01")
    load_and_wait(qtbot, window)
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.RUNNING)
    click(window, "cancel_button")
    wait_for_status(qtbot, window, Status.CANCELLED)
    assert find(window, "live_view").isVisible()


def test_try_it_generates_text_with_both_models(finished):
    Path(run_of(finished).exported.folder).mkdir()
    click(finished, "result_try_button")
    assert find(finished, "playground_view").isVisible()
    assert finished.findChild(Playground).state.question.id


def test_next_size_sets_up_a_smaller_target(finished):
    click(finished, "result_next_button")
    config = finished.session.state.config
    assert config.pruning.target == PrunableShare(0.4)
    assert config.calibration == QUICK.calibration
    assert find(finished, f"step_{Step.TARGET.value}_header").isChecked()


def test_discard_asks_before_the_run_is_moved_to_the_trash(
    qtbot, finished, monkeypatch
):
    trashed = []
    monkeypatch.setattr("surgeon_gui.controllers.runs.send2trash", trashed.append)
    folder = run_of(finished).folder
    click(finished, "result_discard_button")
    box = find(finished, "delete_question", QMessageBox)
    assert box.isVisible()
    assert not trashed
    click(box, "delete_yes_button")
    wait_until(qtbot, lambda: trashed == [folder])
    wait_until(qtbot, lambda: not run_of(finished).run)
    assert not find(finished, "result_title").isVisible()


def test_cards_are_beside_each_other_where_there_is_room(finished):
    view = find(finished, "result_view")
    area = view.parentWidget().parentWidget()
    for width, columns in ((1400, 2), (940, 1)):
        finished.resize(width, 500)
        settle()
        quality, files = (
            find(finished, name).mapTo(finished, QPoint())
            for name in ("result_quality", "export_facts")
        )
        assert (files.x() > quality.x() + 100) == (columns == 2)
        assert view.width() <= area.viewport().width()
        last = max(
            card.mapTo(view, card.rect().bottomLeft()).y()
            for card in view.findChildren(QFrame)
            if card.property("card") and card.isVisible()
        )
        assert view.height() - last < 20  # no blank space below the last card
