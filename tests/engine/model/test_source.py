"""Models that cannot be pruned raise before any weight is read."""

from __future__ import annotations

import json
import shutil
import struct

import pytest
import torch

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.inspect import describe, inspect_model
from surgeon_engine.model.load import load_model
from surgeon_engine.model.source import locate, read_model_config
from tests.helpers.tiny_models import (
    COUPLED_FAMILIES,
    FAMILIES,
    save_tiny_model,
    tiny_model,
)


def error_of(source) -> str:
    """Return the message for `source`, and check that loading gives the same."""
    config = ModelConfig(source=str(source))
    with pytest.raises(ModelError) as first:
        inspect_model(config)
    with pytest.raises(ModelError) as second:
        load_model(config)
    assert first.value.message == second.value.message
    assert first.value.hint
    return first.value.message


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def folder(tmp_path):
    return save_tiny_model(tmp_path / "tiny")


def test_missing_source_raises(tmp_path):
    assert "There is no model at" in error_of(tmp_path / "none")


def test_folder_without_config_raises(folder):
    (folder / "config.json").unlink()
    assert "has no config.json" in error_of(folder)


def test_config_that_is_not_json_raises(folder):
    (folder / "config.json").write_text("{")
    assert "is not valid JSON" in error_of(folder)


def test_folder_without_weights_raises(folder):
    (folder / "model.safetensors").unlink()
    assert "has no .safetensors file" in error_of(folder)


def test_pickled_weights_raise(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickled weights only (pytorch_model.bin)" in error_of(folder)


@pytest.mark.parametrize("size", [0, 5, 300, -1])
def test_damaged_safetensors_file_raises(folder, size):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    assert "model.safetensors is damaged" in error_of(folder)


def test_unknown_architecture_raises(folder):
    change_config(folder, model_type="perceptron")
    assert "The config of tiny cannot be used" in error_of(folder)


@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [("bert", "BertForMaskedLM"), ("t5", "T5ForConditionalGeneration")],
)
def test_model_that_is_not_a_decoder_raises(folder, model_type, architecture):
    change_config(folder, model_type=model_type, architectures=[architecture])
    message = error_of(folder)
    assert "not a decoder-only language model" in message
    assert architecture in message


def test_mixture_of_experts_raises(folder):
    change_config(
        folder,
        model_type="mixtral",
        architectures=["MixtralForCausalLM"],
        num_local_experts=4,
    )
    assert "mixture of experts (num_local_experts = 4)" in error_of(folder)


def test_layers_of_different_sizes_raise(folder):
    change_config(folder, per_layer_config={"0": {"intermediate_size": 8}})
    assert "The layers of tiny differ in intermediate_size" in error_of(folder)


def test_quantized_weights_raise(folder):
    change_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    assert "The weights of tiny are quantized" in error_of(folder)


@pytest.mark.parametrize(
    ("data", "sentence"), [(b"", "an empty file"), (b"ZIP!....", "not a GGUF file")]
)
def test_file_that_is_not_gguf_raises(tmp_path, data, sentence):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    assert sentence in error_of(path)


def gguf(entries=b"", count=1):
    """Return the bytes of a GGUF file with entries and no tensors."""
    return b"GGUF" + struct.pack("<IQQ", 3, 0, count) + entries


def gguf_text(key, text):
    """Return the bytes of one entry that holds a text."""
    key, text = key.encode(), text.encode()
    return struct.pack(
        f"<Q{len(key)}sIQ{len(text)}s", len(key), key, 8, len(text), text
    )


LLAMA = gguf_text("general.architecture", "llama")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (gguf()[:4], "model.gguf is damaged: its header cannot be read."),
        (gguf()[:16], "model.gguf is damaged: its header cannot be read."),
        (gguf(LLAMA, 2), "model.gguf is damaged: its header cannot be read."),
        (gguf(b"", 0), "cannot be used: its header names no architecture."),
        (
            gguf(LLAMA + gguf_text("tokenizer.ggml.model", "gpt2")[:-6], 2),
            "model.gguf is damaged: its header cannot be read.",
        ),
        (
            gguf(gguf_text("general.architecture", "nonsense")),
            "architecture nonsense is not supported",
        ),
        (
            gguf(gguf_text("general.architecture", "deci")),
            "The layers of model.gguf differ in their widths",
        ),
    ],
)
def test_unusable_gguf_file_raises(tmp_path, data, sentence):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    assert sentence in error_of(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": "wide"},
        {"num_attention_heads": 0},
        {"intermediate_size": -8},
        {"hidden_act": "magic"},
    ],
)
def test_config_without_valid_model_raises(folder, changes):
    change_config(folder, **changes)
    config = ModelConfig(source=str(folder))
    for attempt in (inspect_model, load_model):
        with pytest.raises(ModelError, match="tiny"):
            attempt(config)


