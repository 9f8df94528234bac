"""Experts are fitted to the missing part of the output on their tokens."""

import pytest
import torch
from transformers import GptOssConfig, Qwen3MoeConfig
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeExperts

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Method, Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig, TrainedWeights
from surgeon_engine.api.messages.run import Recovered
from surgeon_engine.base.errors import PruningError
from surgeon_engine.model.experts import inner_states, last_weight
from surgeon_engine.recovery import expert_refit
from surgeon_engine.recovery.expert_refit import _held_out_error, _refit, _Seen
from surgeon_engine.recovery.weight_training import routers
from tests.helpers.pruning_states import make_state
from tests.helpers.runs import Recorder, job, preflight_error, skip_verification

SIZES = {"hidden_size": 8, "num_experts_per_tok": 2}
MODULES = {
    "qwen3_moe": lambda: Qwen3MoeExperts(
        Qwen3MoeConfig(num_experts=3, moe_intermediate_size=6, **SIZES)
    ),
    "gpt_oss": lambda: GptOssExperts(
        GptOssConfig(num_local_experts=3, intermediate_size=6, **SIZES)
    ),
}


@pytest.fixture(params=MODULES)
def module(request):
    torch.manual_seed(0)
    found = MODULES[request.param]().requires_grad_(False)
    for parameter in found.parameters():
        parameter.normal_(std=0.5)
    return found


def routed(module, tokens=400):
    """Return random inputs of experts, two of three for each token."""
    states = torch.randn(tokens, 8)
    weights, chosen = torch.rand(tokens, 3).topk(2, dim=1)
    missing = torch.zeros(tokens, 8)
    is_held_out = torch.arange(tokens) % 4 == 0
    roots = torch.ones(tokens, 1)
    return _Seen(states, chosen, weights, missing, is_held_out, roots, energy=1.0)


def test_form_is_that_of_the_module(module):
    seen = routed(module)
    expected = module(seen.states, seen.chosen, seen.weights)
    found = torch.zeros_like(expected)
    for expert in range(3):
        token, place = torch.where(seen.chosen == expert)
        inner = inner_states(module, expert, seen.states[token])
        outputs = inner @ last_weight(module, expert).T
        if module.has_bias:
            outputs = outputs + module.down_proj_bias[expert]
        found[token] += outputs * seen.weights[token, place].unsqueeze(1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_expert_learns_what_is_missing_on_its_tokens(module, monkeypatch):
    monkeypatch.setattr(expert_refit, "EXPERT_TOKENS", 50)  # a part at a time
    seen = routed(module)
    token, place = torch.where(seen.chosen == 1)
    X = inner_states(module, 1, seen.states[token])
    X = X * seen.weights[token, place].unsqueeze(1)
    change = 0.1 * torch.randn(8, 6)
    seen.missing[token] = X @ change.T
    other = torch.arange(len(seen.roots)) % 4 == 1  # fitted, and without weight
    seen.missing[other] += 1
    seen.roots[other] = 0
    others = module.down_proj[[0, 2]].clone()
    wanted = last_weight(module, 1) + change
    before = _held_out_error(seen)
    assert _refit(module, 1, seen) is not None
    assert _held_out_error(seen) < 0.01 * before
    assert (last_weight(module, 1) - wanted).norm() < 0.1 * change.norm()
    assert torch.equal(module.down_proj[[0, 2]], others)


def test_expert_with_few_tokens_stays(module):
    seen = routed(module, tokens=20)
    seen.missing.normal_()
    before = module.down_proj.clone()
    assert _refit(module, 1, seen) is None
    assert torch.equal(module.down_proj, before)


@pytest.mark.slow
def test_refit_moves_a_mixture_toward_the_original(tmp_path, monkeypatch):
    skip_verification(monkeypatch)
    config = job(
        tmp_path,
        "qwen3_moe",
        windows=32,
        export=ExportConfig(format=Format.COMPACT),
        recovery=RecoveryConfig(Recovery.REFIT, general_windows=0),
        structure=Structure.EXPERTS_AND_NEURONS,
        method=Method.FIRST_ORDER,
        sparsity=0.5,
    )
    recorder = Recorder().run(config, tmp_path / "run")
    (recovered,) = recorder.of(Recovered)
    assert recovered.layers == 2
    assert recovered.nats_after < 0.95 * recovered.nats_before


def test_routers_are_what_chooses_the_experts():
    state = make_state("qwen3_moe", structure=Structure.EXPERTS)
    blocks = state.loaded.model.model.layers
    found = {id(parameter) for parameter in routers(state)}
    assert found == {id(block.mlp.gate.weight) for block in blocks}


def test_dense_model_has_no_routers(tmp_path):
    recovery = RecoveryConfig(
        Recovery.DISTILLATION, general_windows=0, trained_weights=TrainedWeights.ROUTERS
    )
    error = preflight_error(
        job(tmp_path, recovery=recovery), tmp_path / "run", PruningError
    )
    assert "no routers" in error.message
