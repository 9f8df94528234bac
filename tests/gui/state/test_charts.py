"""The data of the charts follows from the state of the run."""

import math
from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.pruning import (
    CostBasis,
    Method,
    PruningConfig,
    Structure,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    HeldOutMeasured,
    MemorySampled,
    Paused,
    RunStarted,
    Stage,
    StageStarted,
)
from surgeon_gui.state import run as run_state
from surgeon_gui.state.charts import (
    PHASES,
    BarUnit,
    cost_bars,
    cost_rows,
    log_ticks,
    memory_line,
    quality_line,
    recovery_line,
    time_bars,
)
from surgeon_gui.state.log_lines import log_lines
from surgeon_gui.state.quality import Quality
from surgeon_gui.state.run import RunState
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import evaluation, model_summary, shot_finished
from tests.helpers.fake_results import recovered
from tests.helpers.run_states import with_events

CONFIG = RunConfig(pruning=pruning_config(shots=2, sparsity=0.3))
STARTED = RunStarted("folder", 2, model_summary(), "cpu", 100, 50)
SPACE = "\N{NO-BREAK SPACE}"


@pytest.fixture
def run():
    """Return a run with two finished shots."""
    state = run_state.requested("run-1", CONFIG, "folder", at=0.0)
    state = with_events(state, 0.0, StageStarted(Stage.LOAD, 0))
    state = with_events(state, 1.0, STARTED, StageStarted(Stage.BASELINE, 0))
    state = with_events(state, 2.0, BaselineEvaluated(evaluation(14.2)))
    for shot in (1, 2):
        at = 10.0 * shot
        state = with_events(state, at, StageStarted(Stage.CURVATURE, shot))
        state = with_events(state, at + 4, StageStarted(Stage.UPDATE, shot))
        state = with_events(state, at + 7, StageStarted(Stage.EVALUATION, shot))
        state = with_events(state, at + 8, shot_finished(shot, 2, 0.3))
    return state


def heights(bars):
    return {stack.name: stack.heights for stack in bars.stacks}


def test_charts_without_a_run_are_empty():
    idle = RunState()
    for measure in Quality:
        assert quality_line(idle, measure).xs == ()
    assert memory_line(idle).xs == ()
    assert cost_bars(idle, BarUnit.WEIGHTS).edges == ()
    assert time_bars(idle, 0.0).edges == ()
    assert len(cost_rows(idle)) == 1


def test_quality_line_has_a_point_for_the_original_and_each_shot(run):
    line = quality_line(run, Quality.PERPLEXITY)
    assert line.xs == (0.0, 1.0, 2.0)
    assert line.curves[0].ys[0] == line.baseline == 14.2
    assert line.curves[0].ys[1:] == tuple(s.evaluation.perplexity for s in run.history)
    loss = quality_line(run, Quality.LOSS)
    assert loss.curves[0].ys[1:] == tuple(s.evaluation.loss for s in run.history)


def test_quality_line_has_the_quality_limit(run):
    assert quality_line(run, Quality.PERPLEXITY).limit is None
    pruning = replace(CONFIG.pruning, max_perplexity_increase=10.0)
    limited = replace(run, config=replace(CONFIG, pruning=pruning))
    limit = quality_line(limited, Quality.PERPLEXITY).limit
    assert limit == pytest.approx(1.1 * 14.2)
    loss = quality_line(limited, Quality.LOSS).limit
    assert loss == pytest.approx(math.log(1.1 * 14.2))


def test_quality_line_has_a_curve_of_the_divergence_for_each_text(run):
    line = quality_line(run, Quality.DIVERGENCE)
    assert [curve.name for curve in line.curves] == [
        "built-in",
        "Text by the model itself",
    ]
    for number, curve in enumerate(line.curves):
        assert curve.xs == (0.0, 1.0, 2.0)
        assert curve.ys[0] == 0.0
        assert curve.ys[1:] == tuple(
            shot.evaluation.fidelity[number].divergence.value for shot in run.history
        )
    agreement = quality_line(run, Quality.AGREEMENT)
    assert agreement.curves[0].ys[0] == 100.0
    assert agreement.limit is None


