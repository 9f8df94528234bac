"""Matrices are quantized by the inputs of their layers on the calibration text."""

import gguf
import numpy as np
import pytest
import torch

from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.export.base import Calibration
from surgeon_engine.export.gguf import calibrated
from surgeon_engine.export.gguf.error_feedback import (
    inverse_factor,
    output_error,
    round_with_feedback,
)
from surgeon_engine.export.gguf.importances import IMATRIX_NAME, mean_squares
from surgeon_engine.export.gguf.quantizer import dequantize, quantize
from surgeon_engine.model.inspect import describe
from surgeon_engine.planning.gguf_types import TensorType
from surgeon_engine.planning.planned_file import FileForm, PlannedFile
from surgeon_engine.runtime import devices
from tests.helpers.configs import pruning_config
from tests.helpers.gguf_files import (
    in_pairs,
    needs_llama,
    numbers,
    pruned,
    some_text,
    tiny_llama,
    uniform,
    value_of,
    written,
)
from tests.helpers.gguf_models import GGUF_FAMILIES
from tests.helpers.pruned_models import without

pytestmark = [
    pytest.mark.slow,
    needs_llama,
]

WIDE = {
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 512,
}
FED = (FileDtype.Q8_0, FileDtype.Q4_0, FileDtype.IQ4_NL)


def kinds(reader: gguf.GGUFReader) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}


@pytest.mark.parametrize("dtype", [FileDtype.Q4_K_M, FileDtype.Q5_K_M, FileDtype.Q6_K])
def test_k_formats_hold_the_blocks_of_llama_cpp(dtype, tmp_path):
    example, calibration = pruned(tiny_llama(**WIDE)), some_text()
    reader = written(example, tmp_path, dtype, calibration)
    squares = mean_squares(example.loaded, calibration)
    layers = {layer.name: layer for layer in example.loaded.layers}
    for theirs, ours in (
        ("blk.0.ffn_up", "model.layers.0.mlp.up_proj"),
        ("blk.1.ffn_down", "model.layers.1.mlp.down_proj"),
        ("blk.1.attn_q", "model.layers.1.self_attn.q_proj"),
    ):
        W = layers[ours].weight()
        if theirs.endswith("attn_q"):
            W = in_pairs(W, 4)
        name = f"{theirs}.weight"
        kind = TensorType(kinds(reader)[name])
        expected = quantize(W.numpy(), kind, squares[ours].numpy())
        (found,) = (x.data for x in reader.tensors if x.name == name)
        np.testing.assert_array_equal(found, expected)


def test_mean_squares_are_those_of_the_inputs():
    model, calibration = tiny_llama(), some_text()
    found = mean_squares(pruned(model).loaded, calibration)
    seen = []
    module = model.model.layers[1].mlp.down_proj
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(calibration.windows)
    expected = seen[0].square().mean(dim=(0, 1))
    name = "model.layers.1.mlp.down_proj"
    torch.testing.assert_close(found[name], expected)


def test_feedback_works_with_fast_products(monkeypatch, tmp_path):
    """Layers may multiply 16-bit numbers; their inputs are summed in float32."""
    monkeypatch.setattr(devices, "multiplies_bfloat16_fast", lambda: True)
    assert_feedback_lowers_errors(FileDtype.Q4_0, tmp_path)


@pytest.mark.parametrize("dtype", FED)
def test_feedback_lowers_the_error_of_each_output(dtype, tmp_path):
    assert_feedback_lowers_errors(dtype, tmp_path)


def assert_feedback_lowers_errors(dtype, tmp_path, least=0.85):
    example, calibration = pruned(tiny_llama()), some_text()
    errors = []
    for feeds in (False, True):
        folder = tmp_path / str(feeds)
        reader = written(example, folder, dtype, calibration, feeds=feeds)
        errors.append(_errors_of_first_block(example, numbers(reader), calibration))
    plain, fed = errors
    assert all(fed[name] <= plain[name] * 1.001 for name in plain)
    assert sum(fed.values()) < least * sum(plain.values())


