"""The page of the target offers presets, follows edits, and never dead-ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtWidgets import QComboBox

from surgeon_engine.api.config.fields import values_of
from surgeon_engine.api.config.presets import presets
from surgeon_engine.api.config.pruning import Method, Structure, Target
from surgeon_engine.api.planning.target_size import goal_of
from surgeon_gui.state.app import Step
from surgeon_gui.state.run import Status
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary
from tests.helpers.windows import QUICK, find, load_and_wait, wait_for_status

MODEL = model_summary()


def choose(window, name, member):
    if name == "structure":
        find(window, f"structure_{member.value}_tile").click()
    elif name == "target":
        find(window, f"hold_{member.value}_radio").click()
    else:
        box = find(window, f"pruning_{name}", QComboBox)
        box.setCurrentIndex(list(type(member)).index(member))


def choose_preset(window, title):
    box = find(window, "preset_combo", QComboBox)
    box.setCurrentIndex(box.findText(title))
    box.activated.emit(box.currentIndex())


def pruning_of(window):
    return window.session.state.config.pruning


def preset_shown(window):
    return find(window, "preset_combo", QComboBox).currentText()


@pytest.fixture
def page(qtbot, window):
    """A window with the page of the target open."""
    load_and_wait(qtbot, window)
    window.open_step(Step.TARGET)
    return window


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.name)
def test_a_preset_is_applied_and_shown_in_one_choice(page, preset):
    before = page.session.state.config
    choose_preset(page, preset.title)
    assert pruning_of(page) == preset.pruning
    after = page.session.state.config
    assert (after.model, after.export) == (before.model, before.export)
    assert after.calibration.text == before.calibration.text
    assert preset_shown(page) == preset.title
    assert find(page, "preset_note").text() == preset.about
    assert find(page, "calibration_windows").value() == after.calibration.windows


def test_an_edit_makes_a_preset_ones_own_settings(page):
    choose_preset(page, presets()[0].title)
    find(page, "pruning_shots").setValue(17)
    assert preset_shown(page) == "Own settings"
    assert "No preset" in find(page, "preset_note").text()


def test_one_can_go_back_to_ones_own_settings(page):
    choose_preset(page, presets()[2].title)
    choose_preset(page, presets()[0].title)
    choose_preset(page, "Own settings")
    assert page.session.state.config == QUICK


def test_there_is_no_going_back_from_a_preset_that_was_loaded(page):
    page.load_config(presets()[0].applied_to(QUICK))
    item = find(page, "preset_combo", QComboBox).model().item(0)
    assert not item.isEnabled()
    page.session.choose_preset(None)
    assert preset_shown(page) == presets()[0].title


def test_the_size_stays_when_the_target_is_given_in_another_way(page):
    config = page.session.state.config
    goal = goal_of(config.pruning, MODEL, config.model.dtype)
    for target in (*Target, Target.PRUNABLE_SHARE):
        choose(page, "target", target)
        assert goal_of(pruning_of(page), MODEL, config.model.dtype) == goal
        assert "2,098,829 parameters remain" in find(page, "goal_label").text()
        assert values_of(pruning_of(page))["target"] is target
    assert find(page, "pruning_million_parameters").text() == "2.098829 M"
    assert find(page, "pruning_megabytes").text() == "8.395316 MB"


def test_a_target_that_cannot_be_reached_is_told_with_the_numbers(page):
    choose(page, "target", Target.PARAMETERS)
    find(page, "pruning_million_parameters").setValue(0.1)
    assert "only 2,433,024 of" in find(page, "target_problem").text()
    assert not find(page, "goal_label").isVisible()
    assert not find(page, "start_button").isEnabled()


def test_a_refused_choice_stays_until_it_is_mended(page):
    choose(page, "structure", Structure.N_M)
    find(page, "sparsity_slider").setValue(70)
    problem = find(page, "pruning_form_problem")
    assert "2:4 removes at most 50.0%" in problem.text()
    assert "2:4 removes at most" in find(page, "plan_label").text()
    assert not find(page, "start_button").isEnabled()
    page.session.set_run_parent("elsewhere")  # redraws, and checks anew
    assert find(page, "structure_n_m_tile").isChecked()
    assert not find(page, "start_button").isEnabled()
    find(page, "sparsity_slider").setValue(40)
    assert problem.text() == ""
    assert pruning_of(page).kind is Structure.N_M
    assert pruning_of(page).target.sparsity == 0.4
    assert find(page, "start_button").isEnabled()


def test_a_pattern_that_is_chosen_is_one_for_all_groups(page):
    choose(page, "structure", Structure.N_M)
    assert pruning_of(page).target.sparsity == 0.5
    said = find(page, "goal_label").text()
    assert "groups" not in said
    find(page, "pruning_of").setValue(8)
    assert pruning_of(page).target.sparsity == 0.75  # 2:8
    find(page, "sparsity_slider").setValue(30)
    said = find(page, "goal_label").text().replace("\xa0", " ")
    assert "40 % of the groups get the pattern" in said
    assert "for all of them let 75 % go" in said
    find(page, "pruning_shots").setValue(2)  # leaves the size alone
    assert pruning_of(page).target.sparsity == 0.3


def test_while_the_form_is_refused_no_size_of_another_draft_is_shown(page):
    choose(page, "structure", Structure.N_M)
    assert find(page, "plan_sizes").text()
    find(page, "sparsity_slider").setValue(70)
    assert not find(page, "plan_sizes").isVisible()


def test_a_size_on_the_disk_for_single_weights_can_be_mended_either_way(page):
    for mend in (Target.PARAMETERS, Structure.NEURONS):
        page.load_config(QUICK)
        choose(page, "target", Target.FILE_SIZE)
        choose(page, "structure", Structure.ELEMENTS)
        assert "no file gets smaller" in find(page, "pruning_form_problem").text()
        assert find(page, "pruning_megabytes").isVisible()
        choose(page, "target" if isinstance(mend, Target) else "structure", mend)
        assert find(page, "pruning_form_problem").text() == ""
        assert Step.TARGET not in page.session.state.refused


def test_a_preset_or_a_job_takes_the_place_of_a_refused_choice(page):
    find(page, "sparsity_slider").setValue(70)
    preset = presets()[0].title
    mends = (lambda: choose_preset(page, preset), lambda: page.load_config(QUICK))
    for mend in mends:
        choose(page, "structure", Structure.N_M)
        find(page, "pruning_kept").setValue(4)
        assert preset_shown(page) == "Own settings"
        assert find(page, "pruning_form_problem").text()
        mend()
        assert find(page, "pruning_form_problem").text() == ""
        assert find(page, "structure_heads_and_neurons_tile").isChecked()


def test_a_method_that_does_not_fit_the_structure_gives_way_and_is_disabled(page):
    choose(page, "structure", Structure.ELEMENTS)
    choose(page, "method", Method.SPARSEGPT)
    choose(page, "structure", Structure.HEADS)
    assert pruning_of(page).method is Method.LLM_SURGEON
    box = find(page, "pruning_method", QComboBox)
    index = list(Method).index(Method.SPARSEGPT)
    assert not box.model().item(index).isEnabled()


def test_what_a_shot_chose_is_shown_beside_the_figures(qtbot, page):
    label = find(page, "damping_label")
    assert not label.isVisible()
    page.start_run()
    wait_for_status(qtbot, page, Status.FINISHED)
    assert label.isVisible()
    assert label.text().startswith("Shot 3: damping 0.01 for costs")
    assert "of 9 that were tried" in find(page, "log_text").toPlainText()


def test_the_tile_shows_the_target_in_the_way_of_the_figures(qtbot, page):
    pruning = pruning_config(target=Target.PARAMETER_SHARE, sparsity=0.25, shots=1)
    page.load_config(replace(QUICK, pruning=pruning))
    page.start_run()
    wait_for_status(qtbot, page, Status.FINISHED)
    assert find(page, "sparsity_note").text().startswith("target 29.1")
