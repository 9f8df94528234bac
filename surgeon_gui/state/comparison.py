"""Comparison of two or more runs: curves, points, metrics, different settings.

Fidelity and perplexity are comparable only if they were measured on the same windows of
the same texts; `protocol_note` warns if they were not. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from surgeon_engine.api.config.evaluation import OWN_TEXT
from surgeon_engine.api.messages.run import Fidelity
from surgeon_gui.base import units
from surgeon_gui.base.translation import tr
from surgeon_gui.state.export_text import memory_to_run_of
from surgeon_gui.state.job import settings_list
from surgeon_gui.state.quality import AXES, Quality, evaluations, value_of
from surgeon_gui.state.run import RunState
from surgeon_gui.state.runs.reading import outcome_of
from surgeon_gui.state.runs.text import NOTHING, OUTCOMES
from surgeon_gui.text import numbers
from surgeon_gui.text.chart_values import Curve
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.fidelity import divergence_interval, text_phrase
from surgeon_gui.text.labels import beginning_note, source_name

MIN_RUNS = 2


class XAxis(Enum):
    """Quantity on the x axis of the curves."""

    SPARSITY = "sparsity"
    SHOT = "shot"
    PARAMETERS = "parameters"


class SizeMeasure(Enum):
    """A measure of size."""

    PARAMETERS = "parameters"
    FILE = "file"  # all weight files


_MEGABYTE, _MEGABYTE_NAME = units.megabyte()
ALONG = {
    XAxis.SPARSITY: tr("Sparsity (%)"),
    XAxis.SHOT: tr("Shot"),
    XAxis.PARAMETERS: tr("Parameters left (M)"),
}
SIZES = {
    SizeMeasure.PARAMETERS: tr("Parameters (M)"),
    SizeMeasure.FILE: tr("Weights on disk ({unit})").format(unit=_MEGABYTE_NAME),
}
_MILLION = 1e6

Table = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One of the compared runs and its title."""

    name: str
    run: RunState


@dataclass(frozen=True, slots=True)
class Point:
    """Size and quality of a model."""

    name: str
    size: float
    quality: float  # in some measure
    run: int | None = None  # index of the run; None for an original
    is_best: bool = False  # no other point is better in one and as good in the other


def axis_label(runs: Sequence[ComparedRun], measure: Quality) -> str:
    """Return the label of a measure with the text on which the runs were measured."""
    texts = {each.run.baseline.text for each in runs if each.run.baseline is not None}
    text = tr("calibration text")
    if len(texts) == 1:
        text = text_phrase(*texts)
    return tr("{measure}, {text}").format(measure=AXES[measure], text=text)


def curves(
    runs: Sequence[ComparedRun], along: XAxis, measure: Quality, *, is_log: bool = False
) -> tuple[Curve, ...]:
    """Return one curve per run; it is empty if nothing was measured.

    On a log axis, values of 0 are left out: the KL of the original.
    """
    return tuple(_curve(each, along, measure, is_log) for each in runs)


def points(
    runs: Sequence[ComparedRun], size: SizeMeasure, measure: Quality
) -> tuple[Point, ...]:
    """Return the originals, without duplicates, and the pruned models."""
    originals: dict[tuple[str, float, float], Point] = {}
    for each in runs:
        run = each.run
        if run.baseline is None or run.model is None or run.config is None:
            continue
        model = source_name(run.config.model.source)
        name = tr("{model}, original").format(model=model)
        value = _original_size(run, size)
        point = Point(name, value, value_of(run.baseline, measure))
        if value > 0 and math.isfinite(point.quality):
            originals[name, value, point.quality] = point
    pruned = [
        Point(each.name, value, quality, number)
        for number, each in enumerate(runs)
        if each.run.evaluation is not None
        and math.isfinite(quality := value_of(each.run.evaluation, measure))
        and (value := _pruned_size(each.run, size)) > 0
    ]
    sign = -1 if measure is Quality.AGREEMENT else 1
    return _with_best_marked((*originals.values(), *pruned), sign)


