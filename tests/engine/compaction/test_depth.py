"""Models without whole attentions, MLPs and blocks compute the same as masked ones."""

import json
from functools import partial

import pytest
import torch
from transformers import DynamicCache, StaticCache

from benchmarks.small_models import build
from benchmarks.small_sizes import SIZES
from surgeon_engine.api.config.export import ExportConfig, FileDtype
from surgeon_engine.base.errors import ModelError
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel
from surgeon_engine.compaction.restore import load_compact, restore
from surgeon_engine.compaction.shrink import compact
from surgeon_engine.export.transformers.files import (
    CompactWriter,
    MaskedWriter,
    PlainWriter,
)
from tests.engine.compaction.test_shrink import parameters
from tests.helpers.pairs import others_later, pairs
from tests.helpers.pruned_models import (
    CASES,
    assert_close,
    cache_name,
    compact_model,
    loaded,
    logits,
    noisy,
    tokens,
    without_depth,
)
from tests.helpers.tiny_models import (
    EVERY_FAMILY,
    NEURON_FAMILIES,
    REPRESENTATIVES,
    model_with,
)

USUAL = (*sorted({*REPRESENTATIVES} - {"youtu"}), "phi")
_EXPERTS = {
    "num_hidden_layers": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "head_dim": 4,
}
OTHERS = [
    x for x in EVERY_FAMILY if x not in (*REPRESENTATIVES, *USUAL, *NEURON_FAMILIES)
]


@pytest.mark.parametrize(
    ("family", "case"),
    [
        *others_later(pairs([*USUAL, *OTHERS], CASES), USUAL),
        ("youtu", "last attention"),  # the layers of its latent keys stay in a block
    ],
)
def test_compact_model_computes_the_same(family, case):
    model = noisy(family)
    plan = without_depth(model, CASES[case], widths=True)
    is_sublayer = "block" not in case
    if is_sublayer and any(each.coupled.adds_residual for each in plan.groups):
        with pytest.raises(ModelError, match="add the residual stream themselves"):
            compact_model(model, plan)
        return
    small = compact_model(model, plan)
    removed = sum(
        layer.weights
        for each in plan.groups
        for layer in each.coupled.layers
        if each.is_empty
    )
    assert parameters(model) - parameters(small) >= removed > 0
    blocks = small.config.get_text_config().num_hidden_layers
    assert blocks == 2 - (not is_sublayer)
    ids = tokens(2)
    expected = logits(model, ids)
    assert_close(logits(small, ids), expected)
    assert_close(logits(small, ids, DynamicCache(config=small.config)), expected)


def test_generation_without_first_attention_matches_no_cache():
    """The first layer of a cache counts the tokens for all."""
    model = noisy("llama")
    small = compact_model(model, without_depth(model, CASES["first attention"]))
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    ids = tokens(2)
    expected = small.generate(ids, use_cache=False, **settings)
    assert torch.equal(small.generate(ids, **settings), expected)
    assert torch.equal(model.generate(ids, **settings), expected)
    cache = StaticCache(config=small.config, max_cache_len=64)
    named = {cache_name(small): cache}
    assert torch.equal(small.generate(ids, **named, **settings), expected)


@pytest.mark.parametrize(
    ("writer", "case"),
    [
        (PlainWriter(), {0: "block"}),
        (CompactWriter(), {0: "block", 1: "heads"}),
        (CompactWriter(), {-1: "neurons"}),
        (MaskedWriter(), {0: "heads"}),
    ],
)
def test_files_are_restored(writer, case, tmp_path):
    model = noisy("gemma2")  # its blocks alternate: the config lists their kinds
    expected_kinds = list(model.config.layer_types)
    pruned = PrunedModel(loaded(model), without_depth(model, case))
    assert writer.unsupported_reason(pruned) == ""
    writer.write(pruned, ExportConfig(), tmp_path)
    forecast = writer.forecast(pruned, FileDtype.SAME)
    assert (tmp_path / "model.safetensors").stat().st_size == pytest.approx(
        forecast, rel=0.05
    )
    config = json.loads((tmp_path / "config.json").read_text())
    if case.get(0) == "block":
        assert config["num_hidden_layers"] == 1
        assert config["layer_types"] == expected_kinds[1:]
    ids = tokens(2)
    expected = logits(model, ids)
    if isinstance(writer, CompactWriter):
        assert_close(logits(load_compact(tmp_path), ids), expected)
    elif isinstance(writer, PlainWriter):
        stock = type(model).from_pretrained(tmp_path).eval()
        assert_close(logits(stock, ids), expected)
    whole = restore(tmp_path, "Tiny")
    assert_close(logits(whole.loaded.model, ids), expected)
    found = [(x.coupled.consumer.name, x.kept.tolist()) for x in whole.plan.groups]
    planned = [(x.coupled.consumer.name, x.kept.tolist()) for x in pruned.plan.groups]
    assert sorted(found) == sorted(planned)


