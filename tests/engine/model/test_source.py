"""What cannot be pruned is refused in words, before any weight is read."""

from __future__ import annotations

import json
import shutil
import struct

import pytest

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.errors import ModelError
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.model.inspect import describe, inspect_model
from surgeon_engine.model.load import load_model
from surgeon_engine.model.source import locate, read_model_config
from tests.helpers.tiny_models import FAMILIES, save_tiny_model, tiny_model


def refused(source) -> str:
    """The sentence with which `source` is refused; loading says the same."""
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


def test_nothing_there(tmp_path):
    assert "There is no model at" in refused(tmp_path / "none")


def test_a_folder_without_a_config(folder):
    (folder / "config.json").unlink()
    assert "has no config.json" in refused(folder)


def test_a_config_that_is_no_json(folder):
    (folder / "config.json").write_text("{")
    assert "is not valid JSON" in refused(folder)


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "has no .safetensors file" in refused(folder)


def test_pickled_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickled weights only (pytorch_model.bin)" in refused(folder)


@pytest.mark.parametrize("size", [0, 5, 300, -1])
def test_a_corrupted_safetensors_file(folder, size):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    assert "model.safetensors is damaged" in refused(folder)


def test_an_unknown_architecture(folder):
    change_config(folder, model_type="perceptron")
    assert "The config of tiny cannot be used" in refused(folder)


@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [("bert", "BertForMaskedLM"), ("t5", "T5ForConditionalGeneration")],
)
def test_a_model_that_is_no_decoder(folder, model_type, architecture):
    change_config(folder, model_type=model_type, architectures=[architecture])
    message = refused(folder)
    assert "not a decoder-only language model" in message
    assert architecture in message


def test_a_mixture_of_experts(folder):
    change_config(
        folder,
        model_type="mixtral",
        architectures=["MixtralForCausalLM"],
        num_local_experts=4,
    )
    assert "mixture of experts (num_local_experts = 4)" in refused(folder)


def test_quantised_weights(folder):
    change_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    assert "The weights of tiny are quantised" in refused(folder)


@pytest.mark.parametrize(
    ("data", "sentence"), [(b"", "an empty file"), (b"ZIP!....", "not a GGUF file")]
)
def test_a_file_that_is_no_gguf(tmp_path, data, sentence):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    assert sentence in refused(path)


@pytest.mark.parametrize("size", [4, 16, 25])
def test_a_gguf_file_that_is_cut_off(tmp_path, size):
    path = tmp_path / "model.gguf"
    header = b"GGUF" + struct.pack("<IQQ", 3, 2, 4) + b"\x14\0\0\0"
    path.write_bytes(header[:size])
    assert "The config of model cannot be used" in refused(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": "wide"},
        {"num_attention_heads": 0},
        {"intermediate_size": -8},
        {"hidden_act": "magic"},
    ],
)
def test_a_config_that_makes_no_model(folder, changes):
    change_config(folder, **changes)
    config = ModelConfig(source=str(folder))
    for attempt in (inspect_model, load_model):
        with pytest.raises(ModelError, match="tiny"):
            attempt(config)


def test_a_user_nobody_knows_is_no_crash():
    assert "There is no model at" in refused("~nobody-of-that-name/model")


def test_weights_of_another_model_are_not_filled_up_with_random_ones(folder, tmp_path):
    other = save_tiny_model(tmp_path / "other", "opt")
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"21 tensors are missing, such as lm_head"):
        load_model(ModelConfig(source=str(folder)))


def test_weights_of_another_size_are_refused(folder):
    change_config(folder, intermediate_size=32)
    with pytest.raises(ModelError, match=r"do not fit its config|cannot be loaded"):
        load_model(ModelConfig(source=str(folder)))


def test_a_folder_without_a_tokenizer_is_a_model_still(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert load_model(ModelConfig(source=str(folder))).tokenizer is None


@pytest.mark.parametrize("family", FAMILIES)
def test_inspecting_tells_the_same_as_loading(tmp_path, family):
    folder = save_tiny_model(tmp_path / family, family)
    told = inspect_model(ModelConfig(source=str(folder))).model
    loaded = load_model(ModelConfig(source=str(folder)))
    assert told == describe(loaded.model, loaded.source, loaded.stored)
    assert told.parameters == sum(p.numel() for p in tiny_model(family).parameters())
    assert told.prunable == sum(layer.weights for layer in told.layers)
    assert told.blocks == 2


def test_structures_that_a_family_lacks_come_with_the_reason(tmp_path):
    folder = save_tiny_model(tmp_path / "olmo2", "olmo2")
    support = {
        item.structure: item
        for item in inspect_model(ModelConfig(source=str(folder))).model.structures
    }
    assert support[Structure.ROWS_AND_COLUMNS].supported
    assert "self_attn.q_norm" in support[Structure.HEADS_AND_NEURONS].reason


def test_the_demo_is_a_model_like_any_other():
    source = locate(DEMO)
    assert read_model_config(source).architectures == ["LlamaForCausalLM"]
    told = inspect_model(ModelConfig()).model
    assert all(item.supported for item in told.structures)
    assert told.name == "Demo"
