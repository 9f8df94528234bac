"""The peaks of a job's memory and disk, over the needs that its stages state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from surgeon_engine.api.messages.run import Stage
from surgeon_engine.planning.job import Job
from surgeon_engine.planning.stages import RECOVERY, STAGES
from surgeon_engine.planning.stages.need import Moment, StageNeed


@dataclass(frozen=True)  # no slots: cached properties need a dictionary
class Footprint:
    """The memory and disk of a job, in bytes."""

    job: Job

    @cached_property
    def stages(self) -> dict[Stage, StageNeed]:
        """What each stage of the job needs."""
        stated = ((stage, state(self.job)) for stage, state in STAGES.items())
        return {stage: need for stage, need in stated if need is not None}

    @cached_property
    def _shots(self) -> list[Moment]:
        """The moments of all stages but those of recovery."""
        stages = (need for x, need in self.stages.items() if x not in RECOVERY)
        return [moment for need in stages for moment in need.moments]

    @cached_property
    def _recovery(self) -> list[Moment]:
        stages = (need for x, need in self.stages.items() if x in RECOVERY)
        return [moment for need in stages for moment in need.moments]

    @property
    def peak(self) -> float:
        """The peak, if all memory is that of the machine."""
        job = self.job
        fixed = job.unmapped + job.references
        unrecovered = job.unrecovered
        if job.offloads:  # copies of the weights are in files, as they are
            unrecovered = 0
        else:
            fixed += job.undone
        room = job.room(fixed)
        shots = (
            fixed + x.device + sum(min(size, room) for size in (x.states, *x.stores))
            for x in self._shots
        )
        then = fixed + min(unrecovered, room)
        # Both models share all but the blocks.
        original = job.unmapped - (job.weights - job.of_blocks)
        recovery = (
            job.with_store(
                then + x.device + x.host + x.has_original * original, x.states
            )
            for x in self._recovery
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
            for x in self._recovery
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
            + x.has_original * job.visiting
            - (not x.copies_ahead) * job.ahead
            for x in self.stages[stage].moments
        )
        return job.weights_on_device + max(moments, default=0.0)

    @property
    def disk(self) -> int:
        """The peak of the disk: before the export or after it."""
        job, stages = self.job, self.stages.values()
        states = max((x.states for x in self._recovery), default=0.0)
        stored = max(sum(x.files for x in stages), job.unrecovered + states)
        before = int(max(0, stored - job.store_on_device - job.room()))
        if job.offloads:
            # Weights that change, their copies, and the full-size model.
            before += int(2 * job.weights + job.unrecovered + job.undone)
        before += int(max(need.saved for need in stages))
        return max(before, sum(need.written for need in stages))
