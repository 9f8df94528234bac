"""What two or more runs come to side by side; pure functions, no Qt.

Perplexities can be compared only where they were measured on the same windows of the
same text: where they were not, `protocol_note` says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from surgeon_engine.api.messages.run import Evaluation
from surgeon_gui.base.translation import tr
from surgeon_gui.state.job import settings_list as all_settings
from surgeon_gui.state.run import RunState
from surgeon_gui.state.runs.reading import outcome_of
from surgeon_gui.state.runs.text import NOTHING, OUTCOMES
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.labels import source_name

MIN_RUNS = 2


class Along(Enum):
    """What curves are drawn over."""

    SPARSITY = "sparsity"
    SHOT = "shot"
    PARAMETERS = "parameters"


class Measure(Enum):
    """How good a model is."""

    PERPLEXITY = "perplexity"
    LOSS = "loss"


class SizeMeasure(Enum):
    """How large a model is."""

    PARAMETERS = "parameters"
    FILE = "file"  # the files that hold its weights


ALONG = {
    Along.SPARSITY: tr("Sparsity (%)"),
    Along.SHOT: tr("Shot"),
    Along.PARAMETERS: tr("Parameters left (M)"),
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
    """One of the runs, with what it is called."""

    name: str
    run: RunState


@dataclass(frozen=True, slots=True)
class RunCurve:
    """How good a run was on its way; starts at the original."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """A model by its size and its perplexity."""

    name: str
    size: float
    perplexity: float
    run: int | None = None  # which of the runs; None: an original
    is_best: bool = False  # nothing else is smaller and no worse


def curves(
    runs: Sequence[ComparedRun], along: Along, measure: Measure
) -> tuple[RunCurve, ...]:
    """A curve for each run; empty where nothing was measured."""
    return tuple(_curve(each, along, measure) for each in runs)


def points(runs: Sequence[ComparedRun], size: SizeMeasure) -> tuple[Point, ...]:
    """The originals, each once, and what the runs came to; the best are marked."""
    found: dict[tuple[str, float, float], Point] = {}
    for each in runs:
        run = each.run
        if run.baseline is None or run.model is None or run.config is None:
            continue
        model = source_name(run.config.model.source)
        name = tr("{model}, original").format(model=model)
        value = _original_size(run, size)
        point = Point(name, value, run.baseline.perplexity)
        if value > 0 and math.isfinite(point.perplexity):
            found[name, value, point.perplexity] = point
    pruned = [
        Point(each.name, value, each.run.evaluation.perplexity, number)
        for number, each in enumerate(runs)
        if each.run.evaluation is not None
        and math.isfinite(each.run.evaluation.perplexity)
        and (value := _pruned_size(each.run, size)) > 0
    ]
    return _with_best_marked((*found.values(), *pruned))


def front(of: Sequence[Point]) -> tuple[Point, ...]:
    """The best points, from the smallest to the largest."""
    return tuple(sorted((p for p in of if p.is_best), key=lambda p: p.size))


def protocol_note(runs: Sequence[ComparedRun]) -> str:
    """That perplexities of the runs do not compare; empty if they do."""
    protocols = {
        (found.windows, found.window_length, found.text)
        for each in runs
        if (found := each.run.baseline) is not None
    }
    if len(protocols) < 2:
        return ""
    return tr(
        "These runs measured perplexity on different windows or texts: their figures "
        "do not compare."
    )


def figures(runs: Sequence[ComparedRun]) -> Table:
    """What came of each run: titles first, then a row for each figure."""
    names = ("", *(each.name for each in runs))
    rows = tuple(
        (label, *(words(each.run) for each in runs)) for label, words in _FIGURES
    )
    return (names, *rows)


def differences(runs: Sequence[ComparedRun]) -> Table:
    """The settings that differ: titles first, then a row for each."""
    names = (tr("Setting"), *(each.name for each in runs))
    configs = [each.run.config for each in runs if each.run.config is not None]
    if len(configs) < len(runs):
        return (names,)
    return (names, *all_settings.differences(configs))


def _curve(each: ComparedRun, along: Along, measure: Measure) -> RunCurve:
    run = each.run
    if run.baseline is None or run.model is None:
        return RunCurve(each.name, (), ())
    whole = run.model.parameters
    places = {
        Along.SPARSITY: (0.0, *(100 * shot.sparsity for shot in run.history)),
        Along.SHOT: (0.0, *(float(shot.shot) for shot in run.history)),
        Along.PARAMETERS: (
            whole / _MILLION,
            *(shot.parameters / _MILLION for shot in run.history),
        ),
    }
    xs = list(places[along])
    found = [run.baseline, *(shot.evaluation for shot in run.history)]
    if run.corrected is not None:
        xs.append(xs[-1])
        found.append(run.corrected.evaluation)
    pairs = [
        (x, y)
        for x, evaluation in zip(xs, found, strict=True)
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


def _with_best_marked(of: tuple[Point, ...]) -> tuple[Point, ...]:
    """Marks each point that no other is both as small and as good as, or better."""

    def is_beaten(point: Point) -> bool:
        return any(
            other.size <= point.size
            and other.perplexity <= point.perplexity
            and (other.size, other.perplexity) != (point.size, point.perplexity)
            for other in of
        )

    return tuple(
        Point(p.name, p.size, p.perplexity, p.run, not is_beaten(p)) for p in of
    )


def _standing(run: RunState) -> str:
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
    found = run.baseline
    if found is None:
        return NOTHING
    return tr("{windows} windows of {length} tokens, {text}").format(
        windows=found.windows, length=found.window_length, text=source_name(found.text)
    )


def _parameters(run: RunState) -> str:
    if run.model is None or not run.history:
        return NOTHING
    left, whole = run.history[-1].parameters, run.model.parameters
    return tr("{left} of {all}").format(
        left=numbers.count(left), all=numbers.count(whole)
    )


def _sparsity(run: RunState) -> str:
    return numbers.percent(run.history[-1].sparsity) if run.history else NOTHING


def _file_size(run: RunState) -> str:
    if run.exported is None or run.model is None:
        return NOTHING
    words = tr("{size} (original {original})")
    return words.format(
        size=numbers.size(run.exported.weight_bytes),
        original=numbers.size(run.model.file_bytes),
    )


def _exported(run: RunState) -> str:
    if run.exported is None:
        return NOTHING
    form, dtype = (
        choice_label(run.exported.format)[0],
        choice_label(run.exported.dtype)[0],
    )
    return tr("{format}, {dtype}").format(format=form, dtype=dtype)


def _time(run: RunState) -> str:
    if run.result is not None:
        return numbers.duration(run.result.seconds)
    return numbers.duration(run.seconds(run.began)) if run.ended else NOTHING


def _memory(run: RunState) -> str:
    if run.result is None:
        return NOTHING
    return numbers.size(run.result.peak_memory_bytes)


_FIGURES = (
    (tr("Status"), _standing),
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
