"""Connect the processes that work on one run; `shares.py` divides the work.

    torchrun --nproc-per-node 2 -m surgeon_engine run job.toml

A rank is one of the processes. All ranks run the same program on the same inputs, in
step. What depends on the clock, the disk or the user is decided by the first rank
(`agree`); it alone sends events and writes files. So the others wait while it is
paused.

Before each exchange the ranks tell each other whether they have failed. The failure of
one is raised on all of them, so that all go on, or end, in the same way. A process that
computes alone is the first and only rank, for which every function here does nothing;
torch.distributed is then not loaded.
"""

from __future__ import annotations

import io
import os
import pickle
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import torch
from torch import Tensor

from surgeon_engine.base.errors import ConfigError, EngineError
from surgeon_engine.runtime.failures import RankLost, is_out_of_memory

if TYPE_CHECKING:
    from types import ModuleType

_T = TypeVar("_T")

# Variable with the path of a file through which the processes of one machine find each
# other; without it they use the port that torchrun has opened to the network.
STORE = "SURGEON_STORE"
_TIMEOUT = timedelta(days=30)  # a pause may be long


@dataclass(slots=True)
class _Group:
    """The processes of a run, as one of them sees them."""

    rank: int = 0
    size: int = 1
    started: int = 1  # processes of the run; this one may compute alone
    on_this_machine: int = 1


_ALONE = _Group()
_group = _ALONE


def are_given() -> bool:
    """Return whether torchrun has started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def begin(*, uses_gpu: bool) -> None:
    """Connect this process with the others that torchrun has started.

    With `uses_gpu`, it has a GPU of its own, if there are GPUs.

    Raises:
        ConfigError: this machine has fewer GPUs than processes.
        RankLost: another process cannot be reached.
    """
    global _group
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    backend = "gloo"
    if uses_gpu and torch.cuda.is_available():
        _check_gpus(on_this_machine, torch.cuda.device_count())
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    elif uses_gpu and torch.backends.mps.is_available():
        raise ConfigError(
            "Several processes cannot share Apple's GPU.",
            'Start one process, or set device to "cpu".',
        )
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = os.environ.get(STORE)
    with _connected():
        _distributed().init_process_group(
            backend,
            init_method=f"file://{store}" if store else "env://",
            timeout=_TIMEOUT,
            rank=rank,
            world_size=size,
        )
    _group = _Group(rank, size, size, on_this_machine)


def _check_gpus(processes: int, gpus: int) -> None:
    if processes > gpus:
        raise ConfigError(
            "{processes} processes were started on a machine with {gpus} GPU: each "
            "needs one of its own."
            if gpus == 1
            else "{processes} processes were started on a machine with {gpus} GPUs: "
            "each needs one of its own.",
            'Start {gpus} processes, or set device to "cpu".',
            processes=processes,
            gpus=gpus,
        )


def end() -> None:
    """Leave the other processes once all have come here; compute alone from now on."""
    global _group
    if _group.size > 1:
        with suppress(RankLost):
            _meet("end")
        _group = _ALONE
        _distributed().destroy_process_group()


def size() -> int:
    """Return the number of ranks."""
    return _group.size


def started() -> int:
    """Return the number of processes of the run, also while one computes alone."""
    return _group.started


def rank() -> int:
    """Return the number of this rank, from 0."""
    return _group.rank


def is_first() -> bool:
    """Return whether this rank decides, sends events and writes files."""
    return _group.rank == 0


def on_this_machine() -> int:
    """Return the number of ranks that share the main memory of this machine."""
    return _group.on_this_machine


@contextmanager
def alone() -> Iterator[None]:
    """Let this rank do something by itself: no share of it, but all."""
    global _group
    before = _group
    _group = _Group(started=before.started, on_this_machine=before.on_this_machine)
    try:
        yield
    finally:
        _group = before


def gathered(x: Tensor) -> list[Tensor]:
    """Return the tensors of all ranks, which have the same shape."""
    parts = [torch.empty_like(x) for _ in range(_group.size)]
    _meet("gathered")
    with _connected():
        _distributed().all_gather(parts, x)
    return parts


def add(tensors: Iterable[Tensor]) -> None:
    """Add up tensors over all ranks, in place."""
    if _group.size == 1:
        return
    pairs = [(x, x.contiguous()) for x in tensors]
    _meet("add")
    for x, total in pairs:
        with _connected():
            _distributed().all_reduce(total)
        if total is not x:
            x.copy_(total)


def agree(work: Callable[[], _T]) -> _T:
    """Return the result of some work that only the first rank does.

    Raises:
        Exception: what it raises there.
    """
    if _group.size == 1:
        return work()
    return passed_on(work() if is_first() else None, 0)  # type: ignore[return-value]


def agreed(number: float) -> float:
    """Return the number of the first rank."""
    return number if _group.size == 1 else _meet("agreed", number)[0]


def added(number: float) -> float:
    """Return the sum of the numbers of all ranks."""
    return number if _group.size == 1 else sum(_meet("added", number))


def passed_on(value: _T, source: int) -> _T:
    """Return the value of one rank; the values of the others are ignored.

    Tensors in it go from device to device.
    """
    if _group.size == 1:
        return value
    _meet("passed on")
    found: _T = _broadcast(value, source)
    return found


@contextmanager
def together() -> Iterator[None]:
    """Let a block of code fail on all ranks if it fails on one.

    Where an error is caught and the run goes on, the code that may raise it must be in
    such a block. Otherwise the others would wait for a rank that does something else.
    """
    if _group.size == 1:
        yield
        return
    try:
        yield
    except RankLost:
        raise
    except Exception as error:
        if not getattr(error, "is_of_all_ranks", False):
            _report(error)
        raise
    _meet("together")


def _report(error: Exception) -> None:
    """Let the other ranks fail as this one does."""
    try:
        _meet("failed", failure=error)
    except RankLost as lost:
        raise error from lost
    error.is_of_all_ranks = True  # type: ignore[attr-defined]


def _meet(
    what: str, number: float = 0.0, failure: Exception | None = None
) -> list[float]:
    """Wait for all ranks; return the number of each.

    Args:
        what: the exchange that follows, which must be the same on all ranks.
        number: the number that this rank gives.
        failure: why this rank takes no part in it.

    Raises:
        Exception: another rank has failed, and this one has not.
        RankLost: another rank has ended.
    """
    facts = [float(zlib.crc32(what.encode())), float(failure is not None), number]
    mine = torch.tensor(facts, dtype=torch.float64)
    found = [torch.empty_like(mine) for _ in range(_group.size)]
    with _connected():
        _distributed().all_gather(found, mine)
    exchanges, failed, numbers = torch.stack(found, dim=1).tolist()
    if any(failed):
        source = failed.index(1.0)
        of_source = _described(failure) if source == _group.rank else None
        described = _broadcast(of_source, source)
        if failure is None:
            _raise(source, described)
    elif len(set(exchanges)) > 1:
        raise AssertionError(f"Rank {_group.rank} is out of step at {what!r}.")
    return list(numbers)


_Described = tuple[type[Exception], tuple[str, ...], str]


def _described(error: Exception | None) -> _Described:
    """Return a type that all ranks catch alike, its arguments, and the traceback."""
    assert error is not None
    details = "".join(traceback.format_exception(error))
    if isinstance(error, EngineError):
        return type(error), (error.message, error.hint), details
    if is_out_of_memory(error):
        return MemoryError, (str(error),), details
    if not error.args and type(error).__module__.startswith("surgeon_engine."):
        return type(error), (), details  # the run was cancelled
    return RuntimeError, (f"{type(error).__name__}: {error}",), details


def _raise(source: int, described: _Described) -> NoReturn:
    """Raise the error of another rank."""
    kind, arguments, details = described
    error = kind(*arguments)
    error.add_note(f"Of rank {source}:\n{details}")
    error.is_of_all_ranks = True  # type: ignore[attr-defined]
    raise error


class _Pickler(pickle.Pickler):
    """Leaves tensors out, and keeps them in a list."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.tensors: list[Tensor] = []

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, Tensor):
            return None
        self.tensors.append(value.detach())
        return len(self.tensors) - 1


