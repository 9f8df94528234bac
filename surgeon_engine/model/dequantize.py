"""Compute weights from the tensors that a method of quantization stores for each.

A weight is W [out, in] = scale * (q - zero), with one scale and zero for each row,
block or group of columns. Parts are named by the endings of `quantization.METHODS`.
Products are in float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from surgeon_engine.api.model_info.quantization import (
    AWQ,
    BITSANDBYTES,
    GPTQ,
    MXFP4,
    TORCHAO,
    Quantization,
)
from surgeon_engine.base.sentences import say

Parts = Mapping[str, Tensor]
# The absolute values of a sign, two bits of exponent and one of mantissa.
_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_E8M0_BIAS = 127  # bias of a scale that is an exponent of two
_FLOATS = (torch.float32, torch.bfloat16, torch.float16)
_AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # order of the numbers in 32 bits
_INT8_LEVELS = 127  # largest int8 number of bitsandbytes


def dequantize(parts: Parts, how: Quantization) -> Tensor:
    """Return the weight that is stored as `parts`.

    Raises:
        ValueError, KeyError, RuntimeError: The parts do not fit together.
    """
    if how.method is GPTQ:
        return _gptq(parts, how)
    if how.method is AWQ:
        return _awq(parts)
    if how.method is BITSANDBYTES:
        return _int8(parts) if ".SCB" in parts else _nf4(parts)
    if how.method is MXFP4:
        return _mxfp4(parts)
    if how.method is TORCHAO:
        parts = _of_torchao(parts)
    return _scaled(parts, how)


def _of_torchao(parts: Parts) -> Parts:
    """Return parts as other methods name them; packed numbers depend on the device."""
    scale, q = parts["._weight_scale"], parts["._weight_qdata"]
    is_packed = q.dtype not in (torch.int8, torch.float8_e4m3fn)
    if is_packed or scale.dtype not in _FLOATS:
        raise ValueError(say("of torchao, only int8 and float8 are read"))
    return {
        ending.replace("._weight_", ".weight_"): x for ending, x in parts.items()
    } | {".weight": q}


def _scaled(parts: Parts, how: Quantization) -> Tensor:
    """Return numbers in floats, integers or packed integers, times their scales.

    The numbers of stacked experts have three axes.
    """
    if ".weight" in parts and parts[".weight"].dim() == 3:
        experts = range(len(parts[".weight"]))
        return torch.stack(
            [_scaled({x: part[n] for x, part in parts.items()}, how) for n in experts]
        )
    if ".pre_quant_scale" in parts:
        raise ValueError(say("scales of inputs (AWQ) are not read"))
    scale = _scale(parts)
    q = parts[".weight_packed"] if ".weight_packed" in parts else parts[".weight"]
    zero = parts.get(".weight_zero_point")
    if q.dtype == torch.uint8:
        q = _unpack_fp4(q)
    elif q.dtype == torch.int32:
        rows, columns = (int(n) for n in parts[".weight_shape"].tolist())
        bits = _bits_of(q.shape[1], columns)
        q = _unpack(q, bits)[:, :columns]
        middle = 2 ** (bits - 1)
        zero = middle if zero is None else _unpack(zero.T, bits).T[:rows]
    weight = q.float()  # a copy: no q is in float32
    groups = parts.get(".weight_g_idx")
    if groups is not None and bool((groups >= 0).all()):
        scale = scale[:, groups.long()]
        if isinstance(zero, Tensor):
            zero = zero[:, groups.long()]
    if zero is not None:
        weight -= _spread(zero.float(), q, how) if isinstance(zero, Tensor) else zero
    weight *= _spread(scale, q, how)
    return weight


def _scale(parts: Parts) -> Tensor:
    """Return the scales of a weight in float32."""
    name = ".weight_scale_inv"  # multiplies, too
    scale = parts[name] if name in parts else parts[".weight_scale"]
    if scale.dtype == torch.uint8:
        scale = (scale.float() - _E8M0_BIAS).exp2()
    scale = scale.float()
    if ".weight_scale_2" in parts:
        scale = scale * parts[".weight_scale_2"].float()
    if ".weight_global_scale" in parts:
        scale = scale / parts[".weight_global_scale"].float()
    return scale


def _spread(values: Tensor, q: Tensor, how: Quantization) -> Tensor:
    """Give each number of q [out, in] its value, of one for each block of numbers."""
    if values.numel() == 1:
        return values.reshape(1, 1)
    if values.dim() == 1:  # one for each row
        values = values[:, None]
    for dim, length in enumerate(how.block or (0, 0)):
        size, count = q.shape[dim], values.shape[dim]
        if count in (1, size):
            continue
        if not length or -(-size // length) != count:
            length, rest = divmod(size, count)
            if rest:
                raise _scales_error(count, size)
        values = values.repeat_interleave(length, dim).narrow(dim, 0, size)
    return values


def _scales_error(count: int, size: int) -> ValueError:
    return ValueError(
        say("{count:,} scales do not divide {size:,} weights", count=count, size=size)
    )


def _unpack(packed: Tensor, bits: int) -> Tensor:
    """Return the integers, none of them negative, that each row holds in words."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
    words = packed.clone(memory_format=torch.contiguous_format)
    numbers = words.view(torch.uint8)  # bytes, the low byte of each word first
    return ((numbers[..., None] >> shifts) & (2**bits - 1)).flatten(-2)


