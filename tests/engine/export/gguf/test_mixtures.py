"""GGUF files of mixtures of experts: names, counts, values and number formats."""

import gguf
import numpy as np
import pytest
import torch

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Structure, Widths
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.run import GroupsLeft, LayerSparsity, ShotFinished
from surgeon_engine.export.file_fidelity import put_file
from surgeon_engine.export.gguf import expert_rounding
from surgeon_engine.export.gguf.file import GgufWriter
from surgeon_engine.export.gguf.importances import IMATRIX_NAME, mean_squares
from surgeon_engine.export.gguf.quantizer import dequantize, quantize
from surgeon_engine.model.experts import inner_states
from surgeon_engine.model.inspect import describe, describe_files
from surgeon_engine.model.load import load_model
from surgeon_engine.model.source import locate
from surgeon_engine.model.stored_tensors import has_mxfp4
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.gguf_types import TensorType
from surgeon_engine.planning.planned_file import FileForm, PlannedFile
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import planned_export
from tests.helpers.configs import pruning_config
from tests.helpers.gguf_files import (
    needs_llama,
    numbers,
    pruned,
    some_text,
    value_of,
    written,
)
from tests.helpers.gguf_mixtures import MIXTURES, save_mxfp4, without_experts
from tests.helpers.gguf_models import GGUF_FAMILIES, YARN
from tests.helpers.pairs import others_later
from tests.helpers.pruned_models import NOWHERE, loaded, without

ARCHITECTURES = {
    "mixtral": "llama",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "qwen3_5_moe_text": "qwen35moe",
    "olmoe": "olmoe",
    "gpt_oss": "gpt-oss",
    "glm4_moe": "glm4moe",
    "glm4_moe_lite": "deepseek2",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
    "dots1": "dots1",
    "ernie4_5_moe": "ernie4_5-moe",
    "exaone_moe": "exaone-moe",
    "gemma4_text": "gemma4",
    "granitemoe": "granitemoe",
    "hunyuan_v1_moe": "hunyuan-moe",
    "lfm2_moe": "lfm2moe",
    "minimax_m2": "minimax-m2",
}
# Mixtures that are written as another one is.
WRITTEN_ALIKE = (
    "qwen2_moe",
    "glm4_moe",
    "glm4_moe_lite",
    "deepseek_v2",
    "dots1",
    "exaone_moe",
    "hunyuan_v1_moe",
    "minimax_m2",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", others_later(ARCHITECTURES, ARCHITECTURES.keys() - {*WRITTEN_ALIKE})
)
def test_file_without_some_experts_has_their_number_and_shapes(name, tmp_path):
    example = without_experts(MIXTURES[name]())
    reader = written(example, tmp_path)
    architecture = ARCHITECTURES[name]
    assert value_of(reader, "general.architecture") == architecture
    left = 6 if name == "deepseek_v3" else 5  # one of each class is removed
    assert value_of(reader, f"{architecture}.expert_count") == left
    assert value_of(reader, f"{architecture}.expert_used_count") == 2
    inner = value_of(reader, f"{architecture}.expert_feed_forward_length")
    shapes = {each.name: each.shape.tolist() for each in reader.tensors}
    for part, shape in (
        ("ffn_gate_inp", [128, left]),
        ("ffn_gate_exps", [128, inner, left]),
        ("ffn_up_exps", [128, inner, left]),
        ("ffn_down_exps", [inner, 128, left]),
    ):
        assert shapes[f"blk.2.{part}.weight"] == shape


@pytest.mark.slow
def test_file_is_read_again_as_the_same_model(tmp_path):
    """By itself, transformers would not know the width of the experts."""
    model = MIXTURES["qwen3_moe"]()
    written(without_experts(model, neurons=32), tmp_path)
    found = load_model(ModelConfig(str(tmp_path / "model.gguf"))).model
    tokens = torch.arange(1, 13).view(2, 6)
    with torch.no_grad():
        torch.testing.assert_close(found(tokens).logits, model(tokens).logits)


