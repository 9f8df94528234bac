"""The types of tensors follow llama.cpp's rules."""

import gguf
import pytest

from surgeon_engine.api.config.export import QUANTIZED, FileDtype
from surgeon_engine.planning.gguf_types import (
    BLOCKS,
    Mixture,
    TensorType,
    about_fallbacks,
    planned_name,
)

Q4_K_M, Q5_K_M, Q6_K = FileDtype.Q4_K_M, FileDtype.Q5_K_M, FileDtype.Q6_K
MXFP4_MOE = FileDtype.MXFP4_MOE
Q4_0, IQ4_NL, Q8_0 = FileDtype.Q4_0, FileDtype.IQ4_NL, FileDtype.Q8_0


def mixture(dtype: FileDtype, **facts) -> Mixture:
    common = {"blocks": 16, "queries_per_key": 4, "has_head": True}
    return Mixture(dtype, **common | facts)


def test_blocks_are_those_of_gguf():
    for kind, block in BLOCKS.items():
        found = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        assert found == (block.numbers, block.bytes), kind


@pytest.mark.parametrize(
    ("dtype", "name", "expected"),
    [
        (Q4_K_M, "blk.5.attn_q.weight", "Q4_K"),
        (Q4_K_M, "blk.5.ffn_up.weight", "Q4_K"),
        (Q4_K_M, "token_embd.weight", "Q4_K"),
        (Q4_K_M, "output.weight", "Q6_K"),
        (Q5_K_M, "blk.0.ffn_down.weight", "Q6_K"),
        (Q5_K_M, "blk.2.attn_v.weight", "Q5_K"),
        (Q6_K, "output.weight", "Q6_K"),
        (Q8_0, "output.weight", "Q8_0"),
        (Q4_0, "output.weight", "Q6_K"),
        (Q4_0, "blk.1.ffn_down.weight", "Q4_1"),
        (Q4_0, "blk.2.ffn_down.weight", "Q4_0"),
        (IQ4_NL, "blk.0.attn_v.weight", "Q5_K"),
        (IQ4_NL, "blk.0.ffn_down.weight", "IQ4_NL"),
        (FileDtype.FLOAT16, "output.weight", "F16"),
        (MXFP4_MOE, "blk.0.ffn_gate_exps.weight", "MXFP4"),
        (MXFP4_MOE, "blk.0.ffn_down_exps.weight", "MXFP4"),
        (MXFP4_MOE, "blk.0.ffn_down_shexp.weight", "Q8_0"),
        (MXFP4_MOE, "blk.0.attn_v.weight", "Q8_0"),
        (MXFP4_MOE, "token_embd.weight", "Q8_0"),
        (MXFP4_MOE, "output.weight", "Q8_0"),
    ],
)
def test_type_of_a_matrix(dtype, name, expected):
    assert mixture(dtype).type_of(name, 512) == expected


@pytest.mark.parametrize("module", ["attn_v", "ffn_down"])
def test_sensitive_matrices_of_some_blocks_get_more_bits(module):
    kinds = mixture(Q4_K_M)
    longer = [
        block
        for block in range(16)
        if kinds.type_of(f"blk.{block}.{module}.weight", 256) == "Q6_K"
    ]
    assert longer == [0, 1, 4, 7, 10, 13, 14, 15]


def test_tied_embeddings_get_the_type_of_the_head():
    tied = mixture(Q4_K_M, has_head=False)
    assert tied.type_of("token_embd.weight", 512) == "Q6_K"
    assert tied.type_of("token_embd.weight", 192) == "Q8_0"


def test_values_of_many_queries_get_more_bits():
    few = mixture(IQ4_NL, queries_per_key=3)
    assert few.type_of("blk.0.attn_v.weight", 256) == "IQ4_NL"
    largest = mixture(Q4_K_M, blocks=80, queries_per_key=8)
    assert largest.type_of("blk.11.attn_v.weight", 256) == "Q5_K"


@pytest.mark.parametrize(
    ("dtype", "row", "expected"),
    [
        (Q4_K_M, 256, "Q4_K"),
        (Q4_K_M, 320, "Q5_0"),
        (Q5_K_M, 320, "Q5_1"),
        (Q6_K, 320, "Q8_0"),
        (Q4_K_M, 300, "F16"),
        (Q4_0, 320, "Q4_0"),
        (Q4_0, 300, "F16"),
        (Q8_0, 300, "F16"),
        (FileDtype.FLOAT32, 300, "F32"),
    ],
)
def test_rows_of_partial_blocks_fall_back(dtype, row, expected):
    assert mixture(dtype).type_of("blk.5.ffn_up.weight", row) == expected


@pytest.mark.parametrize("dtype", QUANTIZED)
@pytest.mark.parametrize("row", [1, 32, 96, 256, 300, 4096])
@pytest.mark.parametrize(
    "name",
    ["blk.0.attn_v.weight", "blk.0.ffn_up_exps.weight", "output.weight", ""],
)
def test_each_type_divides_its_rows(dtype, row, name):
    kind = mixture(dtype).type_of(name, row)
    assert isinstance(kind, TensorType)
    assert row % BLOCKS[kind].numbers == 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("self_attn.v_proj", "blk.3.attn_v.weight"),
        ("self_attn.qkv_proj", "blk.3.attn_qkv.weight"),
        ("mlp.down_proj", "blk.3.ffn_down.weight"),
        ("mlp.dense_4h_to_h", "blk.3.ffn_down.weight"),
        ("self_attn.q_proj", "blk.3.other.weight"),
    ],
)
def test_layers_whose_place_decides_have_their_names(kind, expected):
    assert planned_name(3, kind) == expected


def test_fused_values_get_the_type_of_values():
    found = mixture(Q4_K_M)
    for block in range(16):
        name = f"blk.{block}.attn_qkv.weight"
        of_values = found.type_of(f"blk.{block}.attn_v.weight", 256)
        assert found.type_of(name, 256) is of_values


def test_matrices_get_one_of_the_types_that_they_fall_back_to():
    found = {TensorType.Q8_0: 2, TensorType.F16: 3}
    text = about_fallbacks(found, "Q6_K")
    assert "5 matrices" in text
    assert "F16 / Q8_0" in text
    assert about_fallbacks({}, "Q6_K") == ""


@pytest.mark.parametrize("dtype", [Q4_0, IQ4_NL, Q4_K_M, Q6_K])
def test_head_with_short_rows_has_a_type_of_its_own(dtype):
    tied, name = mixture(dtype, has_head=False), "token_embd.weight"
    assert tied.type_of(name, 576) == "Q8_0"
    assert not tied.falls_back(name, 576)
    assert tied.falls_back(name, 570)
    assert tied.falls_back("blk.2.attn_q.weight", 576) == (dtype in (Q4_K_M, Q6_K))
