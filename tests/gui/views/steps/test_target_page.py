"""The Target page: presets, edits, and recovery from rejected choices."""

from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QComboBox, QLabel, QLineEdit
from superqt import QElidingLabel

from surgeon_engine.api.config.fields import values_of
from surgeon_engine.api.config.presets import presets
from surgeon_engine.api.config.pruning import Method, Structure, Target
from surgeon_gui.text.problems import Step
from tests.helpers.configs import pruning_config
from tests.helpers.widget_queries import (
    choose_unit,
    preset_shown,
    size_shown,
    type_size,
)
from tests.helpers.windows import QUICK, find, pruning_of

pytestmark = pytest.mark.slow


def choose(window, name, member):
    if name == "structure":
        find(window, f"structure_{member.value}_tile").click()
    elif name == "target":
        choose_unit(window, member)
    else:
        box = find(window, f"pruning_{name}", QComboBox)
        box.setCurrentIndex(list(type(member)).index(member))


def choose_preset(window, title):
    box = find(window, "preset_combo", QComboBox)
    box.setCurrentIndex(box.findText(title))
    box.activated.emit(box.currentIndex())


def test_preset_is_applied_edited_and_taken_back(page):
    before, (first, *_) = page.session.state.config, presets()
    choose_preset(page, first.title)
    assert pruning_of(page) == first.pruning
    after = page.session.state.config
    assert (after.model, after.export) == (before.model, before.export)
    assert after.calibration.text == before.calibration.text
    assert preset_shown(page) == first.title
    assert find(page, "preset_note").text() == first.about
    assert find(page, "calibration_windows").value() == after.calibration.windows
    find(page, "pruning_shots").setValue(17)
    custom = preset_shown(page)
    assert custom not in {preset.title for preset in presets()}
    choose_preset(page, presets()[2].title)
    choose_preset(page, first.title)
    choose_preset(page, custom)
    assert page.session.state.config == replace(
        after, pruning=replace(after.pruning, shots=17)
    )
    page.session.draft.load(first.applied_to(QUICK))
    assert not find(page, "preset_combo", QComboBox).model().item(0).isEnabled()
    page.session.draft.choose_preset(None)
    assert preset_shown(page) == first.title


def test_number_that_is_being_typed_is_not_written_over(page):
    page.activateWindow()
    line = find(page, "pruning_size", QLineEdit)
    line.setFocus()
    line.selectAll()
    QTest.keyClicks(line, "61")
    page.session.changed.emit()
    assert line.hasFocus()
    assert line.text() == "61"
    QTest.keyClick(line, Qt.Key.Key_Return)
    assert values_of(pruning_of(page))["sparsity"] == pytest.approx(0.61)


def test_size_in_bytes_is_refused_for_a_structure_that_keeps_the_file(page):
    choose(page, "target", Target.FILE_SIZE)
    assert "2,098,829" in find(page, "goal_label").text()  # as at 30 %
    choose(page, "structure", Structure.ELEMENTS)
    assert Step.TARGET in page.session.state.rejected
    assert size_shown(page).endswith("MB")
    choose(page, "target", Target.PARAMETERS)
    assert Step.TARGET not in page.session.state.rejected


def test_target_of_zero_can_be_chosen_and_started(page):
    type_size(page, "0 %")
    assert pruning_of(page).removes_nothing
    assert size_shown(page) == "0 %"
    assert find(page, "start_button").isEnabled()


def test_no_fit_is_claimed_for_a_target_beyond_the_limits(page):
    lights = ("plan_memory_light", "plan_disk_light")
    assert all(find(page, name).isVisible() for name in lights)
    session = page.session
    pruning = session.state.config.pruning
    session.draft.edit_part(replace(pruning, min_density=0.9, sparsity=0.5))
    labels = find(page, "expert_drawer").findChildren(QLabel)
    problem = find(page, "pruning_target_problem")
    shown = [x for x in labels if x.isVisible() and problem.text() in x.text()]
    assert shown == [problem]  # once
    names = (*lights, "plan_sizes", "plan_time", "goal_label", "fit_button")
    assert not any(find(page, name).isVisible() for name in names)
    session.draft.edit_part(pruning)
    assert all(find(page, name).isVisible() for name in lights)
    assert not find(page, "pruning_target_problem").isVisible()


def test_problem_of_an_advanced_setting_opens_its_section(page):
    session, button = page.session, find(page, "pruning_advanced_button")
    find(page, "step_target_header").setChecked(True)
    pruning = session.state.config.pruning
    unknown = replace(
        pruning, layer_min_density=("no_such_layer=0.5",), protect=("no_such_block",)
    )
    session.draft.edit_part(unknown)
    for name in ("layer_min_density", "protect"):  # each problem is at its field
        problem = find(page, f"pruning_{name}_problem")
        assert "no_such" in problem.text()
        assert problem.isVisible()
        assert find(page, f"pruning_{name}").property("invalid")
    button.setChecked(False)
    session.draft.edit_part(replace(unknown, shots=2))  # redraws with the same problem
    assert not button.isChecked()