@pytest.mark.parametrize("name", ["qwen3_moe", "gpt_oss"])
def test_gates_and_values_of_experts_are_apart(name, tmp_path):
    model = MIXTURES[name]()
    experts = model.model.layers[1].mlp.experts
    found = numbers(written(without_experts(model), tmp_path))
    both, down = experts.gate_up_proj[1:], experts.down_proj[1:]
    if name == "gpt_oss":  # columns before rows, and gates and values in turn
        both, down = both.transpose(1, 2), down.transpose(1, 2)
        gates, values = both[:, ::2], both[:, 1::2]
        biases = experts.gate_up_proj_bias[1:]
        np.testing.assert_array_equal(found["blk.1.ffn_up_exps.bias"], biases[:, 1::2])
        np.testing.assert_array_equal(
            found["blk.1.ffn_down_exps.bias"], experts.down_proj_bias[1:]
        )
    else:
        gates, values = both.chunk(2, dim=1)
    np.testing.assert_array_equal(found["blk.1.ffn_gate_exps.weight"], gates)
    np.testing.assert_array_equal(found["blk.1.ffn_up_exps.weight"], values)
    np.testing.assert_array_equal(found["blk.1.ffn_down_exps.weight"], down)


def test_numbers_beside_the_router_lose_those_of_removed_experts(tmp_path):
    model = MIXTURES["deepseek_v3"]()  # two classes of four experts
    router = model.model.layers[1].mlp.gate
    router.e_score_correction_bias.normal_()
    kept = [1, 2, 3, 5, 6, 7]
    weight, bias = router.weight[kept], router.e_score_correction_bias[kept]
    reader = written(without_experts(model), tmp_path)
    found = numbers(reader)
    np.testing.assert_array_equal(found["blk.1.ffn_gate_inp.weight"], weight)
    np.testing.assert_array_equal(found["blk.1.exp_probs_b.bias"], bias)
    for key, value in (
        ("expert_group_count", 2),
        ("expert_group_used_count", 1),
        ("expert_gating_func", 2),
        ("expert_shared_count", 1),
        ("leading_dense_block_count", 1),
        ("expert_weights_scale", 2.5),
        ("expert_weights_norm", True),
    ):
        assert value_of(reader, f"deepseek2.{key}") == value


@pytest.mark.slow
@pytest.mark.parametrize("heads", [4, 2])
def test_latent_keys_are_transposed_by_head(heads, tmp_path):
    model = MIXTURES["deepseek_v2"]()

    def choose(unit) -> torch.Tensor:
        return torch.arange(unit.candidates) >= heads

    plan = without(model, choose, Structure.HEADS)
    reader = written(pruned(model, plan), tmp_path)
    both = model.model.layers[1].self_attn.kv_b_proj.weight.unflatten(0, (4, 64))
    found = numbers(reader)
    keys, values = both[:heads, :32], both[:heads, 32:]
    np.testing.assert_array_equal(found["blk.1.attn_k_b.weight"], keys.mT)
    np.testing.assert_array_equal(found["blk.1.attn_v_b.weight"], values)
    for key, value in (
        ("head_count", heads),
        ("head_count_kv", 1),
        ("key_length", 96),
        ("value_length", 64),
        ("key_length_mla", 64),
        ("value_length_mla", 32),
    ):
        assert value_of(reader, f"deepseek2.attention.{key}") == value


@pytest.mark.slow
def test_numbers_of_experts_that_differ_have_a_reason():
    model = MIXTURES["qwen3_moe"]()

    def choose(unit) -> torch.Tensor:
        return torch.arange(unit.candidates) < unit.measured.block

    example = pruned(model, without(model, choose, Structure.EXPERTS))
    reason = GgufWriter().unsupported_reason(example)
    assert "the same number of experts in all blocks" in reason
    summary = describe(MIXTURES["gemma4_text"](), NOWHERE)
    assert summary.gguf_widths is Widths.SAME