def test_worse_rounding_with_feedback_is_not_kept(monkeypatch, tmp_path):
    def zeros(W, U, kind, importances):
        return quantize(np.zeros_like(W.numpy()), kind)

    monkeypatch.setattr(calibrated, "round_with_feedback", zeros)
    assert_feedback_lowers_errors(FileDtype.Q4_0, tmp_path, least=1.01)


def _errors_of_first_block(
    example: PrunedModel, found: dict[str, np.ndarray], calibration: Calibration
) -> dict[str, float]:
    """Return the errors of the layers whose inputs no quantized weight has changed."""
    block = example.loaded.model.model.layers[0]
    errors = {}
    for name, module in (
        ("attn_v", block.self_attn.v_proj),
        ("attn_output", block.self_attn.o_proj),
        ("ffn_up", block.mlp.up_proj),
        ("ffn_down", block.mlp.down_proj),
    ):
        A = _covariance(example.loaded.model, module, calibration)
        Q = torch.tensor(found[f"blk.0.{name}.weight"])
        errors[name] = output_error(module.weight, Q, A)
    return errors


@pytest.mark.parametrize("name", ["phi3", "gpt2", "gpt_neox", "qwen3_5_text"])
def test_layers_in_another_order_are_quantized_in_place(name, tmp_path):
    example = pruned(GGUF_FAMILIES[name]())
    before = {k: x.clone() for k, x in example.loaded.model.state_dict().items()}
    expected = numbers(written(example, tmp_path / "exact", FileDtype.FLOAT32))
    reader = written(example, tmp_path / "rounded", FileDtype.Q8_0, some_text())
    found = numbers(reader)
    in_blocks = {x for x, kind in kinds(reader).items() if kind == "Q8_0"}
    assert len(in_blocks) > 8
    for tensor in in_blocks:
        step = np.abs(expected[tensor]).max() / 127
        assert np.abs(found[tensor] - expected[tensor]).max() < 3 * step, tensor
    for key, value in example.loaded.model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_pruned_columns_are_fed_forward_too(tmp_path):
    example = uniform(tiny_llama())  # 43 of 64 neurons, and 4 of 6 heads
    reader = written(example, tmp_path, FileDtype.Q4_0, some_text())
    down = numbers(reader)["blk.0.ffn_down.weight"]
    assert down.shape == (96, 64)
    exact = example.loaded.model.model.layers[0].mlp.down_proj.weight[:, :43]
    scale = np.abs(exact.numpy()).max()
    assert np.abs(down[:, :43] - exact.numpy()).max() < scale
    assert not down[:, 43:].any()


def test_blocks_read_what_quantized_blocks_compute(tmp_path):
    example, calibration = pruned(tiny_llama()), some_text()
    model, name = example.loaded.model, "model.layers.1.mlp.up_proj"
    W = model.get_submodule(name).weight.clone()
    weights = mean_squares(example.loaded, calibration)[name].numpy()
    reader = written(example, tmp_path, FileDtype.Q4_0, calibration)
    values = {key: torch.tensor(x) for key, x in numbers(reader).items()}

    def share_of_equal_numbers() -> float:
        """Return it for the layer rounded on the inputs that it has now."""
        A = _covariance(model, model.get_submodule(name), calibration)
        U = inverse_factor(A)
        blocks = round_with_feedback(W, U, TensorType.Q4_0, weights)
        found = torch.from_numpy(dequantize(blocks, TensorType.Q4_0))
        return float((found == values["blk.1.ffn_up.weight"]).double().mean())

    on_exact_inputs = share_of_equal_numbers()
    block = model.model.layers[0]
    for theirs, module in (
        ("attn_v", block.self_attn.v_proj),
        ("attn_output", block.self_attn.o_proj),
        ("ffn_gate", block.mlp.gate_proj),
        ("ffn_up", block.mlp.up_proj),
        ("ffn_down", block.mlp.down_proj),
    ):
        module.weight.copy_(values[f"blk.0.{theirs}.weight"])
    for theirs, module in (
        ("attn_q", block.self_attn.q_proj),
        ("attn_k", block.self_attn.k_proj),
    ):
        pairs = values[f"blk.0.{theirs}.weight"].unflatten(0, (-1, 8, 2))
        module.weight.copy_(pairs.transpose(1, 2).reshape(module.weight.shape))
    assert share_of_equal_numbers() > max(0.97, on_exact_inputs)


