"""The parts of a run: which there are, how far they are, and how long they took."""

from dataclasses import replace

import pytest

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Cancelled, Failed
from surgeon_engine.api.messages.run import (
    HeldOutMeasured,
    Progressed,
    RunFinished,
    RunResumed,
    RunStarted,
    Stage,
    StageStarted,
)
from surgeon_engine.planning.target_size import prunable_weights
from surgeon_gui.state import run as run_state
from surgeon_gui.state.parts import parts_of, removed_count
from surgeon_gui.text import numbers, stages
from surgeon_gui.text.stages import Mark, Part
from tests.helpers.configs import pruning_config
from tests.helpers.fake_results import model_summary, shot_finished
from tests.helpers.run_states import with_events

RECOVERY = RecoveryConfig(Recovery.DISTILLATION)
ONE_SHOT = RunConfig(pruning=pruning_config(shots=1), recovery=RECOVERY)
STARTED = RunStarted("folder", 1, model_summary(), "cpu", 100, 50)


def run_in(*stages_at, config=ONE_SHOT, shots=1):
    """Return a run that has reached stages, each (stage, shot, second)."""
    run = run_state.requested("run-1", config, "folder", at=0.0)
    started = replace_shots(STARTED, shots)
    run = with_events(run, 0.0, StageStarted(Stage.LOAD, 0))
    run = with_events(run, 5.0, started)
    for stage, shot, at in stages_at:
        run = with_events(run, at, StageStarted(stage, shot))
    return run


def replace_shots(event, shots):
    return RunStarted(event.folder, shots, event.model, event.device, 100, 50)


def marks(run, now=100.0):
    return {view.part: view.mark for view in parts_of(run, now)}


def seconds(run, now=100.0):
    return {view.part: view.seconds for view in parts_of(run, now)}


def labels(run):
    texts = (stages.label(view) for view in parts_of(run, 100.0))
    return [text.replace("\N{NO-BREAK SPACE}", " ") for text in texts]


TO_REFIT = (
    (Stage.TEXT, 0, 5.0),
    (Stage.SAMPLING, 0, 10.0),
    (Stage.BASELINE, 0, 40.0),
    (Stage.CURVATURE, 1, 50.0),
    (Stage.SELECTION, 1, 70.0),
    (Stage.UPDATE, 1, 71.0),
    (Stage.EVALUATION, 1, 73.0),
    (Stage.REFERENCE, 0, 80.0),
    (Stage.REFIT, 0, 85.0),
)


def test_every_second_of_a_run_belongs_to_one_part():
    found = seconds(run_in(*TO_REFIT))
    assert found == {
        Part.READ: 10.0,
        Part.WRITE: 30.0,
        Part.MEASURE: 30.0,
        Part.REMOVE: 10.0,  # with the evaluation after it
        Part.REFIT: 20.0,
        Part.DISTILL: 0.0,
        Part.SAVE: 0.0,
    }
    assert sum(found.values()) == 100.0


def test_part_that_comes_again_in_the_next_shot_is_done_in_this_one():
    config = replace(ONE_SHOT, pruning=pruning_config(shots=3))
    run = run_in((Stage.CURVATURE, 1, 50.0), (Stage.UPDATE, 1, 60.0), config=config)
    run = replace(run, shots=3)
    assert marks(run)[Part.MEASURE] is Mark.DONE
    assert marks(run)[Part.REMOVE] is Mark.NOW
    assert "Measure, shot 1 of 3" in labels(run)
    later = with_events(run, 70.0, StageStarted(Stage.CURVATURE, 3))
    assert "Measure, shot 3 of 3" in labels(later)
    views = {each.part: each for each in parts_of(later, 75.0)}
    assert views[Part.REMOVE].mark is Mark.NEXT
    assert views[Part.REMOVE].seconds == 10.0  # as in the shot before
    assert stages.time(views[Part.REMOVE]) and stages.time(views[Part.MEASURE])
    last = with_events(later, 80.0, StageStarted(Stage.UPDATE, 3))
    assert marks(last)[Part.MEASURE] is Mark.DONE


def test_parts_of_earlier_shots_are_done_in_a_canceled_run():
    config = replace(ONE_SHOT, pruning=pruning_config(shots=3))
    stages_at = (Stage.CURVATURE, 1, 50.0), (Stage.UPDATE, 1, 60.0)
    run = run_in(*stages_at, config=config, shots=3)
    planned, shot = removed_count(run), shot_finished(1, 3, 0.5)
    run = with_events(run, 69.0, shot)
    run = with_events(run, 70.0, StageStarted(Stage.CURVATURE, 2))
    assert removed_count(run) == planned
    ended = with_events(run, 75.0, Cancelled())
    assert marks(ended)[Part.REMOVE] is Mark.DONE
    assert marks(ended)[Part.MEASURE] is Mark.BROKEN_OFF
    assert removed_count(ended) == run.model.parameters - shot.parameters < planned
    assert Part.REFIT not in marks(ended)
    assert sum(seconds(ended).values()) == ended.seconds(100.0)


