"""Memory and speed of the machine, the basis of estimates.

`runtime/speed_probe.py` measures them.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.run import Device, Dtype, ModelConfig

APPLE_GPU = "Apple GPU"  # the name of each of them


class Rates(msgspec.Struct, frozen=True):
    """Speed of a device at the kinds of work in a run."""

    products: dict[Dtype, float]  # flop/s of matrix products, by number format
    factorizing: float  # flop/s of Cholesky factors and solutions in float32
    moving: float  # bytes/s of element-wise operations
    call: float  # overhead of an operation in seconds
    copying: float = 0.0  # bytes/s from pinned memory of the host; 0: not a GPU


class Machine(msgspec.Struct, frozen=True):
    """State of a machine at the time of the probe."""

    ram_bytes: int
    free_ram_bytes: int  # for the engine: memory that it holds counts as free
    idle_bytes: int  # held by the engine before it has loaded anything
    gpu_name: str = ""  # empty: no GPU
    gpu_bytes: int = 0
    free_gpu_bytes: int = 0  # free memory of the first GPU; the others count as equal
    gpu_count: int = 0
    sharing: int = 0  # processes here that share a run; 0: not started yet
    processor: Rates | None = None  # None: not measured
    gpu: Rates | None = None
    pace: float = 1.0  # actual / estimated seconds of the runs so far
    # Marks of the measurements on its disk (`planning/measured_before.py`).
    measured: tuple[str, ...] = ()

    def computes_on_gpu(self, requested: Device) -> bool:
        """Return whether a run with this setting computes on the GPU."""
        return bool(self.gpu_name) and requested is not Device.CPU

    def computes_on_cuda(self, requested: Device) -> bool:
        """Return whether a run computes on a GPU that torch calls "cuda"."""
        return self.computes_on_gpu(requested) and self.gpu_name != APPLE_GPU

    def memory(self, requested: Device) -> int:
        """Return the memory, in bytes, of the device that this setting computes on."""
        return self.gpu_bytes if self.computes_on_gpu(requested) else self.ram_bytes

    def processes(self, model: ModelConfig) -> int:
        """Return how many processes on this machine share a run of a job.

        Each has a GPU of its own.
        """
        if self.sharing:
            return self.sharing
        if not self.computes_on_gpu(model.device):
            return 1
        return max(1, min(model.gpus or self.gpu_count, self.gpu_count))

    def rates(self, requested: Device) -> Rates | None:
        """Return the rates of the device for this setting; None: not measured."""
        return self.gpu if self.computes_on_gpu(requested) else self.processor


class MachineProbed(msgspec.Struct, frozen=True, tag=True):
    """Response to `ProbeMachine`."""

    machine: Machine
