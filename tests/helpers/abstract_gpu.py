"""A pretended GPU on which tensors have shapes and no numbers, to count a run.

    with abstract_gpu() as gpu:
        gpu.phase = "update"
        ...
    gpu.counts["update"].flops      # by device and number format

Tensors of the GPU, and large ones of the host, are `Abstract`: they hold a tensor on
"meta" and say that they are on "cuda:0" or "cpu". So a block of a model of any size
runs in seconds. `AbstractGpu` counts the work of a GPU by phase. Tensors in a
`HiddenStore` are counted apart, since their place depends on the machine, and so are
tensors in mapped files.

Small tensors that were computed from known numbers have known numbers, such as masks of
removed rows. Where the engine needs other numbers, these are the answers:

    a number of a tensor    float: 1, int: 0, bool: true
    all, any                true; false, but true for floats
    a small tensor that     from 0.1 to 1 in equal steps; ints: 0; bools: true
    comes to the host
    a mask as an index      selects `MASKED` of the positions
"""

import contextlib
import functools
import math
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from surgeon_engine.model import offload
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.hidden_store import Budget, HiddenStore
from surgeon_engine.runtime.mapped_tensors import MappedTensors
from tests.helpers.abstract_tensors import (
    MASKED,
    SMALL,
    Abstract,
    Autocast,
    Layout,
    for_meta,
    known_of,
    mapped,
    number_of,
    numbers_for,
    positions_of,
    shape_of,
    signature,
    tensors_of,
)
from tests.helpers.pretended_gpu import (
    COPIES,
    GIBIBYTE,
    GPU,
    HOST,
    INDEXED,
    META,
    WAITS,
    PretendedGpu,
    histogram,
    pretended_gpu,
    shares_memory,
)

# Limits of small tensors: bools, which mask weights; integers, which choose experts.
_SMALL_MASK, _SMALL_CHOICE = 2**27, 2**20
FLOAT64, FLOAT32, TF32, HALF = "float64", "float32", "tf32", "bfloat16"

_aten = torch.ops.aten
_READS = {_aten.index.Tensor, _aten._unsafe_index.Tensor}
# Operations that read or write some numbers of a table.
_LOOKUPS = {_aten.embedding.default, _aten.gather.default, _aten.searchsorted.Tensor}
_SCATTERS = {_aten.scatter_.src}
_VIEWS = {_aten._unsafe_view.default}  # though its schema does not say so
_REDUCED = {  # reductions of bools: NumPy takes a tenth of the time for large masks
    _aten.sum.default: np.count_nonzero,
    _aten.any.default: np.any,
    _aten.all.dim: np.all,
}
_EXPERTS = "_grouped_mm"  # products of few rows each, which read all of the weights
_RESULT_OF = {_aten.all: True, _aten.any: False}  # results for unknown numbers


@dataclass(slots=True)
class Counts:
    """The counts of a phase."""

    flops: Counter[tuple[str, str]] = field(default_factory=Counter)  # device, format
    # Bytes "to GPU" and "to host"; for a store, "stored to GPU" and so on; for other
    # pinned memory, "pinned to GPU"; for mapped files, "files to GPU"; and "ahead",
    # from memory while others compute.
    copied: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)  # by operation
    moved: int = 0  # bytes that other operations read and write on the GPU
    kernels: int = 0
    # Maxima of live bytes: "GPU", "host", "stored", "host and stored", "files".
    peaks: dict[str, int] = field(default_factory=lambda: defaultdict(int))


