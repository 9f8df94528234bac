"""A quality budget counts the gain of recovery, and rolls a harmful one back."""

import math

import msgspec
import pytest
import torch
from transformers import AutoModelForCausalLM

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.recovery import Recovery
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import (
    Recovered,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.recovery.recover import recover
from surgeon_engine.run.pipeline import prune
from surgeon_engine.shots import loop
from tests.helpers.costly_runs import (
    allowed,
    costly_elements,
    costly_job,
    is_marked,
    mark,
    markable,
    removed_share,
    rolled_back_by,
    with_recovery,
)
from tests.helpers.interrupted_runs import assert_same_result, resumed
from tests.helpers.pruning_states import silent_context
from tests.helpers.runs import (
    Recorder,
    assert_same_tensors,
    exported_tensors,
    job,
    outcome,
)

pytestmark = [pytest.mark.usefixtures("quick_runs"), pytest.mark.slow]


def test_recovery_that_exceeds_the_limit_is_rolled_back(tmp_path, monkeypatch):
    """Recovery uses the calibration text, the limit the validation text."""
    plain = costly_elements(tmp_path, monkeypatch, 1, 20, windows=8, sparsity=0.1)
    config = with_recovery(plain)
    without = outcome(plain, tmp_path / "without")

    def recovered_by(factor):
        def scaled(state, before, evaluate, *_):
            for layer in state.loaded.layers:
                layer.write(layer.weight() * factor)
            return Recovered(0.2, 0.1, 1, 0, evaluate(), 1.0)

        monkeypatch.setattr(loop, "recover", scaled)
        found = outcome(config, tmp_path / f"by-{factor}")
        same = [torch.equal(W, without.after[name]) for name, W in found.after.items()]
        return found, RunFolder(found.folder).read_report(), same

    found, report, same = recovered_by(1.001)
    assert not any(same)
    (recovered,) = found.recorder.of(Recovered)
    assert recovered.evaluation.perplexity <= allowed(found, 20)
    assert report.recovered == recovered
    found, report, same = recovered_by(0)
    assert all(same)
    assert not found.recorder.of(Recovered)
    assert report.recovered is None
    (message,) = rolled_back_by(found.recorder)
    assert message.startswith("After recovery perplexity is")


@pytest.mark.parametrize("gain", [0.1, -0.1])
def test_gain_of_recovery_is_used_for_a_smaller_model(tmp_path, monkeypatch, gain):
    """A helpful recovery allows a smaller model; a harmful one does not."""
    plain = markable(tmp_path, monkeypatch, gain)
    config = with_recovery(plain)
    run_shot, starts = loop.run_shot, []

    def watched(state, plan, context, **how):
        starts.append(is_marked(state.loaded.model))
        return run_shot(state, plan, context, **how)

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


def test_stop_before_a_recovery_rejects_nothing_for_good(tmp_path, monkeypatch):
    config = with_recovery(markable(tmp_path, monkeypatch, gain=0.1))
    monkeypatch.setattr(loop, "recover", mark)
    found = outcome(config, tmp_path / "whole")
    limit = allowed(found, 12)
    number = next(s.shot for s in found.shots if s.evaluation.perplexity > limit)
    assert number > 1
    recorder, folder = Recorder(), tmp_path / "stopped"
    recorder.send_at(
        lambda event: isinstance(event, StageStarted) and event.shot == number,
        StopAndKeep,
    )
    recorder.run(config, folder)
    assert rolled_back_by(recorder)
    assert RunFolder(folder).read_report().stopped_early
    resumed(folder)
    assert_same_result(folder, tmp_path / "whole")


def test_last_shot_whose_recovery_is_cut_is_repeated(tmp_path, monkeypatch):
    """It meets the limit, but a whole recovery may gain more."""
    config = with_recovery(
        costly_job(
            tmp_path,
            monkeypatch,
            lambda model: -0.3 * is_marked(model),
            windows=8,
            structure=Structure.NEURONS,
            shots=2,
            sparsity=0.3,
            max_perplexity_increase=20,
        )
    )
    cut = Recorder()

    def marked(state, before, evaluate, context, shot=0):
        found = mark(state, before, evaluate)
        if context is cut.context:
            context.handle(StopAndKeep(run="test"))
        return msgspec.structs.replace(found, stopped_early=context is cut.context)

    monkeypatch.setattr(loop, "recover", marked)
    found = outcome(config, tmp_path / "whole")
    evaluated = [shot.evaluation.perplexity for shot in found.shots]
    assert evaluated[0] < allowed(found, 20) < evaluated[1]
    cut.run(config, tmp_path / "cut")
    assert len(cut.of(ShotFinished)) == 2
    assert cut.of(Recovered)[0].stopped_early
    assert RunFolder(tmp_path / "cut").read_report().stopped_early
    resumed(tmp_path / "cut")
    assert_same_result(tmp_path / "cut", tmp_path / "whole")


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


def test_failed_recovery_loses_no_shot(tmp_path, monkeypatch):
    plain = job(tmp_path, windows=8, shots=2)
    without = outcome(plain, tmp_path / "without")
    for error, message in (
        (EvaluationError("The loss is nan."), "The loss is nan."),
        (MemoryError(), "There is not enough memory for it."),
    ):

        def fails(state, before, evaluate, *_, error=error):
            with torch.no_grad():
                for parameter in state.loaded.model.model.layers.parameters():
                    parameter.mul_(2)  # norms, too
            raise error

        monkeypatch.setattr(loop, "recover", fails)
        found = outcome(with_recovery(plain), tmp_path / type(error).__name__)
        messages = [event.message for event in found.recorder.of(Logged)]
        assert f"Recovery is rolled back. {message}" in messages
        assert RunFolder(found.folder).read_report().recovered is None
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
    assert not found.recorder.of(Recovered)
    warnings = [event.message for event in found.recorder.warnings()]
    assert sum("too few windows" in message for message in warnings) == 1
