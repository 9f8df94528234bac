"""Settle the automatic settings of a job.

The width multiple is the one that the number format of the export needs, or else the
one that the device computes fast. The choice of the recovery, and of where the weights
are, is the first of these that fits the memory and the time limit of a job:

    distillation of all weights; with gradient checkpointing; with adapters (LoRA);
    reconstruction alone; the refit alone

Each is tried with the weights on the device, and then with offloaded blocks, where
only adapters can be trained. The plan and the run make the choice by the same
function, from the facts of the machine.

The file has the form of the original (`file_form.py`). A plain file, and a GGUF file
of most families, has one width for all blocks: all then lose equally many heads,
neurons and experts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import (
    COUPLED,
    SAME_WIDTHS,
    WITH_NEURONS,
    Widths,
    display_name,
)
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    RecoveryConfig,
    TrainedWeights,
)
from surgeon_engine.api.config.run import Offload, RunConfig
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.sentences import reworded, say, say_list
from surgeon_engine.planning.estimate import Estimate, estimate
from surgeon_engine.planning.file_form import file_form, with_file_form
from surgeon_engine.planning.needs import (
    Need,
    Resource,
    ResourceStatus,
    name_of,
    needs_of,
)
from surgeon_engine.planning.planned_file import PlannedFile, planned_file
from surgeon_engine.planning.stages import RECOVERY
from surgeon_engine.planning.target_size import PlannedSize, planned_size

# Tensor cores are faster where the sides of matrices are multiples of 16 bytes. NVIDIA,
# "Matrix Multiplication Background User's Guide", section "Tensor Core Requirements":
# https://docs.nvidia.com/deeplearning/performance/dl-performance-matrix-multiplication/
GPU_MULTIPLE = 8  # numbers of 16 bits
_LEVELS = (Recovery.DISTILLATION, Recovery.RECONSTRUCTION, Recovery.REFIT)
_MIN_EPOCHS = 0.25  # fewest epochs of a distillation within the time limit


_LEVEL_NAMES = {
    Recovery.OFF: say("off"),
    Recovery.REFIT: say("refit"),
    Recovery.RECONSTRUCTION: say("reconstruction"),
    Recovery.DISTILLATION: say("distillation"),
    Recovery.BOTH: say("reconstruction and distillation"),
}
_WEIGHTS = {
    TrainedWeights.FULL: say("all weights"),
    TrainedWeights.LORA: say("adapters (LoRA)"),
    TrainedWeights.ROUTERS: say("routers"),
}
_FEW = (TrainedWeights.LORA, TrainedWeights.ROUTERS)  # the distillation alone has them


@dataclass(frozen=True, slots=True)
class SettledJob:
    """A job without automatic settings."""

    asked: RunConfig  # with automatic settings
    config: RunConfig
    obstacle: Need | None  # what the closest recovery lacks; None: nothing
    size: PlannedSize
    estimate: Estimate  # for the settled job

    @property
    def is_open(self) -> bool:
        """Whether the settings left something of the recovery to choose."""
        chosen = self.config.recovery
        return chosen.recovers and chosen != self.asked.recovery

    @property
    def offloads(self) -> bool:
        """Whether the blocks are offloaded, and the settings did not ask for it."""
        was_automatic = self.asked.model.offload is Offload.AUTOMATIC
        return was_automatic and self.config.model.offload is Offload.ON

    @property
    def messages(self) -> Iterator[str]:
        """What was chosen and why."""
        yield from filter(None, (self.about_recovery,))
        recovery = self.config.recovery
        if (
            recovery.recovers
            and not recovery.trains
            and recovery.trained_weights in _FEW
        ):
            yield say(
                "Recovery is {level}, which trains no {weights}: distillation does.",
                level=reworded(_LEVEL_NAMES[recovery.level]),
                weights=reworded(_WEIGHTS[recovery.trained_weights]),
            )
        file = self.size.file
        if self.config.export != self.asked.export:
            yield say(
                "File: GGUF in {dtype}, like the original.", dtype=file.form.dtype.label
            )
        about_widths = (
            about_own_code(file),
            about_same_widths(self.asked, self.config),
            about_multiple(file, self.config.pruning.width_multiple),
        )
        yield from filter(None, (*about_widths, self.about_offload))
        seconds = self.estimate.seconds_of_stages
        writing = seconds.get(Stage.SAMPLING, 0.0)
        if self.config.model.offload is Offload.ON and 2 * writing > sum(
            seconds.values()
        ):
            yield say(
                "Writing text takes {time:duration}, since each token reads all "
                "offloaded weights. The run writes none if {setting:choice} is 0 and "
                "it has texts of other kinds to judge by.",
                time=writing,
                setting="recovery.general_windows",
            )

    @property
    def about_offload(self) -> str:
        """That blocks are offloaded, and why; empty if it was not chosen."""
        if not self.offloads:
            return ""
        return say(
            "Blocks are offloaded: their weights are in main memory or in files, and "
            "on the device one block at a time, because it has too little memory for "
            "all."
        )

    @property
    def about_recovery(self) -> str:
        """The recovery that was chosen, and why; empty if nothing of it was open."""
        if not self.is_open:
            return ""
        recovery = self.config.recovery
        chosen = reworded(_LEVEL_NAMES[recovery.level])
        if recovery.trains:
            weights = reworded(_WEIGHTS[recovery.trained_weights])
            how = say("gradient checkpointing") if recovery.recomputes else ""
            chosen = say_list(chosen, weights, how)
        return say("Recovery: {chosen}. {reason}", chosen=chosen, reason=self._reason)

    @property
    def _reason(self) -> str:
        need = self.obstacle
        if need is None:
            return say("Memory and time suffice for it.")
        free = need.free or 0.0
        if need.what is Resource.TIME:
            return say(
                "A closer one takes {needed:duration}, and the time limit is "
                "{free:duration}.",
                needed=need.needed,
                free=free,
            )
        return say(
            "A closer one needs {needed:size} of {resource}, and {free:room} are free.",
            needed=need.needed,
            resource=name_of(need.what),
            free=free,
        )


def settle(
    config: RunConfig,
    model: ModelSummary,
    machine: Machine,
    size: PlannedSize | None = None,
) -> SettledJob:
    """Return the job with an explicit recovery and offload, the closest that fits.

    If none fits, it is the one that needs least; for want of time, no blocks are
    offloaded. A recovery that needs no more memory than that one fits: something else
    in the run is larger. `size` is given if it is known.
    """
    asked = config
    if size is None:
        size = planned_size(
            with_file_widths(with_file_form(config, model), model), model
        )
    on_cuda = machine.computes_on_cuda(config.model.device)
    config = with_width_multiple(config, model, on_cuda=on_cuda)
    if config.pruning.removes_nothing:  # there is nothing to recover from
        recovery = replace(config.recovery, level=Recovery.OFF)
        config = replace(config, recovery=recovery)
    candidates = list(_candidates(config, has_experts=bool(model.experts)))
    last = estimate(candidates[-1], model, machine, size)
    chosen, found, obstacle = candidates[-1], last, None
    for tried in candidates[:-1]:
        needed = estimate(tried, model, machine, size)
        pairs = zip(_memory(needed, machine), _memory(last, machine), strict=True)
        lacking = [
            need
            for need, least in pairs
            if need.light is not ResourceStatus.GREEN and need.needed > least.needed
        ]
        late = _time_lacking(tried, model, machine, size)
        is_least = tried.recovery == candidates[-1].recovery
        if not lacking and (is_least or not late):  # offloaded, it takes no less time
            chosen, found = tried, needed
            break
        obstacle = obstacle or (*lacking, *late)[0]
    return SettledJob(asked, chosen, obstacle, size, found)


def with_file_widths(config: RunConfig, model: ModelSummary) -> RunConfig:
    """Return the job with the same widths in all layers, if its file has one."""
    pruning = config.pruning
    is_free = pruning.structure in COUPLED and not pruning.has_same_widths
    form = file_form(config, model).format
    is_narrow = form is Format.GGUF and model.gguf_widths is Widths.SAME
    has_one_width = is_narrow or form is Format.PLAIN
    if not is_free or pruning.removes_nothing or not has_one_width:
        return config
    return replace(config, pruning=replace(pruning, widths=Widths.SAME))


def with_width_multiple(
    config: RunConfig, model: ModelSummary, *, on_cuda: bool
) -> RunConfig:
    """Return the job with explicit widths, if its structure has some.

    No multiple is chosen if the widths of the original are no such multiples: layers
    that lose nothing would keep theirs. `on_cuda`: the run computes on a GPU that torch
    calls "cuda".
    """
    config = with_file_widths(with_file_form(config, model), model)
    pruning, multiple = config.pruning, 1
    if not pruning.removes_nothing and pruning.structure in WITH_NEURONS:
        file = planned_file(model, file_form(config, model), pruning)
        multiple = file.needed_multiple
        if multiple == 1 and on_cuda and file.has_widths_in(GPU_MULTIPLE):
            multiple = GPU_MULTIPLE
    return with_chosen_multiple(config, multiple)


def with_chosen_multiple(config: RunConfig, multiple: int) -> RunConfig:
    """Return the job with `multiple` in place of an automatic width multiple."""
    pruning = config.pruning
    if pruning.width_multiple:  # it was set
        return config
    return replace(config, pruning=replace(pruning, width_multiple=multiple))


def about_multiple(file: PlannedFile, multiple: int) -> str:
    """Return why widths become multiples of a number; empty: it is set, or any do.

    `file` has the settings of the user, and `multiple` comes from the settled job.
    """
    if file.pruning.width_multiple or multiple <= 1:
        return ""
    return say(
        "MLP widths become multiples of {multiple}: the file would fill up others with "
        "zeros."
        if multiple == file.needed_multiple
        else "MLP widths become multiples of {multiple}, which GPUs compute faster.",
        multiple=multiple,
    )


def about_same_widths(asked: RunConfig, settled: RunConfig) -> str:
    """Return that the file has one width for all layers; empty if it was asked for."""
    if settled.pruning.widths is asked.pruning.widths:
        return ""
    return say(
        "All layers lose equally many {structure}, as such files of this architecture "
        "have one width for all.",
        structure=display_name(settled.pruning.structure),
    )


def about_own_code(file: PlannedFile) -> str:
    """Return what different widths mean for a file; empty: it has none."""
    if not file.needs_own_code:
        return ""
    if file.pruning.structure not in COUPLED or file.pruning.sublayers_to_drop:
        return say(
            "Layers of different widths: transformers loads the file with the code "
            "beside it (trust_remote_code)."
        )
    return say(
        "Layers of different widths: transformers loads the file with the code beside "
        "it (trust_remote_code). With {setting:choice} it needs none."
        if file.original.gguf_widths is Widths.FREE
        else "Layers of different widths: transformers loads the file with the code "
        "beside it (trust_remote_code), and it cannot become a GGUF file. With "
        "{setting:choice} it needs no code.",
        setting=SAME_WIDTHS,
    )


def _memory(needed: Estimate, machine: Machine) -> tuple[Need, ...]:
    needs = needs_of(needed, machine, None)
    memory = (Resource.MEMORY, Resource.GPU_MEMORY)
    return tuple(need for need in needs if need.what in memory)


def _candidates(config: RunConfig, *, has_experts: bool) -> Iterator[RunConfig]:
    """Yield what the settings allow, the closest first."""
    places = [config.model.offload]
    if config.model.offload is Offload.AUTOMATIC:
        places = [Offload.OFF, Offload.ON]
    is_open = config.recovery.level is Recovery.AUTOMATIC
    for level in _LEVELS if is_open else (config.recovery.level,):
        recovery = replace(config.recovery, level=level)
        for place in places:
            model = replace(config.model, offload=place)
            offloads = place is Offload.ON
            for trained in _trainings(
                recovery, offloads=offloads, has_experts=has_experts
            ):
                yield replace(config, model=model, recovery=trained)


def _trainings(
    recovery: RecoveryConfig, *, offloads: bool, has_experts: bool
) -> Iterator[RecoveryConfig]:
    """Yield the ways to train at the level of `recovery`; itself if none does."""
    if not recovery.trains:
        yield recovery
        return
    weights = [recovery.trained_weights]
    checkpointing = [recovery.gradient_checkpointing]
    if weights == [TrainedWeights.AUTOMATIC]:
        weights = [TrainedWeights.FULL, TrainedWeights.LORA]
        if has_experts:
            weights.append(TrainedWeights.ROUTERS)
    if checkpointing == [GradientCheckpointing.AUTOMATIC]:
        checkpointing = [GradientCheckpointing.OFF, GradientCheckpointing.ON]
    for kind, recomputes in itertools.product(weights, checkpointing):
        tried = replace(
            recovery, trained_weights=kind, gradient_checkpointing=recomputes
        )
        if not offloads or (not tried.trains_all_weights and tried.recomputes):
            yield tried


def _time_lacking(
    config: RunConfig, model: ModelSummary, machine: Machine, size: PlannedSize
) -> list[Need]:
    """Return the time if the limit is too short for a part of the training."""
    recovery = config.recovery
    limit = 60 * recovery.minutes
    if not limit:
        return []
    part = replace(recovery, epochs=min(recovery.epochs, _MIN_EPOCHS), minutes=0.0)
    nominal = msgspec.structs.replace(machine, pace=1.0)
    found = estimate(replace(config, recovery=part), model, nominal, size)
    seconds = sum(
        found.seconds_of_stages.get(stage, 0.0) for stage in (Stage.SAMPLING, *RECOVERY)
    )
    return [Need(Resource.TIME, seconds, limit)] if seconds > limit else []
