"""The estimate of a run: peak memory, room on the disk and time.

`memory.py` counts the bytes, `duration.py` the seconds. Of several processes that share
a run, each needs as much memory as one alone; stages whose windows or layers they share
are taken to end as many times sooner.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.duration import seconds_of_stages
from surgeon_engine.planning.memory import Footprint
from surgeon_engine.planning.recovery_memory import DEVICE_SHARE, STEP_WINDOWS
from surgeon_engine.planning.token_files import with_token_file_shape

_LIBRARIES = 450_000_000  # bytes that a process with torch and transformers holds
_SHARED = {
    Stage.BASELINE,
    Stage.CURVATURE,
    Stage.DAMPING,
    Stage.SELECTION,
    Stage.UPDATE,
    Stage.EVALUATION,
    Stage.SAMPLING,
    Stage.REFIT,
}
_WORKING = 100_000_000  # of threads and of what the allocator keeps, once it computes


@dataclass(frozen=True, slots=True)
class Estimate:
    """The needs of a run, in bytes and seconds."""

    ram: int  # of all processes together
    engine: int  # of the engine's process alone
    gpu: int  # 0: it does not use one
    disk: int
    seconds_of_stages: dict[Stage, float] = field(default_factory=dict)  # {}: unknown
    processes: int = 1  # that share the run, each on a GPU of its own

    @property
    def seconds(self) -> float | None:
        """The duration of the run; None if the speed of the machine is unknown."""
        return sum(self.seconds_of_stages.values()) or None


def estimate(config: RunConfig, model: ModelSummary, machine: Machine) -> Estimate:
    """Return what the run needs on `machine`."""
    read = with_token_file_shape(config.calibration)
    device = config.model.device
    on_gpu = machine.computes_on_gpu(device)
    idle = max(_LIBRARIES, machine.idle_bytes) + _WORKING
    count = machine.processes(config.model)
    job = Footprint(
        replace(config, calibration=read),
        model,
        free_on_host=machine.free_ram_bytes // count - idle,
    )
    if on_gpu:  # a store is made beside the model
        left = max(0.0, machine.free_gpu_bytes - job.weights_on_device)
        job = replace(job, store_on_device=DEVICE_SHARE * left, is_on_gpu=True)
    peak = job.on_host if on_gpu else job.peak
    engine = idle + max(peak, job.loaded, job.exporting)
    # While a fresh process checks the export, the engine still holds its model.
    checking = _LIBRARIES + job.export_weights + job.evaluated(1)
    rates = machine.rates(device)
    seconds = seconds_of_stages(job, rates) if rates is not None else {}
    # The others wait with their models; one more process has started them all.
    others = (count - 1) * engine + (idle if count > 1 else 0)
    return Estimate(
        ram=int(others + max(engine, idle + job.exported + checking)),
        engine=int(engine),
        gpu=int(job.on_device) if on_gpu else 0,
        disk=job.disk,
        seconds_of_stages={
            stage: machine.pace * x / _sharing(stage, count)
            for stage, x in seconds.items()
        },
        processes=count,
    )


def _sharing(stage: Stage, processes: int) -> int:
    """Return how many processes share the work of a stage."""
    if stage is Stage.DISTILLATION or stage is Stage.RECONSTRUCTION:
        return min(processes, STEP_WINDOWS)
    return processes if stage in _SHARED else 1
