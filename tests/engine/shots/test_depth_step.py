"""Runs that remove whole blocks, attentions and MLPs before heads and neurons."""

import dataclasses
import json
from contextlib import nullcontext

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import CostBasis
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.messages.run import Recovered, ShotFinished, Stage, StageStarted
from surgeon_engine.base.errors import ExportError, PruningError
from surgeon_engine.compaction.plan import PrunedModel, plan_of
from surgeon_engine.evaluation.fidelity import Reference, compare_unchecked
from surgeon_engine.export.formats import check_loaded_format
from surgeon_engine.export.transformers.files import CompactWriter
from surgeon_engine.planning.planned_file import FileForm
from surgeon_engine.planning.target_check import check_target_in_limits
from surgeon_engine.planning.target_size import goal_of
from surgeon_engine.pruning.depth import (
    Depth,
    SkipCosts,
    choose,
    held_out_part,
    in_order_of_removal,
    without_outputs,
)
from surgeon_engine.runtime import devices
from surgeon_engine.shots.compaction_step import compact_state, full_size_model
from surgeon_engine.shots.depth_step import removed_weights
from surgeon_engine.shots.shot import run_shot
from surgeon_engine.shots.steps import ShotPlan
from tests.engine.shots.test_compaction_step import assert_same, logits
from tests.helpers import pruning_states
from tests.helpers.configs import pruning_config
from tests.helpers.interrupted_runs import assert_same_result, at_step, cut_at, resumed
from tests.helpers.pruning_states import make_state, silent_context
from tests.helpers.runs import Recorder, job
from tests.helpers.shared_keys import model_with_shared_keys
from tests.helpers.tiny_models import VOCABULARY, llama_with, model_with


def state_of(family: str = "llama", sparsity: float = 0.6, **structure):
    """Return a state with a number of blocks and sub-layers to remove."""
    return make_state(family, sparsity=sparsity, method="first_order", **structure)


def test_costs_are_the_rise_of_the_divergence():
    state = state_of(dropped_blocks=1)
    depth = Depth.of(state)
    candidates = sorted((*depth.blocks, *depth.sublayers), key=lambda x: x.block)
    assert len(depth.blocks) == 2
    assert len(depth.sublayers) == 4
    costs = assert_costs_are_those_of_whole_forwards(state, candidates)
    assert min(costs) > 1e-4


def assert_costs_are_those_of_whole_forwards(state, candidates) -> list[float]:
    """Measure candidates at once, and each with its outputs replaced by zeros."""
    model, held_out = state.loaded.model, state.references.held_out
    costs = SkipCosts(state.loaded, held_out).measure(candidates, lambda: None)
    for candidate, cost in zip(candidates, costs, strict=True):
        with without_outputs(candidate.units):
            nats = compare_unchecked(model, held_out, lambda: None).divergence
        assert cost == pytest.approx(nats, rel=1e-4)
    return costs


@pytest.mark.slow
def test_costs_of_blocks_that_share_keys_are_those_of_whole_forwards(monkeypatch):
    """A candidate changes the keys that later blocks write, for itself alone."""
    monkeypatch.setattr(pruning_states, "tiny_model", model_with_shared_keys)
    monkeypatch.setattr(devices, "fast_products", lambda *_: nullcontext())
    state = state_of("gemma4_text", sparsity=0.1, dropped_sublayers=1)
    assert_costs_are_those_of_whole_forwards(state, Depth.of(state).sublayers)


def test_costs_are_measured_on_the_same_windows_in_batches_of_any_size():
    windows = torch.arange(12 * 256).view(12, 256)
    rows = windows.unsqueeze(2)
    for batch in range(1, 13):
        whole = Reference(windows, list(rows.split(batch)))
        part = held_out_part(whole)
        assert torch.equal(part.windows, windows[:8])
        for tokens, hidden in part.batches():
            assert torch.equal(tokens, hidden.squeeze(2))
        assert sum(map(len, part.hidden)) == 8


