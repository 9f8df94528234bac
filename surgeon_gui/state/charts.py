"""Data of the charts of a run, as plain values.

Pure functions of the state of a run.
"""

from __future__ import annotations

import itertools
import math
import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from surgeon_engine.api.config.pruning import CostBasis
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.base.formatting import size_units
from surgeon_engine.planning.limits import max_perplexity
from surgeon_gui.base.translation import tr
from surgeon_gui.state.quality import (
    AXES,
    NAMES,
    OF_TEXT,
    Quality,
    evaluations,
    fidelity_value,
    value_of,
)
from surgeon_gui.state.run import RunState
from surgeon_gui.text import numbers
from surgeon_gui.text.chart_values import Bars, Curve, Line, Stack, at_shot
from surgeon_gui.text.fidelity import text_name
from surgeon_gui.text.labels import STAGES

_MINUTE, _HOUR = 60.0, 3600.0
_STEPS = tr("Training step, KL on held-out windows of all texts")
_ENDS = tr("Before and after recovery, KL on held-out windows of all texts")
_MAX_DECADES_WITH_MINOR_TICKS = 2
_MINOR_TICKS = (1, 2, 5)
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class BarUnit(Enum):
    """Unit of the bars of the cost distribution."""

    WEIGHTS = "weights"
    REMOVALS = "removals"


RECOVERY_STAGES = (
    Stage.REFERENCE,
    Stage.REFIT,
    Stage.RECONSTRUCTION,
    Stage.DISTILLATION,
)
EVALUATION_STAGES = (Stage.BASELINE, Stage.EVALUATION, Stage.GENERATION)
_STAGES_BEFORE_SHOTS = (
    Stage.LOAD,
    Stage.TEXT,
    Stage.SAMPLING,
    Stage.BASELINE,
    Stage.VOCABULARY,
)
# Stages that share a series in the chart of times, in the order of the theme's series.
PHASES = {
    tr("Preparation"): (Stage.LOAD, Stage.TEXT, Stage.SAMPLING),
    STAGES[Stage.CURVATURE][1]: (
        Stage.VOCABULARY,
        Stage.DEPTH,
        Stage.CURVATURE,
    ),
    STAGES[Stage.DAMPING][1]: (Stage.DAMPING,),
    STAGES[Stage.UPDATE][1]: (Stage.UPDATE,),
    STAGES[Stage.SELECTION][1]: (Stage.SELECTION,),
    STAGES[Stage.EVALUATION][1]: EVALUATION_STAGES,
    tr("Recovery"): RECOVERY_STAGES,
    tr("Export and verification"): (Stage.EXPORT, Stage.VERIFICATION),
}


def quality_line(run: RunState, measure: Quality) -> Line:
    """Return a measure on held-out text for the original and each shot.

    The fidelity has a curve for each text.
    """
    points = evaluations(run)
    is_of_text = measure in OF_TEXT
    if not points or not (is_of_text or all(x.fidelity for _, x in points)):
        return Line(AXES[measure])
    values = [value_of(evaluation, measure) for _, evaluation in points]
    if is_of_text:
        finite = [n for n, value in enumerate(values) if math.isfinite(value)]
        xs = tuple(float(points[n][0]) for n in finite)
        ys = tuple(values[n] for n in finite)
        curves = [Curve(NAMES[measure], xs, ys)]
    else:
        xs = tuple(float(x) for x, _ in points)
        rows = [[fidelity_value(f, measure) for f in x.fidelity] for _, x in points]
        names = [text_name(each.text) for each in points[0][1].fidelity]
        columns = zip(names, zip(*rows, strict=True), strict=True)
        curves = [Curve(name, xs, ys) for name, ys in columns]
    is_recovered = run.recovered is not None and math.isfinite(values[-1])
    has_baseline = is_of_text and math.isfinite(values[0])
    return Line(
        axis=AXES[measure],
        curves=tuple(curves),
        last_x=float(max(run.shots, len(run.history), 1)),
        baseline=values[0] if has_baseline else None,
        limit=_limit(run, measure),
        format_y=_FORMATS[measure],
        last_text=tr("After recovery") if is_recovered else "",
    )


_FORMATS: dict[Quality, Callable[[float], str]] = {
    Quality.DIVERGENCE: numbers.nats,
    Quality.AGREEMENT: lambda value: numbers.percent(value / 100),
    Quality.PERPLEXITY: numbers.perplexity,
    Quality.LOSS: numbers.perplexity,
}


def has_recovery(run: RunState) -> bool:
    """Return whether a run recovers the model at its end, or has done so."""
    if run.recovered is not None:
        return True
    return run.config is not None and run.config.recovery.recovers


