"""Folders of tiny quantized models, written by hand in the formats that circulate.

Each maker draws the numbers of a weight and its scales, computes the weight from them
number by number, and packs them. None of it calls the code that reads them.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.helpers.tiny_models import save_tiny_model

# A weight [rows, columns], and its tensors by the ending of their names.
Made = tuple[Tensor, dict[str, Tensor]]
E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6)
AWQ_PLACES = (0, 2, 4, 6, 1, 3, 5, 7)  # the column at each place in 32 bits
BLOCK = (5, 7)  # divides neither rows nor columns


@dataclass(frozen=True, slots=True)
class Format:
    """A format of quantized weights."""

    settings: Mapping[str, Any]  # in the config
    make: Callable[[int, int], Made]


def save_quantized(folder: Path, form: Format) -> dict[str, Tensor]:
    """Write a model whose layers of the blocks are quantized; return its weights."""
    return quantize(save_tiny_model(folder), form)


def quantize(folder: Path, form: Format, part: str = "") -> dict[str, Tensor]:
    """Quantize the layers in the blocks of a part of a model; return its weights."""
    path = folder / "model.safetensors"
    stored, weights = {}, {}
    torch.manual_seed(0)
    for name, tensor in load_file(path).items():
        if part in name and name.endswith("proj.weight"):
            weights[name], parts = form.make(*tensor.shape)
            stem = name.removesuffix(".weight")
            stored |= {stem + ending: part for ending, part in parts.items()}
        else:
            stored[name] = weights[name] = tensor
    save_file({x: each.contiguous() for x, each in stored.items()}, path)
    change_config(folder, quantization_config=dict(form.settings))
    return weights


def change_config(folder: Path, **changes: object) -> None:
    """Change options of a config."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def scales(rows: int, columns: int) -> Tensor:
    """Return positive scales."""
    return torch.rand(rows, columns) / 100 + 0.01


