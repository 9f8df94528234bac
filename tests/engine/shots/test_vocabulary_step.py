"""Tokens are removed before the first shot, by one threshold for the whole model."""

import copy
import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    PruningConfig,
    Structure,
    Target,
    Vocabulary,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import Exported, ShotFinished, Stage
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.evaluation.fidelity import compare_unchecked, reference_of
from surgeon_engine.export.export import export_again
from surgeon_engine.export.transformers.check import compare
from surgeon_engine.export.verify import expected_figures, save_probe
from surgeon_engine.model.vocabulary.tokens import token_table
from surgeon_engine.planning.constants import CHECK_KEPT, CHECK_ROOM
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.target_size import goal_of
from surgeon_engine.pruning.measure_curvature import measure
from surgeon_engine.pruning.smaller_vocabulary import SmallerVocabulary
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.units import units_of
from surgeon_engine.pruning.token_costs import (
    kept_for_probe,
    nats_per_removed,
    removable_tokens,
    token_frequencies,
)
from surgeon_engine.run.prepare import prepare
from surgeon_engine.shots import vocabulary_step
from surgeon_engine.shots.selection import costs_of
from surgeon_engine.shots.shot import evaluate_original
from surgeon_engine.shots.vocabulary_step import remove_tokens
from tests.helpers.configs import AUTOMATIC, some_tokens
from tests.helpers.interrupted_runs import assert_same_result, at_stage, cut_at, resumed
from tests.helpers.pruned_models import save_checkpoint
from tests.helpers.pruning_states import silent_context
from tests.helpers.runs import Recorder

pytestmark = pytest.mark.slow

TOKENS, KEPT = 2048, 1400


def config_of(
    vocabulary: dict[str, Any], recovery: Recovery = Recovery.OFF, **pruning: Any
) -> RunConfig:
    """Return a small job on the demo model."""
    return RunConfig(
        calibration=CalibrationConfig(
            windows=4, validation_windows=2, window_length=48
        ),
        pruning=PruningConfig(**vocabulary, **pruning),
        recovery=RecoveryConfig(recovery, general_windows=2),
        evaluation=EvaluationConfig(windows=0),
        export=ExportConfig(format=Format.AUTOMATIC),
    )


@functools.cache
def prepared() -> PruningState:
    """Return the demo model and its texts, which every test reads and none changes."""
    state = prepare(config_of(some_tokens(KEPT)), silent_context())
    evaluate_original(state, silent_context())
    return state


def state_of(config: RunConfig) -> PruningState:
    """Return the state of a job before removals, with a model of its own."""
    whole, pruning = prepared(), config.pruning
    model = copy.deepcopy(whole.loaded.model)
    loaded = replace(whole.loaded, model=model)
    goal = goal_of(pruning, whole.original, file_form(config, whole.original))
    units = units_of(pruning, model)
    state = PruningState(config, loaded, whole.windows, units, goal, whole.original)
    state.keep_references(whole.references, whole.baseline)
    return state


@pytest.fixture(scope="module")
def trimmed():
    """Return the state after the step, and the original windows."""
    state = state_of(config_of(some_tokens(KEPT)))
    windows = state.windows
    remove_tokens(state, silent_context())
    return state, windows


def test_model_and_texts_have_the_kept_tokens_alone(trimmed):
    state, windows = trimmed
    model, tokenizer = state.loaded.model, state.loaded.tokenizer
    assert model.config.vocab_size == len(tokenizer) == KEPT
    assert model.get_input_embeddings().weight.shape[0] == KEPT
    for before, after in (
        (windows.calibration, state.windows.calibration),
        (windows.validation, state.windows.validation),
    ):
        assert after.shape == before.shape
        assert int(after.max()) < KEPT
        original = prepared().loaded.tokenizer
        for old, new in zip(before, after, strict=True):
            assert original.decode(old).startswith(tokenizer.decode(new[:-4]))


