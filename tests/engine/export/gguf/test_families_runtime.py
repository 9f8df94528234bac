"""llama.cpp computes the logits of the families that Surgeon writes."""

import pytest
import torch

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.export.gguf.quantizer import dequantize, quantize
from surgeon_engine.planning.gguf_types import TensorType
from tests.engine.export.gguf.test_families import (
    ALLOWED,
    EXPECTED,
    LONG,
    ragged,
    smaller,
)
from tests.engine.export.gguf.test_gguf_runtime import compared
from tests.helpers.gguf_files import LLAMA_3_ROPE, pruned
from tests.helpers.gguf_mixtures import MIXTURES, without_experts
from tests.helpers.gguf_models import GGUF_FAMILIES, YARN


@pytest.mark.runtimes
@pytest.mark.parametrize("name", EXPECTED)
def test_llama_cpp_computes_the_logits_of_a_smaller_model(name, runtime, tmp_path):
    assert_same_logits(smaller(name), runtime, tmp_path)


VARIANTS = [
    ("qwen3", {"rope_parameters": YARN}),
    ("qwen3", {"rope_parameters": YARN | {"rope_type": "linear"}}),
    ("qwen3", {"rope_parameters": YARN | {"attention_factor": 1.5}}),
    ("granite", {"rope_parameters": LLAMA_3_ROPE}),
    ("phi3", {"partial_rotary_factor": 0.75}),
    ("phi3", {"rope_parameters": LONG}),
    ("glm4", {"attention_bias": True}),
    ("stablelm", {"use_parallel_residual": True}),
    ("gpt_neox", {"use_parallel_residual": False}),
    ("falcon", {"num_ln_in_parallel_attn": 1}),
    ("gemma4_text", {"num_global_key_value_heads": 1, "attention_k_eq_v": True}),
    ("gemma4_text", {"hidden_size_per_layer_input": 32}),
    (
        "gemma4_text",
        {
            "hidden_size_per_layer_input": 32,
            "num_hidden_layers": 4,
            "num_kv_shared_layers": 2,
            "use_double_wide_mlp": True,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
]


@pytest.mark.runtimes
@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_llama_cpp_computes_the_logits_of_a_variant(name, settings, runtime, tmp_path):
    assert_same_logits(pruned(GGUF_FAMILIES[name](**settings)), runtime, tmp_path)


MSCALE = {"mscale": 0.7, "mscale_all_dim": 0.7}
MIXTURE_VARIANTS = [
    *((name, {}) for name in MIXTURES),
    ("deepseek_v2", {"q_lora_rank": None}),
    ("deepseek_v3", {"rope_parameters": YARN | MSCALE}),
    ("glm4_moe", {"attention_bias": True, "use_qk_norm": False}),
    ("glm4_moe", {"n_shared_experts": 2, "norm_topk_prob": False}),
    ("qwen3_moe", {"tie_word_embeddings": True}),
]


@pytest.mark.runtimes
@pytest.mark.parametrize(("name", "settings"), MIXTURE_VARIANTS)
def test_llama_cpp_computes_the_logits_without_some_experts(
    name, settings, runtime, tmp_path
):
    example = without_experts(MIXTURES[name](**settings), neurons=32)
    assert_same_logits(example, runtime, tmp_path)


@pytest.mark.runtimes
@pytest.mark.parametrize("name", ["gpt_oss", "qwen3_moe"])
def test_llama_cpp_computes_with_experts_in_mxfp4(name, runtime, tmp_path):
    model = MIXTURES[name]()
    for parameter in model.parameters():  # to numbers that the file holds exactly
        kind = TensorType.MXFP4 if parameter.ndim == 3 else TensorType.Q8_0
        if parameter.ndim > 1:
            is_transposed = name == "gpt_oss" and parameter.ndim == 3
            view = parameter.mT if is_transposed else parameter
            blocks = quantize(view.numpy(), kind)
            view.copy_(torch.from_numpy(dequantize(blocks, kind)))
    example = without_experts(model)
    _, result = compared(example, runtime, tmp_path, FileDtype.MXFP4_MOE)
    assert result["saving_divergence"] < 0.01  # llama.cpp rounds states to 8 bits


@pytest.mark.runtimes
def test_llama_cpp_reads_different_widths_of_gemma_4(runtime, tmp_path):
    assert_same_logits(ragged("gemma4_text"), runtime, tmp_path)


def assert_same_logits(example, runtime, folder) -> None:
    _, result = compared(example, runtime, folder)
    assert result["largest_difference"] < ALLOWED * result["largest_logit"]
    assert result["agreement"] == 1.0
