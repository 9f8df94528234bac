"""A GPU that is only pretended, so that the engine's handling of devices can be tested.

    with pretended_gpu() as gpu:
        model.to("cuda")        # its tensors are `Pretended` from now on

A `Pretended` tensor says "cuda:0" to Python and holds its numbers in a CPU tensor.
`PretendedGpu` sees every operation of torch: it computes with the held tensors, and
raises `DeviceMismatchError` where CUDA would refuse to mix devices. It counts bytes on
the GPU, their peak, copies from and to the host, and waits of the host.

To the C++ code of torch, a pretended tensor is on the device "meta": a build without
CUDA knows no guards for CUDA. Where C++ asks for a new tensor on "meta", it means the
pretended GPU. Autocast changes nothing.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from surgeon_engine.model import offload

GPU, HOST, META = torch.device("cuda", 0), torch.device("cpu"), torch.device("meta")
GIBIBYTE = 2**30

_aten = torch.ops.aten
COPIES = {_aten._to_copy.default, _aten.copy_.default}
# Indices may be on the host: CUDA copies them.
INDEXED = {
    _aten.index.Tensor,
    _aten.index_put.default,
    _aten.index_put_.default,
    _aten._index_put_impl_.default,
    _aten._unsafe_index.Tensor,
}
WAITS = {_aten._local_scalar_dense.default, _aten.equal.default, _aten.nonzero.default}


class DeviceMismatchError(RuntimeError):
    """An operation mixes tensors of the GPU and of the host."""


class Pretended(Tensor):
    """A tensor on the pretended GPU, with its numbers in the CPU tensor `held`.

    Only parameters of offloaded blocks may have the host as their `place`.
    """

    held: Tensor
    place: torch.device = GPU

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretended:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=META,
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held
        current().register(held)

    device = property(lambda self: self.place)
    is_cuda = property(lambda self: self.place == GPU)
    is_cpu = property(lambda self: self.place == HOST)
    is_meta = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        with current():  # a mode is left while it handles an operation
            return func(*args, **(kwargs or {}))

    @property
    def data(self) -> Tensor:
        return torch._C.TensorBase.data.__get__(self)

    @data.setter
    def data(self, new: Pretended) -> None:
        torch._C.TensorBase.data.__set__(self, new)
        self.held = new.held
        current().register(new.held)

    def get_device(self) -> int:
        return 0

    def record_stream(self, _: object) -> None:
        """Do nothing: all streams of a pretended GPU are one."""

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def __getitem__(self, index: Any) -> Tensor:
        # C++ makes a tensor of a list, whose numbers no mode sees.
        return super().__getitem__(_with_tensors(index))

    def tolist(self) -> Any:
        current().waits += 1
        return self.held.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError("can't convert cuda:0 device type tensor to numpy.")
        return self.held.numpy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.clone()

    def __repr__(self, **_: Any) -> str:
        return f"Pretended({self.held!r})"


_GPUS: list[PretendedGpu] = []


def current() -> PretendedGpu:
    return _GPUS[-1]


@dataclass
class PretendedGpu(TorchDispatchMode):
    """Runs the operations of pretended tensors, and counts.

    Attributes:
        total: Memory of the GPU, in bytes.
        live: Bytes of all pretended tensors now.
        peak: Maximum of `live`.
        copied: Bytes copied to the GPU ("to GPU") and from it ("to host").
        waits: Times that the host had to wait for the GPU.
        doubles: Numbers in float64 that were made on the GPU, single ones apart.
    """

    total: int
    live: int = 0
    peak: int = 0
    copied: Counter[str] = field(default_factory=Counter)
    waits: int = 0
    doubles: int = 0
    meta_contexts: int = 0  # calls in progress within `torch.device("meta")`

    def __post_init__(self) -> None:
        super().__init__()
        self._storages: set[int] = set()

    def __hash__(self) -> int:
        return id(self)

    def register(self, held: Tensor) -> None:
        """Count the storage of a tensor until it is freed.

        Raises:
            torch.OutOfMemoryError: The GPU has no room for it.
        """
        if held.dtype == torch.float64 and held.numel() > 1:
            self.doubles += held.numel()
        storage = held.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return
        if self.live + size > self.total:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {size} bytes."
            )
        self._storages.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self.live -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.ops.prim.device.default:
            return META
        on_host: dict[int, Pretended] = {}
        _map(Pretended, lambda x: on_host.update(_if_on_host(x)), args)
        if on_host:
            args = _map(Pretended, lambda x: x.held if x.place == HOST else x, args)
            result = self.__torch_dispatch__(func, types, args, kwargs)
            return on_host.get(id(result), result)
        if func is _aten._fused_sdp_choice.default:
            return 0  # the plain formula
        if func is _aten.is_pinned.default:
            return False
        if func is _aten._pin_memory.default:
            return args[0]
        tensors: list[Tensor] = []
        _map(Tensor, tensors.append, (args, tuple(kwargs.values())))
        target = self._target(func, args, kwargs, tensors)
        self._count(func, args, tensors, target)
        if not any(isinstance(x, Pretended) for x in tensors) and target != GPU:
            return func(*args, **kwargs)
        return self._run(func, args, kwargs, target)

    def _target(self, func, args, kwargs, tensors: list[Tensor]) -> torch.device:
        """Return the device of the result.

        Raises:
            DeviceMismatchError: CUDA would refuse these tensors.
        """
        wanted = kwargs.get("device")
        if wanted is not None:
            wanted = torch.device(wanted)
            if wanted.type == "meta" and (tensors or not self.meta_contexts):
                return GPU  # C++ means the device of a pretended tensor
            return GPU if wanted.type == "cuda" else wanted
        if func in COPIES:
            return args[0].device
        if func in INDEXED:
            tensors = [args[0], *(x for x in args[2:] if isinstance(x, Tensor))]
            if args[0].device == HOST:
                tensors += [x for x in args[1] if x is not None]
        # A number in a tensor without dimensions may come from the host.
        on_gpu = [x for x in tensors if x.device == GPU]
        on_host = [x for x in tensors if x.device != GPU and x.dim() > 0]
        if on_gpu and on_host:
            shapes = ", ".join(f"{tuple(x.shape)} on {x.device}" for x in tensors)
            raise DeviceMismatchError(f"{func} mixes devices: {shapes}.")
        return GPU if on_gpu else HOST

    def _count(self, func, args, tensors: list[Tensor], target: torch.device) -> None:
        if func in COPIES:
            source = args[func is _aten.copy_.default]
            if source.device != target:
                self.copied["to GPU" if target == GPU else "to host"] += source.nbytes
                self.waits += target == HOST
        elif any(isinstance(x, Pretended) for x in tensors):
            is_mask = func in INDEXED and any(
                x is not None and x.dtype == torch.bool for x in args[1]
            )
            self.waits += func in WAITS or is_mask

    def _run(self, func, args, kwargs, target: torch.device):
        if "device" in kwargs:
            kwargs["device"] = HOST
        kwargs.pop("pin_memory", None)  # which needs a GPU
        held_args = _map(Pretended, _held, args)
        held_kwargs = {name: _map(Pretended, _held, x) for name, x in kwargs.items()}
        run = histogram if func is _aten.histc.default else func
        result = run(*held_args, **held_kwargs)
        if func is _aten._to_copy.default and target == GPU:
            result = _own(result, held_args[0])
        if target == GPU:
            result = _map(Tensor, Pretended, result)
        if func is _aten.copy_.default:
            return args[0]
        if target != GPU or not shares_memory(func):
            return result
        return return_and_correct_aliasing(func, args, kwargs, result)


def histogram(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return `histc`, also of integers, which torch refuses on a CPU."""
    return _aten.histc.default(x.float(), *args, **kwargs).to(x.dtype)


