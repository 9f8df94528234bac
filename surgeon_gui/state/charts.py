"""What the charts of a run show, as plain values made from its state.

Pure functions; knows nothing of Qt.
"""

from __future__ import annotations

import itertools
import math
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from surgeon_engine.api.messages.run import CostHistogram, Evaluation, Stage
from surgeon_engine.api.planning.limits import max_perplexity
from surgeon_gui.base.translation import tr
from surgeon_gui.state.job.targets import goal_or_none
from surgeon_gui.state.run import RunState
from surgeon_gui.text import numbers
from surgeon_gui.text.chart_values import Bars, Curve, Line, Stack, at_shot
from surgeon_gui.text.labels import STAGES

_MINUTE, _HOUR = 60.0, 3600.0
_GIGABYTE, _MEGABYTE = 1e9, 1e6
_FEW_DECADES = 2  # on an axis: then there are marks between them, too
_BETWEEN = (1, 2, 5)
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Quality(Enum):
    """How well a model does."""

    PERPLEXITY = "perplexity"
    LOSS = "loss"


class Size(Enum):
    """How large a model is."""

    PARAMETERS = "parameters"
    BYTES = "bytes"


class Counted(Enum):
    """What the bars of the cost distribution count."""

    WEIGHTS = "weights"
    REMOVALS = "removals"


@dataclass(frozen=True, slots=True)
class Phase:
    """Stages that are of one kind to somebody who looks at the time they take."""

    name: str
    stages: tuple[Stage, ...]


_BEFORE = (Stage.LOAD, Stage.TEXT, Stage.BASELINE)
PHASES = (  # in the order of the theme's series
    Phase(STAGES[Stage.CURVATURE][1], (Stage.CURVATURE,)),
    Phase(STAGES[Stage.DAMPING][1], (Stage.DAMPING,)),
    Phase(STAGES[Stage.UPDATE][1], (Stage.UPDATE,)),
    Phase(STAGES[Stage.SELECTION][1], (Stage.SELECTION,)),
    Phase(STAGES[Stage.EVALUATION][1], (Stage.BASELINE, Stage.EVALUATION)),
    Phase(STAGES[Stage.CORRECTION][1], (Stage.CORRECTION,)),
    Phase(STAGES[Stage.EXPORT][1], (Stage.EXPORT, Stage.VERIFICATION)),
    Phase(tr("Preparation"), (Stage.LOAD, Stage.TEXT)),
)


def quality_line(run: RunState, measure: Quality, *, is_log: bool) -> Line:
    """Perplexity or loss on held-out text after each shot, with the original's."""
    value: Callable[[Evaluation], float]
    if measure is Quality.LOSS:
        name, axis, value = tr("Loss"), tr("Loss (nats)"), _loss
    else:
        name, axis, value = tr("Perplexity"), tr("Perplexity"), _perplexity
    if run.baseline is None:
        return Line(axis)
    points = [(0, run.baseline), *((s.shot, s.evaluation) for s in run.history)]
    last_text = ""
    corrected = run.corrected
    if corrected is not None and math.isfinite(value(corrected.evaluation)):
        points.append((len(run.history), corrected.evaluation))
        last_text = tr("After the correction")
    finite = [(x, value(e)) for x, e in points if math.isfinite(value(e))]
    baseline = value(run.baseline)
    return Line(
        axis=axis,
        xs=tuple(float(x) for x, _ in finite),
        ys=tuple(y for _, y in finite),
        last_x=_last_shot(run),
        baseline=baseline if math.isfinite(baseline) else None,
        limit=_limit(run, measure),
        is_log=is_log,
        name=name,
        last_text=last_text,
    )


def _limit(run: RunState, measure: Quality) -> float | None:
    """What may not be passed; None: there is no such thing."""
    if run.config is None or run.baseline is None:
        return None
    most = max_perplexity(run.config.pruning, run.baseline.perplexity)
    if not math.isfinite(most):
        return None
    return math.log(most) if measure is Quality.LOSS else most


