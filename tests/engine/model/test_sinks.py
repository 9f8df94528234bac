"""Fused attention with sinks computes the same as transformers from all scores."""

from copy import deepcopy

import pytest
import torch
import transformers
from torch.nn import functional
from torch.testing import assert_close

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.compaction.restore import load_compact, restore
from surgeon_engine.export.transformers.files import CompactWriter
from surgeon_engine.model.load import load_model
from surgeon_engine.model.sinks import FUSED_SINKS, fuse_sinks, score_heads
from tests.helpers.pruned_models import loaded, save_checkpoint, without
from tests.helpers.tiny_models import tiny_model

_SIZES = {
    "vocab_size": 96,
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "pad_token_id": 0,
    "sliding_window": 5,
    "layer_types": ["sliding_attention", "full_attention"],
}
_FEW_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
# MiMo has sinks in some blocks alone, and values of another size. Granite computes the
# effect of sinks after the softmax, and has a scale of its own. Flint keeps sinks in 32
# bits.
_OWN = {
    "GptOss": _FEW_EXPERTS,
    "GraniteSWA": {"attention_multiplier": 1.5, "eos_token_id": 0},
    "GraniteMoeSWA": {"attention_multiplier": 1.5, **_FEW_EXPERTS},
    "Flint": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 8,
        "shared_expert_intermediate_size": 8,
        "mlp_only_layers": [0],
    },
    "MiMoV2Flash": {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 8,
        "v_head_dim": 4,
    },
}
_TOKENS = torch.randint(
    1, 96, (2, 12), generator=torch.Generator().manual_seed(0)
)  # longer than the sliding window
_MASK = torch.ones_like(_TOKENS)
_MASK[1, :3] = 0


def pair_of(name):
    """Return a model with attention from all scores, and with a fused one."""
    torch.manual_seed(1)
    config = getattr(transformers, f"{name}Config")(**_SIZES | _OWN[name])
    plain = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.normal_(std=0.5)
    fused = deepcopy(plain)
    fuse_sinks(fused)
    assert score_heads(fused) == score_heads(plain) == 0
    assert plain.config._attn_implementation == "eager"
    assert fused.config._attn_implementation == FUSED_SINKS
    return plain, fused


@pytest.mark.parametrize("name", _OWN)
def test_outputs_and_gradients_equal_those_of_plain_attention(name):
    gradients = []
    for model in pair_of(name):
        logits = model(_TOKENS, attention_mask=_MASK).logits[:, 3:]
        functional.cross_entropy(
            logits.flatten(0, 1), _TOKENS[:, 3:].flatten()
        ).backward()
        gradients.append(
            {"logits": logits, **{n: p.grad for n, p in model.named_parameters()}}
        )
    plain, fused = gradients
    assert any(name.endswith("sinks") and x.any() for name, x in fused.items())
    assert_close(fused, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", _OWN)
def test_generated_text_equals_that_of_plain_attention(name):
    plain, fused = (
        model.generate(
            _TOKENS,
            attention_mask=_MASK,
            max_new_tokens=4,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        for model in pair_of(name)
    )
    assert torch.equal(fused.sequences, plain.sequences)
    assert_close(fused.logits, plain.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", _OWN)
@torch.no_grad()
def test_errors_in_16_bits_are_as_small_as_those_of_plain_attention(name):
    expected, errors = pair_of(name)[0](_TOKENS).logits, []
    for model in pair_of(name):
        sinks = {n: p for n, p in model.named_parameters() if n.endswith("sinks")}
        exact = {n: p.detach().clone() for n, p in sinks.items()}
        model.bfloat16()
        if name == "Flint":
            for n, p in sinks.items():
                p.data = exact[n]
        errors.append(float((model(_TOKENS).logits - expected).norm()))
    plain, fused = errors
    assert 0 < fused < 1.5 * plain < 0.1 * float(expected.norm())


def test_scores_are_not_held_and_queries_share_a_mask(monkeypatch):
    _, fused = pair_of("GptOss")
    shapes = []
    attention = functional.scaled_dot_product_attention

    def noted(query, key, value, attn_mask, **options):
        shapes.append((query.shape, attn_mask.shape, attn_mask.stride(-2) % 8))
        return attention(query, key, value, attn_mask, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", noted)
    fused.bfloat16()(_TOKENS)
    assert shapes == [((2, 4, 12, 8), (2, 1, 12, 13), 0)] * 2


@pytest.mark.slow
def test_models_read_from_files_have_the_fused_attention(tmp_path):
    model, _ = pair_of("GptOss")
    model.save_pretrained(tmp_path / "plain")
    plan = without(model, lambda unit: torch.arange(unit.candidates) == 0)
    save_checkpoint(loaded(model), tmp_path / "compact", plan, CompactWriter())
    for read in (
        load_model(ModelConfig(str(tmp_path / "plain"))).model,
        restore(tmp_path / "plain", "Tiny").loaded.model,
        restore(tmp_path / "compact", "Tiny").loaded.model,
        load_compact(tmp_path / "compact"),
    ):
        assert read.config._attn_implementation == FUSED_SINKS


def test_files_do_not_name_the_fused_attention(tmp_path):
    _, fused = pair_of("GptOss")
    fused.save_pretrained(tmp_path)
    assert FUSED_SINKS not in (tmp_path / "config.json").read_text()


def test_models_without_sinks_keep_their_attention():
    model = tiny_model("llama")
    before = model.config._attn_implementation
    fuse_sinks(model)
    assert model.config._attn_implementation == before != FUSED_SINKS
    assert score_heads(model) == 0
    model.config._attn_implementation = "eager"
    assert score_heads(model) == 4