def test_count_is_what_was_removed_as_soon_as_the_last_shot_is_done():
    shot = shot_finished(1, 1, 0.29)
    run = with_events(run_in(*TO_REFIT), 90.0, shot)
    assert run.status.is_busy
    assert removed_count(run) == run.model.parameters - shot.parameters
    assert removed_count(run) != removed_count(run_in(*TO_REFIT))  # as planned


def test_parts_of_a_resumed_run_add_up_to_its_time():
    later = (Stage.DISTILLATION, 0, 100.0), (Stage.EVALUATION, 0, 160.0)
    run = run_in(*TO_REFIT, *later)
    run = with_events(run, 170.0, Cancelled())
    # It had saved its training at 130 s, and makes the second half again.
    run = with_events(run, 1000.0, RunResumed(1, 130.0))
    run = with_events(run, 1000.0, StageStarted(Stage.REFERENCE, 0))
    run = with_events(run, 1005.0, StageStarted(Stage.REFIT, 0))
    run = with_events(run, 1005.0, StageStarted(Stage.DISTILLATION, 0, seconds=30.0))
    assert sum(seconds(run, 1010.0).values()) == run.seconds(1010.0) == 140.0
    run = with_events(run, 1035.0, StageStarted(Stage.EXPORT, 0))
    run = with_events(run, 1040.0, RunFinished(False, 170.0, 1))
    found = seconds(run)
    assert sum(found.values()) == run.seconds(2000.0)
    assert (found[Part.REFIT], found[Part.DISTILL]) == (20.0 + 5.0, 30.0 + 30.0)


def test_run_that_is_to_go_on_reads_the_model_again():
    run = with_events(run_in(*TO_REFIT), 90.0, shot_finished(1, 1, 0.3))
    run = with_events(run, 150.0, Progressed(Stage.REFIT, 0, 20, 30))
    before = run.progress
    run = with_events(run, 170.0, Cancelled())
    run = run_state.resume_requested("run-1", run, 1000.0, saved_seconds=130.0)
    started = {Part.WRITE, Part.MEASURE, Part.REMOVE}
    events = None, Stage.LOAD, Stage.TEXT, RunResumed(1, 130.0), Stage.BASELINE
    for at, event in enumerate(events, 1010):
        if isinstance(event, Stage):
            event = StageStarted(event, 0)
        run = with_events(run, at, event) if event else run
        now = Part.MEASURE if run.stage is Stage.BASELINE else Part.READ
        found = marks(run, at)
        assert found[now] is Mark.NOW
        assert {found[part] for part in started - {now}} == {Mark.DONE}
        assert found[Part.DISTILL] is Mark.NEXT
        assert 0.8 * before < run.progress <= before


@pytest.mark.parametrize(
    ("done", "shown"), [(0, 1), (16, 1), (17, 2), (30, 15), (71, 56), (72, 56)]
)
def test_steps_of_a_training_are_those_of_its_checks(done, shown):
    run = run_in(*TO_REFIT, (Stage.DISTILLATION, 0, 100.0))
    run = with_events(run, 101.0, HeldOutMeasured(0, 56, 0.5))
    # 16 of the 72 steps of progress are for the first reading of the text.
    run = with_events(run, 102.0, Progressed(Stage.DISTILLATION, 0, done, 72))
    view = next(x for x in parts_of(run, 110.0) if x.part is Part.DISTILL)
    assert (view.number, view.count) == (shown, 56)


def test_steps_of_a_limited_training_follow_its_checks():
    recovery = replace(RECOVERY, minutes=1.0)
    config = replace(ONE_SHOT, recovery=recovery)
    run = run_in(*TO_REFIT, (Stage.DISTILLATION, 0, 100.0), config=config)
    run = with_events(run, 101.0, HeldOutMeasured(0, 40, 0.5))
    run = with_events(run, 102.0, HeldOutMeasured(10, 50, 0.4))
    run = with_events(run, 103.0, Progressed(Stage.DISTILLATION, 0, 250, 500))
    view = next(x for x in parts_of(run, 110.0) if x.part is Part.DISTILL)
    assert (view.number, view.count) == (26, 50)