def test_limit_of_the_divergence_is_in_its_own_chart(run):
    pruning = replace(CONFIG.pruning, max_divergence=0.5)
    limited = replace(run, config=replace(CONFIG, pruning=pruning))
    assert quality_line(limited, Quality.DIVERGENCE).limit == 0.5
    assert quality_line(limited, Quality.AGREEMENT).limit is None
    assert quality_line(limited, Quality.PERPLEXITY).limit is None
    assert quality_line(run, Quality.DIVERGENCE).limit is None


def test_recovery_line_begins_before_the_refit(run):
    trained = [HeldOutMeasured(0, 40, 0.4), HeldOutMeasured(20, 40, 0.35)]
    line = recovery_line(with_events(run, 30.0, *trained))
    assert (line.xs, line.curves[0].ys, line.last_x) == ((0.0, 20.0), (0.4, 0.35), 40.0)
    done = recovery_line(with_events(run, 30.0, *trained, recovered(13.0)))
    assert (done.xs, done.curves[0].ys) == ((0.0, 0.0, 20.0), (0.6, 0.4, 0.35))
    again = recovery_line(with_events(run, 30.0, *trained, HeldOutMeasured(0, 40, 0.5)))
    assert again.curves[0].ys == (0.5,)
    assert recovery_line(run).xs == ()


def test_recovery_line_of_a_refit_has_two_points(run):
    line = recovery_line(with_events(run, 30.0, recovered(13.0)))
    assert line.curves[0].ys == (0.6, 0.3)
    assert [line.format_x(x) for x in line.xs] == ["Before recovery", "After recovery"]


def test_quality_line_omits_infinite_perplexity(run):
    after = recovered(math.inf)
    line = quality_line(with_events(run, 30.0, after), Quality.PERPLEXITY)
    assert line.xs == (0.0, 1.0, 2.0)
    assert not line.last_text


def test_quality_of_a_shot_without_evaluation_is_left_out(run):
    last = msgspec.structs.replace(run.history[-1], evaluation=None)
    state = replace(run, history=(run.history[0], last))
    assert state.evaluation == run.history[0].evaluation
    after = with_events(state, 30.0, recovered(13.0))
    for measure in Quality:
        assert quality_line(state, measure).xs == (0.0, 1.0)
        assert quality_line(after, measure).xs == (0.0, 1.0, 2.0)
    (line,) = log_lines([Envelope("run-1", 1.0, last)])
    assert line.message.startswith("Shot 2: sparsity 31.5 %, 1 s; damping")
    assert "perplexity" not in line.message
    evaluated_later = with_events(state, 30.0, run.history[-1])
    assert evaluated_later.history == run.history


def test_memory_line_has_a_second_curve_with_a_gpu(run):
    on_cpu = with_events(
        with_events(run, 30.0, MemorySampled(10**9)), 31.0, MemorySampled(2 * 10**9)
    )
    line = memory_line(on_cpu)
    assert list(line.xs) == [30.0, 31.0]
    assert list(line.curves[0].ys) == [1.0, 2.0]
    assert len(line.curves) == 1
    on_gpu = with_events(on_cpu, 32.0, MemorySampled(10**9, 5 * 10**9, 8 * 10**9))
    _, gpu = memory_line(on_gpu).curves
    assert list(gpu.ys) == [0.0, 0.0, 5.0]