def recovery_line(run: RunState) -> Line:
    """Return the KL on held-out windows before, during and after recovery."""
    axis = AXES[Quality.DIVERGENCE]
    points = [(float(each.done), each.nats) for each in run.held_out]
    if run.recovered is not None:
        points.insert(0, (0.0, run.recovered.nats_before))
        if not run.held_out:  # no training of the whole model
            points.append((1.0, run.recovered.nats_after))
    if not points:
        return Line(axis)
    trains = bool(run.held_out)
    xs, ys = zip(*points, strict=True)
    return Line(
        axis=axis,
        curves=(Curve(tr("KL"), xs, ys),),
        last_x=float(max(run.held_out[-1].total, 1)) if trains else 1.0,
        from_zero=True,
        x_axis=_STEPS if trains else _ENDS,
        format_x=_at_step if trains else _at_end,
        format_y=numbers.nats,
    )


def recovery_progress(run: RunState) -> str:
    """Return what recovery does before there is a figure to draw."""
    if run.stage in (Stage.REFIT, Stage.RECONSTRUCTION) and run.total:
        return tr("Recovering block {number} of {total}.").format(
            number=min(run.done + 1, run.total), total=run.total
        )
    return tr("Shows the distance from the original once recovery begins.")


def _at_step(x: float) -> str:
    return tr("Step {n}").format(n=f"{x:g}") if x else tr("Before the training")


def _at_end(x: float) -> str:
    return tr("After recovery") if x else tr("Before recovery")


def _limit(run: RunState, measure: Quality) -> float | None:
    """Return the quality limit in the unit of `measure`; None if there is none."""
    if run.config is None or run.baseline is None or measure is Quality.AGREEMENT:
        return None
    if measure is Quality.DIVERGENCE:
        return run.config.pruning.max_divergence or None
    limit = max_perplexity(run.config.pruning, run.baseline.perplexity)
    if not math.isfinite(limit):
        return None
    return math.log(limit) if measure is Quality.LOSS else limit


def memory_line(run: RunState) -> Line:
    """Return the memory of the engine over the time of the run."""
    _, (gigabyte, unit) = size_units()
    axis = tr("Memory ({unit})").format(unit=unit)
    log = run.memory
    if not len(log):
        return Line(axis)
    seconds = log.seconds
    scale, x_axis = _scale_of_seconds(seconds[-1])
    xs = _divided(seconds, scale)
    curves = [Curve(tr("RAM"), xs, _divided(log.process_bytes, gigabyte))]
    if log.device_total:
        curves.append(Curve(tr("GPU"), xs, _divided(log.device_bytes, gigabyte)))
    return Line(
        axis=axis,
        curves=tuple(curves),
        last_x=max(xs[-1], 1e-3),
        from_zero=True,
        x_axis=x_axis,
        has_whole_xs=False,
        format_x=_Scaled(numbers.clock, scale),
        format_y=_Scaled(numbers.size, gigabyte),
    )


def cost_bars(run: RunState, counted: BarUnit) -> Bars:
    """Return the removal costs in the latest shot, for removed and kept candidates."""
    is_by_weight = counted is BarUnit.WEIGHTS
    axis = tr("Weights") if is_by_weight else tr("Removals")
    if not run.history or (costs := run.history[-1].costs) is None:
        return Bars(axis, tr("Cost"))
    shot = run.history[-1]
    x_axis = tr("Removal cost in shot {n} ({unit}, log)").format(
        n=shot.shot, unit=_cost_unit(run)
    )
    logs = tuple(math.log10(edge) for edge in costs.edges)
    removed, kept = costs.removed, costs.kept
    if is_by_weight:
        removed, kept = costs.removed_weights, costs.kept_weights
    threshold = shot.threshold
    return Bars(
        axis=axis,
        x_axis=x_axis,
        edges=tuple(itertools.pairwise(logs)),
        stacks=(Stack(tr("Removed"), removed, 1), Stack(tr("Kept"), kept, 0)),
        names=tuple(
            tr("Cost {low} to {high}").format(
                low=numbers.significant(low, 2), high=numbers.significant(high, 2)
            )
            for low, high in itertools.pairwise(costs.edges)
        ),
        ticks_between=log_ticks,
        mark=math.log10(threshold) if threshold else None,
        mark_name=tr("threshold"),
        format_tick=_round_count,
    )


def _cost_unit(run: RunState) -> str:
    if run.config is None or not run.config.pruning.measures_gradients:
        return tr("score of the method")
    if run.config.pruning.cost_basis is CostBasis.PER_PARAMETER:
        return tr("nats per weight")
    return tr("nats")