class _Unpickler(pickle.Unpickler):
    """Puts the tensors back."""

    def __init__(self, file: io.BytesIO, tensors: Sequence[Tensor]) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, number: Any) -> Tensor:
        return self._tensors[number]


def _broadcast(value: Any, source: int) -> Any:
    """Return the value of one rank."""
    is_source, data, tensors = source == _group.rank, b"", list[Tensor]()
    if is_source:
        file = io.BytesIO()
        pickler = _Pickler(file)
        pickler.dump(value)
        tensors = pickler.tensors
        kinds = [(tuple(x.shape), x.dtype, x.device.type) for x in tensors]
        data = pickle.dumps((file.getvalue(), kinds))
    length = torch.tensor([len(data)])
    _send(length, source)
    received = torch.empty(int(length), dtype=torch.uint8)
    if is_source:
        received = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    _send(received, source)
    pickled, kinds = pickle.loads(received.numpy().tobytes())
    if is_source:
        tensors = [x.contiguous() for x in tensors]
    else:
        tensors = [torch.empty(s, dtype=t, device=device) for s, t, device in kinds]
    if tensors:
        _meet("tensors")  # all have the memory for them
    for x in tensors:
        if x.numel():
            _send(x.view(-1).view(torch.uint8), source)
    if is_source:
        return value
    return _Unpickler(io.BytesIO(pickled), tensors).load()


def _send(x: Tensor, source: int) -> None:
    """Copy a contiguous tensor of one rank into the tensors of the others."""
    with _connected():
        _distributed().broadcast(x, source)


@contextmanager
def _connected() -> Iterator[None]:
    """Distinguish a lost connection from other errors.

    Raises:
        RankLost: a rank has ended, or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines()
        raise RankLost(reason[0] if reason else type(error).__name__) from error


def _distributed() -> ModuleType:
    import torch.distributed  # slow to import, and seldom needed

    # Its functions have the group as a default value. If transformers imported it once
    # there is a group, they would keep that group, whose threads abort the process when
    # they free a tensor while Python ends.
    import torch.distributed.nn.functional

    return torch.distributed
