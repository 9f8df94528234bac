"""Tensors of an abstract GPU: they have a shape and a place, and rarely numbers.

Autocast is done by a mode of its own: the dispatcher knows none for "meta".
Attention works like fused kernels: it keeps no matrix of scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tests.helpers.pretended_gpu import GPU, META, Pretended, current

SMALL = 2**16  # numbers: smaller tensors of the host have numbers
MASKED = 0.7


class Abstract(Pretended):
    """A tensor of the GPU or the host with a shape; `held` is a tensor on "meta"."""

    known: Tensor | None = None  # its numbers, on the host

    @staticmethod
    def __new__(
        cls, held: Tensor, place: torch.device, known: Tensor | None = None
    ) -> Abstract:
        return Pretended.__new__(cls, held)

    def __init__(
        self, held: Tensor, place: torch.device, known: Tensor | None = None
    ) -> None:
        self.held, self.place, self.known = held, place, known
        current().register(held, place)

    @property
    def data(self) -> Tensor:
        return torch._C.TensorBase.data.__get__(self)

    @data.setter
    def data(self, new: Abstract) -> None:
        torch._C.TensorBase.data.__set__(self, new)
        self.held, self.place, self.known = new.held, new.place, new.known

    def data_ptr(self) -> int:
        storage = self.held.untyped_storage()._cdata
        return storage + self.held.storage_offset() * self.held.element_size()

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        del force
        return self.cpu().numpy()

    def __repr__(self, **_: Any) -> str:
        return f"Abstract({tuple(self.shape)}, {self.dtype}, {self.place})"


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a tensor."""

    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, x: Any) -> Any:
        """Return the layout of a tensor; others as they are."""
        fits = isinstance(x, Tensor)
        return cls(x.shape, x.stride(), x.dtype) if fits else x

    @staticmethod
    def made(x: Any) -> Any:
        """Return a tensor on "meta" of a layout; others as they are."""
        if not isinstance(x, Layout):
            return x
        return torch.empty_strided(x.shape, x.strides, dtype=x.dtype, device=META)


def signature(x: Any) -> Any:
    """Return what a result on "meta" depends on."""
    if isinstance(x, list | tuple):
        return tuple(map(signature, x))
    if isinstance(x, dict):
        return tuple((name, signature(value)) for name, value in x.items())
    return Layout.of(x)


def mapped(function: Callable[[Any], Any], x: Any) -> Any:
    """Apply a function to all that is in nested lists, tuples and dictionaries."""
    if isinstance(x, torch.Size):
        return x
    if isinstance(x, list | tuple):
        return type(x)([mapped(function, each) for each in x])
    if isinstance(x, dict):
        return {name: mapped(function, each) for name, each in x.items()}
    return function(x)


def tensors_of(x: Any) -> list[Tensor]:
    """Return the tensors in nested lists, tuples and dictionaries."""
    if isinstance(x, Tensor):
        return [x]
    if isinstance(x, dict):
        x = tuple(x.values())
    if isinstance(x, list | tuple) and not isinstance(x, torch.Size):
        return [tensor for each in x for tensor in tensors_of(each)]
    return []


def known_of(x: Any) -> Any:
    """Return the numbers of a tensor, None if they are unknown; others as they are."""
    if isinstance(x, Abstract):
        return x.known
    return x.detach() if isinstance(x, Tensor) else x


def shape_of(x: Any) -> Any:
    """Return a tensor as one on "meta"."""
    if isinstance(x, Abstract):
        return x.held
    if isinstance(x, Tensor):
        return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=META)
    return x


def for_meta(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a new tensor, for one on "meta"."""
    kept = {name: x for name, x in kwargs.items() if name != "pin_memory"}
    if "generator" in kept:
        kept["generator"] = None
    return kept | {"device": META}


def positions_of(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of an index, with positions in place of masks."""
    indices: list[Tensor | None] = []
    for index in args[1]:
        if index is None or index.dtype != torch.bool:
            indices.append(index)
            continue
        known = known_of(index)
        share = round(MASKED * index.numel())
        count = share if known is None else int(known.count_nonzero())
        position = torch.empty(count, dtype=torch.int64, device=META)
        indices += [position] * index.dim()
    return (args[0], indices, *args[2:])


def number_of(x: Tensor) -> bool | int | float:
    """Return the number of a tensor, or a plausible one."""
    known = known_of(x)
    if known is not None:
        return known.item()
    return 1.0 if x.is_floating_point() else x.dtype == torch.bool


def numbers_for(like: Tensor) -> Tensor:
    """Return plausible numbers for a tensor that comes to the host."""
    if like.dtype == torch.bool:
        return torch.ones(like.shape, dtype=torch.bool)
    if not like.is_floating_point():
        return torch.zeros(like.shape, dtype=like.dtype)
    steps = torch.linspace(0.1, 1, max(1, like.numel()))[: like.numel()]
    return steps.view(like.shape).to(like.dtype)


class Autocast(TorchFunctionMode):
    """Cast the inputs of functions as autocast does on a GPU; fused attention."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        is_on = torch.is_autocast_enabled("cuda")
        name = getattr(func, "__name__", "").strip("_")
        if func is functional.scaled_dot_product_attention:
            if is_on:
                args = _cast(args, torch.bfloat16)
            return _attention(*args, **kwargs)
        if is_on and name in _IN_16_BITS:
            args, kwargs = _cast((args, kwargs), torch.bfloat16)
        elif is_on and name in _IN_32_BITS:
            args, kwargs = _cast((args, kwargs), torch.float32)
        return func(*args, **kwargs)


_IN_16_BITS = {"linear", "matmul", "rmatmul", "mm", "bmm", "addmm", "baddbmm"}
_IN_32_BITS = {
    *("layer_norm", "softmax", "log_softmax", "cross_entropy", "kl_div", "rsqrt"),
    *("pow", "norm", "sum", "exp", "log", "cumsum", "prod"),
}


def _cast(x: Any, dtype: torch.dtype) -> Any:
    def cast(x: Any) -> Any:
        fits = isinstance(x, Tensor) and x.device == GPU and x.is_floating_point()
        return x.to(dtype) if fits and x.dtype != torch.float64 else x

    return mapped(cast, x)


def _attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, **kwargs):
    """Compute attention by the kernel that a GPU has for it: causal, or by a mask."""
    kwargs.pop("enable_gqa", None)
    if k.shape[1] != q.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    if attn_mask is None:
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        return flash(q, k, v, dropout_p, True, **kwargs)[0]
    if attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill(
            ~attn_mask, -torch.inf
        )
    mask = attn_mask.expand(*q.shape[:3], k.shape[2])
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    needs_sums = torch.is_grad_enabled()
    return efficient(q, k, v, mask, needs_sums, dropout_p, is_causal, **kwargs)[0]
