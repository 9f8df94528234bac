"""A run with a quality budget never exports a model above the perplexity limit."""

from __future__ import annotations

import dataclasses
import math

import msgspec
import pytest
import torch
from transformers import AutoModelForCausalLM

from surgeon_engine.api.config.pruning import (
    Damping,
    Method,
    Schedule,
    Structure,
    Widths,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Estimate,
    Evaluation,
    Fidelity,
    Recovered,
    RunFinished,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import CurvatureError, EvaluationError, PruningError
from surgeon_engine.evaluation.evaluate import evaluate
from surgeon_engine.model.coupling import coupled_groups
from surgeon_engine.recovery.recover import recover
from surgeon_engine.run.pipeline import prune
from surgeon_engine.shots import loop
from surgeon_engine.shots import shot as shot_module
from surgeon_engine.shots.quality_budget import QualityBudget
from tests.helpers.configs import pruning_config
from tests.helpers.pruning_states import silent_context
from tests.helpers.runs import (
    Recorder,
    assert_same_tensors,
    exported_tensors,
    job,
    outcome,
)
from tests.helpers.tiny_models import tiny_model

pytestmark = [pytest.mark.usefixtures("quick_runs"), pytest.mark.slow]


def allowed(found, rise) -> float:
    (baseline,) = found.recorder.of(BaselineEvaluated)
    return baseline.evaluation.perplexity * (1 + rise / 100)


def costly_job(folder, monkeypatch, loss_of=lambda model: 0.0, **settings):
    """Return a job on a model whose loss rises with each removal.

    The loss of random models hardly rises and may even fall; here it is 3 plus the
    removed share plus `loss_of`, and the KL to the original is what it rises by.
    """
    settings.setdefault("method", Method.MAGNITUDE)  # the fastest
    evaluate_model = evaluate

    def evaluate_by_share(model, *arguments, **options):
        found = evaluate_model(model, *arguments, **options)
        rise = removed_share(model) + loss_of(model)
        nats = Estimate(rise, rise, rise)
        return msgspec.structs.replace(
            found,
            loss=3 + rise,
            perplexity=math.exp(3 + rise),
            fidelity=(msgspec.structs.replace(found.fidelity[0], divergence=nats),),
        )

    monkeypatch.setattr(shot_module, "evaluate", evaluate_by_share)
    return job(folder, **settings)


def costly_elements(folder, monkeypatch, shots, rise, **settings):
    """Return a job that removes single weights, half of them, in a quality budget."""
    elements = {"structure": Structure.ELEMENTS, "sparsity": 0.5, "shots": shots}
    settings = elements | settings | {"max_perplexity_increase": rise}
    return costly_job(folder, monkeypatch, **settings)


def rolled_back_by(recorder) -> list[str]:
    """Return the logged messages about rolled back shots."""
    messages = [event.message for event in recorder.of(Logged)]
    return [message for message in messages if "rolled back" in message]


def with_recovery(plain, level=Recovery.REFIT):
    """Return the job with recovery on its calibration windows."""
    recovery = RecoveryConfig(level, own_windows=0)
    return dataclasses.replace(plain, recovery=recovery)


def removed_share(model) -> float:
    """Return the share of weights that are zero or compacted away."""
    whole = weights_of(tiny_model("llama"))
    left = sum(int((p != 0).sum()) for p in weights_of(model))
    return 1 - left / sum(p.numel() for p in whole)


def weights_of(model):
    return [p for p in model.model.layers.parameters() if p.ndim == 2]


@pytest.mark.parametrize(
    ("structure", "rise"),
    [(Structure.HEADS_AND_NEURONS, 20), (Structure.ROWS_AND_COLUMNS, 5)],
)
def test_run_never_exceeds_the_limit_and_exports_the_last_valid_state(
    tmp_path, monkeypatch, structure, rise
):
    config = costly_job(
        tmp_path,
        monkeypatch,
        structure=structure,
        sparsity=0.5,
        shots=3,
        max_perplexity_increase=rise,
    )
    found = outcome(config, tmp_path / "run")
    limit = allowed(found, rise)
    assert found.shots
    for shot in found.shots:
        assert shot.evaluation.perplexity <= limit
    assert [shot.shot for shot in found.shots] == list(range(1, len(found.shots) + 1))
    assert found.shots[-1].target < 0.5
    rolled_back = rolled_back_by(found.recorder)
    assert rolled_back
    assert f"above the limit of {limit:.2f}" in rolled_back[0]
    assert found.zeros == found.reported  # what was rolled back is not in the file
    model = AutoModelForCausalLM.from_pretrained(found.folder / "export")
    perplexity = math.exp(3 + removed_share(model))
    assert perplexity == pytest.approx(found.shots[-1].evaluation.perplexity)
    # An eighth of a shot more would exceed the limit.
    further = removed_share(model) + 0.5 / 3 / 8
    assert math.exp(3 + further) > limit * (1 - 0.02)


def test_run_never_exceeds_a_limit_of_the_divergence(tmp_path, monkeypatch):
    """A step of the single shot is an eighth of 0.5; 0.125 is the last below 0.15."""
    settings = {"structure": Structure.ELEMENTS, "sparsity": 0.5, "shots": 1}
    config = costly_job(tmp_path, monkeypatch, **settings, max_divergence=0.15)
    found = outcome(config, tmp_path / "run")
    assert [round(shot.sparsity, 4) for shot in found.shots] == [0.125]
    assert found.shots[0].evaluation.divergence == pytest.approx(0.125)
    rolled_back = rolled_back_by(found.recorder)
    assert (
        "the KL to the original is 0.5 nats, above the limit of 0.15"
        in (rolled_back[0])
    )
    assert not any("perplexity" in message for message in rolled_back)


def test_the_lower_of_two_limits_decides():
    pruning = pruning_config(max_perplexity_increase=20, max_divergence=0.3)
    text = Fidelity(*[Estimate(0.25, 0.2, 0.3)] * 3, 4, 16, "text")
    baseline = Evaluation(2.3, 10.0, 4, 16, "text", fidelity=(text,))
    budget = QualityBudget.of(pruning, baseline)
    assert not budget.is_exceeded_by(baseline)
    assert budget.is_exceeded_by(msgspec.structs.replace(baseline, perplexity=12.5))
    far = msgspec.structs.replace(text, divergence=Estimate(0.31, 0.3, 0.32))
    assert budget.is_exceeded_by(msgspec.structs.replace(baseline, fidelity=(far,)))
    assert "perplexity 10.00 and a KL of 0.25, below the limit of 12.00 and 0.3" in (
        budget.log_headroom(baseline).message
    )
    assert "perplexity above 12.00" in budget.error().message
    assert "KL to the original above 0.3 nats" in budget.error().message


def test_rejected_step_is_not_repeated(tmp_path, monkeypatch):
    """Perplexity rises by 16 % where 14.8 % are removed."""
    config = costly_elements(tmp_path, monkeypatch, shots=2, rise=16)
    found = outcome(config, tmp_path / "run")
    rolled_back = rolled_back_by(found.recorder)
    tried = [message.split()[4] for message in rolled_back]  # at a sparsity of ...
    assert tried == ["25", "18.75", "15.62"]
    assert [round(shot.sparsity, 4) for shot in found.shots] == [0.125]


def test_rollback_restores_the_weights_of_the_last_shot(tmp_path, monkeypatch):
    """The weights equal those of a run with the target that the budget allowed."""
    method = Method.LLM_SURGEON  # updates the remaining weights
    budgeted = costly_elements(tmp_path, monkeypatch, 1, 20, method=method)
    found = outcome(budgeted, tmp_path / "budgeted")
    (shot,) = found.shots
    assert shot.sparsity == pytest.approx(0.125)  # a quarter: steps 8, 4, 2
    plain = job(tmp_path, structure=Structure.ELEMENTS, sparsity=0.125, method=method)
    other = outcome(plain, tmp_path / "plain")
    for name, W in found.after.items():
        assert torch.equal(W, other.after[name])


def test_budget_below_the_smallest_step_raises_an_error_with_the_numbers(
    tmp_path, monkeypatch
):
    searched = {"method": Method.LLM_SURGEON, "damping": Damping.AUTOMATIC}
    config = costly_elements(tmp_path, monkeypatch, 1, 0.01, **searched)
    recorder = Recorder()
    with pytest.raises(PruningError) as error:
        recorder.run(config, tmp_path / "run")
    assert "Even the smallest step takes perplexity above 20.09" in error.value.message
    assert "0.01 % more than the original's 20.09" in error.value.message
    assert "Raise the limit" in error.value.hint
    assert not recorder.of(ShotFinished)
    assert len(rolled_back_by(recorder)) == 4
    assert not (tmp_path / "run" / "export").exists()


def test_measurement_error_is_logged_and_raised(tmp_path, monkeypatch):
    def fails(*_):
        raise CurvatureError("The inputs of one layer are not finite.", "Try float32.")

    monkeypatch.setattr(loop, "run_shot", fails)
    recorder = Recorder()
    with pytest.raises(CurvatureError, match="one layer are not finite"):
        recorder.run(job(tmp_path, max_perplexity_increase=5), tmp_path / "run")
    messages = [event.message for event in recorder.of(Logged)]
    assert (
        messages
        == ["A shot is rolled back. The inputs of one layer are not finite."] * 4
    )


def test_run_that_the_budget_ends_counts_as_finished(tmp_path, monkeypatch):
    config = costly_elements(tmp_path, monkeypatch, 4, 20, schedule=Schedule.CUBIC)
    found = outcome(config, tmp_path / "run")
    (finished,) = found.recorder.of(RunFinished)
    assert not finished.stopped_early
    sparsities = [shot.sparsity for shot in found.shots]
    assert sparsities == sorted(sparsities)


def test_run_stopped_before_the_first_shot_keeps_the_first_valid_one(
    tmp_path, monkeypatch
):
    config = costly_elements(tmp_path, monkeypatch, 2, 20, sparsity=0.6)
    recorder = Recorder()
    recorder.send_at(lambda event: isinstance(event, BaselineEvaluated), StopAndKeep)
    recorder.run(with_recovery(config), tmp_path / "run")
    assert len(recorder.of(ShotFinished)) == 1
    assert recorder.of(RunFinished)[0].stopped_early
    started = recorder.of(StageStarted)
    assert not any(event.shot for event in started if event.stage is Stage.REFIT)


@pytest.mark.parametrize("allowed_after", [True, False])
def test_recovery_that_exceeds_the_limit_is_rolled_back(
    tmp_path, monkeypatch, allowed_after
):
    """Recovery uses the calibration text, the limit the validation text."""
    plain = costly_elements(tmp_path, monkeypatch, 1, 20, windows=8, sparsity=0.1)
    config = with_recovery(plain)
    without = outcome(plain, tmp_path / "without")

    def scaled(state, before, evaluate, *_):
        for layer in state.loaded.layers:
            layer.write(layer.weight() * (1.001 if allowed_after else 0))
        return Recovered(0.2, 0.1, 1, 0, evaluate(), 1.0)

    monkeypatch.setattr(loop, "recover", scaled)
    found = outcome(config, tmp_path / "run")
    same = [torch.equal(W, without.after[name]) for name, W in found.after.items()]
    report = RunFolder(tmp_path / "run").read_report()
    if allowed_after:
        assert not any(same)
        (recovered,) = found.recorder.of(Recovered)
        assert recovered.evaluation.perplexity <= allowed(found, 20)
        assert report.recovered == recovered
        return
    assert all(same)
    assert not found.recorder.of(Recovered)
    assert report.recovered is None
    (message,) = rolled_back_by(found.recorder)
    assert message.startswith("After recovery perplexity is")


MARK = 123.0  # a weight of a model that was recovered


def is_marked(model) -> bool:
    return model.model.layers[0].self_attn.q_proj.weight[0, 0].item() == MARK


def mark(state, before, evaluate, *_):
    """Replace recovery: mark the model."""
    layer = state.loaded.layers[0]
    W = layer.weight()
    W[0, 0] = MARK
    layer.write(W)
    return Recovered(0.2, 0.1, 1, 0, evaluate(), 1.0)


def markable(folder, monkeypatch, gain):
    """Return a job without recovery; marking its model lowers the loss by `gain`."""
    return costly_job(
        folder,
        monkeypatch,
        lambda model: -gain * is_marked(model),
        windows=8,
        structure=Structure.NEURONS,
        sparsity=0.4,
        shots=4,
        max_perplexity_increase=12,
    )


@pytest.mark.parametrize("gain", [0.1, -0.1])
def test_gain_of_recovery_is_used_for_a_smaller_model(tmp_path, monkeypatch, gain):
    """A helpful recovery allows a smaller model; a harmful one does not."""
    plain = markable(tmp_path, monkeypatch, gain)
    config = with_recovery(plain)
    run_shot, starts = loop.run_shot, []

    def watched(state, plan, context):
        starts.append(is_marked(state.loaded.model))
        return run_shot(state, plan, context)

    monkeypatch.setattr(loop, "run_shot", watched)
    monkeypatch.setattr(loop, "recover", mark)
    without = outcome(plain, tmp_path / "without")
    found = outcome(config, tmp_path / "run")
    limit = allowed(found, 12)
    report = RunFolder(tmp_path / "run").read_report()
    pruned = AutoModelForCausalLM.from_pretrained(found.folder / "export")
    rolled_back = rolled_back_by(found.recorder)
    assert rolled_back
    assert not any(starts)  # each shot starts from the weights before recovery
    assert found.zeros == found.reported
    if gain < 0:
        assert found.shots[-1].sparsity == without.shots[-1].sparsity
        assert not is_marked(pruned)
        assert report.recovered is None
        return
    assert found.shots[-1].sparsity > without.shots[-1].sparsity
    assert found.shots[-1].evaluation.perplexity > limit
    (recovered,) = found.recorder.of(Recovered)
    assert report.recovered == recovered
    assert recovered.evaluation.perplexity <= limit
    assert is_marked(pruned)
    perplexity = math.exp(3 + removed_share(pruned) - gain)
    assert perplexity == pytest.approx(recovered.evaluation.perplexity)
    assert all(", after recovery, perplexity is" in x for x in rolled_back)


@pytest.mark.parametrize(
    ("gain", "sparsity", "rise"),
    [
        pytest.param(0.25, 0.3, 12, id="which alone would pass the limit"),
        pytest.param(0.05, 0.1, 50, id="which keeps it anyway"),
    ],
)
def test_headroom_is_logged_for_the_recovered_model(
    tmp_path, monkeypatch, gain, sparsity, rise
):
    plain = costly_job(
        tmp_path,
        monkeypatch,
        lambda model: -gain * is_marked(model),
        windows=8,
        structure=Structure.NEURONS,
        sparsity=sparsity,
        max_perplexity_increase=rise,
    )
    monkeypatch.setattr(loop, "recover", mark)
    found = outcome(with_recovery(plain), tmp_path / "run")
    (recovered,) = found.recorder.of(Recovered)
    messages = [x.message for x in found.recorder.of(Logged)]
    reached = f"reached at perplexity {recovered.evaluation.perplexity:.2f}, below"
    alone = found.shots[-1].evaluation.perplexity
    assert recovered.evaluation.perplexity < alone
    assert (alone > allowed(found, rise)) == (rise == 12)
    assert any(reached in message for message in messages)


def test_recovery_failing_between_shots_rolls_back_its_shot_alone(
    tmp_path, monkeypatch
):
    config = with_recovery(markable(tmp_path, monkeypatch, gain=0.1))
    tries = []

    def fails_once(state, before, evaluate, context, shot=0):
        tries.append(shot)
        found = mark(state, before, evaluate)
        if len(tries) == 1:
            raise EvaluationError("The loss is nan.", "")
        return found

    monkeypatch.setattr(loop, "recover", fails_once)
    found = outcome(config, tmp_path / "run")
    messages = [event.message for event in found.recorder.of(Logged)]
    assert "A shot is rolled back. The loss is nan." in messages
    (recovered,) = found.recorder.of(Recovered)
    assert recovered.evaluation.perplexity <= allowed(found, 12)
    assert found.zeros == found.reported
    kept = [message for message in messages if message.endswith(": kept.")]
    assert len(kept) == len(
        [s for s in found.shots if s.evaluation.perplexity > allowed(found, 12)]
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (EvaluationError("The loss is nan."), "The loss is nan."),
        (MemoryError(), "There is not enough memory for it."),
    ],
)
def test_failed_recovery_loses_no_shot(tmp_path, monkeypatch, error, message):
    plain = job(tmp_path, windows=8, shots=2)
    without = outcome(plain, tmp_path / "without")

    def fails(state, before, evaluate, *_):
        with torch.no_grad():
            for parameter in state.loaded.model.model.layers.parameters():
                parameter.mul_(2)  # norms, too
        raise error

    monkeypatch.setattr(loop, "recover", fails)
    found = outcome(with_recovery(plain), tmp_path / "run")
    messages = [event.message for event in found.recorder.of(Logged)]
    assert f"Recovery is rolled back. {message}" in messages
    assert RunFolder(tmp_path / "run").read_report().recovered is None
    assert_same_tensors(
        exported_tensors(found.folder), exported_tensors(without.folder)
    )


