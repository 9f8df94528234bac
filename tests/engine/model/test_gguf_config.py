"""The config of a GGUF file describes the model that llama.cpp runs."""

import gguf
import numpy as np
import pytest

from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.gguf_config import config_of

SIZES = {
    "block_count": 6,
    "context_length": 128,
    "embedding_length": 64,
    "attention.head_count": 2,
    "attention.head_count_kv": 1,
    "attention.layer_norm_rms_epsilon": 1e-6,
}
YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}
GEMMA = {"attention.key_length": 32, "attention.sliding_window": 8}


@pytest.fixture
def read(tmp_path):
    """Return a function that reads the config of a file with these entries."""

    def config(architecture: str, entries: dict[str, object], *factors: str):
        writer = gguf.GGUFWriter(tmp_path / "model.gguf", architecture)
        for key, value in (SIZES | entries).items():
            full = (
                key
                if key.startswith(("split.", "general."))
                else f"{architecture}.{key}"
            )
            add = {
                bool: writer.add_bool,
                int: writer.add_uint32,
                float: writer.add_float32,
            }
            add.get(type(value), writer.add_string)(full, value)
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(["a"] * 64)
        for name in factors:
            writer.add_tensor(name, np.linspace(1, 2, 16, dtype="f"))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return config_of(tmp_path / "model.gguf")

    return config


def test_original_context_of_yarn_is_by_default_that_of_the_model(read):
    more = {"rope.scaling.yarn_beta_fast": 16.0}  # which llama.cpp does not read
    assert read("qwen2", YARN | more).rope_parameters == {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 128,
    }


@pytest.mark.parametrize("key", ["rope.scaling.factor", "rope.scale_linear"])
def test_factor_without_a_type_is_linear(key, read):
    rope = read("qwen2", {key: 4.0}).rope_parameters
    assert (rope["rope_type"], rope["factor"]) == ("linear", 4.0)


def test_window_pattern_number_makes_every_nth_block_full(read):
    config = read("gemma3", GEMMA | {"attention.sliding_window_pattern": 3})
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    assert config.layer_types == kinds * 2


@pytest.mark.parametrize("entries", [{}, {"attention.sliding_window": 0}])
def test_gemma_3_without_a_window_has_full_attention_alone(entries, read):
    config = read("gemma3", {"attention.key_length": 32, **entries})
    assert set(config.layer_types) == {"full_attention"}


def test_gemma_2_has_its_usual_window(read):
    assert read("gemma2", {"attention.key_length": 32}).sliding_window == 4096


def test_soft_cap_of_0_is_none(read):
    config = read("gemma2", GEMMA | {"final_logit_softcapping": 0.0})
    assert config.final_logit_softcapping is None


def test_usual_values_of_other_entries_are_read(read):
    read("qwen3moe", {"expert_gating_func": 1, "expert_weights_scale": 1.0})


def test_llama_with_the_name_mistral_is_a_llama(read):
    assert read("llama", {"general.name": "mistral"}).model_type == "llama"


@pytest.mark.parametrize(
    ("architecture", "entries", "factors", "sentence"),
    [
        ("qwen2", {"split.count": 3}, (), "one of the 3 parts of a file that was"),
        ("qwen2", {"rope.dimension_count": 16}, (), "rope.dimension_count = 16, which"),
        (
            "qwen2",
            {"rope.scaling.type": "longrope"},
            (),
            "scales positions by longrope",
        ),
        ("qwen2", {"attention.causal": False}, (), "attention.causal = False"),
        (
            "qwen2",
            {"attention.scale": 0.5},
            (),
            "qwen2.attention.scale = 0.5, which is",
        ),
        ("gemma2", GEMMA | {"rope.freq_base_swa": 1e3}, (), "freq_base_swa = 1000,"),
        (
            "phi3",
            {"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0},
            ("rope_factors_long.weight", "rope_factors_short.weight"),
            "it scales positions by yarn",
        ),
    ],
)
def test_unreadable_entries_are_refused(architecture, entries, factors, sentence, read):
    with pytest.raises(ModelError) as caught:
        read(architecture, entries, *factors)
    assert sentence in caught.value.message
