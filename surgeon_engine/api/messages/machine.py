"""What the machine has and how fast it is: what an estimate measures a run against.

Imports neither torch nor Qt; `speed_probe.py` fills it in.
"""

from __future__ import annotations

import msgspec

from surgeon_engine.api.config.run import Device, Dtype


class Rates(msgspec.Struct, frozen=True):
    """How fast a device is at the four things that a run consists of."""

    products: dict[Dtype, float]  # flop/s of matrix products in that number format
    factorising: float  # flop/s of Cholesky factors and solutions in float64
    moving: float  # bytes/s read and written by operations on single numbers
    call: float  # seconds that an operation takes however little it does


class Machine(msgspec.Struct, frozen=True):
    """One machine as it was at the time of the probe."""

    ram_bytes: int
    free_ram_bytes: int  # for the engine: what it holds itself is counted as free
    idle_bytes: int  # what the engine holds before it has loaded anything
    gpu_name: str = ""  # empty: there is none
    gpu_bytes: int = 0
    free_gpu_bytes: int = 0
    processor: Rates | None = None  # None: not measured
    gpu: Rates | None = None
    pace: float = 1.0  # of the last run: seconds that it took / that were foreseen

    def computes_on_gpu(self, wanted: Device) -> bool:
        """Whether a run that asks for `wanted` has its model on the GPU."""
        return bool(self.gpu_name) and wanted is not Device.CPU

    def rates(self, wanted: Device) -> Rates | None:
        """Those of the device on which such a run computes; None: not measured."""
        return self.gpu if self.computes_on_gpu(wanted) else self.processor


class MachineProbed(msgspec.Struct, frozen=True, tag=True):
    """Answer to `ProbeMachine`."""

    machine: Machine