def test_kept_tokens_are_the_most_expected_ones(trimmed):
    state, windows = trimmed
    kept = state.vocabulary.kept
    original = prepared().loaded.model
    f = token_frequencies(original, [windows.calibration], 4, lambda: None)
    assert float(f.sum()) == pytest.approx(1.0)
    occurring = windows.calibration[:, 1:].unique()
    is_kept = torch.isin(occurring, kept)
    assert float(is_kept.double().mean()) > 0.95
    removed = torch.ones(TOKENS, dtype=torch.bool)
    removed[kept] = False
    assert float(f[removed].sum()) < 0.1


def test_the_size_is_that_of_the_target_whatever_is_removed(trimmed):
    state, _ = trimmed
    whole = state_of(config_of(some_tokens(TOKENS))).goal
    each = state.loaded.model.get_input_embeddings().weight.shape[1]
    tokens = (TOKENS - KEPT) * each
    assert state.goal.parameters == whole.parameters
    assert state.goal.removed == whole.removed - tokens


def test_predictions_equal_those_of_the_original_where_all_tokens_are_kept(trimmed):
    state, _ = trimmed
    vocabulary = state.vocabulary
    known = vocabulary.kept
    tokens = known[torch.randint(len(known), (2, 24))]
    original = prepared().loaded.model
    whole = reference_of(original, tokens, 2, lambda: None)
    reference = vocabulary.reference(whole)
    assert torch.equal(known[reference.windows], tokens)
    assert torch.equal(reference.hidden[0], whole.hidden[0])
    with torch.no_grad():
        logits = original(tokens).logits[..., known]
        assert torch.equal(state.loaded.model(reference.windows).logits, logits)


def test_one_threshold_divides_the_target(monkeypatch):
    nu = 0.5  # a small vocabulary is worth more than blocks
    monkeypatch.setattr(vocabulary_step, "nats_per_removed", lambda *_: nu)
    state = state_of(config_of(AUTOMATIC, sparsity=0.7))
    context, goal = silent_context(), state.goal.removed
    whole, windows = state.loaded.model, state.windows
    each = whole.get_input_embeddings().weight.shape[1]
    gates = measure(state, windows.calibration, context, 1)
    blocks = costs_of(state, gates, state.config.pruning).values()
    cost, order = torch.cat([x.cost for x in blocks]).sort()
    weights = torch.cat([x.weights for x in blocks])[order]
    f = token_frequencies(whole, windows.fitted, 4, lambda: None)
    remove_tokens(state, context)
    kept = state.vocabulary.kept
    assert 256 < len(kept) < TOKENS
    rest = goal - (TOKENS - len(kept)) * each
    assert state.goal.removed == rest
    threshold = float(cost[int((weights.cumsum(0) <= rest).sum()) - 1])
    removed = torch.ones(TOKENS, dtype=torch.bool)
    removed[kept] = False
    dearest = nu * float(f[removed].max()) / each
    assert threshold == pytest.approx(dearest, rel=0.2)


def test_cost_of_a_removed_token_is_the_loss_of_the_text_without_it():
    config = config_of(some_tokens(KEPT), recovery=Recovery.REFIT)
    state = state_of(config)
    loaded, windows = state.loaded, state.windows
    table = token_table(loaded.tokenizer)
    f = token_frequencies(loaded.model, windows.fitted, 4, lambda: None)
    removals = removable_tokens(f, table, 1)
    found = nats_per_removed(loaded, windows, removals, lambda: None)
    text = torch.cat(windows.fitted)
    kept = kept_for_probe(removals, text)
    more = count = 0
    vocabulary = SmallerVocabulary.of(loaded, kept)
    for window in text:
        new, at = vocabulary.recoding.windows(window[None].numpy())
        end = int((torch.from_numpy(at[0]) >= 0).nonzero()[-1])
        old, new = window[: at[0, end] + 1], torch.from_numpy(new[0, : end + 1])
        first = torch.from_numpy(vocabulary.recoding.first_piece)
        with torch.no_grad():
            p = loaded.model(old[None]).logits[0].double().softmax(dim=-1)
            q = loaded.model(kept[new][None]).logits[0].double().softmax(dim=-1)
        mass = torch.zeros(len(q), len(kept), dtype=torch.float64)
        mass.index_add_(1, first[first >= 0], q[:, first >= 0])
        mass /= mass.sum(dim=1, keepdim=True)
        more -= float(mass[:-1].gather(1, new[1:, None]).log().sum())
        more += float(p[:-1].gather(1, old[1:, None]).log().sum())
        count += int((~torch.isin(old[1:], kept)).sum())
    assert 0.01 < count / text.numel() < 0.06
    assert found == pytest.approx(more / count, rel=0.05)