def test_shown_times_of_a_finished_run_add_up_to_its_time():
    short = (Stage.TEXT, 0, 0.3), (Stage.CURVATURE, 1, 0.6), (Stage.UPDATE, 1, 1.1)
    run = run_state.requested("run-1", ONE_SHOT, "folder", at=0.0)
    run = with_events(run, 0.0, StageStarted(Stage.LOAD, 0), STARTED)
    for stage, shot, at in (*short, (Stage.EXPORT, 0, 1.5)):
        run = with_events(run, at, StageStarted(stage, shot))
    run = with_events(run, 2.4, RunFinished(False, 2.8, 1))  # 0.4 before its first
    times = [stages.time(view).split() for view in parts_of(run, 100.0)]
    assert {unit for _, unit in times} == {"s"}
    shown = sum(float(number) for number, _ in times)
    assert f"{shown:.1f}" == numbers.duration(run.seconds(100.0)).split()[0]


def test_labels_have_the_count_and_the_progress():
    run = with_events(run_in(*TO_REFIT), 90.0, Progressed(Stage.REFIT, 0, 11, 30))
    removed = removed_count(run)
    assert removed == round(0.3 * run.model.prunable)
    assert labels(run) == [
        "Read the model",
        "Write own text",
        "Measure what counts",
        f"Remove {removed / 1000:.0f} k weights",
        "Refit block 12 of 30",
        "Distill",
        "Save and verify",
    ]


def test_blocks_that_are_saved_are_counted():
    run = with_events(run_in(*TO_REFIT), 90.0, StageStarted(Stage.EXPORT, 0))
    run = with_events(run, 91.0, Progressed(Stage.EXPORT, 0, 16, 30))
    assert labels(run)[-1] == "Save block 17 of 30"


def test_run_that_leaves_zeros_says_so():
    pruning = pruning_config(structure=Structure.ELEMENTS, sparsity=0.5, shots=1)
    run = run_in(*TO_REFIT, config=replace(ONE_SHOT, pruning=pruning))
    assert removed_count(run) == run.model.prunable // 2
    assert f"Zero {run.model.prunable / 2e6:.2f} M weights" in labels(run)


@pytest.mark.parametrize("structure", [Structure.ELEMENTS, Structure.HEADS_AND_NEURONS])
def test_run_that_was_stopped_early_has_the_count_that_it_reached(structure):
    pruning = pruning_config(structure=structure, sparsity=0.5, shots=3)
    run = run_in(*TO_REFIT, config=replace(ONE_SHOT, pruning=pruning))
    planned, shot = removed_count(run), shot_finished(1, 3, 0.5)
    stopped = with_events(run, 90.0, shot, RunFinished(True, 90.0, 100))
    zeros = round(shot.sparsity * prunable_weights(pruning, run.model))
    gone = run.model.parameters - shot.parameters
    reached = zeros if structure is Structure.ELEMENTS else gone
    assert removed_count(stopped) == reached < planned


def test_run_that_only_quantizes_has_no_parts_of_pruning():
    config = replace(
        ONE_SHOT,
        pruning=pruning_config(sparsity=0.0, shots=1),
        recovery=RecoveryConfig(Recovery.OFF),
    )
    run = run_in((Stage.TEXT, 0, 5.0), (Stage.BASELINE, 0, 10.0), config=config)
    assert set(marks(run)) == {Part.READ, Part.MEASURE, Part.SAVE}
    assert removed_count(run) == 0


def test_ended_run_shows_where_it_ended():
    run = run_in(*TO_REFIT)
    failed = with_events(run, 90.0, Failed("No memory.", "Use less."))
    assert marks(failed)[Part.REFIT] is Mark.FAILED
    canceled = with_events(run, 90.0, Cancelled())
    assert marks(canceled)[Part.REFIT] is Mark.BROKEN_OFF
    assert Part.SAVE not in marks(failed)
    assert seconds(failed, now=1e9)[Part.REFIT] == pytest.approx(10.0)
    finished = with_events(run, 90.0, RunFinished(False, 90.0, 1))
    assert set(marks(finished).values()) == {Mark.DONE}
    assert Part.DISTILL not in marks(finished)  # it was left out


@pytest.mark.parametrize(
    ("done", "total", "label"),
    [(51, 72, "Distill, ended at step 51 of 72"), (72, 72, "Distill")],
)
def test_training_that_ended_early_says_at_which_step(done, total, label):
    run = run_in(*TO_REFIT, (Stage.DISTILLATION, 0, 90.0))
    first, last = HeldOutMeasured(0, 72, 0.5), HeldOutMeasured(done, total, 0.4)
    run = with_events(run, 95.0, first, Progressed(Stage.DISTILLATION, 0, 20, 80))
    assert "Distill, step 13 of 72" in labels(run)
    run = with_events(run, 96.0, last)
    run = with_events(run, 96.0, StageStarted(Stage.EXPORT, 0))
    for each in (run, with_events(run, 99.0, RunFinished(False, 99.0, 1))):
        assert label in labels(each)
    broken = with_events(run_in(*TO_REFIT, (Stage.DISTILLATION, 0, 90.0)), 95.0, last)
    assert "Distill" in labels(with_events(broken, 96.0, Cancelled()))