def ranked(candidates, costs, basis=CostBasis.PER_PARAMETER):
    return in_order_of_removal(zip(candidates, costs, strict=True), basis)


def test_costs_are_compared_per_weight_or_raw():
    depth = Depth.of(state_of(dropped_blocks=1))
    heads, neurons = depth.sublayers[:2]
    costs = [float(heads.weights), neurons.weights * 1.5]
    for basis, first in ((CostBasis.PER_PARAMETER, heads), (CostBasis.RAW, heads)):
        assert ranked((heads, neurons), costs, basis)[0][0] is first
    costs = [1.0, 1.1 * neurons.weights / heads.weights]
    assert ranked((heads, neurons), costs)[0][0] is heads


@pytest.mark.slow
def test_costs_after_others_decide(monkeypatch):
    """Against measuring all candidates again after each choice."""
    deep = llama_with(num_hidden_layers=4)
    for parameter in deep.parameters():
        parameter.mul_(4)  # so that blocks depend on others
    monkeypatch.setattr(pruning_states, "tiny_model", lambda family: deep)
    state = state_of(dropped_sublayers=3)
    candidates = Depth.of(state).sublayers
    measured = SkipCosts(state.loaded, state.references.held_out)
    costs = measured.measure(candidates, lambda: None)
    room, basis = sum(x.weights for x in candidates), CostBasis.PER_PARAMETER
    found = choose(measured, ranked(candidates, costs), basis, 3, room, lambda: None)
    expected = []
    for _ in range(3):
        blocks = [each.block for each in expected]
        rest = [x for x in candidates if x.block not in blocks]
        with without_outputs([unit for each in expected for unit in each.units]):
            costs = measured.measure(rest, lambda: None)
        expected.append(ranked(rest, costs)[0][0])
    assert [x for x, _ in found] == expected
    with without_outputs([unit for each in expected for unit in each.units]):
        model, held_out = state.loaded.model, state.references.held_out
        together = compare_unchecked(model, held_out, lambda: None).divergence
    assert sum(cost for _, cost in found) == pytest.approx(together, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("blocks", "sublayers"), [(1, 0), (0, 1)])
def test_shot_removes_depth_before_widths(blocks, sublayers):
    state = state_of(dropped_blocks=blocks, dropped_sublayers=sublayers)
    shot = run_shot(state, ShotPlan(1, 1.0, None), silent_context())
    whole = [layer for layer in shot.layers if layer.removed == layer.weights]
    if blocks:
        assert {layer.block for layer in whole} in ({0}, {1})
        assert len(whole) == len(shot.layers) // 2
    else:
        assert 0 < len(whole) < len(shot.layers) // 2
    removed = sum(layer.removed for layer in shot.layers)
    assert removed == round(shot.sparsity * state.goal.prunable)
    assert 0.5 < shot.sparsity <= 0.6
    for name, mask in state.removed.items():
        for unit in state.units:
            if unit.measured.name == name and bool(mask.all()):
                assert not unit.measured.module.weight.any()
                bias = unit.measured.module.bias
                assert bias is None or not bias.any()
    # The compacted model computes the same, and so does the full-size model.
    before, sparsities = logits(state.loaded.model), state.sparsities()
    compact_state(state)
    assert_same(logits(state.loaded.model), before)
    assert state.sparsities() == sparsities
    assert removed_weights(state) + state.compacted_weights == removed
    compact_state(state)
    pruned = full_size_model(state)
    assert_same(logits(pruned.loaded.model), before)
    assert any(each.is_empty for each in pruned.plan.groups)


def test_shots_remove_as_many_blocks_as_fit():
    """Half of the goal holds no block: the first shot removes nothing."""
    state = state_of(sparsity=0.8, dropped_blocks=1)
    first = run_shot(state, ShotPlan(1, 0.5, None), silent_context())
    assert first.sparsity == 0
    second = run_shot(state, ShotPlan(2, 1.0, None), silent_context())
    assert 0.7 < second.sparsity <= 0.8