def test_path_of_unknown_user_raises():
    assert "There is no model at" in error_of("~nobody-of-that-name/model")


def test_missing_weights_raise(folder, tmp_path):
    other = save_tiny_model(tmp_path / "other", "opt")
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"21 tensors are missing, such as lm_head"):
        load_model(ModelConfig(source=str(folder)))


def test_weights_of_another_size_raise(folder):
    change_config(folder, intermediate_size=16)
    with pytest.raises(
        ModelError, match=r"6 tensors are of another shape, such as model\.layers\.0"
    ):
        load_model(ModelConfig(source=str(folder)))


def test_folder_without_tokenizer_is_loaded(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert load_model(ModelConfig(source=str(folder))).tokenizer is None


@pytest.mark.parametrize("family", FAMILIES)
def test_inspect_model_matches_load_model(tmp_path, family):
    folder = save_tiny_model(tmp_path / family, family)
    summary = inspect_model(ModelConfig(source=str(folder))).model
    loaded = load_model(ModelConfig(source=str(folder)))
    assert summary == describe(loaded.model, loaded.source, loaded.stored)
    assert summary.parameters == sum(p.numel() for p in tiny_model(family).parameters())
    assert summary.prunable == sum(layer.weights for layer in summary.layers)
    assert summary.blocks == 2


# transformers repeats Falcon's keys for every head, and pads those of a tiny StableLM.
@pytest.mark.parametrize(
    "family",
    [
        *sorted({*COUPLED_FAMILIES} - {"falcon", "stablelm"}),
        "lfm3",
        "nemotron_h",
        "olmo_hybrid",
        "qwen3_5",
        "youtu",
    ],
)
def test_cache_width_is_that_of_the_models_cache(tmp_path, family):
    folder = save_tiny_model(tmp_path / family, family)
    loaded = load_model(ModelConfig(source=str(folder)))
    tokens = torch.zeros((1, 3), dtype=torch.long)
    cache = loaded.model(tokens, use_cache=True).past_key_values
    layers = [each for each in cache.layers if getattr(each, "keys", None) is not None]
    numbers = sum(each.keys.numel() + each.values.numel() for each in layers)
    summary = describe(loaded.model, loaded.source, loaded.stored)
    assert summary.cache_width * 3 == numbers


def test_blocks_with_a_sliding_window_are_those_of_the_models_cache(tmp_path):
    folder = save_tiny_model(tmp_path / "gemma3", "gemma3")
    loaded = load_model(ModelConfig(source=str(folder)))
    tokens = torch.zeros((1, 3), dtype=torch.long)
    cache = loaded.model(tokens, use_cache=True).past_key_values
    sliding = tuple(n for n, each in enumerate(cache.layers) if each.is_sliding)
    summary = describe(loaded.model, loaded.source, loaded.stored)
    assert summary.window_blocks == sliding != ()
    assert summary.attention_window == loaded.model.config.sliding_window


def test_unsupported_structures_have_a_reason(tmp_path):
    folder = save_tiny_model(tmp_path / "olmo2", "olmo2")
    support = {
        item.structure: item
        for item in inspect_model(ModelConfig(source=str(folder))).model.structures
    }
    assert support[Structure.ROWS_AND_COLUMNS].supported
    assert "self_attn.q_norm" in support[Structure.HEADS_AND_NEURONS].reason


def test_demo_is_inspected_like_other_models():
    source = locate(DEMO)
    assert read_model_config(source).architectures == ["LlamaForCausalLM"]
    summary = inspect_model(ModelConfig()).model
    assert all(item.supported for item in summary.structures)
    assert summary.name == "Demo"