@pytest.mark.parametrize(
    ("seconds", "axis", "x", "label"),
    [
        (90, "Time (s)", 90.0, "1:30"),
        (600, "Time (min)", 10.0, "10:00"),
        (10_800, "Time (h)", 3.0, "3:00:00"),
    ],
)
def test_time_axis_uses_a_suitable_unit(run, seconds, axis, x, label):
    line = memory_line(with_events(run, seconds, MemorySampled(1)))
    assert line.x_axis == axis
    assert line.xs[-1] == pytest.approx(x)
    assert line.format_x(line.xs[-1]) == label


@pytest.mark.parametrize(
    ("pruning", "unit"),
    [
        (PruningConfig(Structure.ROWS_AND_COLUMNS, cost_basis=CostBasis.RAW), "nats"),
        (PruningConfig(Structure.ROWS_AND_COLUMNS), "nats per weight"),
        (
            pruning_config(Structure.ROWS, method=Method.MAGNITUDE),
            "score of the method",
        ),
    ],
)
def test_cost_axis_has_the_unit_of_the_method(run, pruning, unit):
    config = replace(run.config, pruning=pruning)
    bars = cost_bars(replace(run, config=config), BarUnit.WEIGHTS)
    assert f"({unit}, log)" in bars.x_axis


def test_cost_bars_are_those_of_the_latest_shot(run):
    shot = run.history[-1]
    bars = cost_bars(run, BarUnit.WEIGHTS)
    assert bars.x_axis == "Removal cost in shot 2 (nats per weight, log)"
    assert bars.ticks_between is log_ticks
    assert bars.mark == pytest.approx(math.log10(shot.threshold))
    by_name = heights(bars)
    assert by_name["Removed"] == shot.costs.removed_weights
    assert by_name["Kept"] == shot.costs.kept_weights
    assert heights(cost_bars(run, BarUnit.REMOVALS))["Kept"] == shot.costs.kept
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
def test_log_ticks_are_powers_of_ten_or_minor_ticks(low, high, labels):
    assert [label for _, label in log_ticks(low, high)] == labels


def test_log_ticks_of_a_wide_range_are_few():
    assert 4 <= len(log_ticks(-30.0, 10.0)) <= 9


def test_time_bars_by_phase_and_shot(run):
    bars = time_bars(run, now=29.0)
    by_name = heights(bars)
    assert next(iter(by_name)) == "Preparation"
    assert by_name["Measuring"] == (0.0, 4.0, 4.0, 0.0)
    assert by_name["Update"] == (0.0, 3.0, 3.0, 0.0)
    # The last evaluation is in progress; the one of the original is before the shots.
    assert by_name["Evaluation"] == (9.0, 3.0, 2.0, 0.0)
    assert by_name["Preparation"] == (1.0, 0.0, 0.0, 0.0)
    assert [name for _, name in bars.ticks] == ["Before", "1", "2", "After"]


def test_tokens_are_removed_before_the_shots():
    state = run_state.requested("run-1", RunConfig(), "folder", 0.0)
    state = with_events(state, 0.0, STARTED, StageStarted(Stage.VOCABULARY, 0))
    assert heights(time_bars(state, 50.0))["Measuring"][0] == 50.0


def test_time_bars_do_not_grow_during_a_pause(run):
    paused = with_events(run, 28.0, Paused())
    assert heights(time_bars(paused, 500.0)) == heights(time_bars(paused, 28.0))


def test_stages_after_the_shots_have_their_own_bar_and_all_add_up_to_the_time(run):
    state = with_events(run, 30.0, StageStarted(Stage.EXPORT, 0))
    by_name = heights(time_bars(state, 35.0))
    assert by_name["Export and verification"] == (0.0, 0.0, 0.0, 5.0)
    assert sum(map(sum, by_name.values())) == pytest.approx(35.0)


def test_each_stage_of_a_run_belongs_to_one_phase():
    stages = [stage for stages in PHASES.values() for stage in stages]
    not_in_runs = (Stage.MEASUREMENT, Stage.COMPARISON)
    assert sorted(stages, key=list(Stage).index) == [
        stage for stage in Stage if stage not in not_in_runs
    ]