class AbstractGpu(PretendedGpu):
    """Runs operations on shapes, and counts.

    Attributes:
        phase: the phase that counts the next operations.
        counts: counts by phase.
        places: live bytes of the GPU, the host and the stores.
    """

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.counts: dict[str, Counts] = defaultdict(Counts)
        self.places: Counter[str] = Counter()
        self.where = "host"  # new tensors of the host are; or "stored", or "files"
        self.kinds: dict[str, set[int]] = {"stored": set(), "files": set()}
        self._pinned: set[int] = set()
        self._results: dict[Any, Any] = {}  # layouts of results, by operation
        self._phase = ""

    @property
    def phase(self) -> str:
        """The phase that counts the next operations."""
        return self._phase

    @phase.setter
    def phase(self, name: str) -> None:
        self._phase = name
        self._note_peaks()

    @property
    def count(self) -> Counts:
        """The counts of this phase."""
        return self.counts[self.phase]

    def register(self, held: Tensor, place: torch.device = GPU) -> None:
        storage = held.untyped_storage()
        if storage._cdata in self._storages:
            return
        where = "GPU" if place == GPU else self.where
        size = storage.nbytes()
        if where == "GPU" and self.places["GPU"] + size > self.total:
            message = f"CUDA out of memory. Tried to allocate {size} bytes."
            raise torch.OutOfMemoryError(message)
        self._storages.add(storage._cdata)
        if where in self.kinds:
            self.kinds[where].add(storage._cdata)
        self.places[where] += size
        self.live = self.places["GPU"]
        self._note_peaks()
        weakref.finalize(storage, self._free, storage._cdata, where, size)

    def _free(self, key: int, where: str, size: int) -> None:
        self._storages.discard(key)
        for keys in (*self.kinds.values(), self._pinned):
            keys.discard(key)
        self.places[where] -= size
        self.live = self.places["GPU"]

    @contextlib.contextmanager
    def making(self, where: str) -> Iterator[None]:
        """Let new tensors of the host be in a store or in files meanwhile."""
        before, self.where = self.where, where
        try:
            yield
        finally:
            self.where = before

    def is_in_file(self, x: Any) -> bool:
        """Return whether a tensor is in a mapped file."""
        return _is_one_of(x, self.kinds["files"])

    def _note_peaks(self) -> None:
        peaks, now = self.count.peaks, self.places
        for where in ("GPU", "host", "stored", "files"):
            peaks[where] = max(peaks[where], now[where])
        both = "host and stored"
        peaks[both] = max(peaks[both], now["host"] + now["stored"])
        self.peak = max(self.peak, now["GPU"])

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunction():  # the mode below sees each attribute
            return self._dispatch(func, args, dict(kwargs or {}))

    def _dispatch(self, func, args, kwargs):
        if func is torch.ops.prim.device.default:
            return META
        if func is _aten.is_pinned.default:
            return False
        if func is _aten._pin_memory.default:
            return args[0]
        tensors = tensors_of((args, kwargs))
        target = self._target(func, args, kwargs, tensors)
        if target == META:  # a model is being made
            return func(*args, **kwargs)
        if target != GPU and not any(isinstance(x, Abstract) for x in tensors):
            return self._on_host(func, args, kwargs, tensors)
        self._count_waits(func, args, tensors, target)
        if func is _aten._local_scalar_dense.default:
            return number_of(args[0])
        if func is _aten.equal.default:
            return True
        return self._run(func, args, kwargs, target, tensors)

    def _on_host(self, func, args, kwargs, tensors: list[Tensor]):
        """Run an operation of the host, on numbers unless it makes a large tensor."""
        if not tensors and any(x.name == "device" for x in func._schema.arguments):
            made = func(*args, **for_meta(kwargs))
            if isinstance(made, Tensor) and made.numel() > SMALL:
                return Abstract(made, HOST)
        return func(*args, **kwargs)

    def _run(self, func, args, kwargs, target: torch.device, flat: list[Tensor]):
        if func in COPIES:
            return self._copy(func, args, kwargs, target)
        if func in INDEXED and func not in _READS:
            args[0].known = None
            self._count_work(func, flat, flat, (), target)
            return args[0]
        given = positions_of(args) if func in INDEXED else args
        shapes, others = mapped(shape_of, given), mapped(shape_of, kwargs)
        if "device" in kwargs:
            others = for_meta(others)
        if func is _aten.nonzero.default:
            numbers = known_of(args[0])
            count = round(MASKED * args[0].numel())
            count = count if numbers is None else int(numbers.count_nonzero())
            found = torch.empty(count, args[0].dim(), dtype=torch.int64, device=META)
        else:
            found = self._result(func, shapes, others)
        known = self._known(func, args, kwargs, found, flat)
        self._count_work(func, flat, shapes, found, target)
        if func._schema.is_mutable and known is None and isinstance(flat[0], Abstract):
            flat[0].known = None
        by_held = {id(x.held): x for x in flat if isinstance(x, Abstract)}
        is_view = _is_view(func)
        if isinstance(found, Tensor):
            return self._wrapped(found, known, target, by_held, is_view)
        if not isinstance(found, list | tuple):
            return found
        numbers = [None] * len(found) if known is None else known
        return type(found)(
            [
                self._wrapped(x, number, target, by_held, is_view)
                for x, number in zip(found, numbers, strict=True)
            ]
        )

    def _result(self, func, shapes, others):
        """Return the result of an operation on "meta", which is slow to find."""
        if shares_memory(func) or func._schema.is_mutable:
            return func(*shapes, **others)
        if func is _aten.bincount.default:
            return shapes[0].new_empty([*shapes, *others.values()][-1])
        key = (func, signature(shapes), signature(others))
        if key not in self._results:
            found = func(*shapes, **others)
            self._results[key] = mapped(Layout.of, found)
            return found
        return mapped(Layout.made, self._results[key])

    def _wrapped(self, shape, number, target, by_held: dict[int, Any], is_view):
        """Return a result as a tensor of a device."""
        if not isinstance(shape, Tensor):
            return shape
        if id(shape) in by_held:
            return by_held[id(shape)]
        if target == GPU or shape.numel() > SMALL or is_view:
            return Abstract(shape, target, number)
        return numbers_for(shape) if number is None else number

    def _copy(self, func, args, kwargs, target: torch.device):
        to, source = (args[0], args[1]) if len(args) > 1 else (None, args[0])
        if source.device != target:
            way = "to GPU" if target == GPU else "to host"
            for kind, keys in (*self.kinds.items(), ("pinned", self._pinned)):
                if _is_one_of(source, keys) or _is_one_of(to, keys):
                    way = f"{kind} {way}"
                    break
            # The host waits for reads from a file.
            if kwargs.get("non_blocking") and not self.is_in_file(source):
                way = "ahead"
            self.count.copied[way] += source.nbytes
        if func is _aten.copy_.default:
            known = known_of(source)
            if isinstance(to, Abstract):
                to.known = (
                    None if known is None else known.to(to.dtype).expand(to.shape)
                )
            else:
                to.copy_(numbers_for(source) if known is None else known)
            self._count_work(func, [to, source], (), (), target)
            return to
        dtype = kwargs.get("dtype") or source.dtype
        known = known_of(source)
        known = None if known is None else known.to(dtype)
        if source.device == target and dtype == source.dtype:
            return Abstract(source.held, target, known)
        layout = {"memory_format": kwargs.get("memory_format") or torch.preserve_format}
        shape = torch.empty_like(shape_of(source), dtype=dtype, **layout)
        self._count_work(func, [source], (), (shape,), target)
        return self._wrapped(shape, known, target, {}, is_view=False)

    def _known(self, func, args, kwargs, found, inputs: list[Tensor]):
        """Return the result in numbers; None if they are not known."""
        is_known = all(
            not isinstance(x, Abstract) or x.known is not None for x in inputs
        )
        fits = is_known and (_is_view(func) or all(map(_is_small, tensors_of(found))))
        if not fits:
            name = func._overloadpacket
            if name in _RESULT_OF and found.dim() == 0:
                return torch.tensor(_RESULT_OF[name] or args[0].is_floating_point())
            return None
        if func._overloadpacket.__name__.startswith(("empty", "new_empty")):
            return None
        if func is _aten.histc.default:
            return histogram(known_of(args[0]), *args[1:], **kwargs)
        if func in _REDUCED and args[0].dtype == torch.bool:
            numbers = known_of(args[0]).numpy()
            return torch.as_tensor(_REDUCED[func](numbers, *args[1:]))
        if "device" in kwargs:
            kwargs = kwargs | {"device": HOST}
        return func(*mapped(known_of, args), **mapped(known_of, kwargs))

    def _count_waits(self, func, args, tensors, target: torch.device) -> None:
        if func in COPIES:
            source = args[func is _aten.copy_.default]
            if source.device == GPU and target != GPU:
                self._wait("to host")
        elif any(x.device == GPU for x in tensors):
            is_mask = func in INDEXED and any(
                x is not None and x.dtype == torch.bool for x in args[1]
            )
            if func in WAITS or is_mask:
                self._wait("mask" if is_mask else func._overloadpacket.__name__)

    def _wait(self, what: str) -> None:
        self.waits += 1
        self.count.waits[what] += 1

    def _count_work(self, func, inputs, shapes, found, target: torch.device) -> None:
        """Count the operations of a product, or the bytes that others move."""
        outputs = tensors_of(found)
        flops = _flops_of(func, shapes, found)
        if flops:
            device = "GPU" if target == GPU else "host"
            self.count.flops[device, _format(inputs, target)] += flops
        if target != GPU or _is_view(func) or func in _VIEWS:
            return
        doubles = (x for x in outputs if x.dtype == torch.float64 and x.dim())
        self.doubles += sum(x.numel() for x in doubles)
        self.count.kernels += 1
        if not flops or func is _aten._grouped_mm.default:
            moved = [*inputs, *outputs]
            if func in _LOOKUPS:
                moved = [*inputs[1:], *outputs, *outputs]
            elif func in _SCATTERS:
                moved = [*inputs[1:], *inputs[1:]]
            self.count.moved += sum(x.nbytes for x in moved)


