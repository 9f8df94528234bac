"""The estimate of a run: peak memory, room on the disk and time.

The stages state their needs (`stages/`), `footprint.py` adds them up. Of several
processes that share a run, each needs as much memory as one alone; stages whose windows
or layers they share are taken to end as many times sooner.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.constants import DEVICE_SHARE
from surgeon_engine.planning.footprint import Footprint
from surgeon_engine.planning.job import UNKNOWN, Job
from surgeon_engine.planning.stages.export import LIBRARIES
from surgeon_engine.planning.target_size import PlannedSize, planned_size
from surgeon_engine.planning.token_files import with_token_file_shape

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


def estimate(
    config: RunConfig,
    model: ModelSummary,
    machine: Machine,
    size: PlannedSize | None = None,
) -> Estimate:
    """Return what the run needs on `machine`.

    Args:
        config: the job.
        model: the model before pruning.
        machine: its memory and speed.
        size: the planned size of the job; None: not computed yet.
    """
    device, count = config.model.device, machine.processes(config.model)
    on_gpu, rates = machine.computes_on_gpu(device), machine.rates(device)
    idle = max(LIBRARIES, machine.idle_bytes) + _WORKING
    job = Job(
        replace(config, calibration=with_token_file_shape(config.calibration)),
        model,
        size or planned_size(config, model),
        free_on_host=machine.free_ram_bytes // count - idle,
        rates=rates or UNKNOWN,
    )
    if on_gpu:  # a store is made beside the model
        left = max(0.0, machine.free_gpu_bytes - job.weights_on_device)
        job = replace(job, store_on_device=DEVICE_SHARE * left, is_on_gpu=True)
    found = Footprint(job)
    stages = found.stages
    peak = found.on_host if on_gpu else found.peak
    engine = idle + max(peak, *(need.process for need in stages.values()))
    with_child = idle + max(need.process + need.child for need in stages.values())
    # The others wait with their models; one more process has started them all.
    others = (count - 1) * engine + (idle if count > 1 else 0)
    return Estimate(
        ram=int(others + max(engine, with_child)),
        engine=int(engine),
        gpu=int(found.on_device) if on_gpu else 0,
        disk=found.disk,
        seconds_of_stages={
            stage: machine.pace * need.seconds / min(count, need.shared_by)
            for stage, need in stages.items()
            if rates is not None
        },
        processes=count,
    )
