"""Where models and batches live, and how much memory that place has."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from pathlib import Path

import psutil
import torch

from surgeon_engine.api.config.run import Device, Dtype
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.messages.run import MemorySampled

_STATUS = Path("/proc/self/status")
_FORGET_PEAK = Path("/proc/self/clear_refs"), "5"
_KILOBYTE = 1024


def choose(wanted: Device) -> torch.device:
    """The device that `wanted` stands for on this machine.

    Raises:
        ConfigError: a GPU is wanted and there is none.
    """
    if wanted is Device.CPU:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if wanted is Device.CUDA:
        raise ConfigError(
            "There is no CUDA device on this machine, or torch was built without CUDA.",
            'Set device to "cpu" or "auto".',
        )
    return torch.device("cpu")


def dtype_of(wanted: Dtype) -> torch.dtype:
    """The torch dtype of the same name."""
    return {
        Dtype.FLOAT32: torch.float32,
        Dtype.BFLOAT16: torch.bfloat16,
        Dtype.FLOAT16: torch.float16,
    }[wanted]


def name_of(dtype: torch.dtype) -> str:
    """What files and configs call a torch dtype."""
    return str(dtype).removeprefix("torch.")


def in_words(device: torch.device) -> str:
    """What a user would call `device`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({torch.get_num_threads()} threads)"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device has no memory left.

    The CPU's allocator and the libraries of a GPU raise a plain RuntimeError, which
    only its words tell apart.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error)
        for words in ("can't allocate memory", "STATUS_ALLOC_FAILED")
    )


def give_memory_back() -> None:
    """Give back what nobody holds any more, to whoever else computes on the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def forget_peak_memory() -> None:
    """Give back what nobody holds any more, and measure the peak anew.

    That of a process can be forgotten on Linux alone.
    """
    give_memory_back()
    path, word = _FORGET_PEAK
    if path.exists():
        with contextlib.suppress(OSError):  # it may be forbidden
            path.write_text(word)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def total_memory(device: torch.device) -> int:
    """Bytes of memory that belong to `device`."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


def memory_in_use(device: torch.device) -> MemorySampled:
    """What this process uses now; asks no GPU to finish what it is doing."""
    process = int(psutil.Process().memory_info().rss)
    if device.type != "cuda":
        return MemorySampled(process)
    return MemorySampled(
        process, int(torch.cuda.memory_allocated(device)), total_memory(device)
    )


def peak_memory(device: torch.device) -> int:
    """Most bytes in use: by this process, or on a GPU by its tensors.

    Linux hands a process the peak of the one that started it, as `getrusage` counts
    it; what stands in its status is its own.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if os.name == "nt":
        return int(psutil.Process().memory_info().peak_wset)
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _KILOBYTE
    import resource  # Unix has it, Windows does not

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KILOBYTE
