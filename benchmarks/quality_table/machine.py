"""Describe the machine and the programs on which figures depend."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil
import torch

import surgeon_engine
from surgeon_engine.api.config.run import Device
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.versions import versions

from .texts import digest_of_files

_CPU_INFO = Path("/proc/cpuinfo")  # Linux; platform.processor() is often empty there


def describe_machine(device: Device) -> str:
    """Return the processor, the memory, and the GPU if `device` selects it."""
    memory = psutil.virtual_memory().total / 2**30
    processor = (
        f"{_processor()}, {psutil.cpu_count()} cores (threads used: "
        f"{torch.get_num_threads()}), {memory:.0f} GiB memory"
    )
    used = devices.choose(device)
    if used.type == "cpu":
        return f"{processor}, computing on the CPU"
    gib = devices.total_memory(used) / 2**30
    return f"{processor}, computing on {devices.display_name(used)} ({gib:.0f} GiB)"


def describe_versions() -> str:
    """Return the versions of the libraries and of the operating system."""
    libraries = [f"{name} {version}" for name, version in versions().items()]
    return ", ".join([*libraries, platform.platform(terse=True)])


def engine_digest() -> str:
    """Return a digest of the engine's source files."""
    folder = Path(surgeon_engine.__file__).parent
    return digest_of_files(sorted(folder.rglob("*.py")))


def _processor() -> str:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
