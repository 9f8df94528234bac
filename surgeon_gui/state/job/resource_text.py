"""What the window says of whether a run fits the machine.

Pure functions of a state; the disk is looked at, and nothing else.
"""

from __future__ import annotations

from typing import Any

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.planning.resource_check import (
    AdjustedConfig,
    Change,
    Light,
    Need,
    Resource,
    ResourceCheck,
    check_resources,
    settings_that_fit,
)
from surgeon_gui.base import paths
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState, Step
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import FIELDS

LIGHTS = {
    Light.GREEN: tr("Fits"),
    Light.YELLOW: tr("Tight"),
    Light.RED: tr("Too much"),
}
_LONG = tr("Long")
NAMES = {
    Resource.MEMORY: tr("Memory"),
    Resource.GPU_MEMORY: tr("GPU memory"),
    Resource.DISK: tr("Disk"),
    Resource.TIME: tr("Time"),
}


def fit_of_draft(state: AppState) -> ResourceCheck | None:
    """How the draft fits the machine; None while model or machine are not known."""
    if state.model is None or state.machine is None or Step.TARGET in state.rejected:
        return None
    free = free_disk(state.config, state.run_parent)
    return check_resources(state.config, state.model, state.machine, free)


def draft_that_fits(state: AppState) -> AdjustedConfig | None:
    """The draft with settings that fit; None: nothing fits, or it is not known."""
    if state.model is None or state.machine is None:
        return None
    free = free_disk(state.config, state.run_parent)
    return settings_that_fit(state.config, state.model, state.machine, free)


def free_disk(config: RunConfig, run_parent: str) -> int | None:
    """The room where it is shortest: of the run's folder and of the export's.

    If the export cannot be written, the run's folder holds the model.
    """
    places = [place for place in (run_parent, config.export.folder) if place]
    free = [room for place in places if (room := paths.free_bytes(place)) is not None]
    return min(free, default=None)


def obstacle(fit: ResourceCheck | None) -> str:
    """Why a run that cannot fit is not started, with the numbers; or nothing."""
    if fit is None or fit.room is not Light.RED:
        return ""
    need = fit.worst
    return tr(
        "{what} is too short: the run needs {needed}, and {free} are free. Step 3 "
        "offers settings that fit."
    ).format(
        what=NAMES[need.what],
        needed=numbers.size(int(need.needed)),
        free=numbers.size(int(need.free or 0)),
    )


def in_brief(fit: ResourceCheck | None) -> str:
    """What a run needs, in a sentence for the plan; or nothing."""
    if fit is None:
        return ""
    (memory,) = (need for need in fit.needs if need.what is Resource.MEMORY)
    words = tr("It needs {needed} of memory ({free} are free)").format(
        needed=numbers.size(int(memory.needed)),
        free=numbers.size(int(memory.free or 0)),
    )
    if fit.estimate.seconds is None:
        return f"{words}."
    return tr("{needs} and about {time}.").format(
        needs=words, time=numbers.rough_duration(fit.estimate.seconds)
    )


def amount(need: Need) -> str:
    """How much is needed, and of how much."""
    if need.what is Resource.TIME:
        time = numbers.rough_duration(need.needed)
        return tr("about {time}").format(time=time)
    needed = numbers.size(int(need.needed))
    if need.free is None:
        return needed
    return tr("{needed} of {free} free").format(
        needed=needed, free=numbers.size(int(need.free))
    )


def word(need: Need) -> str:
    """What its light means."""
    if need.what is Resource.TIME and need.light is Light.YELLOW:
        return _LONG
    return LIGHTS[need.light]


def changed(fitted: AdjustedConfig | None) -> str:
    """What was changed to make a run fit, in a sentence."""
    if fitted is None:
        return tr(
            "No settings make this run fit. Free some memory or disk, or choose a "
            "smaller model."
        )
    if not fitted.changes:
        is_tight = fitted.fit.room is Light.YELLOW
        if is_tight:
            return tr("It is tight, and no settings give it more room.")
        return tr("The run fits as it is.")
    listed = "; ".join(_change(change) for change in fitted.changes)
    words = tr("Changed: {changes}.").format(changes=listed)
    if fitted.fit.room is Light.YELLOW:
        return words + " " + tr("It is still tight.")
    return words


def _change(change: Change) -> str:
    return tr("{label} from {before} to {after}").format(
        label=FIELDS[change.field].label,
        before=_value(change.before),
        after=_value(change.after),
    )


def _value(value: Any) -> str:
    try:
        return choice_label(value)[0]
    except KeyError:
        return str(value)
