"""A run with a quality budget never exports more perplexity than was allowed."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from surgeon_engine.api.config.pruning import (
    Correction,
    Damping,
    Schedule,
    Structure,
    Widths,
)
from surgeon_engine.api.errors import CurvatureError, EvaluationError, PruningError
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Corrected,
    RunFinished,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.evaluation.perplexity import evaluate
from surgeon_engine.model.coupling import coupled_groups
from surgeon_engine.pipeline import prune
from surgeon_engine.recovery.correction import Steps
from surgeon_engine.shots import loop as sequence
from surgeon_engine.shots import shot as shot_module
from tests.helpers.pruning_states import quiet
from tests.helpers.runs import Recorder, job, outcome
from tests.helpers.tiny_models import tiny_model

pytestmark = pytest.mark.usefixtures("quick_runs")
STRUCTURES = (
    Structure.HEADS_AND_NEURONS,
    Structure.ROWS_AND_COLUMNS,
    Structure.ELEMENTS,
    Structure.N_M,
)


def allowed(found, rise) -> float:
    (baseline,) = found.recorder.of(BaselineEvaluated)
    return baseline.evaluation.perplexity * (1 + rise / 100)


def dear(folder, monkeypatch, loss_of=lambda model: 0.0, **settings):
    """A job on a model to which each removal costs something.

    Random models lose little by what is removed, and may even gain: here the loss is
    that of the removed share, and what `loss_of` says.
    """
    measured = evaluate

    def judged(model, windows, batch, text, step):
        found = measured(model, windows, batch, text, step)
        loss = 3 + removed_share(model) + loss_of(model)
        return type(found)(
            loss, math.exp(loss), found.windows, found.window_length, found.text
        )

    monkeypatch.setattr(shot_module, "evaluate", judged)
    return job(folder, **settings)


def dear_elements(folder, monkeypatch, shots, rise):
    """Half of the single weights, as far as the rise allows."""
    settings = {"structure": Structure.ELEMENTS, "sparsity": 0.5}
    return dear(
        folder, monkeypatch, **settings, shots=shots, max_perplexity_increase=rise
    )


def rolled_back_by(recorder) -> list[str]:
    """The messages of the log about what was rolled back."""
    messages = [event.message for event in recorder.of(Logged)]
    return [message for message in messages if "rolled back" in message]


def with_correction(plain):
    """The same job, corrected at the end."""
    pruning = dataclasses.replace(plain.pruning, correction=Correction.LOSS)
    return dataclasses.replace(plain, pruning=pruning)


def removed_share(model) -> float:
    """Zeros, and what has been taken out of the model."""
    whole = weights_of(tiny_model("llama"))
    left = sum(int((p != 0).sum()) for p in weights_of(model))
    return 1 - left / sum(p.numel() for p in whole)


def weights_of(model):
    return [p for p in model.model.layers.parameters() if p.ndim == 2]


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("rise", [5, 20])
def test_the_limit_is_never_passed_and_the_last_good_state_is_exported(
    tmp_path, monkeypatch, structure, rise
):
    wanted = dear(
        tmp_path,
        monkeypatch,
        structure=structure,
        sparsity=0.5,
        shots=3,
        max_perplexity_increase=rise,
    )
    found = outcome(wanted, tmp_path / "run")
    most = allowed(found, rise)
    assert found.shots
    for shot in found.shots:
        assert shot.evaluation.perplexity <= most
    assert [shot.shot for shot in found.shots] == list(range(1, len(found.shots) + 1))
    assert found.shots[-1].target < 0.5
    rolled_back = rolled_back_by(found.recorder)
    assert rolled_back
    assert f"above the limit of {most:.2f}" in rolled_back[0]
    assert found.zeros == found.reported  # what was rolled back is not in the file
    model = AutoModelForCausalLM.from_pretrained(found.folder / "export")
    perplexity = math.exp(3 + removed_share(model))
    assert perplexity == pytest.approx(found.shots[-1].evaluation.perplexity)
    # An eighth of a shot more would have been too much.
    further = removed_share(model) + 0.5 / 3 / 8
    assert math.exp(3 + further) > most * (1 - 0.02)


def test_what_was_undone_is_not_asked_for_again(tmp_path, monkeypatch):
    """Perplexity rises by 16 % where 14.8 % are gone."""
    wanted = dear_elements(tmp_path, monkeypatch, shots=2, rise=16)
    found = outcome(wanted, tmp_path / "run")
    rolled_back = rolled_back_by(found.recorder)
    tried = [message.split()[4] for message in rolled_back]  # at a sparsity of ...
    assert tried == ["25.00%", "18.75%", "15.62%"]
    assert [round(shot.sparsity, 4) for shot in found.shots] == [0.125]


def test_what_is_undone_leaves_the_weights_of_the_last_shot(tmp_path, monkeypatch):
    """The same as a run whose goal is what the budget allowed."""
    budgeted = dear_elements(tmp_path, monkeypatch, shots=1, rise=20)
    found = outcome(budgeted, tmp_path / "budgeted")
    (shot,) = found.shots
    assert shot.sparsity == pytest.approx(0.125)  # a quarter: steps 8, 4, 2
    plain = job(tmp_path, structure=Structure.ELEMENTS, sparsity=0.125)
    other = outcome(plain, tmp_path / "plain")
    for name, W in found.after.items():
        assert torch.equal(W, other.after[name])


def test_a_budget_that_is_not_spent_changes_nothing(tmp_path):
    exports = []
    for rise in (0.0, 100.0):
        wanted = job(tmp_path, sparsity=0.3, shots=2, max_perplexity_increase=rise)
        found = outcome(wanted, tmp_path / str(rise))
        if rise:
            assert max(s.evaluation.perplexity for s in found.shots) <= allowed(
                found, rise
            )
        assert len(found.shots) == 2
        exports.append(found.after)
    for name, W in exports[0].items():
        assert torch.equal(W, exports[1][name])


@pytest.mark.parametrize("damping", Damping)
def test_a_budget_that_nothing_fits_is_refused_in_a_sentence(
    tmp_path, monkeypatch, damping
):
    wanted = dear(
        tmp_path,
        monkeypatch,
        structure=Structure.ELEMENTS,
        sparsity=0.5,
        max_perplexity_increase=0.01,
        damping=damping,
    )
    recorder = Recorder()
    with pytest.raises(PruningError) as error:
        recorder.run(wanted, tmp_path / "run")
    assert "Even the smallest step takes perplexity above 20.09" in error.value.message
    assert "0.01 % more than the original's 20.09" in error.value.message
    assert "Allow more perplexity" in error.value.hint
    assert not recorder.of(ShotFinished)
    assert len(rolled_back_by(recorder)) == 4
    assert not (tmp_path / "run" / "export").exists()


def test_what_cannot_be_measured_is_told_as_it_is(tmp_path, monkeypatch):
    def fails(*_):
        raise CurvatureError("The inputs of one layer are not finite.", "Try float32.")

    monkeypatch.setattr(sequence, "run_shot", fails)
    recorder = Recorder()
    with pytest.raises(CurvatureError, match="one layer are not finite"):
        recorder.run(job(tmp_path, max_perplexity_increase=5), tmp_path / "run")
    told = [event.message for event in recorder.of(Logged)]
    assert (
        told == ["A shot is rolled back. The inputs of one layer are not finite."] * 4
    )


@pytest.mark.parametrize("schedule", Schedule)
def test_a_run_that_the_budget_ends_counts_as_finished(tmp_path, monkeypatch, schedule):
    wanted = dear(
        tmp_path,
        monkeypatch,
        structure=Structure.ELEMENTS,
        sparsity=0.5,
        shots=4,
        max_perplexity_increase=20,
        schedule=schedule,
    )
    found = outcome(wanted, tmp_path / "run")
    (finished,) = found.recorder.of(RunFinished)
    assert not finished.stopped_early
    sparsities = [shot.sparsity for shot in found.shots]
    assert sparsities == sorted(sparsities)


@pytest.mark.parametrize("rise", [0, 20])
def test_to_stop_before_the_first_shot_keeps_the_first_that_fits(
    tmp_path, monkeypatch, rise
):
    wanted = dear(
        tmp_path,
        monkeypatch,
        structure=Structure.ELEMENTS,
        sparsity=0.6,
        shots=2,
        max_perplexity_increase=rise,
    )
    recorder = Recorder()
    recorder.react = lambda event: (
        recorder.context.handle(StopAndKeep(run="test"))
        if isinstance(event, BaselineEvaluated)
        else None
    )
    recorder.run(wanted, tmp_path / "run")
    assert len(recorder.of(ShotFinished)) == 1
    assert recorder.of(RunFinished)[0].stopped_early


@pytest.mark.parametrize("allowed_after", [True, False])
def test_a_correction_that_passes_the_limit_is_undone(
    tmp_path, monkeypatch, allowed_after
):
    """It follows the calibration text; what counts is the validation text."""
    plain = dear(
        tmp_path,
        monkeypatch,
        windows=8,
        structure=Structure.ELEMENTS,
        sparsity=0.1,
        max_perplexity_increase=20,
    )
    wanted = with_correction(plain)
    without = outcome(plain, tmp_path / "without")

    def correct(state, context, shot=0):
        for layer in state.loaded.layers:
            layer.write(layer.weight() * (1.001 if allowed_after else 0))
        return Steps((0.1,), 2.0, 1.0)

    monkeypatch.setattr(sequence, "correct", correct)
    found = outcome(wanted, tmp_path / "run")
    same = [torch.equal(W, without.after[name]) for name, W in found.after.items()]
    report = RunFolder(tmp_path / "run").read_report()
    if allowed_after:
        assert not any(same)
        (corrected,) = found.recorder.of(Corrected)
        assert corrected.evaluation.perplexity <= allowed(found, 20)
        assert report.corrected == corrected
        return
    assert all(same)
    assert not found.recorder.of(Corrected)
    assert report.corrected is None
    (message,) = rolled_back_by(found.recorder)
    assert message.startswith("After the correction perplexity is")


MARK = 123.0  # a weight of a model that was corrected


def is_marked(model) -> bool:
    return model.model.layers[0].self_attn.q_proj.weight[0, 0].item() == MARK


def mark(state, context, shot=0):
    """In place of the correction."""
    layer = state.loaded.layers[0]
    W = layer.weight()
    W[0, 0] = MARK
    layer.write(W)
    return Steps((0.1,), 2.0, 1.0)


def markable(folder, monkeypatch, gain):
    """A job without the correction, on a model that loses so much less once marked."""
    return dear(
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
def test_what_the_correction_gains_is_spent_too(tmp_path, monkeypatch, gain):
    """With it the budget allows a smaller model, unless it makes things worse."""
    plain = markable(tmp_path, monkeypatch, gain)
    wanted = with_correction(plain)
    monkeypatch.setattr(sequence, "correct", mark)
    without = outcome(plain, tmp_path / "without")
    found = outcome(wanted, tmp_path / "run")
    most = allowed(found, 12)
    report = RunFolder(tmp_path / "run").read_report()
    pruned = AutoModelForCausalLM.from_pretrained(found.folder / "export")
    rolled_back = rolled_back_by(found.recorder)
    assert rolled_back
    assert found.zeros == found.reported
    if gain < 0:
        assert found.shots[-1].sparsity == without.shots[-1].sparsity
        assert not is_marked(pruned)
        assert report.corrected is None
        return
    assert found.shots[-1].sparsity > without.shots[-1].sparsity
    assert found.shots[-1].evaluation.perplexity > most
    (corrected,) = found.recorder.of(Corrected)
    assert report.corrected == corrected
    assert corrected.evaluation.perplexity <= most
    assert is_marked(pruned)
    perplexity = math.exp(3 + removed_share(pruned) - gain)
    assert perplexity == pytest.approx(corrected.evaluation.perplexity)
    assert all(", with the correction, perplexity is" in x for x in rolled_back)


@pytest.mark.parametrize(
    ("gain", "sparsity", "rise"),
    [
        pytest.param(0.25, 0.3, 12, id="which alone would pass the limit"),
        pytest.param(0.05, 0.1, 50, id="which keeps it anyway"),
    ],
)
def test_what_is_left_is_told_of_the_model_with_its_correction(
    tmp_path, monkeypatch, gain, sparsity, rise
):
    plain = dear(
        tmp_path,
        monkeypatch,
        lambda model: -gain * is_marked(model),
        windows=8,
        structure=Structure.NEURONS,
        sparsity=sparsity,
        max_perplexity_increase=rise,
    )
    monkeypatch.setattr(sequence, "correct", mark)
    found = outcome(with_correction(plain), tmp_path / "run")
    (corrected,) = found.recorder.of(Corrected)
    told = [x.message for x in found.recorder.of(Logged)]
    reached = f"reached at perplexity {corrected.evaluation.perplexity:.2f}, below"
    alone = found.shots[-1].evaluation.perplexity
    assert corrected.evaluation.perplexity < alone
    assert (alone > allowed(found, rise)) == (rise == 12)
    assert any(reached in words for words in told)


def test_a_correction_that_fails_on_the_way_undoes_its_shot_alone(
    tmp_path, monkeypatch
):
    wanted = with_correction(markable(tmp_path, monkeypatch, gain=0.1))
    tries = []

    def fails_once(state, context, shot=0):
        tries.append(shot)
        if len(tries) == 1:
            mark(state, context)
            raise EvaluationError("The loss is nan.", "")
        return mark(state, context)

    monkeypatch.setattr(sequence, "correct", fails_once)
    found = outcome(wanted, tmp_path / "run")
    told = [event.message for event in found.recorder.of(Logged)]
    assert "A shot is rolled back. The loss is nan." in told
    (corrected,) = found.recorder.of(Corrected)
    assert corrected.evaluation.perplexity <= allowed(found, 12)
    assert found.zeros == found.reported
    kept = [words for words in told if words.endswith(": kept.")]
    assert len(kept) == len(
        [s for s in found.shots if s.evaluation.perplexity > allowed(found, 12)]
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (EvaluationError("The loss is nan."), "The loss is nan."),
        (torch.OutOfMemoryError("CUDA"), "There is not enough memory for it."),
        (MemoryError(), "There is not enough memory for it."),
    ],
)
def test_a_correction_that_fails_loses_no_shot(tmp_path, monkeypatch, error, words):
    plain = job(tmp_path, windows=8, shots=2)
    without = outcome(plain, tmp_path / "without")

    def fails(state, context, shot=0):
        mark(state, context)
        raise error

    monkeypatch.setattr(sequence, "correct", fails)
    found = outcome(with_correction(plain), tmp_path / "run")
    told = [event.message for event in found.recorder.of(Logged)]
    assert f"The correction is rolled back. {words}" in told
    assert RunFolder(tmp_path / "run").read_report().corrected is None
    assert found.after.keys() == without.after.keys()
    assert all(torch.equal(W, without.after[name]) for name, W in found.after.items())


def test_a_fault_of_the_program_is_no_failure_of_the_correction(tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(sequence, "correct", fails)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        prune(with_correction(job(tmp_path, windows=8)), tmp_path / "run", quiet())


def test_what_is_left_of_the_budget_at_the_target_is_told(tmp_path, monkeypatch):
    settings = {"structure": Structure.ELEMENTS, "sparsity": 0.1, "shots": 2}
    wanted = dear(tmp_path, monkeypatch, **settings, max_perplexity_increase=30)
    found = outcome(wanted, tmp_path / "run")
    told = [event.message for event in found.recorder.of(Logged)]
    (words,) = [words for words in told if "target is reached" in words]
    reached = found.shots[-1].evaluation.perplexity
    limit = allowed(found, 30)
    assert f"at perplexity {reached:.2f}, below the limit of {limit:.2f}" in words


def test_a_shot_that_would_remove_the_same_is_not_tried(tmp_path, monkeypatch):
    """4 neurons go of each block, then 5: of 17 only 8 can go, and of 8.5 as well."""
    first = coupled_groups(Structure.NEURONS, tiny_model("llama"))[0]
    weights = sum(p.numel() for p in weights_of(tiny_model("llama")))
    wanted = dear(
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
        recorder.run(wanted, tmp_path / "run")
    tried = [message.split()[4] for message in rolled_back_by(recorder)]
    assert tried == ["10.00%"]  # a sparsity


def test_the_parts_of_a_shot_are_equal_whatever_the_schedule(tmp_path, monkeypatch):
    wanted = dear_elements(tmp_path, monkeypatch, shots=1, rise=8)
    pruning = dataclasses.replace(wanted.pruning, schedule=Schedule.CUBIC)
    found = outcome(dataclasses.replace(wanted, pruning=pruning), tmp_path / "run")
    assert [round(shot.sparsity, 4) for shot in found.shots] == [0.0625]


def test_to_stop_while_the_result_is_written_changes_nothing(tmp_path, monkeypatch):
    recorder = Recorder()
    recorder.react = lambda event: (
        recorder.context.handle(StopAndKeep(run="test"))
        if event == StageStarted(Stage.EXPORT, 0)
        else None
    )
    recorder.run(
        dear_elements(tmp_path, monkeypatch, shots=2, rise=16), tmp_path / "run"
    )
    assert recorder.context.stops_after_shot
    assert not recorder.of(RunFinished)[0].stopped_early
    assert not RunFolder(tmp_path / "run").read_report().stopped_early


def test_shots_that_remove_nothing_are_no_result(tmp_path, monkeypatch):
    """The first group of heads is too dear, and steps too small for it are free."""
    first = coupled_groups(Structure.HEADS, tiny_model("llama"))[0]
    weights = sum(p.numel() for p in weights_of(tiny_model("llama")))
    wanted = dear(
        tmp_path,
        monkeypatch,
        structure=Structure.HEADS,
        sparsity=1.05 * first.weights_per_group / weights,
        shots=2,
        max_perplexity_increase=0.5,
    )
    with pytest.raises(PruningError, match="Even the smallest step takes perplexity"):
        prune(wanted, tmp_path / "run", quiet())
    assert not (tmp_path / "run" / "export").exists()


def test_the_same_seed_gives_the_same_masks(tmp_path, monkeypatch):
    wanted = dear(
        tmp_path,
        monkeypatch,
        structure=Structure.ELEMENTS,
        sparsity=0.5,
        shots=2,
        max_perplexity_increase=10,
        damping=Damping.AUTOMATIC,
    )
    files = []
    for name in ("one", "other"):
        prune(wanted, tmp_path / name, quiet())
        files.append((tmp_path / name / "export" / "model.safetensors").read_bytes())
    assert files[0] == files[1]