def _is_one_of(x: Any, keys: set[int]) -> bool:
    """Return whether a tensor has one of these storages."""
    return isinstance(x, Abstract) and x.held.untyped_storage()._cdata in keys


@functools.cache
def _is_view(func: Any) -> bool:
    return shares_memory(func) and not func._schema.is_mutable


def _is_small(x: Tensor) -> bool:
    most = {torch.bool: _SMALL_MASK, torch.int64: _SMALL_CHOICE}
    return x.numel() <= most.get(x.dtype, SMALL)


def _flops_of(func, shapes, found) -> int:
    packet = func._overloadpacket
    name = packet.__name__.rstrip("_")
    if name in _ALGEBRA:
        return int(_ALGEBRA[name](*shapes))
    counted = flop_registry.get(getattr(_aten, name, None))
    if counted is None or not shapes:
        return 0
    return int(counted(*shapes, out_val=found))


def _batch(x: Tensor) -> int:
    return math.prod(x.shape[:-2])


_ALGEBRA: dict[str, Callable[..., float]] = {
    _EXPERTS: lambda x, W, *_: 2 * x.numel() * W.shape[-1],
    "linalg_cholesky_ex": lambda M, **_: _batch(M) * len(M[-1]) ** 3 / 3,
    "cholesky_inverse": lambda L, *_: _batch(L) * 2 * L.shape[-1] ** 3,
    "_cholesky_solve_helper": lambda B, L, *_: 2 * L.shape[-1] ** 2 * B.shape[-1],
    "cholesky_solve": lambda B, L, *_: 2 * L.shape[-1] ** 2 * B.shape[-1],
}


