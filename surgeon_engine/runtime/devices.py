"""Devices that models and batches are on, and their memory."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from surgeon_engine.api.config.run import ON_CPU, Device, Dtype
from surgeon_engine.api.messages.machine import APPLE_GPU
from surgeon_engine.api.messages.run import MemorySampled
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import say
from surgeon_engine.planning.constants import pinned_bytes
from surgeon_engine.runtime import host_memory, ranks

_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs"), "5"
_KILOBYTE = 1024


def choose(device: Device) -> torch.device:
    """Return the torch device for a setting on this machine.

    Raises:
        ConfigError: the setting asks for a GPU and there is none.
    """
    if device is Device.CPU:
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    if device is Device.GPU:
        raise ConfigError(
            "This machine has no GPU, or torch was built without support for it.",
            "Choose {setting:choice}.",
            setting=ON_CPU,
        )
    return torch.device("cpu")


def dtype_of(dtype: Dtype) -> torch.dtype:
    """Return the torch dtype of the same name."""
    found: torch.dtype = getattr(torch, dtype.value)
    return found


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a torch dtype in files and configs."""
    return str(dtype).removeprefix("torch.")


def fast_products(
    device: torch.device, dtype: torch.dtype
) -> contextlib.AbstractContextManager[object]:
    """Return a context in which matrix products take 16-bit inputs where that is fast.

    Their sums stay in float32. Weights in 16 bits need it to be trained in float32.
    """
    is_fast = dtype != torch.float32
    if device.type == "cuda":
        is_fast = is_fast or torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        is_fast = is_fast or multiplies_bfloat16_fast()
    if not is_fast:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _multiply_by_onednn() -> None:
    """Let torch multiply float32 by oneDNN on processors of AMD, on which MKL is slow.

    torch does so only if inputs may be rounded to bfloat16, and oneDNN rounds them on
    processors with AMX alone. A product is checked.
    """
    has = torch.cpu.get_capabilities().get
    matmul = getattr(torch.backends.mkldnn, "matmul", None)  # since torch 2.9
    if matmul is None or has("amx_bf16") or not multiplies_bfloat16_fast():
        return
    x = torch.linspace(0.5, 1.5, 64 * 64).view(64, 64)  # 10 ms less than of 512 x 512
    expected = x.double() @ x.double()
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    if not torch.allclose((x @ x).double(), expected, rtol=1e-5):
        matmul.fp32_precision = before


def multiplies_bfloat16_fast() -> bool:
    """Return whether this processor multiplies bfloat16 faster than float32.

    Intel's processors since Sapphire Rapids do so by AMX alone. Where a virtual machine
    hides it, `avx512_bf16` takes twice as long as float32. They are known by their
    `avx512_fp16`.
    """
    has = torch.cpu.get_capabilities().get
    return bool(has("amx_bf16") or (has("avx512_bf16") and not has("avx512_fp16")))


@contextlib.contextmanager
def tf32_products(device: torch.device) -> Iterator[None]:
    """Let matrix products of float32 round their inputs to TF32, on NVIDIA GPUs.

    Their sums stay in float32. Inputs in 16 bits lose nothing: TF32 has as many bits as
    float16, and the range of bfloat16. A CPU computes as before.
    """
    if device.type != "cuda":
        yield
        return
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    products.allow_tf32 = True
    try:
        yield
    finally:
        products.allow_tf32 = before


def display_name(device: torch.device) -> str:
    """Return the name of a device for users."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return APPLE_GPU
    threads = torch.get_num_threads()
    return say("CPU ({n} thread)" if threads == 1 else "CPU ({n} threads)", n=threads)


def names_in_use(device: torch.device) -> str:
    """Return the name of the devices of all processes that share a run."""
    name, count = display_name(device), ranks.started()
    return name if count == 1 else say("{n} x {name}", n=count, name=name)


def gpu_count() -> int:
    """Return the number of GPUs of this machine; Apple's is one."""
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    return int(torch.backends.mps.is_available())


def release_memory() -> None:
    """Collect garbage, and return unused memory to other processes."""
    gc.collect()
    host_memory.return_freed()
    return_pinned_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def size_on_host(x: torch.Tensor, device: torch.device) -> int:
    """Return the bytes that `empty_on_host` takes for a tensor like x."""
    return pinned_bytes(x.nbytes) if device.type == "cuda" else x.nbytes


def empty_on_host(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor like x on the host, to be copied to and from a device.

    Its memory is pinned if the device is a CUDA GPU, unless the system refuses that.
    """
    if device.type == "cuda":
        with contextlib.suppress(RuntimeError):
            return torch.empty_like(x, device="cpu", pin_memory=True)
    return torch.empty_like(x, device="cpu")


def return_pinned_memory() -> None:
    """Return the pinned memory of freed tensors to the system, which torch keeps.

    Versions of torch that have no function for it keep it until the process ends.
    """
    if torch.cuda.is_available() and hasattr(torch.accelerator, "empty_host_cache"):
        torch.accelerator.empty_host_cache()


def reset_peak_memory() -> None:
    """Release unused memory, and measure the peak from now on.

    The peak of a process can be reset on Linux alone.
    """
    release_memory()
    path, command = _RESET_PEAK
    if path.exists():
        with contextlib.suppress(OSError):  # it may be forbidden
            path.write_text(command)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def synchronize(device: torch.device) -> None:
    """Wait until a device has done its work; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def total_memory(device: torch.device) -> int:
    """Return the memory of a device in bytes; of Apple's GPU, what it should use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return host_memory.total()


def allocated_memory(device: torch.device) -> int:
    """Return the bytes of the tensors on a GPU."""
    if device.type == "mps":
        return int(torch.mps.current_allocated_memory())
    return int(torch.cuda.memory_allocated(device))


def free_memory(device: torch.device) -> int:
    """Return the free memory of a device in bytes; what torch keeps for reuse is free.

    That of Apple's GPU is the memory of the machine.
    """
    if device.type == "cpu":
        return free_host_memory()
    if device.type == "mps":
        left = total_memory(device) - allocated_memory(device)
        return max(0, min(left, free_host_memory()))
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - allocated_memory(device)


def free_host_memory() -> int:
    """Return the memory of this machine that is free for this process, in bytes.

    Processes that share a run have equal shares.
    """
    return host_memory.free() // ranks.on_this_machine()


def memory_in_use(device: torch.device) -> MemorySampled:
    """Return the memory that this process uses now, without synchronizing the GPU."""
    process = int(psutil.Process().memory_info().rss)
    if device.type == "cpu":
        return MemorySampled(process)
    return MemorySampled(process, allocated_memory(device), total_memory(device))


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: of this process, or of its tensors on a GPU.

    Apple's GPU does not count it: what it holds now is returned.
    On Linux `getrusage` starts with the peak of the parent process; /proc/self/status
    does not.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    if os.name == "nt":
        return int(psutil.Process().memory_info().peak_wset)
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _KILOBYTE
    import resource  # Unix has it, Windows does not

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KILOBYTE


_multiply_by_onednn()  # before any product, so that all have the same bits
