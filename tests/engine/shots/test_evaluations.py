"""A run evaluates as often as its settings ask, and always its result."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.pruning import Method
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Recovered,
    RunFinished,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.decoding import to_builtins
from surgeon_engine.base.errors import RunFolderError
from surgeon_engine.base.sealed_json import sealed_json
from surgeon_engine.base.versions import REPORT
from surgeon_engine.cli.formatting import event_line
from surgeon_engine.evaluation import evaluate as evaluate_module
from surgeon_engine.evaluation.evaluate import is_whole
from surgeon_engine.evaluation.fidelity import compare
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.planning.estimate import estimate
from surgeon_engine.recovery import block_pass
from surgeon_engine.shots import loop
from surgeon_engine.shots.shot import evaluate_original, evaluation
from tests.helpers.fake_machine import machine
from tests.helpers.pruning_states import make_state, silent_context
from tests.helpers.runs import (
    Recorder,
    assert_same_tensors,
    exported_tensors,
    job,
    skip_verification,
)


@pytest.fixture
def short(tmp_path, monkeypatch):
    """Return a job that is not evaluated before its recovery."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    skip_verification(monkeypatch)
    recovery = RecoveryConfig(Recovery.REFIT, general_windows=4)
    config = job(tmp_path, windows=8, recovery=recovery, method=Method.MAGNITUDE)
    return replace(config, evaluation=EvaluationConfig(0, before_recovery=False))


def evaluations(recorder):
    """Return how often the pruned model was evaluated."""
    stages = [event.stage for event in recorder.of(StageStarted)]
    return stages.count(Stage.EVALUATION)


@pytest.mark.slow
def test_evaluation_before_recovery_is_left_out(short, tmp_path):
    folder, other = tmp_path / "short", tmp_path / "long"
    recorder = Recorder().run(short, folder)
    (shot,) = recorder.of(ShotFinished)
    assert shot.evaluation is None
    assert evaluations(recorder) == 1
    assert "perplexity" not in event_line(shot)
    long = replace(short, evaluation=EvaluationConfig(0))
    whole = Recorder().run(long, other)
    assert evaluations(whole) == 2
    assert_same_tensors(exported_tensors(folder), exported_tensors(other))
    (recovered,) = whole.of(Recovered)
    report = RunFolder(folder).read_report()
    assert report.evaluation == recovered.evaluation
    assert report.shots == (shot,)
    model = inspect_model(short.model).model
    half, full = (estimate(x, model, machine()) for x in (short, long))
    seconds = [x.seconds_of_stages[Stage.EVALUATION] for x in (half, full)]
    assert seconds[0] == pytest.approx(seconds[1] / 1.75)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [Stage.REFIT, Stage.EVALUATION])
def test_stop_cuts_a_recovery_but_not_its_evaluation(short, tmp_path, stage):
    recorder = Recorder()
    recorder.send_at(lambda event: event == StageStarted(stage, 0), StopAndKeep)
    recorder.run(short, tmp_path / "run")
    is_cut = stage is Stage.REFIT
    assert recorder.context.stops_after_shot
    assert recorder.of(Recovered)[0].stopped_early is is_cut
    assert recorder.of(RunFinished)[0].stopped_early is is_cut
    assert RunFolder(tmp_path / "run").saved_state.exists is is_cut


@pytest.mark.slow
def test_stop_in_the_refit_of_the_last_block_cuts_nothing(short, tmp_path, monkeypatch):
    recorder, pairs, refit_block = Recorder(), [], block_pass.refit_block

    def stopped(pair, targets):
        pairs.append(pair)
        if len(pairs) == 2:
            recorder.context.handle(StopAndKeep(run="test"))
        return refit_block(pair, targets)

    monkeypatch.setattr(block_pass, "refit_block", stopped)
    recorder.run(short, tmp_path / "run")
    assert len(pairs) == 2
    assert not recorder.of(Recovered)[0].stopped_early
    assert not recorder.of(RunFinished)[0].stopped_early


