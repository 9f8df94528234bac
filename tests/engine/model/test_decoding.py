"""Models decode token by token as they read a whole text."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from surgeon_engine.model.decoding import fast_attention, with_cache
from tests.helpers.pruning_states import random_windows

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


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("llama", {"num_key_value_heads": 2}),
        ("mistral", {"num_key_value_heads": 1, "sliding_window": 4}),
        ("glm_moe_dsa", CHOSEN_KEYS),
    ],
)
@torch.no_grad()
def test_attention_of_one_token_is_that_of_the_model(kind, options):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **TINY, **options)
    model = AutoModelForCausalLM.from_config(config).eval()
    tokens = random_windows(3, 12).clamp(max=63)

    def decoded():
        cache = with_cache(model)
        return [model(x, use_cache=True, **cache).logits for x in tokens.split(1, 1)]

    expected = decoded()
    with fast_attention(model):
        found = decoded()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(decoded(), expected, rtol=0, atol=0)