def test_programming_error_in_recovery_is_raised(tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(loop, "recover", fails)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        prune(
            with_recovery(job(tmp_path, windows=8)),
            tmp_path / "run",
            silent_context(),
        )


def has_trained_norm(model) -> bool:
    return bool((model.model.norm.weight != 1).any())


def recover_with_norm(state, before, evaluate, context, shot=0):
    """Recover the model, and surely change its last norm."""
    found = recover(state, before, evaluate, context, shot)
    with torch.no_grad():
        state.loaded.model.model.norm.weight.add_(0.1)
    return msgspec.structs.replace(found, evaluation=evaluate())


@pytest.mark.parametrize("rise", [8, 50])
def test_rejected_distillation_leaves_no_trace(tmp_path, monkeypatch, rise):
    """Here perplexity rises with a trained norm, in a shot and after the last one."""
    monkeypatch.setattr(loop, "recover", recover_with_norm)
    plain = costly_job(
        tmp_path,
        monkeypatch,
        lambda model: float(has_trained_norm(model)),
        windows=8,
        structure=Structure.ELEMENTS,
        sparsity=0.1,
        max_perplexity_increase=rise,
    )
    without = outcome(plain, tmp_path / "without")
    config = with_recovery(plain, Recovery.DISTILLATION)
    found = outcome(config, tmp_path / "run")
    started = found.recorder.of(StageStarted)
    trained = [event.shot for event in started if event.stage is Stage.DISTILLATION]
    assert trained[-1] == 0
    assert (len(trained) > 1) == (rise == 8)
    assert len(rolled_back_by(found.recorder)) == len(trained)
    assert not found.recorder.of(Recovered)
    assert_same_tensors(
        exported_tensors(found.folder), exported_tensors(without.folder)
    )


def test_shot_that_recovery_brings_within_the_limit_is_kept(tmp_path, monkeypatch):
    """Here perplexity falls with a trained norm."""
    monkeypatch.setattr(loop, "recover", recover_with_norm)
    plain = costly_job(
        tmp_path,
        monkeypatch,
        lambda model: -0.1 * has_trained_norm(model),
        windows=8,
        structure=Structure.NEURONS,
        sparsity=0.12,
        shots=2,
        max_perplexity_increase=8,
    )
    config = with_recovery(plain, Recovery.DISTILLATION)
    found = outcome(config, tmp_path / "run")
    first, last = found.shots
    limit = allowed(found, 8)
    assert first.evaluation.perplexity < limit < last.evaluation.perplexity
    (recovered,) = found.recorder.of(Recovered)
    assert recovered.evaluation.perplexity < limit
    model = AutoModelForCausalLM.from_pretrained(found.folder / "export")
    perplexity = math.exp(3 + removed_share(model) - 0.1)
    assert perplexity == pytest.approx(recovered.evaluation.perplexity)
    assert has_trained_norm(model)
    # The recovery of the last shot is not repeated after it.
    stages = [(e.stage, e.shot) for e in found.recorder.of(StageStarted)]
    assert stages.count((Stage.DISTILLATION, 2)) == 1
    assert (Stage.DISTILLATION, 0) not in stages


def test_too_little_text_for_recovery_is_logged_once(tmp_path, monkeypatch):
    plain = costly_elements(tmp_path, monkeypatch, 1, 16, windows=1)
    found = outcome(with_recovery(plain), tmp_path / "run")
    assert rolled_back_by(found.recorder)
    assert found.shots
    warnings = [event.message for event in found.recorder.warnings()]
    assert sum("too few windows" in message for message in warnings) == 1


def test_shot_that_would_remove_the_same_is_not_tried(tmp_path, monkeypatch):
    """Blocks lose 4 neurons, then 5: a target of 17 removes 8, and so does 8.5."""
    first = coupled_groups(Structure.NEURONS, tiny_model("llama"))[0]
    weights = sum(p.numel() for p in weights_of(tiny_model("llama")))
    config = costly_job(
        tmp_path,
        monkeypatch,
        structure=Structure.NEURONS,
        widths=Widths.SAME,
        width_multiple=5,
        sparsity=17 * first.weights_per_group / weights,
        max_perplexity_increase=0.5,
    )
    recorder = Recorder()
    with pytest.raises(PruningError, match="Even the smallest step"):
        recorder.run(config, tmp_path / "run")
    tried = [message.split()[4] for message in rolled_back_by(recorder)]
    assert tried == ["10"]  # a sparsity in percent


def test_stop_during_the_export_changes_nothing(tmp_path, monkeypatch):
    recorder = Recorder()
    recorder.send_at(lambda event: event == StageStarted(Stage.EXPORT, 0), StopAndKeep)
    recorder.run(
        costly_elements(tmp_path, monkeypatch, shots=2, rise=16), tmp_path / "run"
    )
    assert recorder.context.stops_after_shot
    assert not recorder.of(RunFinished)[0].stopped_early
    assert not RunFolder(tmp_path / "run").read_report().stopped_early
