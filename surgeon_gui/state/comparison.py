"""Comparison of two or more runs: curves, points, metrics, different settings.

Perplexities are comparable only if they were measured on the same windows of the same
text; `protocol_note` warns if they were not. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from surgeon_engine.api.messages.run import Evaluation
from surgeon_gui.base.translation import tr
from surgeon_gui.state.job import settings_list
from surgeon_gui.state.run import RunState
from surgeon_gui.state.runs.reading import outcome_of
from surgeon_gui.state.runs.text import NOTHING, OUTCOMES
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import beginning_note, source_name

MIN_RUNS = 2


class XAxis(Enum):
    """Quantity on the x axis of the curves."""

    SPARSITY = "sparsity"
    SHOT = "shot"
    PARAMETERS = "parameters"


class Measure(Enum):
    """A measure of quality."""

    PERPLEXITY = "perplexity"
    LOSS = "loss"


class SizeMeasure(Enum):
    """A measure of size."""

    PARAMETERS = "parameters"
    FILE = "file"  # all weight files


ALONG = {
    XAxis.SPARSITY: tr("Sparsity (%)"),
    XAxis.SHOT: tr("Shot"),
    XAxis.PARAMETERS: tr("Parameters left (M)"),
}
MEASURES = {
    Measure.PERPLEXITY: tr("Perplexity"),
    Measure.LOSS: tr("Loss (nats)"),
}
SIZES = {
    SizeMeasure.PARAMETERS: tr("Parameters (M)"),
    SizeMeasure.FILE: tr("Weights on disk (MB)"),
}
_MILLION = 1e6

Table = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One of the compared runs and its title."""

    name: str
    run: RunState


@dataclass(frozen=True, slots=True)
class RunCurve:
    """Quality of a run after each shot, starting with the original."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """Size and perplexity of a model."""

    name: str
    size: float
    perplexity: float
    run: int | None = None  # index of the run; None for an original
    is_best: bool = False  # no other point is better in one and as good in the other


def curves(
    runs: Sequence[ComparedRun], along: XAxis, measure: Measure
) -> tuple[RunCurve, ...]:
    """Return one curve per run; it is empty if nothing was measured."""
    return tuple(_curve(each, along, measure) for each in runs)


def points(runs: Sequence[ComparedRun], size: SizeMeasure) -> tuple[Point, ...]:
    """Return the originals, without duplicates, and the pruned models."""
    originals: dict[tuple[str, float, float], Point] = {}
    for each in runs:
        run = each.run
        if run.baseline is None or run.model is None or run.config is None:
            continue
        model = source_name(run.config.model.source)
        name = tr("{model}, original").format(model=model)
        value = _original_size(run, size)
        point = Point(name, value, run.baseline.perplexity)
        if value > 0 and math.isfinite(point.perplexity):
            originals[name, value, point.perplexity] = point
    pruned = [
        Point(each.name, value, each.run.evaluation.perplexity, number)
        for number, each in enumerate(runs)
        if each.run.evaluation is not None
        and math.isfinite(each.run.evaluation.perplexity)
        and (value := _pruned_size(each.run, size)) > 0
    ]
    return _with_best_marked((*originals.values(), *pruned))


def front(all_points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the best points, from the smallest to the largest."""
    return tuple(sorted((p for p in all_points if p.is_best), key=lambda p: p.size))


def protocol_note(runs: Sequence[ComparedRun]) -> str:
    """Return a warning if the perplexities are not comparable; otherwise ""."""
    protocols = {
        (b.windows, b.window_length, b.text, b.beginning)
        for each in runs
        if (b := each.run.baseline) is not None
    }
    if len(protocols) < 2:
        return ""
    return tr(
        "These runs measured perplexity on different windows or texts. Their "
        "perplexities cannot be compared."
    )


def figures(runs: Sequence[ComparedRun]) -> Table:
    """Return a table of metrics: the titles, then one row per metric."""
    names = ("", *(each.name for each in runs))
    rows = tuple(
        (label, *(to_text(each.run) for each in runs)) for label, to_text in _FIGURES
    )
    return (names, *rows)


def differences(runs: Sequence[ComparedRun]) -> Table:
    """Return a table of the different settings: the titles, then one row each."""
    names = (tr("Setting"), *(each.name for each in runs))
    configs = [each.run.config for each in runs if each.run.config is not None]
    if len(configs) < len(runs):
        return (names,)
    return (names, *settings_list.differences(configs))