def test_text_of_rows_without_a_token_has_a_cost():
    """The model may write rows of its embedding that its tokenizer does not have."""
    state = state_of(config_of(some_tokens(KEPT)))
    loaded, windows = state.loaded, state.windows
    loaded.model.resize_token_embeddings(TOKENS + 64)
    calibration = windows.calibration.clone()
    calibration[:, 5] = TOKENS + 7
    windows = replace(windows, calibration=calibration)
    f = token_frequencies(loaded.model, windows.fitted, 4, lambda: None)
    removals = removable_tokens(f[:TOKENS], token_table(loaded.tokenizer), 1)
    assert nats_per_removed(loaded, windows, removals, lambda: None) > 0


def test_tokens_that_others_are_merged_from_leave_after_them(trimmed):
    state, _ = trimmed
    table = token_table(prepared().loaded.tokenizer)
    kept = set(state.vocabulary.kept.tolist())
    assert all(set(table.parts[x]) <= kept for x in kept if x in table.parts)


def test_tokens_alone_leave_with_a_target_of_nothing(tmp_path, quick_runs):
    config = config_of(some_tokens(KEPT), target=Target.PARAMETER_SHARE, sparsity=0.0)
    recorder = Recorder().run(config, tmp_path / "run")
    (shot,) = recorder.of(ShotFinished)
    (exported,) = recorder.of(Exported)
    folder = Path(exported.folder)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer) == KEPT
    total = sum(p.numel() for p in model.parameters())
    assert total == shot.parameters
    assert 0.7 < shot.evaluation.fidelity[0].compared < 1


def test_two_thirds_are_kept_where_nothing_else_is_removed():
    state = state_of(config_of(AUTOMATIC, sparsity=0.0))
    remove_tokens(state, silent_context())
    assert state.tokens.after == round(TOKENS * 2 / 3)
    assert state.goal.removed == 0


def test_target_that_only_tokens_can_reach_is_divided():
    state = state_of(config_of(AUTOMATIC, target=Target.PARAMETER_SHARE, sparsity=0.87))
    asked, prunable = state.goal.removed, state.goal.prunable
    assert asked > prunable
    remove_tokens(state, silent_context())
    assert state.tokens.after < TOKENS
    assert 0 < state.goal.removed < prunable
    assert state.goal.removed + state.goal.of_tokens == asked


