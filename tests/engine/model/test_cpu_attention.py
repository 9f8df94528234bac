"""The attention on CPUs computes the same as torch's fused attention."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.model import cpu_attention
from surgeon_engine.model.cpu_attention import attend_fast_on_cpus
from surgeon_engine.model.decoding import with_cache
from surgeon_engine.model.load import load_model
from surgeon_engine.run.prepare import prepare
from tests.helpers.pruning_states import random_windows, silent_context
from tests.helpers.tiny_models import tiny_model

TINY = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
CHOSEN_KEYS = {  # each query reads four keys that an indexer chooses
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 2,
    "index_topk": 4,
    "index_n_heads": 2,
    "index_head_dim": 16,
}


class Module(nn.Module):
    num_key_value_groups = 3


@pytest.fixture
def plain():
    """Let models use torch's attention."""
    AttentionInterface.register("sdpa", sdpa_attention_forward)
    yield
    attend_fast_on_cpus()


@pytest.fixture
def no_other(monkeypatch):
    """Fail if torch's attention is called."""

    def fail(*args, **options):
        raise AssertionError

    monkeypatch.setattr(cpu_attention, "sdpa_attention_forward", fail)


def tensors(queries, keys, dtype=torch.float32, of_values=8):
    generator = torch.Generator().manual_seed(queries)
    shapes = [(2, 6, queries, 8), (2, 2, keys, 8), (2, 2, keys, of_values)]
    made = [2 * torch.randn(shape, generator=generator) for shape in shapes]
    return [x.to(dtype).requires_grad_() for x in made]


def outputs(attention, inputs, *options, **named):
    """Return the output of an attention and the gradients of its inputs."""
    found, weights = attention(Module(), *inputs, *(options or (None,)), **named)
    assert weights is None
    generator = torch.Generator().manual_seed(0)
    by_found = torch.randn(found.shape, generator=generator).to(found.dtype)
    return found.detach(), *torch.autograd.grad(found, inputs, by_found)


@pytest.mark.parametrize("queries", [2, 64, 65, 200, 512])
@pytest.mark.parametrize("options", [{}, {"scaling": 0.5}, {"is_causal": False}])
@pytest.mark.usefixtures("no_other")
def test_windows(queries, options):
    inputs = tensors(queries, queries, torch.float64)
    expected = outputs(sdpa_attention_forward, inputs, **options)
    assert_close(outputs(cpu_attention._attend, inputs, **options), expected)


@pytest.mark.usefixtures("no_other")
def test_values_of_another_size():
    inputs = tensors(70, 70, torch.float64, of_values=5)
    expected = outputs(sdpa_attention_forward, inputs)
    assert_close(outputs(cpu_attention._attend, inputs), expected)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
@pytest.mark.usefixtures("no_other")
def test_mask_of_one_query(dtype):
    inputs = tensors(1, 9)
    is_read = (torch.arange(18) % 4 != 1).view(2, 1, 1, 9)
    mask = is_read
    if dtype != torch.bool:
        mask = torch.zeros(is_read.shape).masked_fill(~is_read, -torch.inf)
    expected = outputs(sdpa_attention_forward, inputs, mask)
    assert_close(outputs(cpu_attention._attend, inputs, mask), expected)
    assert not torch.equal(expected[0], outputs(sdpa_attention_forward, inputs)[0])


@pytest.mark.parametrize("in_autocast", [False, True])
def test_errors_in_16_bits_are_those_of_the_fused_attention(in_autocast):
    inputs = tensors(200, 200, torch.float32 if in_autocast else torch.bfloat16)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    expected = outputs(sdpa_attention_forward, exact)

    def errors(attention):
        with torch.autocast("cpu", torch.bfloat16, enabled=in_autocast):
            found = outputs(attention, inputs)
        assert found[0].dtype == torch.bfloat16
        pairs = zip(found, expected, strict=True)
        return [float((x.double() - y).norm() / y.norm()) for x, y in pairs]

    fused = errors(sdpa_attention_forward)
    for own, of_torch in zip(errors(cpu_attention._attend), fused, strict=True):
        assert 0 < own < 1.6 * of_torch < 0.02


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (tensors(3, 7), {}),
        (tensors(513, 513), {}),
        (tensors(1, 7), {"position_bias": torch.ones(2, 6, 1, 7)}),
        ([x[:1] for x in tensors(1, 7)], {}),
        ([tensors(7, 7)[0][:1], *tensors(7, 7)[1:]], {}),
        (tensors(4, 4), {"attention_mask": torch.zeros(2, 1, 4, 4)}),
        (tensors(1, 4), {"attention_mask": torch.zeros(2, 6, 1, 4)}),
    ],
    ids=[
        *("a cache", "long", "position bias", "one window", "queries of one window"),
        *("mask", "mask of each head"),
    ],
)
def test_the_fused_attention_computes_the_rest(inputs, options):
    mask = options.pop("attention_mask", None)
    expected = outputs(sdpa_attention_forward, inputs, mask, **options)
    found = outputs(cpu_attention._attend, inputs, mask, **options)
    assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("llama", {"num_key_value_heads": 2}),
        ("mistral", {"num_key_value_heads": 1, "sliding_window": 4}),
        ("glm_moe_dsa", CHOSEN_KEYS),
    ],
)
@pytest.mark.usefixtures("plain")
@torch.no_grad()
def test_models_compute_the_same(kind, options):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **TINY, **options)
    model = AutoModelForCausalLM.from_config(config).eval()
    tokens = random_windows(3, 12).clamp(max=63)

    def computed():
        cache = with_cache(model)
        one_by_one = [model(x, use_cache=True, **cache) for x in tokens.split(1, 1)]
        return [model(tokens).logits, *(x.logits for x in one_by_one)]

    expected = computed()
    attend_fast_on_cpus()
    assert_close(computed(), expected)


@pytest.mark.usefixtures("plain")
def test_runs_attend_fast_and_models_that_others_load_do_not(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path)
    config = ModelConfig(str(tmp_path))
    load_model(config)  # as where the speed of files is measured
    attention = AttentionInterface()
    assert attention["sdpa"] is sdpa_attention_forward
    with pytest.raises(CalibrationError):  # no tokenizer
        prepare(RunConfig(config), silent_context())
    assert attention["sdpa"] is cpu_attention._attend