def pack(numbers: Tensor, bits: int) -> Tensor:
    """Pack the numbers of each row into words of 32 bits, the first in the low bits."""
    words = numbers.long().unflatten(-1, (-1, 32 // bits))
    shifted = words << (torch.arange(32 // bits) * bits)
    return shifted.sum(-1).to(torch.int32)


def each(values: Tensor, rows: int, columns: int, block: tuple[int, int]) -> Tensor:
    """Return the value of each number, where a block of numbers shares one."""
    row, column = torch.arange(rows) // block[0], torch.arange(columns) // block[1]
    return values[row][:, column]


def grid(rows: int, columns: int, block: tuple[int, int]) -> Tensor:
    """Return the scales of all blocks, those at the edges included."""
    return scales(-(-rows // block[0]), -(-columns // block[1]))


def _float8(rows: int, columns: int) -> Tensor:
    return (40 * torch.randn(rows, columns)).to(torch.float8_e4m3fn)


def fp8_blocks(rows: int, columns: int) -> Made:
    q, scale = _float8(rows, columns), grid(rows, columns, BLOCK)
    weight = q.float() * each(scale, rows, columns, BLOCK)
    return weight, {".weight": q, ".weight_scale_inv": scale}


def fp8_tensor(rows: int, columns: int) -> Made:
    q, scale = _float8(rows, columns), torch.tensor(0.013)
    parts = {".weight": q, ".weight_scale_inv": scale, ".activation_scale": scale * 9}
    return q.float() * scale, parts


def fp8_rows(rows: int, columns: int) -> Made:
    q, scale = _float8(rows, columns), scales(rows, 1).to(torch.bfloat16)
    return q.float() * scale.float(), {".weight": q, ".weight_scale": scale}


def int8_rows(rows: int, columns: int) -> Made:
    q = torch.randint(-127, 128, (rows, columns), dtype=torch.int8)
    scale = scales(rows, 1)
    return q * scale, {".weight": q, ".weight_scale": scale}


def groups_of_bits(rows: int, columns: int, bits: int = 4) -> Made:
    q = torch.randint(2**bits, (rows, columns))
    scale = grid(rows, columns, (1, 8))
    parts = {".weight_packed": pack(q, bits), ".weight_scale": scale}
    parts[".weight_shape"] = torch.tensor([rows, columns])
    return (q - 2 ** (bits - 1)) * each(scale, rows, columns, (1, 8)), parts


def int4_asymmetric(rows: int, columns: int) -> Made:
    """Return groups of columns in another order, each with a zero point."""
    q, scale = torch.randint(16, (rows, columns)), grid(rows, columns, (1, 8))
    zero = torch.randint(16, scale.shape)
    groups = (torch.arange(columns) // 8)[torch.randperm(columns)]
    weight = (q - zero[:, groups]) * scale[:, groups]
    parts = {".weight_packed": pack(q, 4), ".weight_scale": scale}
    parts |= {".weight_zero_point": pack(zero.T, 4).T, ".weight_g_idx": groups.int()}
    return weight, parts | {".weight_shape": torch.tensor([rows, columns])}


def _fp4(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return numbers of 4 bits, and their bytes."""
    codes = torch.randint(16, (rows, columns))
    packed = codes[:, ::2] + 16 * codes[:, 1::2]
    return torch.tensor(E2M1)[codes], packed.to(torch.uint8)


def nvfp4(rows: int, columns: int) -> Made:
    q, packed = _fp4(rows, columns)
    scale = (100 * grid(rows, columns, (1, 8))).to(torch.float8_e4m3fn)
    weight = q * each(scale.float(), rows, columns, (1, 8)) / 50
    parts = {".weight_packed": packed, ".weight_scale": scale}
    return weight, parts | {".weight_global_scale": torch.tensor([50.0])}


def nvfp4_modelopt(rows: int, columns: int) -> Made:
    weight, parts = nvfp4(rows, columns)
    return weight, {
        ".weight": parts[".weight_packed"],
        ".weight_scale": parts[".weight_scale"],
        ".weight_scale_2": torch.tensor(1 / 50),
        ".input_scale": torch.tensor(0.5),
    }


def mxfp4(rows: int, columns: int) -> Made:
    q, packed = _fp4(rows, columns)
    exponents = torch.randint(118, 124, (rows, columns // 8), dtype=torch.uint8)
    scale = 2.0 ** (exponents.float() - 127)
    weight = q * each(scale, rows, columns, (1, 8))
    return weight, {".weight_packed": packed, ".weight_scale": exponents}


def gptq(rows: int, columns: int, *, is_second: bool = False) -> Made:
    """Return groups of columns in another order; zeros are stored less one."""
    q, scale = torch.randint(16, (columns, rows)), grid(columns, rows, (8, 1)).half()
    zero = torch.randint(1, 16, scale.shape)
    groups = (torch.arange(columns) // 8)[torch.randperm(columns)]
    weight = ((q - zero[groups]) * scale.float()[groups]).T
    stored = zero if is_second else zero - 1
    parts = {".qweight": pack(q.T, 4).T, ".qzeros": pack(stored, 4), ".scales": scale}
    return weight, parts | {".g_idx": groups.int()}


def awq(rows: int, columns: int) -> Made:
    q, scale = torch.randint(16, (columns, rows)), grid(columns, rows, (8, 1)).half()
    zero = torch.randint(16, scale.shape)
    weight = (q - each(zero, columns, rows, (8, 1))) * each(
        scale.float(), columns, rows, (8, 1)
    )
    packed, zeros = (
        pack(x.unflatten(1, (-1, 8))[..., AWQ_PLACES].flatten(1), 4) for x in (q, zero)
    )
    return weight.T, {".qweight": packed, ".qzeros": zeros, ".scales": scale}


def _state(rows: int, columns: int, **more: object) -> dict[str, Tensor]:
    state = {"quant_type": "nf4", "blocksize": 32, "shape": [rows, columns], **more}
    text = torch.tensor([*json.dumps(state).encode()], dtype=torch.uint8)
    return {".weight.quant_state.bitsandbytes__nf4": text}


def nf4(rows: int, columns: int) -> Made:
    """Return numbers of a table; a last block is shorter than the others."""
    table = torch.randn(16)
    codes = torch.randint(16, (rows * columns,))
    largest = torch.rand(-(-len(codes) // 32))
    weight = table[codes] * largest[torch.arange(len(codes)) // 32]
    packed = (16 * codes[::2] + codes[1::2]).to(torch.uint8)[:, None]
    parts = {".weight": packed, ".weight.absmax": largest, ".weight.quant_map": table}
    return weight.reshape(rows, columns), parts | _state(rows, columns)


def nf4_nested(rows: int, columns: int) -> Made:
    """Return a weight whose largest numbers are quantized, too; stored as bfloat16."""
    weight, parts = nf4(rows, columns)
    codes = torch.randint(256, parts[".weight.absmax"].shape)
    table, scale = torch.rand(256), torch.rand(-(-len(codes) // 4))
    largest = table[codes] * scale[torch.arange(len(codes)) // 4] + 0.25
    blocks = torch.arange(weight.numel()) // 32
    weight = weight.flatten() / parts[".weight.absmax"][blocks] * largest[blocks]
    parts |= {
        ".weight": parts[".weight"].flatten().view(torch.bfloat16)[:, None],
        ".weight.absmax": codes.to(torch.uint8),
        ".weight.nested_absmax": scale,
        ".weight.nested_quant_map": table,
    }
    nested = {"nested_blocksize": 4, "nested_offset": 0.25}
    return weight.reshape(rows, columns), parts | _state(rows, columns, **nested)


def int8_bitsandbytes(rows: int, columns: int) -> Made:
    q = torch.randint(-127, 128, (rows, columns), dtype=torch.int8)
    largest = torch.rand(rows)
    parts = {".weight": q, ".SCB": largest, ".weight_format": torch.tensor(0)}
    return q * largest[:, None] / 127, parts


def torchao_int8(rows: int, columns: int) -> Made:
    q = torch.randint(-128, 128, (rows, columns), dtype=torch.int8)
    zero = torch.randint(-9, 9, (rows, 1), dtype=torch.int8)
    scale = scales(rows, 1)
    weight = (q.float() - zero) * scale
    parts = {"._weight_qdata": q, "._weight_scale": scale}
    return weight, parts | {"._weight_zero_point": zero}


def _compressed(form: str, **weights: object) -> dict[str, Any]:
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": groups,
        "ignore": ["lm_head"],
        "quantization_status": "compressed",
        "sparsity_config": {"format": "dense"},
    }


_FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
_GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 8, "desc_act": True}
_INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 8}
FORMATS = {
    "fp8_blocks": Format(_FP8 | {"weight_block_size": [*BLOCK]}, fp8_blocks),
    "fp8_tensor": Format(_FP8 | {"weight_block_size": None}, fp8_tensor),
    "fbgemm_fp8": Format({"quant_method": "fbgemm_fp8"}, fp8_rows),
    "compressed_fp8": Format(_compressed("float-quantized", num_bits=8), fp8_rows),
    "compressed_fp8_blocks": Format(
        _compressed("float-quantized", num_bits=8, block_structure=[*BLOCK]),
        lambda *shape: rename(fp8_blocks(*shape), ".weight_scale_inv", ".weight_scale"),
    ),
    "compressed_int8": Format(_compressed("int-quantized", num_bits=8), int8_rows),
    "compressed_int4": Format(_compressed("pack-quantized", **_INT4), groups_of_bits),
    "compressed_int8_packed": Format(
        _compressed("pack-quantized", **_INT4 | {"num_bits": 8}),
        lambda *shape: groups_of_bits(*shape, bits=8),
    ),
    "compressed_int4_asymmetric": Format(
        _compressed("pack-quantized", **_INT4), int4_asymmetric
    ),
    "compressed_nvfp4": Format(_compressed("nvfp4-pack-quantized", num_bits=4), nvfp4),
    "compressed_mxfp4": Format(_compressed("mxfp4-pack-quantized", num_bits=4), mxfp4),
    "modelopt_nvfp4": Format(
        {"quant_method": "modelopt", "quant_algo": "NVFP4"}, nvfp4_modelopt
    ),
    "gptq": Format(_GPTQ, gptq),
    "gptq_v2": Format(
        _GPTQ | {"checkpoint_format": "gptq_v2"},
        lambda *shape: gptq(*shape, is_second=True),
    ),
    "auto_round": Format(
        {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq"}, gptq
    ),
    "awq": Format({"quant_method": "awq", "bits": 4, "version": "GEMM"}, awq),
    "bitsandbytes_4bit": Format({"load_in_4bit": True}, nf4),
    "bitsandbytes_4bit_nested": Format(
        {"load_in_4bit": True, "quant_method": "bitsandbytes"}, nf4_nested
    ),
    "bitsandbytes_8bit": Format({"load_in_8bit": True}, int8_bitsandbytes),
    "torchao_int8": Format({"quant_method": "torchao"}, torchao_int8),
}


def rename(made: Made, before: str, after: str) -> Made:
    """Return a weight, one of whose tensors has another name."""
    weight, parts = made
    return weight, {after if x == before else x: part for x, part in parts.items()}