def _curve(each: ComparedRun, along: XAxis, measure: Measure) -> RunCurve:
    run = each.run
    if run.baseline is None or run.model is None:
        return RunCurve(each.name, (), ())
    total = run.model.parameters
    xs_by_axis = {
        XAxis.SPARSITY: (0.0, *(100 * shot.sparsity for shot in run.history)),
        XAxis.SHOT: (0.0, *(float(shot.shot) for shot in run.history)),
        XAxis.PARAMETERS: (
            total / _MILLION,
            *(shot.parameters / _MILLION for shot in run.history),
        ),
    }
    xs = list(xs_by_axis[along])
    evaluations = [run.baseline, *(shot.evaluation for shot in run.history)]
    if run.recovered is not None:
        xs.append(xs[-1])
        evaluations.append(run.recovered.evaluation)
    pairs = [
        (x, y)
        for x, evaluation in zip(xs, evaluations, strict=True)
        if math.isfinite(y := _value(evaluation, measure))
    ]
    return RunCurve(each.name, tuple(x for x, _ in pairs), tuple(y for _, y in pairs))


def _value(evaluation: Evaluation, measure: Measure) -> float:
    is_loss = measure is Measure.LOSS
    return evaluation.loss if is_loss else evaluation.perplexity


def _original_size(run: RunState, size: SizeMeasure) -> float:
    assert run.model is not None
    if size is SizeMeasure.PARAMETERS:
        return run.model.parameters / _MILLION
    return run.model.file_bytes / _MILLION


def _pruned_size(run: RunState, size: SizeMeasure) -> float:
    if size is SizeMeasure.FILE:
        return run.exported.weight_bytes / _MILLION if run.exported is not None else 0.0
    return run.history[-1].parameters / _MILLION if run.history else 0.0


def _with_best_marked(all_points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Mark the points on the Pareto front of size and perplexity."""

    def is_dominated(point: Point) -> bool:
        return any(
            other.size <= point.size
            and other.perplexity <= point.perplexity
            and (other.size, other.perplexity) != (point.size, point.perplexity)
            for other in all_points
        )

    return tuple(
        Point(p.name, p.size, p.perplexity, p.run, not is_dominated(p))
        for p in all_points
    )


def _status(run: RunState) -> str:
    return OUTCOMES[outcome_of(run)]


def _perplexity_before(run: RunState) -> str:
    return numbers.perplexity(run.baseline.perplexity) if run.baseline else NOTHING


def _perplexity_after(run: RunState) -> str:
    if run.evaluation is None or run.baseline is None:
        return NOTHING
    after = run.evaluation.perplexity
    change = numbers.percent(after / run.baseline.perplexity - 1, signed=True)
    return tr("{perplexity} ({change})").format(
        perplexity=numbers.perplexity(after), change=change
    )


def _protocol(run: RunState) -> str:
    baseline = run.baseline
    if baseline is None:
        return NOTHING
    return tr("{windows} windows of {length} tokens, {text}").format(
        windows=baseline.windows,
        length=baseline.window_length,
        text=source_name(baseline.text),
    ) + beginning_note(baseline.beginning)


def _parameters(run: RunState) -> str:
    if run.model is None or not run.history:
        return NOTHING
    left, total = run.history[-1].parameters, run.model.parameters
    return tr("{left} of {all}").format(
        left=numbers.count(left), all=numbers.count(total)
    )


def _sparsity(run: RunState) -> str:
    return numbers.percent(run.history[-1].sparsity) if run.history else NOTHING


def _file_size(run: RunState) -> str:
    if run.exported is None or run.model is None:
        return NOTHING
    text = tr("{size} (original {original})")
    return text.format(
        size=numbers.size(run.exported.weight_bytes),
        original=numbers.size(run.model.file_bytes),
    )


def _exported(run: RunState) -> str:
    if run.exported is None:
        return NOTHING
    return tr("{format}, {dtype}").format(
        format=choice_label(run.exported.format)[0],
        dtype=choice_label(run.exported.dtype)[0],
    )


def _time(run: RunState) -> str:
    if run.result is not None:
        return numbers.duration(run.result.seconds)
    return numbers.duration(run.seconds(run.began)) if run.ended else NOTHING


def _memory(run: RunState) -> str:
    if run.result is None:
        return NOTHING
    return numbers.size(run.result.peak_memory_bytes)


_FIGURES = (
    (tr("Status"), _status),
    (tr("Perplexity, original"), _perplexity_before),
    (tr("Perplexity, pruned"), _perplexity_after),
    (tr("Measured on"), _protocol),
    (tr("Sparsity"), _sparsity),
    (tr("Parameters left"), _parameters),
    (tr("Weights on disk"), _file_size),
    (tr("Exported as"), _exported),
    (tr("Time"), _time),
    (tr("Peak memory"), _memory),
)