def size_line(run: RunState, measure: Size) -> Line:
    """How large the whole model is after each shot."""
    if run.model is None:
        return Line(tr("Parameters"))
    counts = [run.model.parameters, *(shot.parameters for shot in run.history)]
    xs = (0.0, *(float(shot.shot) for shot in run.history))
    if measure is Size.BYTES:
        each = bytes_per_parameter(run)
        counts = [int(count * each) for count in counts]
        scale, unit = _scale_of_bytes(counts[0])
        axis, name = tr("Size ({unit})").format(unit=unit), tr("Size")
    else:
        scale, unit = _scale_of_counts(run.model.parameters)
        axis = name = tr("Parameters")
        if unit:
            axis = tr("Parameters ({unit})").format(unit=unit)
    return Line(
        axis=axis,
        xs=xs,
        ys=tuple(count / scale for count in counts),
        last_x=_last_shot(run),
        from_zero=True,
        name=name,
        format_y=_Scaled(
            numbers.size if measure is Size.BYTES else numbers.count, scale
        ),
    )


def bytes_per_parameter(run: RunState) -> float:
    """In the file that the run writes, once nothing stands for what has gone."""
    if run.config is None or run.model is None:
        return 0.0
    goal = goal_or_none(run.config, run.model)
    if goal is None:  # as it is on disk
        return run.model.file_bytes / max(1, run.model.parameters)
    return goal.weight_bytes / max(1, goal.parameters)


def memory_line(run: RunState) -> Line:
    """What the engine used as the run went on."""
    axis = tr("Memory (GB)")
    log = run.memory
    if not len(log):
        return Line(axis)
    seconds = log.seconds
    scale, x_axis = _scale_of_seconds(seconds[-1])
    xs, ram = _divided(seconds, scale), _divided(log.process_bytes, _GIGABYTE)
    more: tuple[Curve, ...] = ()
    if log.device_total:
        more = (Curve(tr("GPU"), xs, _divided(log.device_bytes, _GIGABYTE)),)
    return Line(
        axis=axis,
        xs=xs,
        ys=ram,
        last_x=max(xs[-1], 1e-3),
        from_zero=True,
        name=tr("RAM"),
        more=more,
        x_axis=x_axis,
        has_whole_xs=False,
        format_x=_Scaled(numbers.clock, scale),
        format_y=_Scaled(numbers.size, _GIGABYTE),
    )


def cost_bars(run: RunState, counted: Counted) -> Bars:
    """What the candidates of the latest shot cost, and which of them went."""
    axis = tr("Weights") if counted is Counted.WEIGHTS else tr("Removals")
    if not run.history or (costs := run.history[-1].costs) is None:
        return Bars(axis, tr("Cost"))
    shot = run.history[-1]
    x_axis = tr("Cost of a removal in shot {n}").format(n=shot.shot)
    logs = tuple(math.log10(edge) for edge in costs.edges)
    removed, kept = _counts(costs, counted)
    threshold = shot.threshold
    return Bars(
        axis=axis,
        x_axis=x_axis,
        edges=tuple(itertools.pairwise(logs)),
        stacks=(Stack(tr("Removed"), removed, 1), Stack(tr("Kept"), kept, 0)),
        names=tuple(
            tr("Cost {low} to {high}").format(
                low=numbers.two_figures(low), high=numbers.two_figures(high)
            )
            for low, high in itertools.pairwise(costs.edges)
        ),
        ticks=_decades(logs[0], logs[-1]),
        mark=math.log10(threshold) if threshold else None,
        mark_name=tr("threshold"),
        format_tick=_round_count,
    )


