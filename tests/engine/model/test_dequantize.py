"""Weights of quantized files agree with those that the methods' own packages compute.

The formats themselves are tested in test_quantized_files.py, without any package.
"""

import pytest
import torch
from transformers import AutoModelForCausalLM, FineGrainedFP8Config
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.model_info.quantization import (
    BITSANDBYTES,
    COMPRESSED_TENSORS,
    MXFP4,
    Quantization,
)
from surgeon_engine.model.dequantize import dequantize
from surgeon_engine.model.load import load_model
from tests.helpers.quantized import FORMATS, save_quantized


def test_fp8_agrees_with_transformers(tmp_path):
    save_quantized(tmp_path, FORMATS["fp8_tensor"])
    config = FineGrainedFP8Config(weight_block_size=None, dequantize=True)
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=config, dtype=torch.float32
    ).state_dict()
    ours = load_model(ModelConfig(str(tmp_path))).model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_experts_in_mxfp4_agree_with_transformers():
    blocks = torch.randint(256, (3, 8, 4, 16), dtype=torch.uint8)
    scales = torch.randint(118, 124, (3, 8, 4), dtype=torch.uint8)
    theirs = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    ours = dequantize({"_blocks": blocks, "_scales": scales}, Quantization(MXFP4, 4))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("form", "weights"),
    [
        ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel"}),
        ("int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel"}),
        (
            "pack-quantized",
            {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 16},
        ),
        ("pack-quantized", {"num_bits": 8, "type": "int", "strategy": "channel"}),
    ],
)
def test_weights_of_compressed_tensors_agree_with_its_own(form, weights):
    compressors = pytest.importorskip("compressed_tensors.compressors")
    quantization = pytest.importorskip("compressed_tensors.quantization")
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=weights)
    compressor = compressors.BaseCompressor.get_value_from_registry(form)
    weight = torch.randn(8, 32)
    groups = weight.unflatten(1, (-1, weights.get("group_size", 32)))
    scale = groups.abs().amax(2) / (448 if weights["type"] == "float" else 7)
    packed = compressor.compress({"weight": weight, "weight_scale": scale}, scheme)
    theirs = compressor.decompress(dict(packed), scheme)["weight"]
    parts = {f".{name}": tensor for name, tensor in packed.items()}
    how = Quantization(COMPRESSED_TENSORS, weights["num_bits"])
    assert torch.equal(dequantize(parts, how), theirs)


@pytest.mark.parametrize("is_nested", [False, True])
def test_weights_of_bitsandbytes_agree_with_its_own(is_nested):
    functional = pytest.importorskip("bitsandbytes").functional
    weight = torch.randn(64, 64)
    packed, state = functional.quantize_4bit(
        weight, quant_type="nf4", compress_statistics=is_nested
    )
    theirs = functional.dequantize_4bit(packed, state)
    parts = {f".weight.{x}": part for x, part in state.as_dict(packed=True).items()}
    ours = dequantize({".weight": packed} | parts, Quantization(BITSANDBYTES, 4))
    assert torch.allclose(ours, theirs, rtol=1e-6)