@pytest.mark.slow
def test_result_is_evaluated_where_recovery_fails(short, tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(loop, "recover", fail)
    recorder = Recorder().run(short, tmp_path / "run")
    shots = recorder.of(ShotFinished)
    assert [shot.evaluation is None for shot in shots] == [True, False]
    report = RunFolder(tmp_path / "run").read_report()
    assert report.recovered is None
    assert report.evaluation == shots[1].evaluation
    assert report.evaluation != recorder.of(BaselineEvaluated)[0].evaluation


@pytest.mark.slow
@pytest.mark.parametrize("change", ["no recovery", "limit", "earlier shots"])
def test_shots_that_nothing_follows_are_evaluated(short, change, tmp_path):
    pruning = short.pruning
    match change:
        case "no recovery":
            short = replace(short, recovery=RecoveryConfig(Recovery.OFF))
        case "limit":
            pruning = replace(pruning, max_divergence=10.0)
        case "earlier shots":
            pruning = replace(pruning, shots=2)
    recorder = Recorder().run(replace(short, pruning=pruning), tmp_path / "run")
    found = [shot.evaluation is None for shot in recorder.of(ShotFinished)]
    assert found == ([False, True] if change == "earlier shots" else [False])


@pytest.mark.slow
def test_report_without_an_evaluated_result_is_damaged(short, tmp_path):
    run = RunFolder(tmp_path / "run")
    Recorder().run(short, run.path)
    report = to_builtins(run.read_report()) | {"recovered": None}
    run.report_path.write_bytes(sealed_json(report, REPORT))
    with pytest.raises(RunFolderError):
        run.read_report()


@pytest.fixture
def few(monkeypatch):
    """Let two windows suffice in the middle of a run."""
    monkeypatch.setattr(evaluate_module, "_FEWEST", 2)
    monkeypatch.setattr(evaluate_module, "_ERROR", 1e9)


def whole_and_part(state):
    """Return the evaluations of a state on all windows and on a part of them."""
    for layer in state.loaded.layers:
        layer.write(layer.weight() * 0.9)
    return [
        evaluation(state, silent_context(), 1, is_result=is_result)
        for is_result in (True, False)
    ]


def test_part_of_the_windows_suffices_in_the_middle_of_a_run(few):
    del few
    state = make_state()
    state.halve_batch()  # one window of three at a time
    evaluate_original(state, silent_context())
    baseline = state.baseline
    whole, part = whole_and_part(state)
    assert (whole.windows, part.windows) == (3, 2)
    assert is_whole(whole, state.references)
    assert not is_whole(part, state.references)
    _, reference = state.references.texts[0]
    found = compare(state.loaded.model, reference, lambda: None)
    assert part.divergence == pytest.approx(float(found.nats[:2].mean()), rel=1e-5)
    rise = float((found.loss - found.original_loss)[:2].mean())
    assert part.loss == pytest.approx(baseline.loss + rise, rel=1e-5)
    assert part.perplexity == pytest.approx(baseline.perplexity * math.exp(rise))
    assert part.loss != pytest.approx(float(found.loss[:2].mean()), rel=1e-4)


def test_more_windows_are_taken_for_a_smaller_error(few, monkeypatch):
    del few
    state = make_state()
    state.halve_batch()
    evaluate_original(state, silent_context())
    monkeypatch.setattr(evaluate_module, "_ERROR", 0.0)
    whole, part = whole_and_part(state)
    assert part == whole


@pytest.mark.slow
@pytest.mark.parametrize("stops", [False, True])
def test_result_of_a_run_is_evaluated_on_all_windows(few, short, tmp_path, stops):
    del few
    config = replace(
        short,
        calibration=replace(short.calibration, batch=1),
        pruning=replace(short.pruning, shots=2),
        recovery=RecoveryConfig(Recovery.OFF),
    )
    recorder = Recorder()
    recorder.context.stop_after = 1 if stops else 0
    recorder.run(config, tmp_path / "run")
    counts = [shot.evaluation.windows for shot in recorder.of(ShotFinished)]
    assert counts == [2, 3]
    report = RunFolder(tmp_path / "run").read_report()
    assert report.evaluation.windows == 3
    assert len(report.shots) == (1 if stops else 2)


@pytest.mark.slow
def test_every_shot_with_a_quality_limit_is_evaluated_on_all_windows(
    few, short, tmp_path
):
    del few
    config = replace(
        short,
        calibration=replace(short.calibration, batch=1),
        pruning=replace(short.pruning, shots=2, max_divergence=10.0),
    )
    recorder = Recorder().run(config, tmp_path / "run")
    counts = [shot.evaluation.windows for shot in recorder.of(ShotFinished)]
    assert counts == [3, 3]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0.0, 10.0])
def test_error_of_16_bit_products_is_measured_once_in_a_run(
    short, tmp_path, monkeypatch, limit
):
    fast = partial(torch.autocast, "cpu", torch.bfloat16)
    monkeypatch.setattr(evaluate_module, "fast_products", lambda _: fast())
    monkeypatch.setattr(evaluate_module, "_ROUNDING", math.inf)
    config = replace(
        short,
        pruning=replace(short.pruning, max_divergence=limit),
        evaluation=EvaluationConfig(0),
    )
    recorder = Recorder().run(config, tmp_path / "run")
    (shot,), (recovered,) = recorder.of(ShotFinished), recorder.of(Recovered)
    assert recovered.evaluation.rounding == shot.evaluation.rounding > 0
    assert recovered.evaluation.divergence != shot.evaluation.divergence