def test_model_that_has_lost_nothing_has_no_smaller_files_and_no_zeros():
    whole = PrunedModel(loaded(noisy("llama")), CompactionPlan())
    for writer in (PlainWriter(), CompactWriter()):
        reason = writer.unsupported_reason(whole)
        assert "nothing was removed" in reason and "zeros" not in reason


def test_plain_files_hold_no_missing_sublayers():
    model = noisy("llama")
    pruned = PrunedModel(loaded(model), without_depth(model, {1: "heads"}))
    assert "block 1 has no heads" in PlainWriter().unsupported_reason(pruned)


def test_blocks_that_depend_on_their_number_stay():
    model = noisy("gpt2")
    model.config.scale_attn_by_inverse_layer_idx = True
    plan = without_depth(model, {0: "block"})
    with pytest.raises(ModelError, match="scales its attention by the number"):
        _ = compact(model, plan).config


# Models whose options number blocks of different kinds.
NUMBERED = {
    "first": partial(
        model_with, "Glm4Moe", n_routed_experts=8, first_k_dense_replace=2, **_EXPERTS
    ),
    "numbers": partial(
        model_with, "Qwen3Moe", num_experts=8, mlp_only_layers=[0, 2], **_EXPERTS
    ),
    "every second": partial(
        model_with, "Qwen3Moe", num_experts=8, decoder_sparse_step=2, **_EXPERTS
    ),
    "entries": partial(
        model_with,
        "Gemma4",
        num_hidden_layers=4,
        layer_types=["sliding_attention", "full_attention"] * 2,
        sliding_window=8,
        head_dim=4,
        global_head_dim=6,
        hidden_size_per_layer_input=0,
        num_kv_shared_layers=0,
    ),
}


@pytest.mark.parametrize(
    ("case", "block"),
    [("first", 0), ("numbers", 0), ("numbers", 2), ("every second", 0), ("entries", 0)],
)
def test_blocks_that_configs_number_keep_their_kinds(case, block):
    model = NUMBERED[case]()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.3)
    pruned = PrunedModel(loaded(model), without_depth(model, {block: "block"}))
    reason = CompactWriter().unsupported_reason(pruned)
    if case == "every second":  # no number can say so of the remaining ones
        assert "cannot describe the kinds of the remaining blocks" in reason
        return
    assert reason == PlainWriter().unsupported_reason(pruned) == ""
    small = compact_model(model, pruned.plan)
    assert_close(logits(small, tokens(2)), logits(model, tokens(2)))


@pytest.mark.parametrize("kind", ["openai-gpt", "glm_moe_dsa"])
def test_attention_of_which_more_is_read_stays(kind):
    dense = kind == "glm_moe_dsa"
    model = build("causal", kind, SIZES["usual"], dense=dense).requires_grad_(False)
    plan = without_depth(model, {1: "heads"})
    with pytest.raises(ModelError, match="need more of their attention"):
        _ = compact(model, plan).config


def test_compact_model_has_buffers_that_no_file_holds():
    model = build("causal", "falcon_h1", SIZES["usual"], dense=False)
    plan = without_depth(model.requires_grad_(False), {}, widths=True)
    expected = logits(model, tokens(2))
    assert_close(logits(compact_model(model, plan), tokens(2)), expected)