def test_target_that_tokens_reach_alone_is_reached(tmp_path, quick_runs, monkeypatch):
    monkeypatch.setattr(vocabulary_step, "nats_per_removed", lambda *_: 1e-9)
    config = config_of(AUTOMATIC, target=Target.PARAMETER_SHARE, sparsity=0.03)
    recorder = Recorder().run(config, tmp_path / "run")
    (shot,) = recorder.of(ShotFinished)
    (exported,) = recorder.of(Exported)
    total = prepared().original.parameters
    each = prepared().original.token_parameters
    model = AutoModelForCausalLM.from_pretrained(exported.folder)
    kept = model.get_input_embeddings().weight.shape[0]
    assert shot.sparsity == 0
    assert sum(p.numel() for p in model.parameters()) == total - (TOKENS - kept) * each
    assert (TOKENS - kept) * each == pytest.approx(0.03 * total, rel=0.01)
    assert any("tokens alone" in x.message for x in recorder.of(Logged))


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (some_tokens(256), "cannot have fewer than"),
        (some_tokens(KEPT, ("Klingon",)), "no language that is known"),
        (
            {"vocabulary": Vocabulary.AUTOMATIC, "kept_texts": ("Klingon",)},
            "no language that is known",
        ),
    ],
)
def test_tokens_are_checked_before_anything_is_loaded(vocabulary, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        Recorder().run(config_of(vocabulary), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_run_goes_on_with_the_same_tokens(tmp_path, quick_runs, save_everywhere):
    config = config_of(AUTOMATIC, recovery=Recovery.DISTILLATION)
    Recorder().run(config, tmp_path / "whole")
    folder = tmp_path / "cut"
    cut_at(at_stage(Stage.SELECTION), config, folder)
    cut_at(at_stage(Stage.DISTILLATION), None, folder)
    resumed(folder)
    assert_same_result(folder, tmp_path / "whole")


def test_divergence_of_files_is_that_where_the_original_predicts(trimmed, tmp_path):
    state, _ = trimmed
    loaded, probe = state.loaded, tmp_path / "probe.safetensors"
    _, validation = state.references.texts[0]
    save_probe(loaded, validation, probe)
    nats = compare_unchecked(loaded.model, validation, lambda: None).nats[0]
    known = load_file(probe)["original"][0, :-1].isfinite().all(dim=-1)
    assert torch.equal(known, ~nats.isnan())
    assert 0 < known.sum() < len(known)
    # The last token is not in the comparison.
    expected = expected_figures(probe).divergence
    assert expected == pytest.approx(float(nats.nanmean()), rel=0.1)
    folder = save_checkpoint(loaded, tmp_path / "checkpoint", dtype=FileDtype.FLOAT32)
    found = compare(folder, probe, CHECK_ROOM, CHECK_KEPT)
    assert found["divergence"] == pytest.approx(expected, rel=1e-4)
    assert found["agreement"] == 1


def test_finished_run_is_exported_again(tmp_path, quick_runs):
    """With the texts of the run, in the tokens that are left."""
    form = ExportConfig(format=Format.GGUF, dtype=FileDtype.Q8_0)
    config = replace(config_of(some_tokens(KEPT), sparsity=0.7), export=form)
    run = tmp_path / "run"
    _, first = Recorder().run(config, run).of(Exported)
    recorder = Recorder()
    form = replace(form, folder=str(tmp_path / "again"))
    second = export_again(str(run), form, recorder.context)
    assert first.expected_divergence > 0.0
    assert first.expected_divergence == second.expected_divergence
    assert first.weight_bytes == second.weight_bytes
    one, two = (x.fidelity[0] for x in (first, second))
    assert 0.5 < one.compared == two.compared < 1.0
    # The checkpoint of the run has 16 bits.
    assert one.divergence.value == pytest.approx(two.divergence.value, rel=0.01)
    assert not recorder.warnings()


def test_a_size_in_bytes_is_reached_and_not_exceeded(tmp_path, quick_runs):
    config = config_of(some_tokens(KEPT), target=Target.FILE_SIZE, megabytes=4.0)
    recorder = Recorder().run(config, tmp_path / "run")
    (exported,) = recorder.of(Exported)
    weights = sum(
        path.stat().st_size for path in Path(exported.folder).glob("*.safetensors")
    )
    assert 0.99 * 4e6 < weights <= 4e6


def test_patterns_of_zeros_keep_their_target_beside_fewer_tokens():
    config = config_of(some_tokens(KEPT), sparsity=0.5)
    pruning = replace(config.pruning, structure=Structure.N_M, pattern="2:4")
    state = state_of(replace(config, pruning=pruning))
    before = state.goal
    remove_tokens(state, silent_context())
    assert (state.goal.removed, state.goal.sparsity) == (before.removed, 0.5)


@pytest.mark.parametrize("vocabulary", [AUTOMATIC, some_tokens(TOKENS)])
def test_it_is_said_where_no_token_is_removed(vocabulary):
    """The few tokens of the demo cost more, for their size, than heads and neurons."""
    state, recorder = state_of(config_of(vocabulary)), Recorder()
    remove_tokens(state, recorder.context)
    assert state.vocabulary is None
    (warning,) = recorder.warnings()
    assert "No token was removed" in str(warning.message)
