"""A shot removes with the factors of all windows and the chosen damping."""

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from itertools import product

import pytest
import torch

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.presets import presets
from surgeon_engine.api.config.pruning import Damping, Method, Schedule, Structure
from surgeon_engine.api.config.run import Device, ModelConfig, RunConfig
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.calibration.texts import SHIPPED_TEXT
from surgeon_engine.model import forwards
from surgeon_engine.model.identity import stamp_of
from surgeon_engine.planning.running_memory import heads_left
from surgeon_engine.planning.target_size import share_of_goal
from surgeon_engine.pruning import sparse_update
from surgeon_engine.pruning.measure_curvature import measure
from surgeon_engine.run.prepare import prepare
from surgeon_engine.runtime import devices
from surgeon_engine.runtime import kept as kept_module
from surgeon_engine.runtime.kept import Kept
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots import shot as shot_module
from surgeon_engine.shots.damping import with_damping
from surgeon_engine.shots.selection import remove, selection
from surgeon_engine.shots.shot import evaluate_original, evaluation, run_shot
from surgeon_engine.shots.steps import ShotPlan
from tests.helpers.pruning_states import make_state, silent_context
from tests.helpers.runs import Recorder


def by_hand(state, dampings, budget) -> None:
    """Measure on all windows at once, select and remove."""
    pruning = state.config.pruning
    if dampings is not None:
        pruning = with_damping(pruning, dampings.cost, dampings.update)
    factors = measure(state, state.windows.calibration, silent_context(), 1)
    chosen = selection(state, factors, pruning, budget)
    state.record_removed(remove(state, factors, pruning, chosen.removed))


def same(one, other) -> None:
    for mask, expected in zip(
        one.removed.values(), other.removed.values(), strict=True
    ):
        assert torch.equal(mask, expected)
    for layer, twin in zip(one.loaded.layers, other.loaded.layers, strict=True):
        torch.testing.assert_close(
            layer.module.weight, twin.module.weight, rtol=0, atol=1e-3
        )


def test_evaluation_runs_fewer_windows_at_a_time_where_memory_is_short(monkeypatch):
    """The weights have changed by then: a failure would lose the shot."""
    state, recorder = make_state(), Recorder()
    expected = evaluation(state, silent_context())
    run = forwards.last_hidden

    def last_hidden(model, tokens):
        if len(tokens) > 1:
            raise torch.OutOfMemoryError
        return run(model, tokens)

    monkeypatch.setattr(forwards, "last_hidden", last_hidden)
    found = evaluation(state, recorder.context)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert found.fidelity[0].windows == 3
    assert [x.message for x in recorder.of(Logged)] == [
        "There is not enough memory for 3 windows at a time: the run goes on with 1."
    ]


def evaluated(state, kept):
    """Evaluate the original, and return whether that was measured anew."""
    events = []
    context = RunContext("test", lambda each: events.append(each.event), kept)
    found = evaluate_original(state, context)
    return found, not any(isinstance(event, Logged) for event in events)


def test_original_is_evaluated_once_for_the_same_texts():
    kept = Kept()
    first, second = make_state(sparsity=0.2), make_state(sparsity=0.4)
    found, is_new = evaluated(first, kept)
    assert is_new
    assert evaluated(second, kept) == (found, False)
    one, other = first.references.tensors(), second.references.tensors()
    assert one.keys() == other.keys()
    assert all(one[name] is other[name] for name in one)
    alone = make_state(sparsity=0.4)
    assert evaluation(second, silent_context()) == evaluation(alone, silent_context())


def test_original_is_evaluated_anew_for_other_texts_and_batches():
    kept, state = Kept(), make_state()
    evaluated(state, kept)
    windows = replace(state.windows, validation=state.windows.validation[:2])
    state.windows = windows
    assert evaluated(state, kept)[1]
    assert not evaluated(state, kept)[1]
    state.windows = replace(windows, text="another name")
    assert evaluated(state, kept)[1]
    state.halve_batch()
    assert evaluated(state, kept)[1]
    searching = make_state(method=Method.LLM_SURGEON)  # has held-out windows, too
    assert evaluated(searching, kept)[1]


def test_original_is_evaluated_anew_once_its_files_have_changed(tmp_path):
    kept, path = Kept(), tmp_path / "model.safetensors"

    def loaded_from(content):
        path.write_text(content)
        state = make_state()
        state.loaded = replace(state.loaded, files=(stamp_of(path),))
        return state

    assert evaluated(loaded_from("weights"), kept)[1]
    path.unlink()  # a file with another stamp
    assert not evaluated(loaded_from("weights"), kept)[1]
    path.unlink()
    assert evaluated(loaded_from("Weights"), kept)[1]


def test_large_hidden_states_are_not_kept(monkeypatch):
    kept, state = Kept(), make_state()
    size = sum(x.nbytes for x in state.references.tensors().values())
    free = kept_module._KEPT_SHARE * size
    monkeypatch.setattr(devices, "free_host_memory", lambda: free - 1)
    evaluated(state, kept)
    assert evaluated(state, kept)[1]
    monkeypatch.setattr(devices, "free_host_memory", lambda: free)
    evaluated(state, kept)
    assert not evaluated(state, kept)[1]