def _format(inputs: list[Tensor], target: torch.device) -> str:
    """Return the number format of a product, by its first input."""
    dtype = next(x.dtype for x in inputs if x.is_floating_point())
    fast = torch.backends.cuda.matmul.allow_tf32
    if dtype == torch.float32 and fast and target == GPU:
        return TF32
    return {torch.float64: FLOAT64, torch.float32: FLOAT32}.get(dtype, HALF)


def _set_data(parameter: torch.nn.Parameter, data: Tensor) -> None:
    """Set the data of a parameter as `parameter.data = data` does on a real GPU."""
    if not isinstance(parameter, Abstract):
        with META:
            shape = shape_of(parameter)
        new = Abstract(shape, parameter.device)
        new = torch.nn.Parameter(new, parameter.requires_grad)
        torch.utils.swap_tensors(parameter, new)
    if not isinstance(data, Abstract):
        with META:
            shape = shape_of(data)
        data = Abstract(shape, data.device)
    parameter.held, parameter.place, parameter.known = data.held, data.place, None


@contextlib.contextmanager
def abstract_gpu() -> Iterator[AbstractGpu]:
    """Let torch have a GPU without numbers, of 80 GiB, during the block."""
    gpu = AbstractGpu(80 * GIBIBYTE)
    make_stored, make_pinned = HiddenStore.empty_like, devices.empty_on_host

    def empty_like(store: HiddenStore, x: Tensor) -> Tensor:
        with gpu.making("stored"):
            return make_stored(store, x)

    def empty_on_host(x: Tensor, device: torch.device) -> Tensor:
        made = make_pinned(x, device)
        if isinstance(made, Abstract) and gpu.where == "host":
            gpu._pinned.add(made.held.untyped_storage()._cdata)
        return made

    def in_file(_: MappedTensors, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        with gpu.making("files"), META:
            return Abstract(torch.empty(shape, dtype=dtype), HOST)

    autocast, backward = Autocast(), torch.autograd._engine_run_backward

    def run_backward(*args: Any, **kwargs: Any) -> Any:
        with autocast:  # a mode is left while it handles `backward`
            return backward(*args, **kwargs)

    replaced: tuple[tuple[Any, str, Any], ...] = (
        (devices, "empty_on_host", empty_on_host),
        (devices, "free_host_memory", lambda: 10**15),
        (HiddenStore, "empty_like", empty_like),
        (Budget, "of_free_memory", lambda _: Budget(0, math.inf)),
        (MappedTensors, "zeros", in_file),
        (MappedTensors, "holds", lambda _, x: gpu.is_in_file(x)),
        (MappedTensors, "drop", lambda *_: None),
        (offload, "set_data", _set_data),
        (offload, "read_ahead", lambda _: None),
        (torch.autograd, "_engine_run_backward", run_backward),
    )
    with pretended_gpu(gpu.total, gpu), contextlib.ExitStack() as stack:
        for place, name, replacement in replaced:
            stack.enter_context(mock.patch.object(place, name, replacement))
        stack.enter_context(autocast)
        yield gpu
