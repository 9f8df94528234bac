"""Configs of quantized models: supported formats, and reasons against the others."""

import pytest

from surgeon_engine.api.model_info.quantization import (
    AWQ,
    GPTQ,
    METHODS,
    Quantization,
    quantization_of,
)
from surgeon_engine.base.errors import ModelError
from tests.helpers.quantized import FORMATS

COMPRESSED = {"quant_method": "compressed-tensors"}


def of(**settings) -> Quantization:
    found = quantization_of("tiny", {"quantization_config": settings})
    assert found is not None
    return found


def test_plain_model_is_not_quantized():
    assert quantization_of("tiny", {}) is None
    assert quantization_of("tiny", {"quantization_config": None}) is None


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_common_formats_are_known(form):
    options = {"quantization_config": form.settings}
    found = quantization_of("tiny", options)
    assert found.label in {method.label for method in METHODS.values()}
    assert quantization_of("tiny", {"text_config": options}) == found


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"bits": 4}, "and its config names no method"),
        ("gptq", "and its config names no method"),
        ({"quant_method": "hqq"}, "quantized by hqq, which Surgeon does not read"),
        ({"quant_method": "gptq", "bits": 3}, "GPTQ with bits = 3"),
        (
            {"quant_method": "gptq", "checkpoint_format": "marlin"},
            "GPTQ with checkpoint_format = 'marlin'",
        ),
        (
            {"quant_method": "auto-round", "packing_format": "auto_round:gptqmodel"},
            "packing_format",
        ),
        ({"quant_method": "awq", "version": "gemv"}, "AWQ with version = 'gemv'"),
        ({"quant_method": "awq", "zero_point": False}, "zero_point = False"),
        (COMPRESSED | {"format": "marlin-24"}, "format = 'marlin-24'"),
        (
            COMPRESSED | {"sparsity_config": {"format": "sparse-24-bitmask"}},
            "format = 'sparse-24-bitmask'",
        ),
        (COMPRESSED | {"transform_config": {"a": 1}}, "transform_config = {'a': 1}"),
        (
            {"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"},
            "ModelOpt with quant_algo = 'W4A8_AWQ'",
        ),
    ],
)
def test_other_weights_are_refused_with_the_reason(settings, sentence):
    with pytest.raises(ModelError) as error:
        quantization_of("tiny", {"quantization_config": settings})
    assert sentence in error.value.message
    assert error.value.hint


def test_weights_of_autoround_are_those_of_gptq_or_awq():
    gptq = of(quant_method="auto-round", packing_format="auto_round:auto_gptq")
    awq = of(quant_method="auto-round", packing_format="auto_round:auto_awq")
    assert (gptq.method, gptq.zero_offset, awq.method) == (GPTQ, 1, AWQ)


@pytest.mark.parametrize(
    ("settings", "bits", "block"),
    [
        ({"quant_method": "fp8"}, 8, (128, 128)),
        ({"quant_method": "fp8", "weight_block_size": [64, 32]}, 8, (64, 32)),
        ({"quant_method": "fp8", "weight_block_size": [10**30, "x"]}, 8, (128, 128)),
        (FORMATS["compressed_int4"].settings, 4, (1, 8)),
        ({"quant_method": "gptq", "bits": 2}, 2, None),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 4, None),
        ({"load_in_4bit": True}, 4, None),
        ({"load_in_8bit": True}, 8, None),
        ({"quant_method": "mxfp4"}, 4, None),
    ],
)
def test_bits_and_blocks_are_those_of_the_config(settings, bits, block):
    found = of(**settings)
    assert (found.bits, found.block) == (bits, block)


def test_packed_numbers_count_as_weights_and_scales_do_not():
    found = of(quant_method="gptq", bits=4)
    assert found.numbers("a.qweight", "I32", 10) == 80
    assert found.numbers("a.scales", "F16", 10) == 0
    assert found.numbers("a.norm.weight", "BF16", 10) == 10
    found = of(load_in_4bit=True)
    assert found.numbers("a.weight", "U8", 10) == 20
    assert found.numbers("a.weight.absmax", "F32", 10) == 0
    found = of(quant_method="fp8")
    assert found.numbers("experts.gate_up_proj", "F8_E4M3", 10) == 10
    assert found.numbers("experts.gate_up_proj_scale_inv", "F32", 10) == 0
