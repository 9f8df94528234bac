"""What the charts show follows from the run's state, figure by figure."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Corrected,
    MemorySampled,
    Paused,
    RunStarted,
    Stage,
    StageStarted,
)
from surgeon_gui.state import charts as chart_data
from surgeon_gui.state import run as run_state
from surgeon_gui.state.charts import (
    Counted,
    Quality,
    Size,
    cost_bars,
    cost_rows,
    memory_line,
    quality_line,
    size_line,
    time_bars,
)
from surgeon_gui.state.run import RunState
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import evaluation, model_summary, shot_finished

CONFIG = RunConfig(pruning=pruning_config(shots=2, sparsity=0.3))
STARTED = RunStarted("folder", 2, model_summary(), "cpu", 100, 50)
SPACE = "\N{NO-BREAK SPACE}"


def told(state, at, *events):
    for event in events:
        state = run_state.apply(state, Envelope("run-1", at, event))
    return state


@pytest.fixture
def run():
    """Two shots are done."""
    state = run_state.requested("run-1", CONFIG, "folder", at=0.0)
    state = told(state, 0.0, StageStarted(Stage.LOAD, 0))
    state = told(state, 1.0, STARTED, StageStarted(Stage.BASELINE, 0))
    state = told(state, 2.0, BaselineEvaluated(evaluation(14.2)))
    for shot in (1, 2):
        at = 10.0 * shot
        state = told(state, at, StageStarted(Stage.CURVATURE, shot))
        state = told(state, at + 4, StageStarted(Stage.UPDATE, shot))
        state = told(state, at + 7, StageStarted(Stage.EVALUATION, shot))
        state = told(state, at + 8, shot_finished(shot, 2, 0.3))
    return state


def heights(bars):
    return {stack.name: stack.heights for stack in bars.stacks}


def test_an_idle_window_has_empty_charts():
    idle = RunState()
    for measure in Quality:
        assert quality_line(idle, measure, is_log=False).xs == ()
    for measure in Size:
        assert size_line(idle, measure).xs == ()
    assert memory_line(idle).xs == ()
    assert cost_bars(idle, Counted.WEIGHTS).edges == ()
    assert time_bars(idle, 0.0).edges == ()
    assert len(cost_rows(idle)) == 1


def test_quality_has_a_point_for_the_original_and_each_shot(run):
    line = quality_line(run, Quality.PERPLEXITY, is_log=True)
    assert line.xs == (0.0, 1.0, 2.0)
    assert line.ys[0] == line.baseline == 14.2
    assert line.ys[1:] == tuple(s.evaluation.perplexity for s in run.history)
    assert line.is_log
    loss = quality_line(run, Quality.LOSS, is_log=False)
    assert loss.ys[1:] == tuple(s.evaluation.loss for s in run.history)


def test_a_quality_limit_is_a_line_of_its_own(run):
    assert quality_line(run, Quality.PERPLEXITY, is_log=False).limit is None
    pruning = replace(CONFIG.pruning, max_perplexity_increase=10.0)
    limited = replace(run, config=replace(CONFIG, pruning=pruning))
    limit = quality_line(limited, Quality.PERPLEXITY, is_log=False).limit
    assert limit == pytest.approx(1.1 * 14.2)
    loss = quality_line(limited, Quality.LOSS, is_log=False).limit
    assert loss == pytest.approx(math.log(1.1 * 14.2))


def test_a_correction_adds_a_point_at_the_last_shot(run):
    after = Corrected((0.001,), 2.9, 2.7, evaluation(13.0), 5.0)
    line = quality_line(told(run, 30.0, after), Quality.PERPLEXITY, is_log=False)
    assert line.xs[-2:] == (2.0, 2.0)
    assert line.ys[-1] == 13.0
    assert line.last_text == "After the correction"


def test_a_perplexity_without_bound_leaves_no_point(run):
    after = Corrected((), 0, 0, evaluation(math.inf), 5.0)
    line = quality_line(told(run, 30.0, after), Quality.PERPLEXITY, is_log=False)
    assert line.xs == (0.0, 1.0, 2.0)
    assert not line.last_text


def test_size_is_told_in_parameters_and_in_bytes(run):
    last = run.history[-1].parameters
    in_millions = size_line(run, Size.PARAMETERS)
    assert in_millions.ys[-1] == pytest.approx(last / 1e6)
    assert in_millions.axis == "Parameters (M)"
    assert in_millions.say_y(in_millions.ys[0]) == f"2.83{SPACE}M"
    format_bytes = size_line(run, Size.BYTES)
    assert format_bytes.axis == "Size (MB)"
    assert format_bytes.ys[-1] == pytest.approx(4 * last / 1e6, rel=1e-3)
    assert format_bytes.say_y(format_bytes.ys[-1]) == f"{4 * last / 1e6:.1f}{SPACE}MB"


def test_memory_is_one_curve_without_a_gpu_and_two_with_one(run):
    on_cpu = told(told(run, 30.0, MemorySampled(10**9)), 31.0, MemorySampled(2 * 10**9))
    line = memory_line(on_cpu)
    assert list(line.xs) == [30.0, 31.0]
    assert list(line.ys) == [1.0, 2.0]
    assert line.more == ()
    on_gpu = told(on_cpu, 32.0, MemorySampled(10**9, 5 * 10**9, 8 * 10**9))
    (gpu,) = memory_line(on_gpu).more
    assert list(gpu.ys) == [0.0, 0.0, 5.0]


@pytest.mark.parametrize(
    ("seconds", "axis", "shown", "said"),
    [
        (90, "Seconds", 90.0, "1:30"),
        (600, "Minutes", 10.0, "10:00"),
        (10_800, "Hours", 3.0, "3:00:00"),
    ],
)
def test_the_axis_of_time_is_in_the_unit_that_suits_it(run, seconds, axis, shown, said):
    line = memory_line(told(run, seconds, MemorySampled(1)))
    assert line.x_axis == axis
    assert line.xs[-1] == pytest.approx(shown)
    assert line.say_x(line.xs[-1]) == said


def test_costs_are_those_of_the_latest_shot_with_its_threshold(run):
    shot = run.history[-1]
    bars = cost_bars(run, Counted.WEIGHTS)
    assert "shot 2" in bars.x_axis
    assert bars.mark == pytest.approx(math.log10(shot.threshold))
    found = heights(bars)
    assert found["Removed"] == shot.costs.removed_weights
    assert found["Kept"] == shot.costs.kept_weights
    assert heights(cost_bars(run, Counted.REMOVALS))["Kept"] == shot.costs.kept
    assert len(bars.names) == len(bars.edges) == len(shot.costs.removed)
    rows = cost_rows(run)
    assert rows[1][:2] == shot.costs.edges[:2]
    assert sum(row[2] for row in rows[1:]) == sum(shot.costs.removed_weights)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (-7.5, -3.2, ["10⁻⁷", "10⁻⁶", "10⁻⁵", "10⁻⁴"]),
        (-0.5, 0.8, ["5e-01", "1e+00", "2e+00", "5e+00"]),
    ],
)
def test_costs_are_marked_in_powers_of_ten(low, high, labels):
    assert [label for _, label in chart_data._decades(low, high)] == labels


def test_a_wide_range_of_costs_has_few_marks():
    assert 4 <= len(chart_data._decades(-30.0, 10.0)) <= 9


def test_time_is_told_by_phase_for_each_shot_and_around_them(run):
    bars = time_bars(run, now=29.0)
    found = heights(bars)
    assert found["Curvature"] == (0.0, 4.0, 4.0, 0.0)
    assert found["Update"] == (0.0, 3.0, 3.0, 0.0)
    # The last evaluation is under way; that of the original counts before the shots.
    assert found["Evaluation"] == (9.0, 3.0, 2.0, 0.0)
    assert found["Preparation"] == (1.0, 0.0, 0.0, 0.0)
    assert [name for _, name in bars.ticks] == ["Before", "1", "2", "After"]


def test_the_stage_under_way_does_not_grow_in_a_pause(run):
    paused = told(run, 28.0, Paused())
    assert heights(time_bars(paused, 500.0)) == heights(time_bars(paused, 28.0))


def test_what_comes_after_the_shots_has_a_bar_of_its_own(run):
    state = told(run, 30.0, StageStarted(Stage.EXPORT, 0))
    assert heights(time_bars(state, 35.0))["Export"] == (0.0, 0.0, 0.0, 5.0)


def test_the_time_that_is_shown_is_all_the_time_there_was(run):
    state = told(run, 30.0, StageStarted(Stage.EXPORT, 0))
    total = sum(map(sum, heights(time_bars(state, 35.0)).values()))
    assert total == pytest.approx(35.0)


def test_every_stage_of_a_run_belongs_to_one_phase():
    stages = [stage for phase in chart_data.PHASES for stage in phase.stages]
    of_no_run = (Stage.MEASUREMENT, Stage.GENERATION, Stage.COMPARISON)
    assert sorted(stages, key=list(Stage).index) == [
        stage for stage in Stage if stage not in of_no_run
    ]
