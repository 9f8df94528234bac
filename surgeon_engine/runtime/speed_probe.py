"""Measures in less than a second how fast this machine computes, and what it has free.

Speeds are measured once for each device and kept for as long as the process lives; how
much is free is looked up each time. Each measurement is the best of many short ones:
what else the machine does can only make one slower. A processor is measured with one
thread, and its others are counted: several threads that another program keeps waiting
for each other can be slower by a thousand times in such short work, and in a long run
are not.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import psutil
import torch

from surgeon_engine.api.config.run import Device, Dtype
from surgeon_engine.api.messages.machine import Machine, Rates
from surgeon_engine.runtime import devices

_SIDE = {"cpu": 512, "cuda": 4096}  # of the matrices: large enough to keep it busy
_SMALL_SIDE = 128
_SLOW = 0.004  # seconds
_FACTOR_SIDE = {"cpu": 512, "cuda": 2048}
_MOVED = {"cpu": 2**22, "cuda": 2**26}  # numbers
_CALLS = 200
# How many times as fast n threads are as one: n to the power of this.
_PRODUCTS_GAIN, _FACTORISING_GAIN, _MOVING_GAIN = 0.9, 0.7, 0.5
_MIN_REPEATS, _MAX_REPEATS = 2, 100
_ENOUGH_SECONDS = 0.08  # for one figure
_ROW = 64  # numbers that a small operation works on


def machine() -> Machine:
    """This machine as it is, with its speeds."""
    found = room()
    return msgspec.structs.replace(
        found,
        processor=_rates("cpu"),
        gpu=_rates("cuda") if found.gpu_name else None,
    )


def room() -> Machine:
    """What this machine has and what of it is free, at once."""
    device = devices.choose(Device.AUTO)
    memory = psutil.virtual_memory()
    is_gpu = device.type == "cuda"
    free, total = torch.cuda.mem_get_info(device) if is_gpu else (0, 0)
    cached = torch.cuda.memory_reserved(device) if is_gpu else 0
    return Machine(
        ram_bytes=memory.total,
        free_ram_bytes=memory.available + psutil.Process().memory_info().rss,
        idle_bytes=_idle_bytes(),
        gpu_name=devices.in_words(device) if is_gpu else "",
        gpu_bytes=total,
        free_gpu_bytes=free + cached,
    )


@functools.cache
def _idle_bytes() -> int:
    """What the process holds when it is asked first, which is before its first run."""
    return int(psutil.Process().memory_info().rss)


@functools.cache
def _rates(device: str) -> Rates:
    with _one_thread(device) as threads:
        return Rates(
            products={
                dtype: threads**_PRODUCTS_GAIN * _products(device, dtype)
                for dtype in Dtype
            },
            factorising=threads**_FACTORISING_GAIN * _factorising(device),
            moving=threads**_MOVING_GAIN * _moving(device),
            call=_call(device),
        )


@contextmanager
def _one_thread(device: str) -> Iterator[int]:
    """Compute with one thread; gives how many there are otherwise."""
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
    """Of small matrices alone where even those take long: some processors only
    imitate a number format.
    """
    seconds = 0.0
    for n in (_SMALL_SIDE, _SIDE[device]):
        x = torch.ones(n, n, dtype=devices.dtype_of(dtype), device=device)
        seconds = _seconds(device, functools.partial(torch.matmul, x, x))
        if seconds > _SLOW:
            break
    return 2 * n**3 / seconds


def _factorising(device: str) -> float:
    n = _FACTOR_SIDE[device]
    M = torch.eye(n, dtype=torch.float64, device=device) + 1 / n
    # n^3 / 3 for the factor, 2 n^3 for two triangles of n columns.
    flops = n**3 * (1 / 3 + 2)
    return flops / _seconds(
        device, lambda: torch.cholesky_solve(M, torch.linalg.cholesky(M))
    )


def _moving(device: str) -> float:
    x = torch.ones(_MOVED[device], device=device)
    out = torch.empty_like(x)
    return 2 * 4 * len(x) / _seconds(device, lambda: torch.mul(x, 0.5, out=out))


def _call(device: str) -> float:
    x = torch.ones(_ROW, device=device)

    def many() -> None:
        for _ in range(_CALLS):
            torch.add(x, x)

    return _seconds(device, many) / _CALLS


def _seconds(device: str, work: Callable[[], object]) -> float:
    """The least time that `work` takes, after once for nothing."""
    work()
    begun, least = time.perf_counter(), float("inf")
    for repeat in range(_MAX_REPEATS):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        least = min(least, now - start)
        if now - begun > _ENOUGH_SECONDS and repeat >= _MIN_REPEATS:
            break
    return max(least, 1e-9)
