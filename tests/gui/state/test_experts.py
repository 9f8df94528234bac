"""Experts in the texts and the map of the window, and in the job of a chosen model."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.pruning import PruningConfig, Structure, Widths
from surgeon_engine.api.config.purposes import Purpose
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.run import ExpertsLeft, GroupsLeft, experts_left
from surgeon_engine.api.messages.sources import ModelInspected
from surgeon_gui.state.app import AppState
from surgeon_gui.state.diagnosis.costs import read_costs
from surgeon_gui.state.diagnosis.planner import Planner
from surgeon_gui.state.experts import (
    ExpertMeasure,
    cells_of,
    left_text,
    routings_of_plan,
    routings_of_run,
    scale_of,
)
from surgeon_gui.state.job.editing import (
    all_presets,
    fitted,
    preset_in,
    with_config,
    with_preset,
)
from surgeon_gui.state.job.purposes import fitted_to, purpose_of, with_purpose
from surgeon_gui.state.report import report_html
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import RunState
from surgeon_gui.state.runs.removed import removed_by_block
from surgeon_gui.state.sources.text import inspected_facts, model_line
from tests.helpers.fake_diagnosis import diagnosed
from tests.helpers.fake_results import model_summary
from tests.helpers.mixtures import (
    CHOSEN,
    EXPERTS,
    mixture_job,
    mixture_summary,
    shot_of_experts,
)

MODEL, DENSE = mixture_summary(), model_summary()
REMOVED = (0, 4, 8, 12)  # number of experts per block


def run_with(removed=REMOVED) -> RunState:
    shot = shot_of_experts(MODEL, removed)
    return RunState(config=mixture_job(), model=MODEL, history=(shot,))


def test_line_of_a_mixture_has_active_parameters_and_experts():
    request = Request("inspect-1", ModelInspected(MODEL))
    state = AppState(model_is_chosen=True, requests={RequestKind.INSPECTION: request})
    line = model_line(state)
    assert f"{EXPERTS} experts per block, {CHOSEN} for each token" in line
    assert "parameters, 2" in line and " active" in line
    assert "experts, heads and neurons can be removed" in line
    names = dict(inspected_facts(MODEL))
    assert names["Experts"].endswith("in 4 of 4 blocks")
    assert "Experts" not in dict(inspected_facts(DENSE))


def test_only_models_with_experts_lose_them_by_default():
    plain = RunConfig(ModelConfig(MODEL.source))
    of_experts = fitted_to(plain, MODEL)
    assert of_experts.pruning == PruningConfig(Structure.EXPERTS_AND_NEURONS)
    assert purpose_of(of_experts, MODEL) is Purpose.SMALLER
    assert fitted_to(of_experts, DENSE) == plain
    assert fitted_to(plain, DENSE) is plain


def test_fresh_mixture_has_a_preset_and_others_fit_it():
    request = Request("inspect-1", ModelInspected(MODEL))
    state = AppState(
        config=RunConfig(ModelConfig(MODEL.source)),
        is_fitting=True,
        requests={RequestKind.INSPECTION: request},
    )
    state = fitted(state)
    by_name = {preset.name: preset for preset in all_presets(state)}
    assert preset_in(state) == by_name["standard"]
    quick = with_preset(state, by_name["quick_look"])
    assert quick.config.pruning.structure is Structure.EXPERTS_AND_NEURONS
    fast = with_purpose(state.config, Purpose.FASTER, MODEL)
    assert preset_in(with_config(state, fast)) == by_name["deployable"]
    paper = with_preset(state, by_name["paper_structured"])
    assert paper.config.pruning.structure is Structure.ROWS_AND_COLUMNS


def test_job_with_settings_of_the_user_is_not_fitted():
    job = RunConfig(pruning=PruningConfig(widths=Widths.SAME))
    assert fitted_to(job, MODEL) is job


def test_cells_have_costs_or_shares_of_tokens_and_outline_removed_experts():
    routings = routings_of_run(run_with())
    cells = cells_of(routings, ExpertMeasure.COST)
    assert len(cells) == 4 * EXPERTS
    of_block = [[c for c in cells if c.row == str(block)] for block in range(4)]
    assert tuple(sum(c.is_removed for c in row) for row in of_block) == REMOVED
    heats = [cell.heat for cell in of_block[0]]
    assert heats == sorted(heats)
    assert min(c.heat for c in cells) == 0
    assert max(c.heat for c in cells) == 1
    tokens = cells_of(routings, ExpertMeasure.TOKENS)
    assert tokens[0].heat == 0  # no token is routed to the first expert
    assert "0 %" in tokens[0].tip.replace("\N{NO-BREAK SPACE}", " ")
    assert scale_of(routings, ExpertMeasure.COST) == ("0.0001", "0.0019")


@pytest.mark.parametrize("classes", [1, 2])
def test_planned_experts_are_the_cheapest_of_each_class(tmp_path, classes):
    job = mixture_job()
    found = diagnosed(job, str(tmp_path), MODEL)
    units = tuple(msgspec.structs.replace(x, classes=classes) for x in found.units)
    costs = read_costs(msgspec.structs.replace(found, units=units))
    planner = Planner(costs, job.pruning)
    each = MODEL.layers[-1].rows
    assert planner.max_removable == 4 * (EXPERTS - CHOSEN) * each
    plan = planner.plan(planner.max_removable)
    kept = {x.block: x.routing.kept for x in routings_of_plan(costs, plan)}
    half = EXPERTS // 2
    last = {1: tuple(range(12, 16)), 2: (half - 2, half - 1, EXPERTS - 2, EXPERTS - 1)}
    assert set(kept.values()) == {last[classes]}


def test_result_says_how_many_experts_are_left():
    assert left_text(run_with((4, 4, 4, 4))) == "12 of 16 experts per block are left"
    assert left_text(run_with()) == "4 to 16 of 16 experts per block are left"
    report = report_html(run_with(), "a run")
    assert "4 to 16 of 16 experts per block are left" in report
    assert not left_text(run_with((0, 0, 0, 0)))
    run = run_with((0, 0, 0, 0))
    (shot,) = run.history
    left = [GroupsLeft("expert_neurons", 32 + x.block, 48) for x in shot.layers]
    layers = tuple(
        msgspec.structs.replace(x, neurons=each if x.routing else None)
        for x, each in zip(shot.layers, left, strict=True)
    )
    run = replace(run, history=(msgspec.structs.replace(shot, layers=layers),))
    assert left_text(run) == "32 to 35 of 48 neurons per expert are left"
    assert experts_left(run_with().layers) == ExpertsLeft(4, 16, 16)


def test_picture_of_a_run_shows_experts_in_the_row_of_mlps():
    attention, mlps = removed_by_block(run_with())
    assert set(attention) == {0.0}
    assert list(mlps) == sorted(mlps)
    assert mlps[0] == 0 < mlps[3] < 0.75