def cost_rows(run: RunState) -> list[tuple[object, ...]]:
    """Return a header and the rows of the latest shot's cost distribution."""
    header = (
        tr("cost from"),
        tr("cost to"),
        tr("removed weights"),
        tr("kept weights"),
        tr("removals"),
        tr("kept candidates"),
    )
    if not run.history or (costs := run.history[-1].costs) is None:
        return [header]
    edges = itertools.pairwise(costs.edges)
    columns = (costs.removed_weights, costs.kept_weights, costs.removed, costs.kept)
    bins = zip(edges, *columns, strict=True)
    return [header, *((*edge, *counts) for edge, *counts in bins)]


def time_bars(run: RunState, now: float) -> Bars:
    """Return the time of each phase before, in and after the shots."""
    seconds_taken = _seconds_taken(run, now)
    if not seconds_taken:
        return Bars(tr("Time (s)"), tr("Shot"))
    shots = max(run.shots, *(shot for _, shot in seconds_taken))
    heights = [[0.0] * (shots + 2) for _ in PHASES]
    for (stage, shot), seconds in seconds_taken.items():
        bar = shot or (0 if stage in _STAGES_BEFORE_SHOTS else shots + 1)
        heights[_PHASE_OF[stage]][bar] += seconds
    scale, axis = _scale_of_seconds(max(map(sum, zip(*heights, strict=True))))
    labels = (tr("Before"), *(f"{n}" for n in range(1, shots + 1)), tr("After"))
    shot_names = tuple(at_shot(n) for n in range(1, shots + 1))
    return Bars(
        axis=axis,
        x_axis=tr("Shot"),
        edges=tuple((bar - 0.4, bar + 0.4) for bar in range(shots + 2)),
        stacks=tuple(
            Stack(name, tuple(seconds / scale for seconds in row), color)
            for color, (name, row) in enumerate(zip(PHASES, heights, strict=True))
            if any(row)
        ),
        names=(tr("Before the shots"), *shot_names, tr("After the shots")),
        ticks=tuple((float(bar), labels[bar]) for bar in _labeled_bars(shots + 2)),
        format_y=_Scaled(numbers.duration, scale),
    )


def _seconds_taken(run: RunState, now: float) -> dict[tuple[Stage, int], float]:
    """Return the seconds by stage and shot, including the current stage."""
    seconds_taken: dict[tuple[Stage, int], float] = defaultdict(float)
    for time in run.times:
        seconds_taken[time.stage, time.shot] += time.seconds
    if run.status.is_busy and run.stage is not None:
        elapsed = max(0.0, run.clock(now) - run.stage_began)
        seconds_taken[run.stage, run.shot] += elapsed
    return seconds_taken


_PHASE_OF = {x: i for i, stages in enumerate(PHASES.values()) for x in stages}


def _divided(values: array[float], divisor: float) -> array[float]:
    """Divide an array, which may have tens of thousands of values, by `divisor`."""
    return array("d", (np.frombuffer(values) / divisor).tobytes())


@dataclass(frozen=True, slots=True)
class _Scaled:
    """Format a value of an axis that shows multiples of `scale`."""

    to_text: Callable[..., str]
    scale: float

    def __call__(self, value: float) -> str:
        return self.to_text(round(value * self.scale, 3))


def _round_count(value: float) -> str:
    """Format a round count on an axis, without trailing zeros."""
    return re.sub(r"[.,]0+(?=\D|$)", "", numbers.count(value))


def _scale_of_seconds(longest: float) -> tuple[float, str]:
    if longest >= 2 * _HOUR:
        return _HOUR, tr("Time (h)")
    if longest >= 2 * _MINUTE:
        return _MINUTE, tr("Time (min)")
    return 1.0, tr("Time (s)")


def log_ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Return the ticks of a log axis from 10**low to 10**high.

    These are powers of ten, with minor ticks if the axis has few of them.
    """
    decades = range(math.ceil(low), math.floor(high) + 1)
    if len(decades) > _MAX_DECADES_WITH_MINOR_TICKS:
        step = -(-len(decades) // 8)
        return tuple(
            (x, "10" + str(x).translate(_SUPERSCRIPTS)) for x in decades[::step]
        )
    values = [
        n * 10.0**x
        for x in range(math.floor(low), math.ceil(high))
        for n in _MINOR_TICKS
    ]
    ticks = [(math.log10(value), f"{value:.0e}") for value in values]
    return tuple(tick for tick in ticks if low <= tick[0] <= high)


def _labeled_bars(count: int, max_labels: int = 14) -> Sequence[int]:
    """Return the bars with a label: the first, the last and some in between."""
    if count <= max_labels:
        return range(count)
    step = -(-count // max_labels)
    return [0, *range(step, count - 1 - step // 2, step), count - 1]