def _own(result: Tensor, source: Tensor) -> Tensor:
    """Return a tensor that shares no memory with its source."""
    shares = result.untyped_storage()._cdata == source.untyped_storage()._cdata
    return result.clone() if shares else result


def _map(kind: type, function: Callable[[Any], Any], x: Any) -> Any:
    """Replace what is of a type in nested lists and tuples by a function of it."""
    if isinstance(x, kind):
        return function(x)
    if isinstance(x, list | tuple):
        return type(x)([_map(kind, function, each) for each in x])
    return x


def _with_tensors(index: Any) -> Any:
    """Replace the lists of numbers in an index by tensors."""
    if isinstance(index, tuple):
        return tuple(map(_with_tensors, index))
    return torch.tensor(index) if isinstance(index, list) else index


def _held(x: Pretended) -> Tensor:
    return x.held


def _if_on_host(x: Pretended) -> dict[int, Pretended]:
    return {id(x.held): x} if x.place == HOST else {}


def _set_data(parameter: torch.nn.Parameter, data: Tensor) -> None:
    """Set the data of a parameter as `parameter.data = data` does on a real GPU.

    A parameter is a pretended tensor from the first time on, wherever it is.
    """
    if not isinstance(parameter, Pretended):
        new = torch.nn.Parameter(Pretended(data.detach()), parameter.requires_grad)
        torch.utils.swap_tensors(parameter, new)
    parameter.held = data.held if isinstance(data, Pretended) else data.detach()
    parameter.place = data.device


