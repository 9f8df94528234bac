"""GGUF files: header, tensors and verification without a runtime."""

import dataclasses
import re
from itertools import product

import gguf
import numpy as np
import pytest
import torch

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.base.errors import ExportError
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel
from surgeon_engine.compaction.shrink import compact
from surgeon_engine.export.gguf.file import GgufWriter
from surgeon_engine.export.provenance import Provenance, provenance_of
from surgeon_engine.model.source import ModelSource
from tests.helpers.gguf_files import (
    LLAMA_3_ROPE,
    byte_pairs,
    in_pairs,
    numbers,
    pruned,
    tiny_llama,
    uniform,
    value_of,
    written,
)
from tests.helpers.pruned_models import loaded, masked, without
from tests.helpers.tiny_models import VOCABULARY, tiny_model

ROUNDED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def ragged(family: str = "llama") -> PrunedModel:
    model, plan = masked(family, Structure.HEADS_AND_NEURONS)
    return pruned(model, plan)


def test_blocks_with_different_widths_use_deci(tmp_path):
    example = ragged()
    reader = written(example, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
    blocks = compact(example.loaded.model, example.plan).config["per_layer_config"]
    assert value_of(reader, "general.architecture") == "deci"
    for name, key in (
        ("intermediate_size", "deci.feed_forward_length"),
        ("num_attention_heads", "deci.attention.head_count"),
        ("num_key_value_heads", "deci.attention.head_count_kv"),
    ):
        field = reader.get_field(key)
        assert field.types == [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.INT32]
        assert field.contents() == [blocks[str(i)][name] for i in range(2)]
    for key in ("attention.key_length", "attention.value_length"):
        assert value_of(reader, f"deci.{key}") == 4
    assert value_of(reader, "deci.context_length") == 64
    assert value_of(reader, "deci.vocab_size") == VOCABULARY


@pytest.mark.parametrize(
    ("make", "widths"), [(pruned, (96, 6, 3)), (uniform, (64, 4, 2))]
)
def test_blocks_with_same_widths_use_llama(make, widths, tmp_path):
    reader = written(make(tiny_llama(intermediate_size=96)), tmp_path)
    assert value_of(reader, "general.architecture") == "llama"
    names = ("feed_forward_length", "attention.head_count", "attention.head_count_kv")
    assert tuple(value_of(reader, f"llama.{name}") for name in names) == widths
    assert value_of(reader, "llama.attention.key_length") == 16
    assert value_of(reader, "llama.attention.value_length") == 16


@pytest.mark.parametrize(
    ("full", "kept", "filled"), [(96, 33, 64), (96, 32, 32), (96, 65, 96), (90, 33, 33)]
)
def test_widths_are_filled_up_to_whole_blocks_of_numbers(full, kept, filled, tmp_path):
    model = tiny_llama(intermediate_size=full, mlp_bias=True)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_()

    def choose(unit) -> torch.Tensor:
        count = unit.candidates
        return torch.arange(count) >= (kept if count == full else count)

    example = pruned(model, without(model, choose))
    reader = written(example, tmp_path, FileDtype.Q8_0)
    assert value_of(reader, "llama.feed_forward_length") == filled
    kinds = {x.name: x.tensor_type.name for x in reader.tensors}
    has_blocks = filled % 32 == 0
    assert kinds["blk.0.ffn_down.weight"] == ("Q8_0" if has_blocks else "F16")
    for name in ("blk.0.ffn_up", "blk.0.attn_output", "token_embd"):
        assert kinds[f"{name}.weight"] == "Q8_0"
    exact = model.lm_head.weight.numpy()
    found = numbers(reader)
    error = np.abs(found["output.weight"] - exact).reshape(-1, 32)
    # Half a step, and half a unit of the float16 that the step is.
    allowed = np.abs(exact).reshape(-1, 32).max(axis=1) / 127 * 0.57
    assert (error.max(axis=1) <= allowed).all()
    down, up = found["blk.1.ffn_down.weight"], found["blk.1.ffn_up.weight"]
    assert (down.shape, up.shape) == ((96, filled), (filled, 96))
    assert not down[:, kept:].any()
    assert not up[kept:].any()
    assert down[:, :kept].any(axis=0).all()
    biases = found["blk.1.ffn_up.bias"]
    assert biases.shape == (filled,)
    assert not biases[kept:].any()
    assert found["blk.1.ffn_down.bias"].shape == (96,)


def test_file_states_the_name_and_the_license_of_the_original(tmp_path):
    card = "---\nlicense: other\nlicense_name: tiny\nlanguage: [en, de]\n---\n"
    original = tmp_path / "models--org--tiny" / "snapshots" / "1"
    original.mkdir(parents=True)
    (original / "README.md").write_text(card)
    model = loaded(tiny_llama(), byte_pairs())
    model = dataclasses.replace(model, source=ModelSource("Tiny.Q4_1", original))
    reader = written(PrunedModel(model, CompactionPlan()), tmp_path)
    assert value_of(reader, "general.name") == "Tiny"  # its numbers are others
    assert value_of(reader, "general.license") == "other"
    assert value_of(reader, "general.license.name") == "tiny"
    assert value_of(reader, "general.languages") == ["en", "de"]
    address = "https://huggingface.co/org/tiny"
    assert value_of(reader, "general.base_model.0.repo_url") == address
    again = provenance_of(ModelSource("Tiny", tmp_path, "model.gguf"))
    assert again == Provenance("org/tiny", "other", "tiny")


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_file_holds_tensors_of_compact_model(family, tmp_path):
    example = ragged(family)
    found = numbers(written(example, tmp_path))
    kept = compact(example.loaded.model, example.plan).tensors
    assert len(found) == len(kept)
    for name, tensor in kept.items():
        expected = tensor.tensor()
        if "q_proj" in name or "k_proj" in name:
            expected = in_pairs(expected, len(expected) // 4)
        assert torch.equal(torch.tensor(found[gguf_name(name)]), expected), name


def gguf_name(name: str) -> str:
    for theirs, ours in (
        ("model.layers.", "blk."),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("input_layernorm", "attn_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.", "attn_"),
        ("mlp.", "ffn_"),
        ("_proj", ""),
    ):
        name = name.replace(theirs, ours)
    return name


def test_qwen2_with_all_heads_is_not_reordered(tmp_path):
    model = tiny_model("qwen2")
    reader = written(pruned(model), tmp_path)
    assert value_of(reader, "general.architecture") == "qwen2"
    expected = model.model.layers[1].self_attn.q_proj.weight.numpy()
    np.testing.assert_array_equal(numbers(reader)["blk.1.attn_q.weight"], expected)


def test_tied_embeddings_are_written_once(tmp_path):
    reader = written(pruned(tiny_llama(tie_word_embeddings=True)), tmp_path)
    assert "output.weight" not in numbers(reader)


def test_scaled_positions_become_a_tensor(tmp_path):
    model = tiny_llama(rope_parameters=LLAMA_3_ROPE)
    factors = numbers(written(pruned(model), tmp_path))["rope_freqs.weight"]
    unscaled = 10000.0 ** -(np.arange(0, 16, 2) / 16)
    scaled = model.model.rotary_emb.inv_freq.numpy()
    np.testing.assert_allclose(unscaled / factors, scaled, rtol=1e-6)
    assert factors.max() == pytest.approx(8)
    assert factors.min() == pytest.approx(1)


@pytest.mark.parametrize(
    ("of_model", "dtype", "kind"),
    [
        ("BF16", FileDtype.SAME, "BF16"),
        ("F32", FileDtype.FLOAT32, "F32"),
        ("F32", FileDtype.FLOAT16, "F16"),
        ("F32", FileDtype.BFLOAT16, "BF16"),
    ],
)
def test_only_matrices_are_rounded(of_model, dtype, kind, tmp_path):
    model = tiny_llama().to(ROUNDED[of_model])
    model.model.norm.weight.normal_()
    reader = written(pruned(model), tmp_path, dtype)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    norms = {name for name in kinds if "_norm" in name}
    assert {kinds.pop(name) for name in norms} == {"F32"}
    assert set(kinds.values()) == {kind}
    found = numbers(reader)
    for name, tensor in (
        ("output_norm.weight", model.model.norm.weight),
        ("output.weight", model.lm_head.weight.to(ROUNDED[kind])),
    ):
        np.testing.assert_array_equal(found[name], tensor.float().numpy())


@pytest.mark.parametrize("dtype", [FileDtype.FLOAT16, FileDtype.Q8_0])
def test_write_weight_too_large_for_float16_raises(dtype, tmp_path):
    model, largest = tiny_llama(), 70000.0 * (127 if dtype is FileDtype.Q8_0 else 1)
    model.model.layers[1].mlp.down_proj.weight[3, 5] = -largest
    named = rf"blk\.1\.ffn_down\.weight .* up to {re.escape(f'{largest:.3g}')}"
    with pytest.raises(ExportError, match=named) as error:
        written(pruned(model), tmp_path, dtype)
    assert "bfloat16" in error.value.hint


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "size"),
    [*product(FileDtype, [300]), (FileDtype.Q4_0, 5000)],
)
def test_forecast_is_exact(dtype, size, tmp_path):
    # The header with thousands of tokens is larger than all the weights.
    example = uniform(tiny_llama(vocab_size=size, rope_parameters=LLAMA_3_ROPE))
    forecast = GgufWriter().forecast(example, dtype)
    written(example, tmp_path, dtype)
    assert forecast == (tmp_path / "model.gguf").stat().st_size


