"""A sweep of the draft: a run for each target and method, as waiting runs.

The jobs are the same as by `surgeon sweep`; here they get names, checks and estimates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import OF_SHARE, Method, PruningConfig, Target
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.sweep import Axis, combinations
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.target_size import memory_of_goal
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job.file_formats import leaves_zeros
from surgeon_gui.state.job.plan_text import brief_target
from surgeon_gui.state.job.resource_text import check_job
from surgeon_gui.state.job.targets import (
    context_of,
    converted,
    goal_or_none,
    target_field,
    target_of,
    target_text,
)
from surgeon_gui.state.ladder import fits_in
from surgeon_gui.state.queue.checks import job_obstacle
from surgeon_gui.state.queue.state import QueuedRun
from surgeon_gui.state.queue.text import needs, run_name
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.problems import sentence

MAX_RUNS = 30
_MAX_LINES = 8  # lines of the forecast
_SHARES = (0.1, 0.2, 0.3, 0.4)  # proposed targets
_DIGITS = 12  # without the noise of a conversion


def proposed_values(state: AppState, unit: Target) -> str:
    """Return the values for 10, 20, 30 and 40 % in a unit; empty if unknown."""
    scale = target_text(unit).scale
    if unit in OF_SHARE:
        return numbers.number_list(scale * share for share in _SHARES)
    if state.model is None:
        return ""
    form = file_form(state.config, state.model)
    found = []
    for share in _SHARES:
        values = {
            **asdict(state.config.pruning),
            "target": Target.PRUNABLE_SHARE,
            "sparsity": share,
        }
        changes = converted(values, unit, state.model, form)
        if target_field(unit) in changes:
            found.append(float(f"{scale * changes[target_field(unit)]:.3g}"))
    return numbers.number_list(found)


def unit_note(state: AppState, unit: Target) -> str:
    """Return what else belongs to a target in this unit; empty if nothing does."""
    if unit is not Target.MEMORY:
        return ""
    if state.model is None:
        return ""
    context = context_of(state.config, state.model)
    return tr("Each with a context of {tokens}.").format(tokens=numbers.tokens(context))


def plan(
    state: AppState, unit: Target, typed: str, methods: tuple[Method, ...]
) -> tuple[QueuedRun, ...] | str:
    """Return the runs of a sweep of the draft, or its first problem.

    Args:
        state: the state with the draft.
        unit: the kind of the targets.
        typed: the targets, in the unit that the window shows for this kind.
        methods: each is combined with each target.
    """
    config = state.config
    if config.export.folder:
        return tr(
            "All runs would write to {folder}. Clear the destination in Expert, "
            "Export: each run then writes to its own folder."
        ).format(folder=config.export.folder)
    try:
        values = tuple(dict.fromkeys(numbers.parse_list(typed)))
    except ValueError as error:
        return tr("“{text}” is not a number.").format(text=error)
    if not values or not methods:
        return tr("Enter at least one target and tick one method.")
    count = len(values) * len(methods)
    if count > MAX_RUNS:
        text = tr("These are {n} runs. A sweep has at most {maximum}.")
        return text.format(n=count, maximum=MAX_RUNS)
    scale = target_text(unit).scale
    values = tuple(round(value / scale, _DIGITS) for value in values)
    if problem := _range_problem(unit, values):
        return problem
    axes = [
        Axis("pruning", "target", (unit,)),
        Axis("pruning", target_field(unit), values),
        Axis("pruning", "method", methods),
    ]
    if unit is Target.MEMORY and state.model is not None:
        context = context_of(config, state.model)
        axes.append(Axis("pruning", "context", (context,)))
    try:
        jobs = [each.config for each in combinations(config, axes)]
    except ConfigError as error:
        return f"{error.message} {error.hint}".strip()
    return _checked(jobs, state)


def summary(runs: Sequence[QueuedRun], free_disk: int | None) -> str:
    """Return how many runs there are and what they need; empty without runs."""
    count = len(runs)
    if not count:
        return ""
    text = ntr("{n} run", "{n} runs", count).format(n=count)
    if total := needs(runs):
        text = tr("{count}: {needs}").format(count=text, needs=total)
    if free_disk is None:
        return f"{text}."
    free = numbers.free_size(free_disk)
    return tr("{text}; {free} are free.").format(text=text, free=free)


def forecast(runs: Sequence[QueuedRun], model: ModelSummary | None) -> str:
    """Return the size of the file of each target and which memory fits it, in lines.

    Empty if the files keep their size, or without runs.
    """
    lines: dict[tuple[object, ...], str] = {}
    for run in runs:
        target = tuple(target_of(run.config.pruning).values())
        if model is not None and target not in lines:
            lines[target] = _forecast(run.config, model)
    shown = [line for line in lines.values() if line]
    if (more := len(shown) - _MAX_LINES) > 0:
        text = ntr("and {n} more size", "and {n} more sizes", more)
        shown[_MAX_LINES:] = [text.format(n=more)]
    return "\n".join(shown)


def _forecast(config: RunConfig, model: ModelSummary) -> str:
    goal = goal_or_none(config, model)
    if goal is None or leaves_zeros(config) or not model.cache_width:
        return ""
    context = context_of(config, model)
    memory = memory_of_goal(goal, context, model, config.pruning.structure)
    name, size = brief_target(config.pruning), numbers.size(goal.weight_bytes)
    if config.pruning.target is not Target.FILE_SIZE:
        name = tr("{target}, file {size}").format(target=name, size=size)
    line = tr("{name}: at most {memory} with {tokens}, fits in {fits}")
    if config.pruning.has_quality_limit:
        line = tr("{name}: {memory} with {tokens}, as far as the quality limit allows")
    return line.format(
        name=name,
        memory=numbers.needed_size(memory),
        tokens=numbers.tokens(context),
        fits=fits_in(memory),
    )


def disk_warning(runs: Sequence[QueuedRun], free_disk: int | None) -> str:
    """Return a warning if the disk does not hold all runs; otherwise ""."""
    needed = sum(run.estimate.disk for run in runs if run.estimate is not None)
    if free_disk is None or needed <= free_disk:
        return ""
    return tr(
        "The disk does not hold all of these runs. Those that no longer fit will fail."
    )


def _range_problem(unit: Target, values: tuple[float, ...]) -> str:
    """Return which value is out of its range, in the unit that was typed; else ""."""
    limits = settings_of(PruningConfig)[target_field(unit)].option.limits
    assert limits is not None
    for value in values:
        if not limits.contain(value):
            low, high, shown = (
                numbers.percent(number, decimals=4)
                if unit in OF_SHARE
                else numbers.significant(target_text(unit).scale * number, 10)
                for number in (limits.low, limits.high, value)
            )
            return tr(
                "{unit}: {value} is not possible. Enter more than {low} and at most "
                "{high}."
            ).format(unit=choice_label(unit)[0], value=shown, low=low, high=high)
    return ""


def _checked(jobs: Iterable[RunConfig], state: AppState) -> tuple[QueuedRun, ...] | str:
    runs = []
    for job in jobs:
        check = check_job(job, state)
        name = run_name(job)
        if obstacle := job_obstacle(job, check, state):
            return tr("{run}: {problem}").format(run=name, problem=sentence(obstacle))
        estimate = check.estimate if check is not None else None
        runs.append(QueuedRun(name, job, estimate))
    return tuple(runs)
