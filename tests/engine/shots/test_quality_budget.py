"""A run with a quality budget never exports a model above the perplexity limit."""

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
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Estimate,
    Evaluation,
    Fidelity,
    RunFinished,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import CurvatureError, PruningError
from surgeon_engine.model.coupling import coupled_groups
from surgeon_engine.shots import loop
from surgeon_engine.shots.quality_budget import QualityBudget
from tests.helpers.configs import pruning_config
from tests.helpers.costly_runs import (
    allowed,
    costly_elements,
    costly_job,
    removed_share,
    rolled_back_by,
    weights_of,
    with_recovery,
)
from tests.helpers.runs import Recorder, job, outcome
from tests.helpers.tiny_models import tiny_model

pytestmark = [pytest.mark.usefixtures("quick_runs"), pytest.mark.slow]


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
    assert found.zeros == found.reported  # rolled-back removals are not in the file
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
        budget.headroom(baseline)
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
    """The weights are as in a run with the target that the budget allowed."""
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
    def fails(*_, **__):
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
    # A resumed run tries the step with recovery that was rejected without.
    steps = RunFolder(tmp_path / "run").saved_state.read().steps
    assert rolled_back_by(recorder)
    assert 0 < steps.done < steps.step
    assert steps.rejected is None


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
