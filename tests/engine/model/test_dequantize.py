"""Weights of quantized files equal the weights that transformers computes.

All formats are tested in test_quantized_files.py, against files written by hand.
"""

import torch
from transformers import AutoModelForCausalLM, FineGrainedFP8Config
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.model_info.quantization import (
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
