"""Quantized models are loaded as plain ones, with the weights that they stand for."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from surgeon_engine.api.config.run import ModelConfig, Offload
from surgeon_engine.api.messages.run import ShotFinished
from surgeon_engine.api.model_info.header import model_facts
from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.identity import identity_of, stamps_of
from surgeon_engine.model.inspect import inspect_model
from surgeon_engine.model.layers import prunable_layers
from surgeon_engine.model.load import load_model
from surgeon_engine.model.quantized_files import plain_tensors
from surgeon_engine.model.source import locate
from tests.helpers.multimodal import save_multimodal
from tests.helpers.quantized import FORMATS, change_config, quantize, save_quantized
from tests.helpers.runs import Recorder, job
from tests.helpers.tiny_models import save_tiny_model

WEIGHTS = "model.safetensors"


def weights_of(folder, offload=Offload.OFF):
    """Return the weights of a loaded model by name."""
    loaded = load_model(ModelConfig(str(folder), offload=offload))
    assert loaded.stored is None
    assert not hasattr(loaded.model.config, "quantization_config")
    return loaded.model.state_dict()


@pytest.mark.parametrize("name", FORMATS)
def test_weights_are_those_that_the_format_stands_for(tmp_path, name):
    expected = save_quantized(tmp_path / "tiny", FORMATS[name])
    found = weights_of(tmp_path / "tiny")
    assert found.keys() == expected.keys()
    for key, weight in expected.items():
        assert torch.allclose(found[key], weight.float(), rtol=1e-6, atol=0), key


@pytest.mark.parametrize("offload", [Offload.OFF, Offload.ON])
def test_weights_that_gpt2_has_transposed_are_as_it_has_them(tmp_path, offload):
    path = save_tiny_model(tmp_path, "gpt2") / WEIGHTS
    tensors, name = load_file(path), "transformer.h.1.mlp.c_fc"
    form = FORMATS["bitsandbytes_8bit"]
    weight, parts = form.make(*tensors.pop(f"{name}.weight").T.shape)
    tensors |= {name + ending: part for ending, part in parts.items()}
    save_file({x: each.contiguous() for x, each in tensors.items()}, path)
    change_config(tmp_path, quantization_config=dict(form.settings))
    found = weights_of(tmp_path, offload)[f"{name}.weight"]
    assert torch.allclose(found, weight.T, rtol=1e-6, atol=0)


@pytest.mark.parametrize("ending", ["_scale", "_scale_inv", "_weight_scale"])
def test_stacked_experts_of_8_bits_have_their_scales(tmp_path, ending):
    save_quantized(tmp_path, FORMATS["fp8_tensor"])
    weight, scale = torch.randn(3, 4, 6), torch.rand(3, 1, 6)
    stored = load_file(tmp_path / WEIGHTS) | {
        "experts.gate_up_proj": (weight / scale).to(torch.float8_e4m3fn)
    }
    source = locate(str(tmp_path))
    save_file(stored | {f"experts.gate_up_proj{ending}": scale}, tmp_path / WEIGHTS)
    with plain_tensors(source, set()) as found:
        read = found["experts.gate_up_proj"][...]
        assert f"experts.gate_up_proj{ending}" not in found
    assert torch.allclose(read, weight, rtol=0.07, atol=0.01)  # 3 bits of fraction
    save_file(stored, tmp_path / WEIGHTS)
    with (
        pytest.raises(ModelError, match="whose scales are not read"),
        plain_tensors(source, set()),
    ):
        pass


@pytest.mark.slow
def test_settings_for_writing_text_are_those_of_the_folder(tmp_path):
    save_quantized(tmp_path, FORMATS["gptq"])
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps({"temperature": 0.4, "do_sample": True}))
    config = ModelConfig(str(tmp_path))
    assert load_model(config).model.generation_config.temperature == 0.4
    path.unlink()
    assert load_model(config).model.generation_config.eos_token_id == 0


@pytest.mark.parametrize("name", ["fp8_blocks", "compressed_int4", "gptq"])
def test_summary_is_that_of_the_dequantized_model(tmp_path, name):
    weights = save_quantized(tmp_path / "tiny", FORMATS[name])
    config = ModelConfig(str(tmp_path / "tiny"))
    summary = inspect_model(config).model
    assert summary.parameters == sum(x.numel() for x in weights.values())
    assert summary.dtype == ""
    facts = model_facts(config.source)
    assert facts.parameters == summary.parameters
    assert facts.dtype in ("FP8", "compressed-tensors", "GPTQ")


def test_unquantized_layers_keep_their_weights(tmp_path):
    """FP8 folders hold layers in bfloat16; so do scales that nothing needs."""
    folder = tmp_path / "tiny"
    expected = save_quantized(folder, FORMATS["fp8_tensor"])
    path = folder / WEIGHTS
    name = "model.layers.0.self_attn.k_proj."
    tensors = load_file(path)
    plain = torch.randn_like(expected[name + "weight"]).bfloat16()
    tensors |= {name + "weight": plain, name + "k_scale": torch.tensor(3.0)}
    save_file(tensors, path)
    assert torch.equal(weights_of(folder)[name + "weight"], plain.float())
    source = locate(str(folder))
    with plain_tensors(source, set()) as found:
        assert found.keys() == expected.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "offload"), [("gemma3", Offload.OFF), ("llava", Offload.ON)]
)
def test_language_model_inside_a_multimodal_one_is_dequantized(
    tmp_path, family, offload
):
    """With the offload it is loaded in blocks; LLaVA has other names in its files."""
    folder = save_multimodal(tmp_path, family)
    plain = json.loads((folder / "config.json").read_text())
    weights = quantize(folder, FORMATS["awq"], "language_model")
    found = weights_of(folder, offload)
    save_file({x: y.contiguous() for x, y in weights.items()}, folder / WEIGHTS)
    (folder / "config.json").write_text(json.dumps(plain))
    expected = load_model(ModelConfig(str(folder))).model.state_dict()
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.allclose(found[name], weight, rtol=1e-6, atol=0), name


def test_method_in_a_file_of_modelopt_is_found(tmp_path):
    form = FORMATS["modelopt_nvfp4"]
    expected = save_quantized(tmp_path, replace(form, settings={}))
    text = json.dumps({"quantization": {"quant_algo": "NVFP4"}})
    (tmp_path / "hf_quant_config.json").write_text(text)
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.allclose(weights_of(tmp_path)[name], expected[name])
    assert "hf_quant_config.json" in identity_of(stamps_of(locate(str(tmp_path))))


def test_missing_scales_raise(tmp_path):
    save_quantized(tmp_path, FORMATS["fp8_blocks"])
    path = tmp_path / WEIGHTS
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight_scale_inv"]
    save_file(tensors, path)
    with pytest.raises(ModelError) as error:
        load_model(ModelConfig(str(tmp_path)))
    assert error.value.message == (
        "model.layers.1.mlp.up_proj.weight cannot be dequantized (FP8): "
        ".weight_scale is missing."
    )
    assert error.value.hint


def test_scales_of_another_size_raise(tmp_path):
    save_quantized(tmp_path, FORMATS["fp8_blocks"])
    change_config(tmp_path, quantization_config={"quant_method": "fp8"})
    with pytest.raises(ModelError, match="5 scales do not divide 24 weights"):
        load_model(ModelConfig(str(tmp_path)))


def test_numbers_of_activations_in_weights_raise(tmp_path):
    save_quantized(tmp_path, FORMATS["modelopt_nvfp4"])
    path = tmp_path / WEIGHTS
    scale = {"model.layers.1.mlp.up_proj.pre_quant_scale": torch.ones(16)}
    save_file(load_file(path) | scale, path)
    with pytest.raises(ModelError, match="scales of inputs"):
        load_model(ModelConfig(str(tmp_path)))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_runs")
@pytest.mark.parametrize("name", ["fp8_blocks", "compressed_int4"])
def test_run_exports_a_plain_model(tmp_path, name):
    config = job(tmp_path)
    weights = save_quantized(tmp_path / "tiny", FORMATS[name])
    config = replace(config, model=ModelConfig(str(tmp_path / "tiny")))
    run = Recorder().run(config, tmp_path / "run")
    export = tmp_path / "run" / "export"
    written = json.loads((export / "config.json").read_text())
    assert "quantization_config" not in written
    assert written["dtype"] == "bfloat16"
    model = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
    removed = {layer.name: layer.removed for layer in run.of(ShotFinished)[0].layers}
    zeros = {x.name: int((x.weight() == 0).sum()) for x in prunable_layers(model)}
    for layer, count in removed.items():
        own = int((weights[f"{layer}.weight"] == 0).sum())  # numbers in few bits
        assert count <= zeros[layer] <= count + own
    embeddings = model.get_input_embeddings().weight
    assert torch.equal(
        embeddings, weights["model.embed_tokens.weight"].bfloat16().float()
    )