def test_limits_of_yarn_that_llama_cpp_rounds_are_noted():
    yarn = YARN | {"truncate": False}
    example = pruned(MIXTURES["gpt_oss"](rope_parameters=yarn))
    assert GgufWriter().unsupported_reason(example) == ""
    (note,) = GgufWriter().notes(example, FileDtype.FLOAT32)
    assert "rounds the limits of yarn" in note


def test_importances_of_an_expert_are_of_its_tokens():
    model = MIXTURES["qwen3_moe"]()
    experts = model.model.layers[1].mlp.experts
    seen = []
    experts.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[:2]))
    squares = mean_squares(loaded(model), some_text())
    hidden = torch.cat([x for x, _ in seen])
    chosen = torch.cat([x for _, x in seen])
    rows = hidden[(chosen == 4).any(dim=1)]
    gates, values = (rows @ experts.gate_up_proj[4].T).chunk(2, dim=1)
    inner = torch.nn.functional.silu(gates) * values
    for part, inputs in (("gate_up_proj", rows), ("down_proj", inner)):
        found = squares[f"model.layers.1.mlp.experts.{part}"]
        torch.testing.assert_close(found[4], inputs.square().mean(dim=0))


def test_importances_of_experts_are_written_as_llama_cpp_does(tmp_path):
    example, calibration = without_experts(MIXTURES["qwen3_moe"]()), some_text()
    written(example, tmp_path, FileDtype.Q8_0, calibration, feeds=False)
    found = {x.name: x for x in gguf.GGUFReader(tmp_path / IMATRIX_NAME).tensors}
    sums, counts = (
        found[f"blk.1.ffn_down_exps.weight.{part}"] for part in ("in_sum2", "counts")
    )
    assert (list(sums.shape), list(counts.shape)) == ([64, 5], [1, 5])
    squares = mean_squares(example.loaded, calibration)
    expected = squares["model.layers.1.mlp.experts.down_proj"][1:]
    np.testing.assert_allclose(sums.data / counts.data, expected, rtol=1e-5)


@pytest.mark.slow
@needs_llama
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("qwen3_moe", FileDtype.IQ4_NL),
        ("gpt_oss", FileDtype.Q4_K_M),
        ("deepseek_v2", FileDtype.Q8_0),
    ],
)
def test_each_expert_is_rounded_by_its_own_importances(name, dtype, tmp_path):
    example, calibration = without_experts(MIXTURES[name]()), some_text()
    experts = example.loaded.model.model.layers[1].mlp.experts
    before = {x: y.clone() for x, y in experts.named_parameters()}
    errors = {}
    for label, on_text in (("plain", None), ("calibrated", calibration)):
        folder = tmp_path / label
        written(example, folder, dtype, on_text, feeds=False)
        assert all(torch.equal(y, before[x]) for x, y in experts.named_parameters())
        put_file(example, folder / "model.gguf")
        name_of = "model.layers.1.mlp.experts.down_proj"
        weights = mean_squares(example.loaded, calibration)[name_of].unsqueeze(1)
        E = experts.down_proj - before["down_proj"]
        E = E.mT if name == "gpt_oss" else E
        errors[label] = float((E.square() * weights).sum())
        for part, values in before.items():
            E = getattr(experts, part) - values
            assert float(E.norm()) < 0.1 * float(values.norm()), part
            getattr(experts, part).copy_(values)
    if dtype is not FileDtype.IQ4_NL:  # their short rows have 8 bits
        return
    assert 0 < errors["calibrated"] < errors["plain"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        (FileDtype.MXFP4_MOE, TensorType.MXFP4),
        pytest.param(FileDtype.IQ4_NL, TensorType.IQ4_NL, marks=needs_llama),
    ],
)
def test_importances_are_those_of_the_neurons_that_stay(dtype, kind, tmp_path):
    example = without_experts(MIXTURES["gpt_oss"](), neurons=32)
    found = numbers(written(example, tmp_path, dtype, some_text(), feeds=False))
    name = "model.layers.1.mlp.experts.down_proj"
    squares = mean_squares(example.loaded, some_text())[name][1:, :64].numpy()
    W = example.loaded.model.model.layers[1].mlp.experts.down_proj[1:, :64].mT
    for n, (of_expert, weights) in enumerate(zip(W.numpy(), squares, strict=True)):
        expected = dequantize(quantize(of_expert, kind, weights), kind)
        np.testing.assert_array_equal(found["blk.1.ffn_down_exps.weight"][n], expected)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "neurons"), [("qwen3_moe", 0), ("gpt_oss", 32)])
