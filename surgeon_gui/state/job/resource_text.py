"""Texts about the resources that a run needs, and whether they are available.

The functions read the free space of the disk and nothing else outside of the state.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.planning.forecast import longer_training
from surgeon_engine.planning.needs import Need, Resource, ResourceStatus, name_of
from surgeon_engine.planning.resource_check import (
    AdjustedConfig,
    ResourceCheck,
    check_resources,
    settings_that_fit,
)
from surgeon_gui.base import paths
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import FIELDS
from surgeon_gui.text.problems import Bytes, Kind, Problem, Step

LIGHTS = {
    ResourceStatus.GREEN: tr("Fits"),
    ResourceStatus.YELLOW: tr("Tight"),
    ResourceStatus.RED: tr("Too much"),
}
_LONG = tr("Long")
NAMES = {
    Resource.MEMORY: tr("Memory of the run"),
    Resource.GPU_MEMORY: tr("GPU memory of the run"),
    Resource.DISK: tr("Disk"),
    Resource.TIME: tr("Time"),
}


def check_draft(state: AppState) -> ResourceCheck | None:
    """Check the resources for the draft.

    None if model or machine are unknown, or if the target is impossible: no run would
    fit it.
    """
    has_problem = Step.TARGET in state.rejected or Step.TARGET in state.problems
    return None if has_problem else check_job(state.config, state)


def check_job(config: RunConfig, state: AppState) -> ResourceCheck | None:
    """Check the resources for a job with the model of the draft; None: unknown."""
    if state.model is None or state.machine is None:
        return None
    free = free_disk_of(config, state)
    return check_resources(config, state.model, state.machine, free)


def adjusted_draft(state: AppState) -> AdjustedConfig | None:
    """Return the draft with settings that fit; None if none do or it is unknown."""
    if state.model is None or state.machine is None:
        return None
    free = free_disk_of(state.config, state)
    return settings_that_fit(state.config, state.model, state.machine, free)


def free_disk_of(config: RunConfig, state: AppState) -> int | None:
    """Return the free bytes for a job; None: unknown, as on another computer."""
    return None if state.computer else free_disk(config, state.run_parent)


def free_disk(config: RunConfig, run_parent: str) -> int | None:
    """Return the free bytes for the run folder or the export, whichever has fewer.

    If the export fails, the model is written to the run folder.
    """
    folders = [folder for folder in (run_parent, config.export.folder) if folder]
    free = [size for each in folders if (size := paths.free_bytes(each)) is not None]
    return min(free, default=None)


def resource_obstacle(check: ResourceCheck | None) -> Problem | None:
    """Return which resource is too small for a run; None if all suffice."""
    return shortage(check.needs) if check is not None else None


def shortage(needs: Iterable[Need]) -> Problem | None:
    """Return which of the needs is more than there is; None if none is."""
    need = next((x for x in needs if x.light is ResourceStatus.RED), None)
    if need is None:
        return None
    values = {"needed": Bytes(need.needed), "free": Bytes(need.free or 0)}
    return Problem(Kind.RESOURCE_SHORT, {"resource": name_of(need.what), **values})


def describe_settled(check: ResourceCheck | None) -> str:
    """Return which settings were chosen and why, and what more time would bring."""
    if check is None:
        return ""
    parts = [check.settled.about_recovery]
    if (count := check.estimate.processes) > 1:
        parts.append(tr("{n} GPUs share the run.").format(n=count))
    parts.append(check.settled.about_offload)
    parts.append(longer_training(check.estimate.training_seconds))
    return " ".join(filter(None, parts))


def format_amount(need: Need) -> str:
    """Return the needed amount, and the free amount if there is one."""
    if need.what is Resource.TIME:
        time = numbers.rough_duration(need.needed)
        return tr("about {time}").format(time=time)
    needed = numbers.needed_size(int(need.needed))
    if need.free is None:
        return needed
    return tr("{needed} of {free} free").format(
        needed=needed, free=numbers.free_size(int(need.free))
    )


def has_light(need: Need) -> bool:
    """Return True if a light says something: not of any time or unknown space."""
    if need.what is Resource.TIME:
        return need.light is not ResourceStatus.GREEN
    return need.free is not None


def light_label(need: Need) -> str:
    """Return the meaning of the light in a word or two."""
    if need.what is Resource.TIME and need.light is ResourceStatus.YELLOW:
        return _LONG
    return LIGHTS[need.light]


def describe_changes(adjusted: AdjustedConfig | None) -> str:
    """Return the settings that were changed to make a run fit, as a sentence."""
    if adjusted is None:
        return tr(
            "No settings make this run fit. Free some memory or disk, or choose a "
            "smaller model."
        )
    if not adjusted.changes:
        if adjusted.fit.room is ResourceStatus.YELLOW:
            return tr("Resources are tight, and no settings need less.")
        return tr("The run fits as it is.")
    change = tr("{label} from {before} to {after}")
    listed = [
        change.format(
            label=FIELDS[each.field].label,
            before=_format_value(each.before),
            after=_format_value(each.after),
        )
        for each in adjusted.changes
    ]
    text = tr("Changed: {changes}.").format(changes="; ".join(listed))
    if adjusted.fit.room is ResourceStatus.YELLOW:
        return text + " " + tr("Resources are still tight.")
    return text


def _format_value(value: Any) -> str:
    try:
        return choice_label(value)[0]
    except KeyError:
        return str(value)