@pytest.mark.slow
def test_later_shots_keep_what_is_removed():
    state = state_of(sparsity=0.7, dropped_blocks=1, widths="same")
    context = silent_context()
    first = run_shot(state, ShotPlan(1, 0.8, None), context)
    compact_state(state)
    second = run_shot(state, ShotPlan(2, 1.0, None), context)
    assert first.sparsity < second.sparsity <= 0.7
    whole = [
        {x.block for x in s.layers if x.removed == x.weights} for s in (first, second)
    ]
    assert whole[0] == whole[1] != set()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dropped_blocks": 2}, "2 blocks .* at most 1 of 2 can be"),
        ({"dropped_blocks": 1, "protect": ("block *",)}, "at most 0 of 2"),
        ({"dropped_blocks": 1, "min_density": 0.1}, "at most 0 of 2"),
        ({"dropped_blocks": 1, "sparsity": 0.3}, "but the target removes"),
        ({"dropped_sublayers": 2}, "2 attentions and MLPs .* at most 1"),
    ],
)
def test_impossible_numbers_are_refused(settings, sentence):
    state = state_of(dropped_blocks=0)
    pruning = pruning_config(**{"sparsity": 0.6} | settings)
    goal = goal_of(pruning, state.original, FileForm(dtype=state.config.model.dtype))
    with pytest.raises(PruningError, match=sentence) as caught:
        check_target_in_limits(goal, pruning, state.original)
    assert caught.value.hint


def test_targets_beyond_heads_and_neurons_are_allowed_with_blocks():
    """A block that is removed keeps no last head and no last neuron."""
    state = state_of(dropped_blocks=0)
    pruning = pruning_config(sparsity=0.8)
    goal = goal_of(pruning, state.original, FileForm(dtype=state.config.model.dtype))
    with pytest.raises(PruningError, match="can be removed as"):
        check_target_in_limits(goal, pruning, state.original)
    pruning = pruning_config(sparsity=0.8, dropped_blocks=1)
    check_target_in_limits(goal, pruning, state.original)


def test_formats_are_checked_without_blocks_that_can_be_dropped(monkeypatch):
    """Every second block has experts; the last has."""
    sizes = {"num_hidden_layers": 4, "num_experts": 8, "moe_intermediate_size": 24}
    model = model_with("Qwen3Moe", decoder_sparse_step=2, head_dim=4, **sizes)
    monkeypatch.setattr(pruning_states, "tiny_model", lambda family: model)
    state = state_of(dropped_blocks=1)
    assert [each.block for each in Depth.of(state).blocks] == [0, 2]
    config = dataclasses.replace(
        state.config, export=ExportConfig(format=Format.COMPACT)
    )
    with pytest.raises(ExportError, match="cannot describe the kinds"):
        check_loaded_format(config, state.loaded, state.units, silent_context())