def test_matrices_that_fall_back_to_another_type_are_noted(tmp_path):
    example = uniform(tiny_llama())
    reader = written(example, tmp_path, FileDtype.Q6_K)
    matrices = [x for x in reader.tensors if len(x.shape) > 1]
    types = {each.tensor_type.name for each in matrices}
    assert "Q6_K" not in types  # no row has 256 columns
    (note,) = GgufWriter().notes(example, FileDtype.Q6_K)
    # A head of such rows has eight bits by the rules.
    assert f" {len(matrices) - 1} matrices " in note
    assert all(kind in note for kind in types)
    assert GgufWriter().notes(example, FileDtype.FLOAT16) == ()


def with_unknown_tensor() -> PrunedModel:
    model = tiny_llama()
    model.model.layers[0].self_attn.q_norm = torch.nn.LayerNorm(16, bias=False)
    return pruned(model)


UNSUPPORTED = [
    (lambda: pruned(tiny_model("opt")), "no GGUF files of this architecture (opt)"),
    (
        lambda: pruned(tiny_model("falcon_multi_head")),
        "alibi = false for granted",
    ),
    (
        lambda: pruned(*masked("llama", Structure.ROWS_AND_COLUMNS)),
        "only removed heads and neurons",
    ),
    (with_unknown_tensor, "model.layers.0.self_attn.q_norm.weight"),
    (
        lambda: PrunedModel(loaded(tiny_llama()), CompactionPlan()),
        "this model has none",
    ),
]


@pytest.mark.parametrize(("make", "reason"), UNSUPPORTED)
def test_models_that_llama_cpp_does_not_know_are_unsupported(make, reason):
    assert reason in GgufWriter().unsupported_reason(make())
