"""A model with experts in the window: its structures, its curve and its map."""

from dataclasses import replace

import pytest
from PySide6.QtWidgets import QComboBox

from surgeon_engine.api.config.pruning import OF_EXPERTS, PruningConfig, Structure
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.controllers import draft_editor
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.views.experts_card import ExpertsCard
from surgeon_gui.views.run.course import CourseView
from surgeon_gui.widgets.charts.heat_map import HeatMap
from tests.helpers.mixtures import (
    EXPERTS,
    MIXTURE,
    mixture_job,
    mixture_summary,
    shot_of_experts,
)
from tests.helpers.windows import (
    click,
    diagnosis_of,
    find,
    load_and_wait,
    open_details,
    pruning_of,
    run_of,
    trigger,
    wait_for_status,
    wait_until,
)


def choose(qtbot, window, source):
    model = window.session.state.model
    window.session.draft.choose_model(source)
    wait_until(qtbot, lambda: window.session.state.model not in (None, model))


def offered(window):
    tiles = {x: find(window, f"structure_{x.value}_tile") for x in Structure}
    return {x for x, tile in tiles.items() if not tile.isHidden()}


@pytest.fixture
def mixture(tmp_path):
    """Return the folder of a model with experts."""
    folder = tmp_path / MIXTURE
    folder.mkdir()
    return str(folder)


@pytest.fixture
def new_window(qtbot, window):
    """Return a window with an unchanged job of a model without experts."""
    load_and_wait(qtbot, window, RunConfig())
    return window


def test_chosen_mixture_loses_experts_and_then_a_dense_model_does_not(
    qtbot, new_window, mixture
):
    assert not offered(new_window) & {*OF_EXPERTS}
    choose(qtbot, new_window, mixture)
    assert pruning_of(new_window).structure is Structure.EXPERTS_AND_NEURONS
    assert offered(new_window) == {*Structure}
    assert find(new_window, "purpose_smaller_button").isChecked()
    choose(qtbot, new_window, DEMO)
    assert pruning_of(new_window) == PruningConfig()
    assert not offered(new_window) & {*OF_EXPERTS}


def test_run_of_a_mixture_begins_once_the_model_is_read(
    qtbot, new_window, mixture, monkeypatch
):
    monkeypatch.setattr(draft_editor, "model_facts", lambda source: None)
    new_window.session.draft.choose_model(mixture)
    trigger(new_window, "start_action")
    assert new_window.session.state.model is None
    wait_for_status(qtbot, new_window, Status.FINISHED)
    assert run_of(new_window).config.pruning.structure is Structure.EXPERTS_AND_NEURONS


def test_one_undo_takes_back_the_model_with_its_structure(qtbot, new_window, mixture):
    choose(qtbot, new_window, mixture)
    trigger(new_window, "undo_action")
    assert new_window.session.state.config == RunConfig()


def test_structure_of_a_loaded_job_stays(qtbot, window, mixture):
    job = RunConfig(ModelConfig(mixture))
    window.session.draft.load(job)
    wait_until(qtbot, lambda: window.session.state.model is not None)
    assert pruning_of(window) == job.pruning
    assert offered(window) == {*Structure}


def test_diagnosis_maps_the_experts_and_outlines_those_of_the_plan(
    qtbot, new_window, mixture
):
    choose(qtbot, new_window, mixture)
    click(new_window, "diagnose_button")
    open_details(new_window)
    diagnosis = diagnosis_of(new_window)
    wait_until(qtbot, lambda: diagnosis.plan is not None)
    card = find(new_window, "measured_experts_chart")
    assert not card.isHidden()
    cells = find(new_window, "measured_experts_map", HeatMap).cells
    assert len(cells) == 4 * EXPERTS
    assert sum(x.is_removed for x in cells) == diagnosis.plan.removals.sum() > 0
    box = find(new_window, "measured_experts_measure_combo", QComboBox)
    box.setCurrentIndex(1)
    again = find(new_window, "measured_experts_map", HeatMap).cells
    assert [x.heat for x in again] != [x.heat for x in cells]


def test_run_maps_its_experts_once_there_are_some(qtbot):
    view = CourseView()
    qtbot.addWidget(view)
    find(view, "more_charts_button").click()
    model = mixture_summary()
    run = RunState(run="run-1", config=mixture_job(), model=model)
    view.show_run(run, 1.0)
    assert find(view, "experts_chart").isHidden()
    shot = shot_of_experts(model, (0, 1, 2, 3))
    view.show_run(replace(run, history=(shot,)), 2.0)
    card = find(view, "experts_chart", ExpertsCard)
    assert not card.isHidden()
    header, *rows = card.rows()
    assert header == ("block", "expert", "cost", "tokens", "removed")
    assert [sum(row[4] for row in rows if row[0] == n) for n in range(4)] == [
        0,
        1,
        2,
        3,
    ]
