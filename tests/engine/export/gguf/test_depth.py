"""GGUF files of models without whole attentions, MLPs and blocks."""

import numpy as np
import pytest
import torch

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.export.gguf import check as gguf_check
from tests.engine.export.gguf.test_gguf_runtime import (
    assert_same,
    compared,
    qwen2_with_large_weights,
    with_large_weights,
)
from tests.helpers.gguf_files import (
    needs_llama,
    numbers,
    pruned,
    some_text,
    tiny_llama,
    value_of,
    written,
)
from tests.helpers.pruned_models import CASES, without_depth

ZEROS = ("ffn_gate", "ffn_up", "ffn_down")


def test_missing_attention_has_no_heads_and_no_norm(tmp_path):
    model = tiny_llama(num_hidden_layers=3)
    example = pruned(model, without_depth(model, {0: "block", 2: "heads"}))
    reader = written(example, tmp_path)
    assert value_of(reader, "general.architecture") == "deci"
    assert value_of(reader, "deci.block_count") == 2
    assert value_of(reader, "deci.attention.head_count") == [6, 0]
    assert value_of(reader, "deci.attention.head_count_kv") == [3, 0]
    names = {tensor.name for tensor in reader.tensors}
    assert "blk.0.attn_norm.weight" in names
    assert not any(name.startswith(("blk.1.attn", "blk.2")) for name in names)
    assert gguf_check._read_back(tmp_path / "model.gguf", 300)["tokens"] == 0


def test_missing_mlp_and_first_attention_are_zeros(tmp_path):
    model = tiny_llama()
    plan = without_depth(model, {0: "heads", 1: "neurons"})
    reader = written(pruned(model, plan), tmp_path)
    assert value_of(reader, "deci.attention.head_count") == [2, 6]
    assert value_of(reader, "deci.feed_forward_length") == [64, 32]
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    for name in ("q", "k", "v", "output"):
        assert not tensors[f"blk.0.attn_{name}.weight"].any()
    for name in ZEROS:
        assert not tensors[f"blk.1.{name}.weight"].any()


def test_dropped_blocks_alone_use_llama(tmp_path):
    model = tiny_llama(num_hidden_layers=3)
    expected = model.model.layers[2].mlp.down_proj.weight.clone()
    reader = written(pruned(model, without_depth(model, {1: "block"})), tmp_path)
    assert value_of(reader, "general.architecture") == "llama"
    assert value_of(reader, "llama.block_count") == 2
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    found = torch.from_numpy(tensors["blk.1.ffn_down.weight"].copy())
    assert torch.equal(found, expected)


@pytest.mark.parametrize("case", [*CASES, "mixed"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_logits_match_torch(family, case, runtime, tmp_path):
    makers = {"llama": with_large_weights, "qwen2": qwen2_with_large_weights}
    model = makers[family]()
    parts = CASES.get(case, {0: "heads", 1: "block", 2: "neurons"})
    example = pruned(model, without_depth(model, parts, widths=case == "mixed"))
    architecture, result = compared(example, runtime, tmp_path)
    if "block" in case:
        assert architecture == ("qwen2" if family == "qwen2" else "llama")
    assert_same(result)


@pytest.mark.slow
@needs_llama
def test_rounding_errors_are_fed_past_dropped_blocks(tmp_path):
    """Each block of the file is rounded on the inputs of its own in the model."""
    files = []
    for name in ("with", "without"):
        model = tiny_llama(num_hidden_layers=3)
        if name == "without":
            plan = without_depth(model, {1: "block", 2: "heads"})
        else:  # the same zeros in the model, all of them in the file
            without_depth(model, {1: "block", 2: "heads"})
            plan = None
        example, folder = pruned(model, plan), tmp_path / name
        files.append(numbers(written(example, folder, FileDtype.Q4_0, some_text())))
    whole, small = files
    for module in ("ffn_gate", "ffn_up", "ffn_down"):
        for ours, theirs in ((0, 0), (1, 2)):
            found = small[f"blk.{ours}.{module}.weight"]
            expected = whole[f"blk.{theirs}.{module}.weight"]
            np.testing.assert_array_equal(found, expected)
