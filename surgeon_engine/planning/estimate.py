"""The estimate of a run: peak memory, room on the disk and time.

The stages state their needs (`stages/`), which are added up here. Of several processes
that share a run, each needs as much memory as one alone; stages whose windows or layers
they share are taken to end as many times sooner. Where tokens are removed, the model in
memory counts as whole: it is, beside the smaller one, for as long as they are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from surgeon_engine.api.config.recovery import Recovery
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.constants import DEVICE_SHARE
from surgeon_engine.planning.job import UNKNOWN, Job
from surgeon_engine.planning.measured_before import measured_before
from surgeon_engine.planning.stages import RECOVERY, STAGES
from surgeon_engine.planning.stages.export import LIBRARIES
from surgeon_engine.planning.stages.need import Moment, StageNeed
from surgeon_engine.planning.target_size import PlannedSize, planned_size
from surgeon_engine.planning.token_files import with_token_file_shape

_WORKING = 100_000_000  # bytes of threads and kept by the allocator, once it computes


@dataclass(frozen=True, slots=True)
class Estimate:
    """The needs of a run, in bytes and seconds."""

    ram: int  # all processes together
    engine: int  # the engine's process alone
    gpu: int  # 0: it does not use one
    disk: int
    seconds_of_stages: dict[Stage, float] = field(default_factory=dict)  # {}: unknown
    processes: int = 1  # processes that share the run, each on its own GPU

    @property
    def seconds(self) -> float | None:
        """The duration of the run; None if the speed of the machine is unknown."""
        return sum(self.seconds_of_stages.values()) or None

    @property
    def training_seconds(self) -> float:
        """The duration of the distillation; 0: there is none, or it is unknown."""
        return self.seconds_of_stages.get(Stage.DISTILLATION, 0.0)


@dataclass(frozen=True)  # no slots: cached properties need a dictionary
class Footprint:
    """The memory and disk of a job, in bytes."""

    job: Job

    @cached_property
    def stages(self) -> dict[Stage, StageNeed]:
        """The needs of each stage of the job."""
        stated = ((stage, state(self.job)) for stage, state in STAGES.items())
        return {stage: need for stage, need in stated if need is not None}

    def _moments(self, *, of_recovery: bool) -> list[Moment]:
        """Return the moments of the stages of recovery, or of all others."""
        stages = self.stages.items()
        needs = [x for stage, x in stages if (stage in RECOVERY) is of_recovery]
        return [moment for need in needs for moment in need.moments]

    @property
    def peak(self) -> float:
        """The peak, if everything is in main memory."""
        job = self.job
        fixed = job.unmapped + job.references + job.head
        unrecovered = job.unrecovered
        if job.offloads:  # copies of the weights are in files, as they are
            unrecovered = 0
        else:
            fixed += job.undone
        room = job.room(fixed)
        shots = (
            fixed + x.device + sum(min(size, room) for size in (x.states, *x.stores))
            for x in self._moments(of_recovery=False)
        )
        then = fixed + min(unrecovered, room)
        # Both models share all but the blocks.
        original = job.unmapped - (job.weights - job.of_blocks) + job.unshared
        recovery = (
            job.with_store(
                then + x.device + x.host + x.has_original * original, x.states
            )
            for x in self._moments(of_recovery=True)
        )
        return max(*shots, then, *recovery)

    @property
    def on_host(self) -> float:
        """The peak of the machine's memory, if a GPU computes."""
        job = self.job
        shot = fixed = job.weights_on_host + job.undone + job.references
        for size in (size for need in self.stages.values() for size in need.stored):
            shot = job.with_store(shot, size)
        shot += sum(need.held for need in self.stages.values())
        then = fixed + min(job.unrecovered, job.room(fixed))
        # The blocks of the original are offloaded, in files where there is no room.
        original = job.pinned if job.pinned <= job.room(fixed) else 0
        recovery = (
            job.with_store(
                then + x.host + x.has_original * original, job.beyond_device(x.states)
            )
            for x in self._moments(of_recovery=True)
        )
        return max(shot, then, *recovery)

    @property
    def on_device(self) -> float:
        """The peak of the GPU's memory."""
        return max(map(self.on_device_in, self.stages))

    def on_device_in(self, stage: Stage) -> float:
        """Return the peak of the GPU's memory in a stage."""
        job = self.job
        moments = (
            x.device
            + x.of_stores
            + min(x.states, job.store_on_device)
            + x.has_original * (job.visiting + job.unshared)
            - (not x.copies_ahead) * job.ahead
            for x in self.stages[stage].moments
        )
        return job.weights_on_device + job.head + max(moments, default=0.0)

    @property
    def disk(self) -> int:
        """The peak of the disk: before the export or after it."""
        job, stages = self.job, self.stages.values()
        states = max((x.states for x in self._moments(of_recovery=True)), default=0.0)
        stored = max(sum(x.files for x in stages), job.unrecovered + states)
        before = int(max(0, stored - job.store_on_device - job.room()))
        if job.offloads:
            # Weights that change, their copies, and the full-size model.
            before += int(2 * job.weights + job.unrecovered + job.undone)
            before += 2 * job.copied_to_files  # the blocks of both models
        before += int(max(need.saved for need in stages))
        return max(before, sum(need.written for need in stages))


def estimate(
    config: RunConfig,
    model: ModelSummary,
    machine: Machine,
    size: PlannedSize | None = None,
) -> Estimate:
    """Return the needs of a run on `machine`; pass `size` if it is known."""
    device, count = config.model.device, machine.processes(config.model)
    on_gpu, rates = machine.computes_on_gpu(device), machine.rates(device)
    idle = max(LIBRARIES, machine.idle_bytes) + _WORKING
    job = Job(
        replace(config, calibration=with_token_file_shape(config.calibration)),
        model,
        size or planned_size(config, model),
        free_on_host=machine.free_ram_bytes // count - idle,
        rates=rates or UNKNOWN,
        measured_before=measured_before(config, model, machine),
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
            stage: need.fixed + machine.pace * need.seconds / min(count, need.shared_by)
            for stage, need in stages.items()
            if rates is not None
        },
        processes=count,
    )


def seconds_of_epoch(
    config: RunConfig, model: ModelSummary, machine: Machine | None
) -> float:
    """Return about the time of an epoch of training; 0: it is not known."""
    if machine is None:
        return 0.0
    level = Recovery.DISTILLATION
    recovery = replace(config.recovery, level=level, epochs=1.0, minutes=0.0)
    job = replace(config, recovery=recovery)
    return estimate(job, model, machine).training_seconds