def _bits_of(words: int, numbers: int) -> int:
    """Return the bits of each number if the numbers fill the 32-bit words."""
    bits = 32 * words // numbers
    if bits in (2, 4, 8) and words == -(-numbers * bits // 32):
        return bits
    raise ValueError(
        say(
            "{numbers:,} numbers are in {words:,} words of 32 bits, and only numbers "
            "of 2, 4 or 8 bits are read",
            numbers=numbers,
            words=words,
        )
    )


def _unpack_fp4(packed: Tensor) -> Tensor:
    """Return the two numbers of each byte, the one in the low bits first."""
    table = torch.tensor([*_FP4, *(-x for x in _FP4)])
    return table[torch.stack((packed & 15, packed >> 4), -1).int()].flatten(-2)


def _mxfp4(parts: Parts) -> Tensor:
    """Return the weights of experts [expert, in, out], as their model holds them."""
    exponents = parts["_scales"].float() - _E8M0_BIAS
    groups = _unpack_fp4(parts["_blocks"]) * exponents.exp2()[..., None]
    return groups.flatten(-2).transpose(-2, -1).contiguous()


def _gptq(parts: Parts, how: Quantization) -> Tensor:
    """Return the weight whose columns are packed along the inputs."""
    scales = parts[".scales"].float().T  # [out, groups]
    bits = _bits_of(parts[".qzeros"].shape[1], len(scales))
    weight = _unpack(parts[".qweight"].T, bits).float()
    zeros = _unpack(parts[".qzeros"], bits)[:, : len(scales)].float().T
    groups = parts.get(".g_idx")
    if groups is None:
        groups = _groups(weight.shape[1], scales.shape[1])
    groups = groups.long()
    weight -= (zeros + how.zero_offset)[:, groups]
    weight *= scales[:, groups]
    return weight


def _groups(size: int, count: int) -> Tensor:
    """Return the group of each of the inputs, where all are of one size."""
    return torch.arange(size) // -(-size // count)


def _awq(parts: Parts) -> Tensor:
    """Return the weight whose rows are packed along the outputs, interleaved."""
    scales = parts[".scales"].float()
    q, zeros = (
        _unpack(parts[name], 4).unflatten(1, (-1, 8))[..., _AWQ_ORDER].flatten(1)
        for name in (".qweight", ".qzeros")
    )
    groups = _groups(len(q), len(scales))
    weight = q.float()
    weight -= zeros.float()[groups]
    weight *= scales[groups]
    return weight.T.contiguous()


def _int8(parts: Parts) -> Tensor:
    if ".weight_format" in parts and int(parts[".weight_format"]):
        raise ValueError(say("only weights in the order of rows are read"))
    return parts[".weight"].float() * (parts[".SCB"].float() / _INT8_LEVELS)[:, None]


def _nf4(parts: Parts) -> Tensor:
    """Return a weight of bitsandbytes in 4 bits: indices of numbers in a table."""
    state_name = ".weight.quant_state"
    name = next((name for name in parts if name.startswith(state_name)), state_name)
    state = json.loads(bytes(parts[name].tolist()))
    largest = parts[".weight.absmax"]
    if ".weight.nested_absmax" in parts:
        largest = _from_table(
            largest,
            parts[".weight.nested_quant_map"],
            parts[".weight.nested_absmax"],
            int(state["nested_blocksize"]),
        ) + float(state["nested_offset"])
    packed = parts[".weight"].flatten().view(torch.uint8)
    indices = torch.stack((packed >> 4, packed & 15), -1).flatten()
    values = _from_table(
        indices, parts[".weight.quant_map"], largest, int(state["blocksize"])
    )
    return values.reshape(state["shape"])


def _from_table(indices: Tensor, table: Tensor, largest: Tensor, block: int) -> Tensor:
    """Return numbers of a table, times the largest one of each block."""
    if len(largest) != -(-len(indices) // block):
        raise _scales_error(len(largest), len(indices))
    values = table.float()[indices.int()]
    values *= largest.float().repeat_interleave(block)[: len(values)]
    return values
