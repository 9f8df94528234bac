"""Tables about the plan of a run: its sizes, the quality to expect, its needs."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import PruningConfig, display_name
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.verdict import expected_verdict
from surgeon_engine.base.formatting import (
    format_count,
    format_duration,
    format_percent,
    format_size,
)
from surgeon_engine.cli.formatting import PADDING, rows_of
from surgeon_engine.planning.automatic_settings import SettledJob
from surgeon_engine.planning.estimate import seconds_of_epoch
from surgeon_engine.planning.forecast import Basis, expected_divergence, forecast
from surgeon_engine.planning.needs import Need, Resource, ResourceStatus
from surgeon_engine.planning.resource_check import (
    AdjustedConfig,
    ResourceCheck,
    describe_changes,
    shortage_message,
)
from surgeon_engine.planning.target_size import Goal

_LIGHTS = {
    ResourceStatus.GREEN: ("fits", "green"),
    ResourceStatus.YELLOW: ("tight", "yellow"),
    ResourceStatus.RED: ("does not fit", "red"),
}
_BASES = {Basis.SIMILAR: "similar models", Basis.DENSE: "models without experts"}


def plan_table(found: SettledJob, model: ModelSummary, machine: Machine) -> Table:
    """Return the sizes that a job comes to, and the quality to expect."""
    config, size = found.config, found.size
    pruning, form = config.pruning, size.file.form
    most = "at most " if pruning.has_quality_limit else ""
    sizes = f"{format_size(size.export_bytes)} of {format_size(model.file_bytes)}"
    name = "" if form.format is Format.AUTOMATIC else f"{form.format}, "
    file = f"{most}{sizes} ({name}{form.dtype.label})"
    rows = [("model", model.name), ("file", file)]
    if (goal := size.goal) is not None:
        left = f"{format_count(goal.parameters)} of {format_count(model.parameters)}"
        rows.append(("parameters", left))
        rows.append(("removed", _removed(pruning, goal)))
    epoch = seconds_of_epoch(config, model, machine)
    curve = forecast(pruning, model, recovery=config.recovery, epoch_seconds=epoch)
    nats = expected_divergence(config, model, goal, curve)
    if nats is not None and curve is not None:
        likely = expected_verdict(nats.value)
        text = (
            f"likely {likely}: KL to the original {nats.value:.2g} nats "
            f"({nats.low:.2g} to {nats.high:.2g}), by runs of {_BASES[curve.basis]}"
        )
        rows.append(("quality", text))
    elif curve is not None and not curve.is_known:
        method = display_name(pruning.method)
        rows.append(("quality", f"unknown: no run by {method} was measured"))
    return rows_of(rows, 10)


def _removed(pruning: PruningConfig, goal: Goal) -> str:
    if pruning.removes_nothing:
        return "only tokens" if pruning.removes_tokens else "nothing"
    share = format_percent(goal.sparsity)
    return f"{share} of the prunable weights, as {display_name(pruning.structure)}"


def resource_table(check: ResourceCheck) -> Table:
    """Return what a run needs, how much of it is free, and whether it fits."""
    table = Table.grid(padding=PADDING)
    table.add_column(min_width=10)
    table.add_column(min_width=26)
    table.add_column()
    for need in check.needs:
        text, style = _LIGHTS[need.light]
        table.add_row(str(need.what), _amount(need), Text(text, style=style))
    return table


def resource_advice(check: ResourceCheck, adjusted: AdjustedConfig | None) -> str:
    """Return which settings would fit, or fit better; empty if there is no advice."""
    if check.room is ResourceStatus.RED:
        return "\n".join(shortage_message(check, adjusted))
    if adjusted is not None and adjusted.changes:
        return f"More memory would be free with {describe_changes(adjusted)}."
    return ""


def _amount(need: Need) -> str:
    if need.what is Resource.TIME:
        return f"about {format_duration(need.needed)}"
    return f"{format_size(need.needed)} of {format_size(need.free or 0)} free"