def test_rejected_choice_is_kept_until_it_is_corrected(page):
    choose(page, "structure", Structure.N_M)
    assert find(page, "plan_sizes").isVisible()
    type_size(page, "70 %")
    assert not find(page, "plan_sizes").isVisible()
    problem = find(page, "pruning_sparsity_problem")
    assert "2:4" in find(page, "plan_warning", QElidingLabel).text()
    assert find(page, "pruning_size").property("invalid")
    header = find(page, "step_target_header")
    header.setChecked(True)
    assert "70" not in header.summary  # the page shows the problem
    header.setChecked(False)
    assert "70" in header.summary
    assert not find(page, "start_button").isEnabled()
    page.session.draft.set_run_parent("elsewhere")  # redraws and checks again
    assert find(page, "structure_n_m_tile").isChecked()
    assert not find(page, "start_button").isEnabled()
    type_size(page, "40 %")
    assert problem.text() == ""
    assert pruning_of(page).structure is Structure.N_M
    assert pruning_of(page).sparsity == 0.4
    assert not find(page, "pruning_size").property("invalid")
    assert find(page, "start_button").isEnabled()


def test_plan_is_shown_where_the_place_new_shows_its_headline(page):
    card = find(page, "plan_card").isVisibleTo
    assert card(page)
    page.session.draft.reject_edit(Step.EXPORT, "No.")
    assert not card(page)
    assert not find(page, "plan_label").text()
    page.session.draft.drop_rejected()
    assert card(page)
    assert find(page, "plan_label").text()


def test_problem_of_a_pattern_is_shown_below_it(page):
    tiles = find(page, "structure_n_m_tile").parentWidget()
    assert not find(page, "pruning_pattern").isVisibleTo(tiles)
    choose(page, "structure", Structure.N_M)
    assert tiles.isAncestorOf(find(page, "pruning_pattern"))
    assert find(page, "pruning_pattern").isVisibleTo(tiles)
    find(page, "pruning_kept").setValue(4)
    problem = find(page, "pruning_pattern_problem")
    assert tiles.isAncestorOf(problem)
    assert find(page, "pruning_pattern").property("invalid")
    find(page, "pruning_kept").setValue(2)
    assert problem.text() == ""
    assert not find(page, "pruning_pattern").property("invalid")


def test_choosing_a_pattern_sets_the_sparsity_for_all_groups(page):
    choose(page, "structure", Structure.N_M)
    assert pruning_of(page).sparsity == 0.5
    find(page, "pruning_of").setValue(8)
    assert pruning_of(page).sparsity == 0.75  # 2:8
    type_size(page, "30 %")
    goal = find(page, "goal_label").text().replace("\xa0", " ")
    assert "40 %" in goal and "75 %" in goal  # the share of the groups, and for all
    find(page, "pruning_shots").setValue(2)  # does not change the size
    assert pruning_of(page).sparsity == 0.3


def test_leaving_a_pattern_restores_the_target_before_it(page):
    type_size(page, "20 %")
    choose(page, "structure", Structure.N_M)
    find(page, "pruning_of").setValue(8)
    assert pruning_of(page).sparsity == 0.75
    choose(page, "structure", Structure.HEADS)
    assert pruning_of(page).sparsity == 0.2


@pytest.mark.parametrize("is_other_job", [True, False])
def test_target_of_a_pattern_that_comes_from_elsewhere_is_kept(page, is_other_job):
    choose(page, "target", Target.FILE_SIZE)
    type_size(page, "8 MB")
    choose(page, "structure", Structure.N_M)
    changed = replace(pruning_of(page), protect=("*.0.*",))
    other = pruning_config(Structure.N_M, sparsity=0.5, shots=7)
    config = page.session.state.config
    draft, pruning = page.session.draft, other if is_other_job else changed
    (draft.load if is_other_job else draft.edit)(replace(config, pruning=pruning))
    choose(page, "structure", Structure.HEADS)
    pruning = pruning_of(page)
    assert (pruning.target, pruning.sparsity) == (Target.PRUNABLE_SHARE, 0.5)


def test_target_that_was_chosen_beside_a_pattern_is_kept(page):
    type_size(page, "20 %")
    choose(page, "structure", Structure.N_M)
    choose(page, "target", Target.PARAMETERS)
    type_size(page, "2.2 M")
    choose(page, "structure", Structure.HEADS)
    pruning = pruning_of(page)
    assert (pruning.target, pruning.million_parameters) == (Target.PARAMETERS, 2.2)


def test_more_whole_blocks_than_the_target_allows_are_the_problem(page):
    type_size(page, "10 %")
    find(page, "pruning_dropped_blocks").setValue(2)
    assert find(page, "pruning_dropped_blocks").property("invalid")
    assert not find(page, "pruning_size").property("invalid")
    assert not find(page, "use_possible_button").isVisible()
    find(page, "pruning_dropped_blocks").setValue(0)
    assert page.session.state.has_plan


def test_preset_or_job_replaces_a_rejected_choice(page):
    type_size(page, "70 %")
    preset = presets()[0].title
    draft = page.session.draft
    corrections = (lambda: choose_preset(page, preset), lambda: draft.load(QUICK))
    for correct in corrections:
        choose(page, "structure", Structure.N_M)
        find(page, "pruning_kept").setValue(4)
        assert preset_shown(page) == "Custom settings"
        assert find(page, "pruning_pattern_problem").text()
        correct()
        assert find(page, "pruning_pattern_problem").text() == ""
        assert find(page, "structure_heads_and_neurons_tile").isChecked()


def test_incompatible_method_is_replaced_and_disabled(page):
    choose(page, "structure", Structure.ELEMENTS)
    choose(page, "method", Method.SPARSEGPT)
    choose(page, "structure", Structure.HEADS)
    assert pruning_of(page).method is Method.FIRST_ORDER
    box = find(page, "pruning_method", QComboBox)
    index = list(Method).index(Method.SPARSEGPT)
    assert not box.model().item(index).isEnabled()