def test_evaluation_says_how_the_windows_begin(monkeypatch):
    state = make_state()
    windows = replace(state.windows, beginning="<bos>")
    monkeypatch.setattr(state, "windows", windows)
    assert evaluation(state, silent_context(), Stage.BASELINE).beginning == "<bos>"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("structure", "damping"),
    [
        *product([Structure.HEADS_AND_NEURONS, Structure.ROWS_AND_COLUMNS], Damping),
        (Structure.ELEMENTS, Damping.FIXED),
        (Structure.N_M, Damping.FIXED),
    ],
)
def test_shot_equals_its_parts_called_one_by_one(monkeypatch, structure, damping):
    # When the search for the best weights ends may hang on the rounding of a factor.
    monkeypatch.setattr(sparse_update, "_TOLERANCE", 1e-20)
    settings = {"structure": structure, "sparsity": 0.3, "damping": damping}
    one, other = (make_state("opt", **settings) for _ in range(2))
    shot = run_shot(one, ShotPlan(1, 0.5, None), silent_context())
    assert (shot.damping.tried > 0) == (damping is Damping.AUTOMATIC)
    by_hand(other, shot.damping, int(0.5 * other.goal.removed))
    same(one, other)
    removed = sum(layer.removed for layer in shot.layers)
    assert shot.sparsity == removed / one.goal.prunable
    assert shot.target == 0.5 * one.goal.sparsity
    assert shot.parameters == one.goal.parameters + one.goal.removed - removed


@pytest.mark.slow
@pytest.mark.parametrize("schedule", Schedule)
def test_shot_that_completes_the_goal_is_the_last(monkeypatch, schedule):
    searches, choose = [], shot_module.choose_damping

    def watched(state, plan, *others):
        searches.append((plan.is_last, plan.previous_damping))
        return choose(state, plan, *others)

    monkeypatch.setattr(shot_module, "choose_damping", watched)
    state, before = make_state(sparsity=0.3), None
    for number in (1, 2, 3):
        share = share_of_goal(number / 3, schedule)
        choice = run_shot(
            state, ShotPlan(number, share, before), silent_context()
        ).damping
        assert searches[-1] == (number == 3, before)
        before = choice


@pytest.mark.parametrize("method", [Method.K_OBD, Method.WANDA, Method.MAGNITUDE])
def test_method_without_damping_reports_none(method):
    settings = {"structure": Structure.ELEMENTS, "method": method, "sparsity": 0.3}
    one, other = (make_state("opt", **settings) for _ in range(2))
    shot = run_shot(one, ShotPlan(1, 1.0, None), silent_context())
    assert shot.damping is None
    by_hand(other, None, other.goal.removed)
    same(one, other)


def test_selection_reports_each_unit(monkeypatch):
    settings = {"structure": Structure.NEURONS, "damping": Damping.FIXED}
    state, totals, steps = make_state("llama", **settings), {}, Counter()
    context = silent_context()
    begin = context.stage

    @contextmanager
    def watched(stage, shot=0, total=1):
        totals[stage] = total
        with begin(stage, shot, total) as step:
            yield lambda: (steps.update([stage]), step())

    monkeypatch.setattr(context, "stage", watched)
    run_shot(state, ShotPlan(1, 1.0, None), context)
    assert totals[Stage.SELECTION] == steps[Stage.SELECTION] == len(state.units)


def test_cancel_ends_the_selection_of_a_damping(monkeypatch):
    class Cancelled(Exception):
        pass

    def cancel() -> None:
        raise Cancelled

    state = make_state("llama", structure=Structure.NEURONS)
    factors = measure(state, state.windows.calibration, silent_context(), 1)
    with pytest.raises(Cancelled):
        selection(state, factors, state.config.pruning, 1, cancel)


def test_later_shot_keeps_earlier_removals():
    settings = {"structure": Structure.NEURONS, "damping": Damping.FIXED}
    state = make_state("llama", **settings)
    first = run_shot(state, ShotPlan(1, 0.5, None), silent_context())
    removed = {name: mask.clone() for name, mask in state.removed.items()}
    second = run_shot(state, ShotPlan(2, 1.0, first.damping), silent_context())
    assert second.sparsity > first.sparsity
    for name, mask in removed.items():
        assert (state.removed[name] | ~mask).all()


def test_layers_of_a_shot_give_the_heads_that_blocks_keep():
    state = make_state(structure=Structure.HEADS, sparsity=0.15)
    shot = run_shot(state, ShotPlan(1, 1.0, previous_damping=None), silent_context())
    left = heads_left(shot.layers)
    removed = state.removed.values()
    assert list(left.values()) == [1 - float(x.float().mean()) for x in removed]
    assert sum(left.values()) < len(left)


ORIGINAL = 287.5229
PERPLEXITIES = (306.332, 387.829)  # after 10 and 20 %


@pytest.mark.slow
def test_paper_preset_has_its_figures_on_the_demo():
    (preset,) = (x for x in presets() if x.name == "paper_structured")
    calibration = CalibrationConfig(  # built-in text depends on the Python version
        text=SHIPPED_TEXT, windows=4, validation_windows=4, window_length=64
    )
    config = preset.applied_to(
        RunConfig(
            ModelConfig(device=Device.CPU),
            calibration,
            evaluation=EvaluationConfig(windows=0),
        )
    )
    pruning = replace(config.pruning, sparsity=0.2, shots=2)
    context = silent_context()
    state = prepare(replace(config, pruning=pruning), context)
    assert evaluate_original(state, context).perplexity == pytest.approx(
        ORIGINAL, rel=1e-4
    )
    for number, expected in enumerate(PERPLEXITIES, 1):
        shot = run_shot(state, ShotPlan(number, number / 2, None), context)
        assert shot.evaluation.perplexity == pytest.approx(expected, rel=1e-3)
