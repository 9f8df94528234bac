"""What of a diagnosis still holds, what a dragged target becomes, what compares."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.fields import values_of, with_values
from surgeon_engine.api.config.pruning import (
    Damping,
    Fisher,
    Method,
    Structure,
    Target,
    Widths,
)
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.run import Progressed, Stage, StageStarted
from surgeon_engine.api.planning.target_size import file_dtype, goal_of
from surgeon_gui.state.diagnosis import state as states
from surgeon_gui.state.diagnosis.state import Known, Phase
from surgeon_gui.state.request import Request, with_response
from surgeon_gui.state.run import RunState
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import evaluation, model_summary, shot_finished

THEN = RunConfig()
MODEL = model_summary()


def known(config=THEN):
    return Known(config, MODEL, SimpleNamespace())


def now(**parts):
    """The job as it was, but for some settings of its parts."""
    kinds = {"model": ModelConfig, "calibration": CalibrationConfig}
    changed = {p: kinds.get(p, pruning_config)(**v) for p, v in parts.items()}
    return replace(THEN, **changed)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (now(model={"source": "/else"}), ("Model",)),
        (now(calibration={"window_length": 128}), ("Window length",)),
        (now(calibration={"windows": 8, "seed": 3}), ("Windows", "Seed")),
        (now(pruning={"structure": Structure.ROWS}), ("What goes",)),
        (now(pruning={"method": Method.MAGNITUDE}), ("Method",)),
        (now(pruning={"width_multiple": 64}), ("Width multiple",)),
        (now(pruning={"damping": Damping.FIXED}), ("Damping",)),
    ],
)
def test_what_costs_depend_on_makes_them_out_of_date_by_name(changed, told):
    assert set(states.changes_since(THEN, changed)) >= set(told)
    assert states.phase_of(known(), Request(), changed) is Phase.OUT_OF_DATE
    assert ", ".join(told[:1]) in states.headline(known(), Phase.OUT_OF_DATE, changed)
    assert states.phase_of(known(), Request(), THEN) is Phase.THERE


@pytest.mark.parametrize(
    "changed",
    [
        now(pruning={"sparsity": 0.5}),
        now(pruning={"target": Target.PARAMETERS, "million_parameters": 2.0}),
        now(pruning={"protect": ("block 0",)}),
        now(pruning={"layer_min_density": ("block 0=0.5",), "min_density": 0.2}),
        now(pruning={"widths": Widths.SAME}),
        now(pruning={"shots": 9}),
        now(pruning={"cost_damping": 1.0}),  # held-out windows choose it
        now(pruning={"pattern": "1:4"}),  # of a pattern that is not asked for
        now(calibration={"batch": 1}),
        now(model={"device": "cpu"}),
    ],
)
def test_what_can_be_planned_or_comes_later_needs_no_other_measurement(changed):
    assert states.changes_since(THEN, changed) == ()


def test_a_damping_that_is_given_matters():
    pruning = pruning_config(damping=Damping.FIXED)
    then = replace(THEN, pruning=pruning)
    changed = replace(THEN, pruning=with_values(pruning, {"cost_damping": 1.0}))
    assert states.changes_since(then, changed) == ("Cost damping",)


def test_labels_are_those_of_a_method_that_looks_at_them():
    fisher = {"fisher": Fisher.SAMPLED, "correction": "none"}
    magnitude = pruning_config(method=Method.MAGNITUDE)
    plain = replace(THEN, pruning=magnitude)
    other = replace(THEN, pruning=replace(magnitude, fisher=Fisher.SAMPLED))
    assert states.changes_since(plain, other) == ()
    assert states.changes_since(THEN, now(pruning=fisher)) == ("Gradients for",)


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("share", [0.0, 0.123, 0.5, 1.0])
def test_a_dragged_target_stays_given_in_the_way_it_was(target, share):
    config = replace(THEN, pruning=pruning_config(target=target, megabytes=5.0))
    moved = states.with_share(config, MODEL, share)
    assert values_of(moved)["target"] is target
    goal = goal_of(moved, MODEL, file_dtype(config, MODEL))
    assert goal.sparsity == pytest.approx(min(0.95, max(0.001, share)), abs=0.002)


def test_progress_never_goes_back():
    request, before, seen = Request("d"), 0.0, []
    stages = (Stage.LOAD, Stage.TEXT, Stage.BASELINE, Stage.CURVATURE)
    for stage in (*stages, Stage.DAMPING, Stage.CURVATURE, Stage.SELECTION):
        for event in (StageStarted(stage, 0), Progressed(stage, 0, 5, 5)):
            request = with_response(request, event)
            before = states.progress_of(request, before)
            seen.append(before)
    assert seen == sorted(seen)
    assert seen[0] == 0.0
    assert seen[-1] == 1.0
    assert states.progress_of(Request(), 0.5) == 0.0


def test_runs_stand_beside_the_prediction_if_they_measure_the_same():
    assert states.is_comparable(known(), THEN)
    shots = {"shots": 9, "sparsity": 0.7, "protect": ("block 0",)}
    assert states.is_comparable(known(), now(pruning=shots))
    for other in (
        None,
        now(model={"source": "/else"}),
        now(calibration={"validation_windows": 3}),
        now(pruning={"structure": Structure.ROWS}),
        now(pruning={"method": Method.K_OBD}),
    ):
        assert not states.is_comparable(known(), other)


def test_a_run_gives_a_point_for_each_shot_and_one_for_its_correction():
    shots = tuple(shot_finished(n, 2, 0.3) for n in (1, 2))
    corrected = SimpleNamespace(evaluation=evaluation(14.5))
    points = states.points_of(RunState(history=shots, corrected=corrected))
    assert [p.is_corrected for p in points] == [False, False, True]
    assert points[2].sparsity == points[1].sparsity == shots[1].sparsity
    assert points[2].perplexity == 14.5
