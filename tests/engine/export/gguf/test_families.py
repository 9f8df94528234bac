"""GGUF files of each family: names, widths and values; llama.cpp's logits."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.config.pruning import Structure, Widths
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.base.errors import ModelError
from surgeon_engine.compaction.plan import PrunedModel, plan_of
from surgeon_engine.export.gguf.file import GgufWriter
from surgeon_engine.model.families import FAMILIES
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.load import load_model
from surgeon_engine.model.source import ModelSource
from surgeon_engine.pruning.structures.units import units_of
from tests.helpers.configs import pruning_config
from tests.helpers.gguf_files import (
    LLAMA_3_ROPE,
    in_pairs,
    numbers,
    pruned,
    tiny_llama,
    uniform,
    value_of,
    written,
)
from tests.helpers.gguf_mixtures import MIXTURES
from tests.helpers.gguf_models import GGUF_FAMILIES, YARN
from tests.helpers.pairs import others_later
from tests.helpers.pruned_models import without, without_depth
from tests.helpers.tiny_models import tiny_model

GATED = "ffn_gate ffn_up ffn_down"
SEPARATE = "attn_q attn_k attn_v attn_output"
NORMS = "attn_norm ffn_norm"
HEAD_NORMS = "attn_q_norm attn_k_norm"
AROUND = "attn_norm post_attention_norm ffn_norm post_ffw_norm"
AFTER = "post_attention_norm post_ffw_norm"
FUSED = "attn_qkv attn_output ffn_up ffn_down"
# The architecture and the parts of the second block, by the name in GGUF_FAMILIES.
EXPECTED = {
    "qwen3": ("qwen3", f"{SEPARATE} {GATED} {NORMS} {HEAD_NORMS}"),
    "gemma": ("gemma", f"{SEPARATE} {GATED} {NORMS}"),
    "gemma2": ("gemma2", f"{SEPARATE} {GATED} {AROUND}"),
    "gemma3_text": ("gemma3", f"{SEPARATE} {GATED} {AROUND} {HEAD_NORMS}"),
    "gemma3_with_images": ("gemma3", f"{SEPARATE} {GATED} {AROUND} {HEAD_NORMS}"),
    "phi3": ("phi3", f"{FUSED} {NORMS}"),
    "granite": ("granite", f"{SEPARATE} {GATED} {NORMS}"),
    "smollm3": ("smollm3", f"{SEPARATE} {GATED} {NORMS}"),
    "glm4": ("glm4", f"{SEPARATE} ffn_up ffn_down {AROUND}"),
    "olmo2": ("olmo2", f"{SEPARATE} {GATED} {AFTER} {HEAD_NORMS}"),
    "olmo3": ("olmo2", f"{SEPARATE} {GATED} {AFTER} {HEAD_NORMS}"),
    "exaone4": ("exaone4", f"{SEPARATE} {GATED} {AFTER} {HEAD_NORMS}"),
    "starcoder2": ("starcoder2", f"{SEPARATE} ffn_up ffn_down {NORMS}"),
    "stablelm": ("stablelm", f"{SEPARATE} {GATED} {NORMS}"),
    "stablelm_head_norms": ("stablelm", f"{SEPARATE} {GATED} {NORMS} {HEAD_NORMS}"),
    "gpt2": ("gpt2", f"{FUSED} {NORMS}"),
    "gpt_neox": ("gptneox", f"{FUSED} {NORMS}"),
    "falcon": ("falcon", f"{FUSED} attn_norm attn_norm_2"),
    "falcon_multi_query": ("falcon", f"{FUSED} attn_norm"),
    "bloom": ("bloom", f"{FUSED} {NORMS}"),
    "ernie4_5": ("ernie4_5", f"{SEPARATE} {GATED} {NORMS}"),
    "phi": ("phi2", f"{SEPARATE} ffn_up ffn_down attn_norm"),
    "seed_oss": ("seed_oss", f"{SEPARATE} {GATED} attn_norm post_attention_norm"),
    "nemotron": ("nemotron", f"{SEPARATE} ffn_up ffn_down {NORMS}"),
    "arcee": ("arcee", f"{SEPARATE} ffn_up ffn_down {NORMS}"),
    "cohere": ("command-r", f"{SEPARATE} {GATED} attn_norm"),
    "cohere2": ("cohere2", f"{SEPARATE} {GATED} attn_norm"),
    "gpt_bigcode": ("starcoder", f"{FUSED} {NORMS}"),
    "gpt_bigcode_multi_head": ("starcoder", f"{FUSED} {NORMS}"),
    "qwen2_vl_text": ("qwen2vl", f"{SEPARATE} {GATED} {NORMS}"),
    "qwen2_5_vl_text": ("qwen2vl", f"{SEPARATE} {GATED} {NORMS}"),
    "qwen3_vl_text": ("qwen3vl", f"{SEPARATE} {GATED} {NORMS} {HEAD_NORMS}"),
    "gemma4_text": (
        "gemma4",
        f"{SEPARATE} {GATED} {AROUND} {HEAD_NORMS} layer_output_scale",
    ),
    "qwen3_5_text": (
        "qwen35",
        f"{SEPARATE} {GATED} attn_norm post_attention_norm {HEAD_NORMS}",
    ),
    "lfm2": ("lfm2", f"{SEPARATE} {GATED} {NORMS} {HEAD_NORMS}"),
}
# Families that are written as another one is.
WRITTEN_ALIKE = (
    *("gemma", "gemma2", "gemma3_text", "granite", "olmo2", "exaone4", "stablelm"),
    *("falcon_multi_query", "ernie4_5", "arcee", "cohere2", "gpt_bigcode_multi_head"),
    *("qwen2_vl_text", "qwen2_5_vl_text"),
)
# Families whose files may have fewer heads; the others lose neurons alone.
WITH_FEWER_HEADS = (
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "gemma3_with_images",
    "granite",
    "smollm3",
    "glm4",
    "ernie4_5",
    "seed_oss",
    "arcee",
    "qwen3_vl_text",
    "qwen3_5_text",
    "gemma4_text",
)
ALLOWED = 1e-3  # relative to the largest logit; llama.cpp rounds GELU to float16
PARTLY = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
LONG = {  # texts are shorter than the original context
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "original_max_position_embeddings": 64,
    "factor": 2.0,
    "short_factor": [1.0 + i / 10 for i in range(16)],
    "long_factor": [2.0 + i / 10 for i in range(16)],
}
LINEAR = {"rope_type": "linear", "rope_theta": 5e3, "factor": 4.0}
OTHER_BLOCKS = {"layer_types": ["full_attention", "sliding_attention"] * 23}
# Families that transformers reads from GGUF files, with options that it leaves out:
# first the families that are written in different ways, then the others.
READ_BACK = {
    "gemma3_text": {"final_logit_softcapping": 5.0},
    "phi3": {
        "rope_parameters": LONG
        | {
            "partial_rotary_factor": 0.5,
            "short_factor": LONG["short_factor"][:8],
            "long_factor": LONG["long_factor"][8:],
        }
    },
    "gpt2": {},
    "bloom": {},
    "falcon_multi_query": {"rope_parameters": LINEAR},
    "lfm2": {"rope_parameters": LINEAR},
}
ALSO_READ_BACK = {
    "qwen3": {"rope_parameters": YARN | {"attention_factor": 1.5}},
    # With so many blocks, scores have another scale.
    "gemma2": {"num_hidden_layers": 46, "head_dim": 64, **OTHER_BLOCKS},
    "starcoder2": {"rope_parameters": LINEAR | {"rope_type": "default"}},
    "stablelm": {"rope_parameters": PARTLY},
    "nemotron": {"norm_eps": 0.1, "rope_parameters": LINEAR},
    "qwen2_moe": {},
}
WINDOW = {"sliding_window": 8, "layer_types": ["sliding_attention"] * 3}


def without_neurons(model, left=lambda block, n: n * 2 // 3) -> PrunedModel:
    """Return a model with `left(block, n)` of the `n` neurons of each block."""
    units = units_of(pruning_config(structure=Structure.NEURONS), model)
    removed = {}
    for unit in units:
        kept = left(unit.measured.block, unit.candidates)
        is_removed = torch.arange(unit.candidates) >= kept
        removed[unit.measured.name] = is_removed
        for layer, zeros in unit.zeros(is_removed):
            layer.write(layer.weight().masked_fill(zeros, 0))
    return pruned(model, plan_of(units, removed))


def ragged(name: str) -> PrunedModel:
    """Return a model whose blocks have 96, 64 and 32 neurons."""
    return without_neurons(GGUF_FAMILIES[name](), lambda block, n: n - 32 * block)


def without_a_head(name: str) -> PrunedModel:
    """Return a model whose first block with heads lacks one of them."""
    model, found = GGUF_FAMILIES[name](), []

    def choose(unit) -> torch.Tensor:
        found.append(unit.measured.block)
        first = torch.arange(unit.candidates) == 0
        return first & (unit.measured.block == found[0])

    return pruned(model, without(model, choose, Structure.HEADS))


def smaller(name: str) -> PrunedModel:
    model = GGUF_FAMILIES[name]()
    return uniform(model) if name in WITH_FEWER_HEADS else without_neurons(model)


@pytest.mark.parametrize(
    "name", others_later(EXPECTED, EXPECTED.keys() - {*WRITTEN_ALIKE})
)
def test_file_of_a_smaller_model_has_the_names_and_widths(name, tmp_path):
    example = smaller(name)
    reader = written(example, tmp_path)
    architecture, parts = EXPECTED[name]
    assert value_of(reader, "general.architecture") == architecture
    shapes = {each.name: each.shape.tolist() for each in reader.tensors}
    found = {x.split(".")[2] for x in shapes if x.startswith("blk.1.")}
    assert found == set(parts.split())
    neurons = value_of(reader, f"{architecture}.feed_forward_length")
    neurons = neurons[1] if isinstance(neurons, list) else neurons
    full = example.loaded.layers[-1].columns
    assert neurons == -(-(full * 2 // 3) // 32) * 32  # filled up with zeros
    assert shapes["blk.1.ffn_down.weight"] == [neurons, 128]
    heads = value_of(reader, f"{architecture}.attention.head_count")
    heads = heads[1] if isinstance(heads, list) else heads
    assert heads == (2 if name in WITH_FEWER_HEADS else 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", others_later([*READ_BACK, *ALSO_READ_BACK], READ_BACK))
def test_file_is_read_as_the_same_model(name, tmp_path):
    settings = (READ_BACK | ALSO_READ_BACK)[name]
    model = (GGUF_FAMILIES | MIXTURES)[name](**settings)
    written(pruned(model), tmp_path)
    read = load_model(ModelConfig(str(tmp_path / "model.gguf"))).model
    tokens = torch.arange(1, 25).unsqueeze(0)
    with torch.no_grad():
        expected, found = (each(tokens).logits for each in (model, read))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_all_families_of_the_table_have_an_example():
    made = [*GGUF_FAMILIES.items(), *MIXTURES.items()]
    types = [make().config.get_text_config().model_type for _, make in made]
    with_files = {name for name, family in FAMILIES.items() if family.gguf}
    assert with_files.difference(types) == {"llama", "mistral", "qwen2"}
    for (name, _), model_type in zip(made, types, strict=True):
        if name in EXPECTED:
            assert FAMILIES[model_type].gguf[0].architecture == EXPECTED[name][0]


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("phi3", {"hidden_act": "gelu"}, "computes silu in these MLPs, not gelu"),
        ("glm4", {"rope_parameters": LLAMA_3_ROPE}, "scaled by llama3"),
        ("qwen3", {"rope_parameters": PARTLY}, "rotates whole queries and keys"),
        (
            "qwen3",
            {"rope_parameters": YARN | {"beta_fast": 16}},
            "beta_fast = 32, not 16",
        ),
        ("smollm3", {"no_rope_layers": [1, 0, 1, 0]}, "in each 4-th block"),
        ("gemma2", {"query_pre_attn_scalar": 64}, "by the root of 32 .* root of 64"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "= false for granted"),
        ("falcon", {"alibi": True}, "alibi = false for granted"),
        ("falcon", {"parallel_attn": False}, "parallel_attn = true"),
        ("exaone4", WINDOW, "sliding_window = None"),
        ("llama", {"hidden_act": "gelu"}, "not gelu"),
        ("llama", {"rope_parameters": LINEAR | {"rope_type": "dynamic"}}, "by dynamic"),
        ("qwen3_moe", {"mlp_only_layers": [1]}, "experts in all blocks but, at most"),
        ("qwen3_moe", {"mlp_only_layers": [0]}, "experts in all blocks but, at most"),
        ("qwen3_moe", {"norm_topk_prob": False}, "norm_topk_prob = true for granted"),
        ("deepseek_v3", {"rope_interleave": False}, "rope_interleave = true"),
        (
            "deepseek_v3",
            {"rope_parameters": YARN},
            r"scaled by yarn \(mscale_all_dim = None\)",
        ),
    ],
)
def test_what_an_architecture_does_not_compute_is_unsupported(name, settings, reason):
    make = (GGUF_FAMILIES | MIXTURES | {"llama": tiny_llama})[name]
    found = GgufWriter().unsupported_reason(pruned(make(**settings)))
    assert re.search(reason, found), found


@pytest.mark.parametrize("name", ["phi3", "gpt2", "gpt_neox", "bloom", "lfm2"])
def test_fewer_heads_are_unsupported_where_llama_cpp_needs_all(name):
    reason = GgufWriter().unsupported_reason(uniform(GGUF_FAMILIES[name]()))
    assert reason.endswith("prune the original with the structure neurons.")
    if name != "lfm2":  # which has one block with heads
        reason = GgufWriter().unsupported_reason(without_a_head(name))
        assert reason.endswith('the structure neurons and pruning.widths = "same".')


@pytest.mark.parametrize(
    ("make", "family"),
    [(ragged, "qwen3"), (without_a_head, "qwen3_5_text")],
)
def test_different_widths_are_unsupported_where_llama_cpp_reads_one(make, family):
    reason = GgufWriter().unsupported_reason(make(family))
    assert "has the same widths in all blocks" in reason
    assert reason.endswith('prune the original again with pruning.widths = "same".')


def test_gemma_4_may_have_different_widths(tmp_path):
    reader = written(ragged("gemma4_text"), tmp_path)
    assert value_of(reader, "gemma4.feed_forward_length") == [96, 64, 32]
    assert value_of(reader, "gemma4.attention.key_length") == 64
    assert value_of(reader, "gemma4.attention.key_length_swa") == 32
    pattern = value_of(reader, "gemma4.attention.sliding_window_pattern")
    assert pattern == [True, False, False]
    factors = numbers(reader)["rope_freqs.weight"]
    np.testing.assert_allclose(factors, [1.0] * 8 + [1e30] * 24, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("gemma4_text", {}, "transformers does not read the GGUF architecture gemma4"),
        ("gpt_oss", {}, "transformers does not read the GGUF architecture gpt-oss"),
        ("mixtral", {}, "its header has llama.expert_count = 6, which is not read"),
        ("qwen3", {"attention_bias": True}, "the tensor blk.0.attn_q.bias, which is"),
    ],
)
def test_file_of_which_something_is_not_read_is_refused(
    name, settings, reason, tmp_path
):
    written(pruned((GGUF_FAMILIES | MIXTURES)[name](**settings)), tmp_path)
    with pytest.raises(ModelError, match=re.escape(reason)):
        inspect_model(ModelConfig(str(tmp_path / "model.gguf")))


def test_scales_and_windows_are_in_the_header(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    reader = written(pruned(GGUF_FAMILIES["granite"]()), first)
    for key, scale in (
        ("embedding_scale", 12.0),
        ("logit_scale", 8.0),
        ("residual_scale", 0.22),
        ("attention.scale", 0.1),
    ):
        assert value_of(reader, f"granite.{key}") == pytest.approx(scale)
    reader = written(pruned(GGUF_FAMILIES["gemma3_text"]()), second)
    for key, value in (
        ("attention.sliding_window", 8),
        ("attention.sliding_window_pattern", [True, False, True]),
        ("rope.freq_base", 1e6),
        ("rope.freq_base_swa", 1e4),
        ("rope.scaling.type", "linear"),
        ("rope.scaling.factor", 4.0),
        ("context_length", 128),
    ):
        assert value_of(reader, f"gemma3.{key}") == value


def test_windows_move_up_when_blocks_are_dropped(tmp_path):
    model = GGUF_FAMILIES["gemma3_text"]()  # the first and the last block have some
    reader = written(pruned(model, without_depth(model, {0: "block"})), tmp_path)
    assert value_of(reader, "gemma3.block_count") == 2
    pattern = value_of(reader, "gemma3.attention.sliding_window_pattern")
    assert pattern == [False, True]


@pytest.mark.parametrize("part", ["heads", "neurons"])
def test_removed_parts_of_blocks_are_unsupported_without_deci(part):
    model = GGUF_FAMILIES["qwen3"]()
    example = pruned(model, without_depth(model, {1: part}))
    reason = GgufWriter().unsupported_reason(example)
    assert "qwen3 has no blocks without an attention or MLP" in reason


def test_norms_of_gemma_have_1_added(tmp_path):
    model = GGUF_FAMILIES["gemma2"]()
    found = numbers(written(pruned(model), tmp_path))
    for name, norm in (
        ("output_norm.weight", model.model.norm),
        ("blk.1.ffn_norm.weight", model.model.layers[1].pre_feedforward_layernorm),
    ):
        np.testing.assert_allclose(found[name], norm.weight.numpy() + 1, rtol=1e-6)


def test_fused_rows_of_groups_are_queries_then_keys_then_values(tmp_path):
    model = GGUF_FAMILIES["falcon"]()  # two groups of two queries, a key and a value
    found = numbers(written(pruned(model), tmp_path))["blk.1.attn_qkv.weight"]
    fused = model.transformer.h[1].self_attention.query_key_value.weight
    rows = fused.view(2, 4, 32, -1)
    expected = torch.cat(
        [x.flatten(0, -2) for x in (rows[:, :2], rows[:, 2:3], rows[:, 3:])]
    )
    np.testing.assert_array_equal(found, expected.numpy())


def test_fused_gates_of_a_width_without_whole_blocks_are_not_filled_up(tmp_path):
    model = GGUF_FAMILIES["phi3"](intermediate_size=80)  # twice that is one of blocks
    example = without_neurons(model, lambda block, n: 40)
    up = numbers(written(example, tmp_path))["blk.1.ffn_up.weight"]
    assert len(up) == 2 * 40


def test_both_parts_of_fused_gates_are_filled_up(tmp_path):
    model = GGUF_FAMILIES["phi3"]()
    example = without_neurons(model, lambda block, n: 40)
    up = numbers(written(example, tmp_path))["blk.1.ffn_up.weight"]
    fused = model.model.layers[1].mlp.gate_up_proj.weight
    for begin, part in ((0, fused[:96]), (64, fused[96:])):
        np.testing.assert_array_equal(up[begin : begin + 40], part[:40].numpy())
        assert not up[begin + 40 : begin + 64].any()


@pytest.mark.parametrize(
    ("name", "is_in_pairs"),
    [
        ("granite", True),
        ("smollm3", True),
        ("arcee", True),
        ("glm4", False),  # it rotates neighbors in transformers, too
        ("ernie4_5", False),
        ("cohere", False),
        ("qwen3", False),
        ("seed_oss", False),
    ],
)
def test_queries_are_in_pairs_where_llama_cpp_rotates_neighbors(
    name, is_in_pairs, tmp_path
):
    model = GGUF_FAMILIES[name]()
    found = numbers(written(pruned(model), tmp_path))
    attention = model.model.layers[1].self_attn
    for part, module, heads in (
        ("attn_q", attention.q_proj, 4),
        ("attn_k", attention.k_proj, 2),
    ):
        rows = module.weight
        expected = in_pairs(rows, heads) if is_in_pairs else rows
        np.testing.assert_array_equal(found[f"blk.1.{part}.weight"], expected.numpy())


def test_heads_of_linear_attention_repeat_the_keys_in_turn(tmp_path):
    """Two heads of keys have two heads of values each, of 32 features."""
    model = GGUF_FAMILIES["qwen3_5_text"]()
    found = numbers(written(pruned(model), tmp_path))
    linear = model.model.layers[0].linear_attn
    heads = torch.tensor([0, 2, 1, 3])
    rows = (heads.unsqueeze(1) * 32 + torch.arange(32)).flatten()
    after_keys = torch.cat([torch.arange(128), 128 + rows])
    for name, expected in (
        ("ssm_a", -linear.A_log.exp()[heads]),
        ("ssm_dt.bias", linear.dt_bias[heads]),
        ("ssm_alpha.weight", linear.in_proj_a.weight[heads]),
        ("attn_gate.weight", linear.in_proj_z.weight[rows]),
        ("attn_qkv.weight", linear.in_proj_qkv.weight[after_keys]),
        ("ssm_conv1d.weight", linear.conv1d.weight[after_keys, 0]),
        ("ssm_out.weight", linear.out_proj.weight[:, rows]),
        ("ssm_norm.weight", linear.norm.weight),
    ):
        np.testing.assert_array_equal(found[f"blk.0.{name}"], expected.numpy(), name)


def test_header_states_the_heads_of_linear_attention_that_are_left(tmp_path):
    example = uniform(GGUF_FAMILIES["qwen3_5_text"]())
    reader = written(example, tmp_path)
    assert value_of(reader, "qwen35.ssm.group_count") == 1
    assert value_of(reader, "qwen35.ssm.time_step_rank") == 2
    assert value_of(reader, "qwen35.ssm.inner_size") == 2 * 32


def test_window_that_llama_cpp_lacks_limits_the_context(tmp_path):
    example = pruned(tiny_model("mistral"))
    reader = written(example, tmp_path)
    assert value_of(reader, "llama.context_length") == 8
    (note,) = GgufWriter().notes(example, FileDtype.FLOAT32)
    assert "a context of 8 tokens" in note


def test_window_is_that_of_the_blocks_that_remain(tmp_path):
    model = tiny_model("mistral")
    example = pruned(model, without_depth(model, {0: "block"}))
    assert GgufWriter().unsupported_reason(example) == ""
    assert value_of(written(example, tmp_path), "llama.context_length") == 8


def test_model_without_any_attention_has_a_reason():
    model = GGUF_FAMILIES["lfm2"]()
    kinds = model.config.layer_types
    case = {n: "block" for n, kind in enumerate(kinds) if kind == "full_attention"}
    example = pruned(model, without_depth(model, case))
    assert "needs an attention" in GgufWriter().unsupported_reason(example)


@pytest.mark.parametrize(
    ("family", "is_possible"), [("gemma2", False), ("gemma3_text", True)]
)
def test_model_without_windows_is_written_where_llama_cpp_reads_it(family, is_possible):
    model = GGUF_FAMILIES[family]()
    kinds = model.config.layer_types
    case = {n: "block" for n, kind in enumerate(kinds) if kind == "sliding_attention"}
    reason = GgufWriter().unsupported_reason(pruned(model, without_depth(model, case)))
    assert (reason == "") is is_possible
    assert is_possible or "needs a block with a sliding window" in reason


@pytest.mark.slow
def test_language_model_alone_is_written_and_the_log_names_mmproj(tmp_path):
    example = pruned(GGUF_FAMILIES["gemma3_with_images"]())
    reader = written(example, tmp_path)
    assert len(reader.tensors) == 2 + 3 * 13
    (note,) = GgufWriter().notes(example, FileDtype.FLOAT32)
    assert "mmproj file fits it unchanged" in note


@pytest.mark.parametrize(
    ("name", "widths"),
    [("gemma4_text", Widths.FREE), ("qwen2_vl_text", Widths.SAME), ("opt", None)],
)
def test_summary_says_whether_blocks_of_a_file_may_differ(name, widths):
    has_file = name in GGUF_FAMILIES
    model = GGUF_FAMILIES[name]() if has_file else tiny_model(name)
    assert describe(model, ModelSource("Tiny", Path("nowhere"))).gguf_widths is widths