def test_errors_of_experts_are_fed_forward(name, neurons, tmp_path):
    assert_feedback_lowers_errors(name, neurons, tmp_path, most=0.7)


@pytest.mark.slow
def test_worse_rounding_of_experts_with_feedback_is_not_kept(monkeypatch, tmp_path):
    def zeros(W, U, kind, importances):
        return quantize(np.zeros_like(W.numpy()), kind)

    monkeypatch.setattr(expert_rounding, "round_with_feedback", zeros)
    assert_feedback_lowers_errors("qwen3_moe", 0, tmp_path, most=1.01)


def assert_feedback_lowers_errors(name, neurons, tmp_path, most):
    example = without_experts(MIXTURES[name](), neurons)
    experts, seen = example.loaded.model.model.layers[0].mlp.experts, []
    hook = experts.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[:2]))
    example.loaded.model(some_text().windows)
    hook.remove()
    ((hidden, chosen),) = seen
    hidden = hidden.flatten(0, -2)
    errors = {}
    for feeds in (False, True):
        folder, dtype = tmp_path / str(feeds), FileDtype.MXFP4_MOE
        found = numbers(written(example, folder, dtype, some_text(), feeds=feeds))
        for part, weights in (("up", "gate_up_proj"), ("down", "down_proj")):
            Q = torch.from_numpy(found[f"blk.0.ffn_{part}_exps.weight"])
            width = experts.down_proj.shape[1 if name == "gpt_oss" else 2] - neurons
            for expert in range(1, 6):
                rows = hidden[(chosen == expert).any(dim=1)]
                W = getattr(experts, weights)[expert]
                W = W.mT if name == "gpt_oss" else W
                E = Q[expert - 1]
                if part == "down":
                    rows = inner_states(experts, expert, rows)[:, :width]
                    E = E[:, :width] - W[:, :width]
                else:
                    W = W[1::2] if name == "gpt_oss" else W[len(W) // 2 :]
                    E = E[:width] - W[:width]
                error = (rows @ E.T).square().sum()
                errors[part, expert, feeds] = float(error)
    for part, expert, feeds in errors:
        if feeds:
            before = errors[part, expert, False]
            assert errors[part, expert, True] <= 1.001 * before
    total = [sum(x for key, x in errors.items() if key[2] is y) for y in (False, True)]
    assert total[1] < most * total[0]


@pytest.mark.slow
@needs_llama
@pytest.mark.parametrize(
    ("name", "dtype", "settings"),
    [
        ("qwen3_moe", FileDtype.Q8_0, {}),
        ("qwen3_moe", FileDtype.Q4_K_M, {}),
        ("gpt_oss", FileDtype.MXFP4_MOE, {}),
        # Beside eight experts, the attention gets more bits.
        ("mixtral", FileDtype.Q4_0, {"num_local_experts": 8}),
        # So do fused values of many heads.
        ("falcon_multi_query", FileDtype.IQ4_NL, {}),
        ("gpt2", FileDtype.FLOAT16, {}),  # biases and positions stay in float32
    ],
)
def test_planned_bytes_are_those_of_the_tensors(name, dtype, settings, tmp_path):
    example = pruned((GGUF_FAMILIES | MIXTURES)[name](**settings))
    reader = written(example, tmp_path, dtype)
    planned = PlannedFile(
        describe(example.loaded.model, NOWHERE),
        FileForm(Format.GGUF, dtype),
        pruning_config(structure=Structure.EXPERTS),
    )
    tensors = sum(int(each.n_bytes) for each in reader.tensors)
    assert planned._weight_bytes == pytest.approx(tensors, rel=0.002)


@pytest.mark.parametrize("dtype", [FileDtype.FLOAT16, FileDtype.Q8_0])
@pytest.mark.parametrize("name", ["qwen2_moe", "deepseek_v2"])
def test_further_file_of_narrow_experts_has_its_planned_bytes(name, dtype, tmp_path):
    """Their rows are no whole blocks; zeros fill up shared experts of DeepSeek."""
    model = MIXTURES[name]()
    summary = describe(model, NOWHERE)

    def choose(unit) -> torch.Tensor:
        is_shared = "shared" in unit.measured.kind
        gone = 24 * (is_shared or unit.measured.name.endswith("experts"))
        return torch.arange(unit.candidates) >= unit.candidates - gone

    plan = without(model, choose, Structure.EXPERTS_AND_NEURONS)
    reader = written(pruned(model, plan), tmp_path, dtype)
    tensors = sum(int(each.n_bytes) for each in reader.tensors)
    of_mlp = {name: x for x in summary.coupled for name in x.layers}
    layers, removed = [], 0
    for x in summary.layers:
        facts = (x.name, x.block, x.kind, x.weights, 0)
        mlp = of_mlp.get(x.name)
        if x.is_experts:
            each = GroupsLeft("expert_neurons", 40, 64)
            layers.append(LayerSparsity(*facts, neurons=each))
            removed += 24 * mlp.weights_per_neuron * mlp.groups
        elif "shared" in x.kind and mlp:
            each = GroupsLeft("neurons", mlp.groups - 24, mlp.groups)
            layers.append(LayerSparsity(*facts, groups=each))
            removed += 24 * x.weights // mlp.groups
        else:
            layers.append(LayerSparsity(*facts))
    pruning = pruning_config(Structure.EXPERTS_AND_NEURONS, sparsity=0.2)
    left = summary.parameters - removed
    shot = ShotFinished(*(1, 0.2, 0.2, 0.0, left, None, tuple(layers), 1.0))
    run = RunState(config=RunConfig(pruning=pruning), model=summary, history=(shot,))
    form, planned = planned_export(run, ExportConfig("", Format.GGUF, dtype))
    planned -= PlannedFile(summary, form, pruning)._header_bytes
    assert planned == pytest.approx(tensors, rel=0.005)


@pytest.mark.slow
def test_experts_in_mxfp4_come_back_exactly(tmp_path):
    save_mxfp4(tmp_path / "original")
    source = ModelConfig(str(tmp_path / "original"))
    summary = describe_files(source).model
    form = file_form(RunConfig(source), summary)
    assert form == FileForm(Format.GGUF, FileDtype.MXFP4_MOE)
    model = load_model(source).model
    experts = model.model.layers[1].mlp.experts
    both, down = (x[1:].mT.clone() for x in (experts.gate_up_proj, experts.down_proj))
    config = ExportConfig(format=Format.GGUF, dtype=form.dtype)
    GgufWriter(calibration=some_text()).write(without_experts(model), config, tmp_path)
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    found, kinds = numbers(reader), {x.name: x.tensor_type.name for x in reader.tensors}
    for part, values in (("gate", both[:, ::2]), ("up", both[:, 1::2]), ("down", down)):
        name = f"blk.1.ffn_{part}_exps.weight"
        assert kinds.pop(name) == "MXFP4"
        np.testing.assert_array_equal(found[name], values)
    assert {x for name, x in kinds.items() if "_exps.weight" in name} == {"MXFP4"}
    assert kinds["output.weight"] == kinds["blk.0.attn_v.weight"] == "Q8_0"
    assert value_of(reader, "general.file_type") == gguf.LlamaFileType.MOSTLY_MXFP4_MOE
    assert has_mxfp4(locate(str(tmp_path / "model.gguf")))