def front(all_points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the best points, from the smallest to the largest."""
    return tuple(sorted((p for p in all_points if p.is_best), key=lambda p: p.size))


def protocol_note(runs: Sequence[ComparedRun]) -> str:
    """Return a warning if the measures are not comparable; otherwise ""."""
    protocols = {
        (b.windows, b.window_length, b.text, b.beginning)
        for each in runs
        if (b := each.run.baseline) is not None
    }
    if len(protocols) > 1:
        return tr(
            "These runs were measured on different windows or texts. Their "
            "perplexities and fidelities cannot be compared."
        )
    if len(_other_texts(runs)) > 1:
        return tr(
            "These runs measured fidelity on different further texts. Compare only "
            "the figures on the calibration text."
        )
    return ""


def _other_texts(runs: Sequence[ComparedRun]) -> set[tuple[object, ...]]:
    """Return the protocols of the fidelity on texts beside the calibration text."""
    return {
        tuple(
            (each.windows, each.window_length, each.text, _author(each, compared.run))
            for each in baseline.fidelity[1:]
        )
        for compared in runs
        if (baseline := compared.run.baseline) is not None and baseline.fidelity
    }


def _author(fidelity: Fidelity, run: RunState) -> str:
    """Return the model that has written a text; empty if it was no model."""
    if fidelity.text != OWN_TEXT or run.config is None:
        return ""
    return run.config.model.source


def figures(runs: Sequence[ComparedRun]) -> Table:
    """Return a table of metrics: the titles, then one row per metric."""
    names = ("", *(each.name for each in runs))
    rows = [
        (label, *(to_text(each.run) for each in runs)) for label, to_text in _FIGURES
    ]
    place = 1 + [to_text for _, to_text in _FIGURES].index(_perplexity_after)
    rows[place:place] = _fidelity_rows(runs)
    return (names, *rows)


def _fidelity_rows(runs: Sequence[ComparedRun]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each text on which a run has measured its fidelity."""
    by_run = [
        {each.text: each for each in found.fidelity}
        if (found := compared.run.evaluation) is not None
        else {}
        for compared in runs
    ]
    texts = dict.fromkeys(text for found in by_run for text in found)
    for text in texts:
        label = tr("Fidelity, {text}").format(text=text_phrase(text))
        yield (
            label,
            *(_fidelity(found[text]) if text in found else NOTHING for found in by_run),
        )


def _fidelity(found: Fidelity) -> str:
    return tr("KL {nats}, same top token {share}, perplexity {perplexity}").format(
        nats=divergence_interval(found),
        share=numbers.percent(found.agreement.value),
        perplexity=numbers.perplexity(found.perplexity.value),
    )


def differences(runs: Sequence[ComparedRun]) -> Table:
    """Return a table of the different settings: the titles, then one row each."""
    names = (tr("Setting"), *(each.name for each in runs))
    configs = [each.run.config for each in runs if each.run.config is not None]
    if len(configs) < len(runs):
        return (names,)
    return (names, *settings_list.differences(configs))


def _curve(each: ComparedRun, along: XAxis, measure: Quality, is_log: bool) -> Curve:
    run = each.run
    if run.baseline is None or run.model is None:
        return Curve(each.name, (), ())
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
    if run.recovered is not None:
        xs.append(xs[-1])
    pairs = [
        (x, y)
        for x, (_, evaluation) in zip(xs, evaluations(run), strict=True)
        if math.isfinite(y := value_of(evaluation, measure)) and (y > 0 or not is_log)
    ]
    return Curve(each.name, tuple(x for x, _ in pairs), tuple(y for _, y in pairs))


def _original_size(run: RunState, size: SizeMeasure) -> float:
    assert run.model is not None
    if size is SizeMeasure.PARAMETERS:
        return run.model.parameters / _MILLION
    return run.model.file_bytes / _MEGABYTE


def _pruned_size(run: RunState, size: SizeMeasure) -> float:
    if size is SizeMeasure.FILE:
        written = run.exported.weight_bytes if run.exported is not None else 0
        return written / _MEGABYTE
    return run.history[-1].parameters / _MILLION if run.history else 0.0


def _with_best_marked(
    all_points: tuple[Point, ...], sign: int = 1
) -> tuple[Point, ...]:
    """Mark the points on the Pareto front of size and quality; `sign` -1: of more."""

    def is_dominated(point: Point) -> bool:
        return any(
            other.size <= point.size
            and sign * other.quality <= sign * point.quality
            and (other.size, other.quality) != (point.size, point.quality)
            for other in all_points
        )

    return tuple(
        Point(p.name, p.size, p.quality, p.run, not is_dominated(p)) for p in all_points
    )


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


_FIGURES: tuple[tuple[str, Callable[[RunState], str]], ...] = (
    (tr("Status"), lambda run: OUTCOMES[outcome_of(run)]),
    (tr("Perplexity, original"), _perplexity_before),
    (tr("Perplexity, pruned"), _perplexity_after),
    (tr("Measured on"), _protocol),
    (tr("Sparsity"), _sparsity),
    (tr("Parameters left"), _parameters),
    (tr("Weights on disk"), _file_size),
    (tr("Memory to run it"), lambda run: memory_to_run_of(run) or NOTHING),
    (tr("Exported as"), _exported),
    (tr("Time"), _time),
    (tr("Peak memory"), _memory),
)