def test_formats_that_depend_on_the_dropped_block_have_a_warning(monkeypatch):
    """The last block of Gemma 4 has no window; without it, another must have none."""
    kinds = ["sliding_attention", "full_attention"] * 2
    sizes = {"num_hidden_layers": 4, "head_dim": 4, "global_head_dim": 6}
    sizes |= {"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0}
    model = model_with("Gemma4", layer_types=kinds, sliding_window=8, **sizes)
    monkeypatch.setattr(pruning_states, "tiny_model", lambda family: model)
    state = state_of(dropped_blocks=1)
    context, warnings = silent_context(), []
    monkeypatch.setattr(context, "warn", warnings.append)
    config = dataclasses.replace(
        state.config, export=ExportConfig(format=Format.COMPACT)
    )
    check_loaded_format(config, state.loaded, state.units, context)
    assert ["depends on the blocks" in str(each) for each in warnings] == [True]


def test_blocks_that_get_features_of_images_are_not_dropped(monkeypatch):
    """They are added by the numbers of blocks; texts alone would not show that."""
    model = model_with_images()
    monkeypatch.setattr(pruning_states, "tiny_model", lambda family: model)
    state = state_of(dropped_blocks=1)
    assert [each.block for each in Depth.of(state).blocks] == [2, 3]
    reasons = []
    for dropped in (1, 2):
        units = [x for x in state.units if x.measured.block == dropped]
        masks = {x.measured.name: torch.ones(x.candidates).bool() for x in units}
        pruned = PrunedModel(state.loaded, plan_of(units, masks))
        reasons.append(CompactWriter().unsupported_reason(pruned))
    assert "features of images to its first 2 blocks" in reasons[0]
    assert reasons[1] == ""


def model_with_images() -> PreTrainedModel:
    """Return a model of four blocks; the first two get features of images."""
    text = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}
    tower = {"depth": 2, "hidden_size": 8, "intermediate_size": 8, "num_heads": 2}
    tower |= {"out_hidden_size": 16, "deepstack_visual_indexes": [0, 1]}
    rope = {"rope_type": "default", "mrope_section": [1, 1, 0], "rope_theta": 1e4}
    config = AutoConfig.for_model(
        "qwen3_vl",
        text_config=text | {"vocab_size": VOCABULARY, "rope_parameters": rope},
        vision_config=tower | {"patch_size": 4, "num_position_embeddings": 16},
    )
    model = AutoModelForImageTextToText.from_config(config)
    return model.eval().requires_grad_(False)


whole_run = pytest.mark.usefixtures("quick_runs")


def config_of(folder, form=Format.AUTOMATIC, level=Recovery.REFIT, **pruning):
    settings = {"sparsity": 0.6, "method": "first_order", "dropped_blocks": 1}
    config = job(folder, windows=8, **settings | pruning)
    return dataclasses.replace(
        config,
        export=ExportConfig(format=form),
        recovery=RecoveryConfig(level, general_windows=0, epochs=2),
    )


def whole_blocks(shot: ShotFinished) -> set[int]:
    left = {layer.block for layer in shot.layers if layer.removed < layer.weights}
    return {layer.block for layer in shot.layers} - left


@whole_run
@pytest.mark.slow
def test_run_recovers_and_goes_on_after_an_interruption(
    tmp_path,
    save_everywhere,
):
    config = config_of(tmp_path, level=Recovery.BOTH, shots=2)
    run = Recorder().run(config, tmp_path / "whole")
    shots = run.of(ShotFinished)
    assert [len(whole_blocks(shot)) for shot in shots] == [0, 1]
    stages = [x.stage for x in run.of(StageStarted)]
    assert stages.index(Stage.DEPTH) < stages.index(Stage.SELECTION, 9)
    (recovered,) = run.of(Recovered)
    assert recovered.nats_after <= recovered.nats_before
    saved = json.loads((tmp_path / "whole/export/config.json").read_text())
    assert saved["num_hidden_layers"] == 1
    tensors = load_file(tmp_path / "whole/export/model.safetensors").values()
    assert sum(x.numel() for x in tensors) == shots[-1].parameters
    cut_at(at_step(Stage.RECONSTRUCTION, 1), config, tmp_path / "cut")
    resumed(tmp_path / "cut")
    assert_same_result(tmp_path / "cut", tmp_path / "whole")


@whole_run
@pytest.mark.slow
def test_quality_limit_takes_blocks_back(tmp_path):
    config = config_of(tmp_path, Format.MASKED, Recovery.OFF, max_divergence=1e-3)
    with pytest.raises(PruningError, match="smallest step takes the KL"):
        Recorder().run(config, tmp_path / "run")
    config = config_of(tmp_path, Format.MASKED, Recovery.OFF, max_divergence=50.0)
    run = Recorder().run(config, tmp_path / "far")
    assert len(whole_blocks(run.of(ShotFinished)[-1])) == 1