def cost_rows(run: RunState) -> list[tuple[object, ...]]:
    """The figures behind the latest shot's cost distribution, names first."""
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
    """How long each phase took in each shot, and before and after them."""
    taken = _seconds_taken(run, now)
    if not taken:
        return Bars(tr("Seconds"), tr("Shot"))
    shots = max(run.shots, *(shot for _, shot in taken))
    heights = [[0.0] * (shots + 2) for _ in PHASES]
    for (stage, shot), seconds in taken.items():
        bar = shot or (0 if stage in _BEFORE else shots + 1)
        heights[_PHASE_OF[stage]][bar] += seconds
    scale, axis = _scale_of_seconds(max(map(sum, zip(*heights, strict=True))))
    short = (tr("Before"), *(f"{n}" for n in range(1, shots + 1)), tr("After"))
    shot_names = tuple(at_shot(n) for n in range(1, shots + 1))
    return Bars(
        axis=axis,
        x_axis=tr("Shot"),
        edges=tuple((bar - 0.4, bar + 0.4) for bar in range(shots + 2)),
        stacks=tuple(
            Stack(phase.name, tuple(seconds / scale for seconds in row), colour)
            for colour, (phase, row) in enumerate(zip(PHASES, heights, strict=True))
            if any(row)
        ),
        names=(tr("Before the shots"), *shot_names, tr("After the shots")),
        ticks=tuple((float(bar), short[bar]) for bar in _few(shots + 2)),
        format_y=_Scaled(numbers.duration, scale),
    )


def _seconds_taken(run: RunState, now: float) -> dict[tuple[Stage, int], float]:
    """By stage and shot, with the stage under way as far as it is."""
    taken: dict[tuple[Stage, int], float] = {}
    for time in run.times:
        place = (time.stage, time.shot)
        taken[place] = taken.get(place, 0.0) + time.seconds
    if run.status.is_busy and run.stage is not None:
        place = (run.stage, run.shot)
        here = max(0.0, run.clock(now) - run.stage_began)
        taken[place] = taken.get(place, 0.0) + here
    return taken


_PHASE_OF = {stage: i for i, phase in enumerate(PHASES) for stage in phase.stages}


def _divided(values: array[float], by: float) -> array[float]:
    """The values in another unit; there may be tens of thousands."""
    return array("d", (np.frombuffer(values) / by).tobytes())


@dataclass(frozen=True, slots=True)
class _Scaled:
    """Says a value that an axis shows in another unit."""

    words: Callable[..., str]
    scale: float

    def __call__(self, value: float) -> str:
        return self.words(round(value * self.scale, 3))


def _counts(
    costs: CostHistogram, counted: Counted
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if counted is Counted.WEIGHTS:
        return costs.removed_weights, costs.kept_weights
    return costs.removed, costs.kept


def _round_count(value: float) -> str:
    """A count on an axis, where all are round."""
    return re.sub(r"[.,]0+(?=\D|$)", "", numbers.count(value))


def _perplexity(evaluation: Evaluation) -> float:
    return evaluation.perplexity


def _loss(evaluation: Evaluation) -> float:
    return evaluation.loss


def _last_shot(run: RunState) -> float:
    return float(max(run.shots, len(run.history), 1))


def _scale_of_counts(largest: int) -> tuple[float, str]:
    for scale, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if largest >= scale:
            return scale, unit
    return 1.0, ""


def _scale_of_bytes(largest: int) -> tuple[float, str]:
    if largest >= _GIGABYTE:
        return _GIGABYTE, "GB"
    return _MEGABYTE, "MB"


def _scale_of_seconds(longest: float) -> tuple[float, str]:
    if longest >= 2 * _HOUR:
        return _HOUR, tr("Hours")
    if longest >= 2 * _MINUTE:
        return _MINUTE, tr("Minutes")
    return 1.0, tr("Seconds")


def _decades(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Marks on a log scale: powers of ten, or some between where there are few."""
    whole = range(math.ceil(low), math.floor(high) + 1)
    if len(whole) > _FEW_DECADES:
        step = -(-len(whole) // 8)
        return tuple((x, "10" + str(x).translate(_SUPERSCRIPTS)) for x in whole[::step])
    values = [
        n * 10.0**x for x in range(math.floor(low), math.ceil(high)) for n in _BETWEEN
    ]
    places = [(math.log10(value), f"{value:.0e}") for value in values]
    return tuple(place for place in places if low <= place[0] <= high)


def _few(count: int, most: int = 14) -> Sequence[int]:
    """Bars that have their name below them: the ends, and some between."""
    if count <= most:
        return range(count)
    step = -(-count // most)
    return [0, *range(step, count - 1 - step // 2, step), count - 1]
