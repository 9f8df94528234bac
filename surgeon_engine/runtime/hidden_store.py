"""Keep large tensors where there is room: on the device, on the host, or in files.

Each tensor lives in the first place whose budget has room for it. Memory of the host is
pinned where a CUDA GPU computes: copies are then two to three times as fast. Files are
memory-mapped, in a temporary folder that is removed at the end. A tensor is used alike
wherever it lives, and its numbers are the same to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surgeon_engine.planning.constants import DEVICE_SHARE, HOST_SHARE
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.mapped_tensors import MappedTensors


@dataclass(slots=True)
class Budget:
    """The bytes that hidden states may take on the device and on the host."""

    device: float
    host: float

    @classmethod
    def of_free_memory(cls, device: torch.device) -> Budget:
        """Return a share of the memory that is free now; a CPU is the host alone."""
        host = HOST_SHARE * devices.free_host_memory()
        if device.type == "cpu":
            return cls(0, host)
        return cls(DEVICE_SHARE * devices.free_memory(device), host)


class HiddenStore:
    """Tensors of a budget; a context manager that removes its files at the end."""

    def __init__(self, device: torch.device, budget: Budget | None = None) -> None:
        """Store tensors.

        The model computes on `device`. Without a budget, the free memory decides.
        """
        self._device = device
        self._left = budget or Budget.of_free_memory(device)
        # By the id of each tensor: its place, and the bytes that it takes there.
        self._places: dict[int, tuple[str, int]] = {}
        self._mapped = MappedTensors()

    def __enter__(self) -> HiddenStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._mapped.close()

    def keep(self, x: Tensor) -> Tensor:
        """Return a copy of a tensor that is kept where there is room."""
        kept = self.empty_like(x)
        kept.copy_(x)
        return kept

    def move(self, x: Tensor) -> Tensor:
        """Return a tensor that is kept where there is room: itself, if it may stay."""
        if x.device.type == "cpu" and x.nbytes <= self._left.host:
            self._left.host -= x.nbytes
            self._places[id(x)] = "host", x.nbytes
            return x
        return self.keep(x)

    def empty_like(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape and format, with any numbers in it."""
        size = x.nbytes
        if size <= self._left.device:
            self._left.device -= size
            kept, place = torch.empty_like(x, device=self._device), "device"
        elif (size := devices.size_on_host(x, self._device)) <= self._left.host:
            self._left.host -= size
            kept, place = devices.empty_on_host(x, self._device), "host"
        else:
            kept, place = self._mapped.zeros(x.shape, x.dtype), "file"
        self._places[id(kept)] = place, size
        return kept

    def drop(self, tensors: list[Tensor]) -> None:
        """Forget tensors of the store and empty the list; others may use their room."""
        for x in tensors:
            place, size = self._places.pop(id(x))
            if place == "device":
                self._left.device += size
            elif place == "host":
                self._left.host += size
            else:
                self._mapped.drop(x)
        tensors.clear()
