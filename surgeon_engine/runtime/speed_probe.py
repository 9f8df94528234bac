"""Measure the speed of this machine in less than a second, and its free memory.

Speeds are measured once per device and process; free memory is read each time. Each
measurement is the fastest of many short ones, since other programs can only slow one
down. A CPU is measured with one thread and the result scaled to all: threads that wait
for each other on a busy CPU can be a thousand times slower in such short work, but not
in a long run. Its clock is the time of that thread, which other programs do not change.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import psutil
import torch
from torch.nn import functional

from surgeon_engine.api.config.run import Device, Dtype
from surgeon_engine.api.messages.machine import Machine, Rates
from surgeon_engine.runtime import devices, host_memory, kept_files, ranks

_SIDE = {"cpu": 512, "cuda": 4096, "mps": 2048}  # large enough to keep the device busy
_SMALL_SIDE = 128
_SLOW = 0.004  # seconds
_FACTOR_SIDE = {"cpu": 512, "cuda": 2048, "mps": 1024}
_MOVED = {"cpu": 2**22, "cuda": 2**26, "mps": 2**24}  # numbers
_COPIED = 2**26  # bytes
_CALLS = 200
# The speedup of n threads over one is n to the power of this.
_PRODUCTS_GAIN, _FACTORIZING_GAIN, _MOVING_GAIN = 0.9, 0.7, 0.5
_MIN_REPEATS, _MAX_REPEATS = 2, 100
_SECONDS_PER_RATE = 0.08
_ROW = 64  # numbers in a small operation


def machine() -> Machine:
    """Return the memory of this machine and its speeds."""
    found = room()
    return msgspec.structs.replace(
        found,
        processor=_rates("cpu"),
        gpu=_rates(devices.choose(Device.AUTO).type) if found.gpu_name else None,
    )


def room() -> Machine:
    """Return the memory of this machine, without measuring speeds."""
    device = devices.choose(Device.AUTO)
    is_gpu = device.type != "cpu"
    free = 0
    if is_gpu:
        free = devices.free_memory(device) + devices.allocated_memory(device)
    return Machine(
        ram_bytes=host_memory.total(),
        free_ram_bytes=host_memory.free() + psutil.Process().memory_info().rss,
        idle_bytes=_idle_bytes(),
        gpu_name=devices.display_name(device) if is_gpu else "",
        gpu_bytes=devices.total_memory(device) if is_gpu else 0,
        free_gpu_bytes=free,
        gpu_count=devices.gpu_count() if is_gpu else 0,
        measured=kept_files.marks(),
        sharing=ranks.on_this_machine() if ranks.started() > 1 else 0,
    )


@functools.cache
def _idle_bytes() -> int:
    """Return the memory of the process at the first call, before its first run."""
    return int(psutil.Process().memory_info().rss)


@functools.cache
def _rates(device: str) -> Rates:
    with _one_thread(device) as threads:
        return Rates(
            products={
                dtype: threads**_PRODUCTS_GAIN * _products(device, dtype)
                for dtype in Dtype
            },
            factorizing=threads**_FACTORIZING_GAIN * _factorizing(device),
            moving=threads**_MOVING_GAIN * _moving(device),
            call=_call(device),
            copying=_copying() if device == "cuda" else 0.0,
        )


@contextmanager
def _one_thread(device: str) -> Iterator[int]:
    """Compute with one thread; yield the usual number of threads."""
    if device != "cpu":
        yield 1
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _products(device: str, dtype: Dtype) -> float:
    """Return the FLOP/s of matrix products.

    If small matrices take long already, large ones are skipped: some CPUs only emulate
    a dtype.
    """
    seconds = 0.0
    for n in (_SMALL_SIDE, _SIDE[device]):
        x = torch.ones(n, n, dtype=devices.dtype_of(dtype), device=device)
        # As layers multiply: some libraries are much slower at other products.
        seconds = _seconds(device, functools.partial(functional.linear, x, x))
        if seconds > _SLOW:
            break
    return 2 * n**3 / seconds


def _factorizing(device: str) -> float:
    n = _FACTOR_SIDE[device]
    M = torch.eye(n, dtype=torch.float32, device=device) + 1 / n
    # n^3 / 3 for the factor, 2 n^3 for two triangles of n columns.
    flops = n**3 * (1 / 3 + 2)
    return flops / _seconds(
        device, lambda: torch.cholesky_solve(M, torch.linalg.cholesky(M))
    )


def _moving(device: str) -> float:
    x = torch.ones(_MOVED[device], device=device)
    out = torch.empty_like(x)
    return 2 * 4 * len(x) / _seconds(device, lambda: torch.mul(x, 0.5, out=out))


def _copying() -> float:
    x = torch.empty(_COPIED, dtype=torch.uint8).pin_memory()
    return _COPIED / _seconds("cuda", lambda: x.to("cuda", non_blocking=True))


def _call(device: str) -> float:
    x = torch.ones(_ROW, device=device)

    def many() -> None:
        for _ in range(_CALLS):
            torch.add(x, x)

    return _seconds(device, many) / _CALLS


def _seconds(device: str, work: Callable[[], object]) -> float:
    """Return the shortest time that `work` takes, after a first call to warm up."""
    work()
    clock = _clock(device)
    start_time, shortest = time.perf_counter(), float("inf")
    for repeat in range(_MAX_REPEATS):
        start = clock()
        work()
        devices.synchronize(torch.device(device))
        now = clock()
        shortest = min(shortest, now - start)
        elapsed = time.perf_counter() - start_time
        if elapsed > _SECONDS_PER_RATE and repeat >= _MIN_REPEATS:
            break
    return max(shortest, 1e-9)


def _clock(device: str) -> Callable[[], float]:
    """Return the clock for a device; a thread's clock is too coarse on Windows."""
    is_thread = device == "cpu" and sys.platform != "win32"
    return time.thread_time if is_thread else time.perf_counter