@functools.cache
def shares_memory(func: torch._ops.OpOverload) -> bool:
    """Return whether results of an operation share memory with its arguments."""
    return any(x.alias_info is not None for x in func._schema.returns)


@contextlib.contextmanager
def pretended_gpu(
    memory: int = 24 * GIBIBYTE, gpu: PretendedGpu | None = None
) -> Iterator[PretendedGpu]:
    """Let torch have a GPU with `memory` bytes during the block.

    Args:
        memory: memory of the GPU, in bytes.
        gpu: another kind of GPU; None: a new `PretendedGpu`.
    """
    gpu = gpu or PretendedGpu(memory)
    make = DeviceContext.__torch_function__

    def made(context, *arguments):
        """Let the mode know that "meta" is meant."""
        is_meta = context.device.type == "meta"
        gpu.meta_contexts += is_meta
        try:
            return make(context, *arguments)
        finally:
            gpu.meta_contexts -= is_meta

    class Generator(torch.Generator):
        def __new__(cls, device: object = "cpu") -> Generator:
            return super().__new__(cls, "cpu")

    properties = mock.Mock(total_memory=memory, major=8, minor=9)
    properties.name = "Pretended GPU"
    fakes = {
        "is_available": lambda: True,
        "_lazy_init": lambda: None,
        "is_bf16_supported": lambda **_: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda *_: properties.name,
        "get_device_properties": lambda *_: properties,
        "mem_get_info": lambda *_: (memory - gpu.live, memory),
        "memory_allocated": lambda *_: gpu.live,
        "memory_reserved": lambda *_: gpu.live,
        "max_memory_allocated": lambda *_: gpu.peak,
        "reset_peak_memory_stats": lambda *_: setattr(gpu, "peak", gpu.live),
        "empty_cache": lambda: None,
        "synchronize": lambda *_: None,
        "Stream": lambda device: mock.Mock(device=device),
        "stream": lambda _: contextlib.nullcontext(),
        "current_stream": mock.Mock,
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda *_: None,
    }
    with contextlib.ExitStack() as stack:
        for name, fake in fakes.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, fake))
        stack.enter_context(
            mock.patch.object(DeviceContext, "__torch_function__", made)
        )
        stack.enter_context(
            mock.patch.object(
                torch.accelerator, "empty_host_cache", lambda: None, create=True
            )
        )
        stack.enter_context(  # optimizers ask its driver, which may be missing
            mock.patch.object(
                torch.accelerator, "current_accelerator", lambda **_: None
            )
        )
        stack.enter_context(mock.patch.object(torch, "Generator", Generator))
        stack.enter_context(mock.patch.object(offload, "set_data", _set_data))
        # `torch.tensor` makes a CPU tensor, and the mode sees how it is moved.
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        _GPUS.append(gpu)
        stack.callback(_GPUS.pop)
        stack.enter_context(gpu)
        yield gpu