def _covariance(
    model: torch.nn.Module, module: torch.nn.Module, calibration: Calibration
) -> torch.Tensor:
    """Return A of a layer on all windows."""
    seen: list[torch.Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(calibration.windows)
    hook.remove()
    X = seen[0].flatten(0, 1)
    return X.T @ X / len(X)


def header(model) -> int:
    """Return the planned bytes of the list of tensors; the tokenizer counts as 0."""
    return 110 * (len(model.layers) + 4 * model.blocks)


@pytest.mark.parametrize("dtype", [FileDtype.Q4_0, FileDtype.Q4_K_M])
def test_forecast_of_a_plan_is_the_size_of_the_tensors(dtype, tmp_path):
    for tied in (False, True):
        model = tiny_llama(**WIDE, tie_word_embeddings=tied)
        example = pruned(model)
        reader = written(example, tmp_path / str(tied), dtype)
        summary = describe(model, example.loaded.source, example.loaded.stored)
        plan = PlannedFile(
            summary, FileForm(Format.GGUF, dtype), pruning_config(sparsity=0.0)
        )
        size = sum(int(tensor.n_bytes) for tensor in reader.tensors)
        assert plan.bytes(0) - header(summary) == pytest.approx(size, rel=1e-3)


@pytest.mark.parametrize("dtype", [FileDtype.Q4_K_M, FileDtype.Q4_0])
def test_forecast_of_a_pruned_model_is_the_size_of_its_tensors(dtype, tmp_path):
    model = tiny_llama(**WIDE, num_hidden_layers=3)
    whole = pruned(model)
    summary = describe(model, whole.loaded.source, whole.loaded.stored)

    def choose(unit) -> torch.Tensor:
        """Remove half of the neurons and no heads."""
        count = unit.candidates
        return torch.arange(count) >= (256 if count == 512 else count)

    example = pruned(model, without(model, choose))
    reader = written(example, tmp_path, dtype)
    pruning = pruning_config(structure="neurons", width_multiple=256, sparsity=0.3)
    plan = PlannedFile(summary, FileForm(Format.GGUF, dtype), pruning)
    size = sum(int(tensor.n_bytes) for tensor in reader.tensors)
    planned = plan.bytes(3 * 256 * 256 * 3) - header(summary)
    assert planned == pytest.approx(size, rel=1e-3)


def test_importances_are_written_as_llama_cpp_does(tmp_path):
    calibration, example = some_text(), uniform(tiny_llama())
    written(example, tmp_path, FileDtype.Q4_0, calibration)
    reader = gguf.GGUFReader(tmp_path / IMATRIX_NAME)
    assert value_of(reader, "general.type") == "imatrix"
    assert value_of(reader, "general.architecture") is None
    assert value_of(reader, "imatrix.datasets") == ["text.jsonl"]
    assert value_of(reader, "imatrix.chunk_count") == 6
    assert value_of(reader, "imatrix.chunk_size") == 24
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert len(found) == 2 * 2 * 7
    sums = found["blk.1.ffn_down.weight.in_sum2"]
    assert list(sums.shape) == [64, 1]
    counts = found["blk.1.ffn_down.weight.counts"]
    assert list(counts.shape) == [1, 1]
    assert counts.data.item() == 6 * 24
    squares = mean_squares(example.loaded, calibration)
    expected = squares["model.layers.1.mlp.down_proj"][:43] * 6 * 24
    np.testing.assert_allclose(sums.data[0, :43], expected, rtol=1e-5)


def test_exact_formats_have_no_importances(tmp_path):
    written(pruned(tiny_llama()), tmp_path, FileDtype.FLOAT16, some_text())
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_progress_and_cancelling_reach_the_caller(tmp_path):
    steps = []

    def stop() -> None:
        steps.append(1)
        if len(steps) == 2:
            raise KeyboardInterrupt

    calibration = Calibration(some_text().windows, 4, "text", step=stop)
    with pytest.raises(KeyboardInterrupt):
        written(pruned(tiny_llama()), tmp_path, FileDtype.Q4_0, calibration)
