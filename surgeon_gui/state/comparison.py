"""Comparison of the files of two or more runs: a table, and size against quality.

All files are compared at one context. Fidelity and perplexity are comparable only if
they were measured on the same windows of the same texts, and fidelity also only for
files of the same original; `protocol_note` warns if they are not. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from surgeon_engine.api.comparability import (
    MeasuredOriginal,
    are_comparable,
    comparison_note,
)
from surgeon_engine.api.messages.run import Fidelity
from surgeon_engine.base.formatting import size_units
from surgeon_gui.base.translation import tr
from surgeon_gui.state import ladder
from surgeon_gui.state.job import settings_list
from surgeon_gui.state.ladder import Rung
from surgeon_gui.state.quality import (
    AXES,
    OF_FIDELITY,
    Quality,
    fidelity_value,
    file_nats,
    value_of,
)
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import unusual_end
from surgeon_gui.state.runs.reading import RunOutcome, outcome_of
from surgeon_gui.state.runs.text import NOTHING, OUTCOMES
from surgeon_gui.state.verdict import (
    baseline_of,
    fidelity_of,
    perplexities,
    verdict_of_run,
)
from surgeon_gui.text import memory, numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.fidelity import (
    agreement_interval,
    divergence_interval,
    text_phrase,
)
from surgeon_gui.text.labels import source_name
from surgeon_gui.text.verdicts import VERDICTS

MIN_RUNS = 2
(_MEGABYTE, _MEGABYTE_NAME), _ = size_units()
SIZE = tr("Size of the file ({unit})").format(unit=_MEGABYTE_NAME)


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One of the compared runs and its title."""

    name: str
    run: RunState
    is_export_gone: bool = False  # as in its `RunRecord`


@dataclass(frozen=True, slots=True)
class Point:
    """Size and quality of a model."""

    name: str
    size: float  # file size, in the unit of `SIZE`
    quality: float  # in some measure
    run: int | None = None  # index of the run; None for an original
    is_best: bool = False  # no other point is better in one and as good in the other


@dataclass(frozen=True, slots=True)
class Column:
    """A file of the table: the file of a run, or an original."""

    name: str
    run: RunState  # for an original: one of its runs
    is_original: bool
    rung: Rung | None  # None: there is no file
    is_gone: bool = False  # the file was deleted


def comparable(run: RunState) -> RunState:
    """Return a run without the figures of a model that is still worked on."""
    if not run.status.is_busy:
        return run
    return replace(run, history=(), recovered=None, tokens=None, exported=None)


def by_size(runs: Sequence[ComparedRun]) -> tuple[ComparedRun, ...]:
    """Return runs from the largest to the smallest file, then those without one."""

    def size(each: ComparedRun) -> int:
        return each.run.exported.weight_bytes if each.run.exported is not None else 0

    return tuple(sorted(runs, key=size, reverse=True))


def axis_label(runs: Sequence[ComparedRun], measure: Quality) -> str:
    """Return the label of a measure with the text on which the runs were measured."""
    texts = {each.run.baseline.text for each in runs if each.run.baseline is not None}
    text = tr("calibration text")
    if len(texts) == 1:
        text = text_phrase(*texts)
    return tr("{measure}, {text}").format(measure=AXES[measure], text=text)


def points(runs: Sequence[ComparedRun], measure: Quality) -> tuple[Point, ...]:
    """Return the originals, without duplicates, and the files of the runs.

    None is the best for its size if the runs cannot be compared.
    """
    originals: dict[tuple[object, ...], Point] = {}
    are_copies = are_comparable(_originals(runs))
    for each in runs:
        run = each.run
        if run.baseline is None or run.model is None or run.config is None:
            continue
        name, value = original_name(run), run.model.file_bytes / _MEGABYTE
        quality = value_of(run.baseline, measure)
        if measure not in OF_FIDELITY:
            quality = _on_text(run, measure)[0]
        point = Point(name, value, quality)
        # The names of copies may differ, and their figures by rounding.
        key = (value,) if are_copies else (name, value, point.quality)
        if value > 0 and math.isfinite(point.quality):
            originals.setdefault(key, point)
    files = [
        Point(each.name, exported.weight_bytes / _MEGABYTE, quality, number)
        for number, each in enumerate(runs)
        if (exported := each.run.exported) is not None
        and math.isfinite(quality := _quality(each.run, measure))
    ]
    if not are_copies:
        return (*originals.values(), *files)
    sign = -1 if measure is Quality.AGREEMENT else 1
    return _with_best_marked((*originals.values(), *files), sign)


def _quality(run: RunState, measure: Quality) -> float:
    """Return a measure of the file of a run; not a number if it was not measured."""
    if measure is Quality.DIVERGENCE:
        return file_nats(run)
    if measure in OF_FIDELITY:
        found = fidelity_of(run)
        return fidelity_value(found[0], measure) if found else math.nan
    return _on_text(run, measure)[1]


def _on_text(run: RunState, measure: Quality) -> tuple[float, float]:
    """Return the perplexity, or the loss, of the original and the file; or NaN."""
    found = (math.nan if each is None else each for each in perplexities(run))
    before, after = map(math.log if measure is Quality.LOSS else float, found)
    return before, after


def _originals(runs: Sequence[ComparedRun]) -> list[MeasuredOriginal]:
    return [
        MeasuredOriginal(
            None if run.config is None else run.config.model.source,
            run.baseline,
            baseline_of(run),
        )
        for run in (each.run for each in runs)
    ]


def original_name(run: RunState) -> str:
    """Return the name of the model that a run has pruned."""
    source = run.config.model.source if run.config is not None else ""
    return tr("{model}, original").format(model=source_name(source))


def front(all_points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the best points, from the smallest to the largest."""
    return tuple(sorted((p for p in all_points if p.is_best), key=lambda p: p.size))


def protocol_note(runs: Sequence[ComparedRun]) -> str:
    """Return a warning if the measures are not comparable; otherwise ""."""
    return comparison_note(_originals(runs))


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


def table(runs: Sequence[ComparedRun], context: int) -> ladder.Table:
    """Return a column for each file: the titles, figures, then different settings.

    `context`: tokens of prompt and answer together, for the memory of all files.
    """
    found = _columns(runs, context)
    rungs = [each.rung for each in found if each.rung is not None]
    is_possible = are_comparable(_originals(runs))
    best = ladder.best_memories(rungs) if is_possible else {}
    best_for = {id(rungs[number]): memories for number, memories in best.items()}

    def rung_row(title: str, to_text: Callable[[Rung], str]) -> tuple[str, ...]:
        shown = (
            to_text(x.rung) if x.rung and x.rung.memory else NOTHING for x in found
        )
        return (title, *shown)

    rows = (
        ("", *(each.name for each in found)),
        _run_row(tr("Verdict"), found, _verdict),
        _row(tr("Status"), found, _status),
        _row(tr("File"), found, _file_size),
        rung_row(memory.title(context), lambda rung: numbers.needed_size(rung.memory)),
        rung_row(tr("Fits in"), lambda rung: ladder.fits_with(rung, context)),
        rung_row(
            tr("Best for"), lambda rung: ladder.memories(best_for.get(id(rung), ()))
        ),
        *_fidelity_rows(found, tr("KL, {text}"), _kl),
        *_fidelity_rows(
            found, tr("Same top token, {text}"), lambda _, x: agreement_interval(x)
        ),
        *_token_rows(found),
        _row(axis_label(runs, Quality.PERPLEXITY), found, _perplexity),
        _row(tr("Parameters"), found, _parameters),
        _run_row(tr("Format"), found, _format),
        _run_row(tr("Time"), found, _time),
        *_differences(found),
    )
    return tuple(row for row in rows if any(x != NOTHING for x in row[1:]))


def _columns(runs: Sequence[ComparedRun], context: int) -> tuple[Column, ...]:
    """Return the originals, without duplicates, and the runs."""
    originals: dict[tuple[str, int], Column] = {}
    are_copies = are_comparable(_originals(runs))
    for each in runs:
        if each.run.model is not None:
            rung = ladder.original(each.run.model, context)
            name = original_name(each.run)
            column = Column(name, each.run, is_original=True, rung=rung)
            key = "" if are_copies else name
            originals.setdefault((key, rung.weight_bytes), column)
    files = [
        Column(
            x.name,
            x.run,
            is_original=False,
            rung=ladder.file_of(x.run, context),
            is_gone=x.is_export_gone,
        )
        for x in runs
    ]
    return (*originals.values(), *files)


def _row(
    title: str, found: Sequence[Column], to_text: Callable[[Column], str]
) -> tuple[str, ...]:
    return (title, *map(to_text, found))


def _run_row(
    title: str, found: Sequence[Column], to_text: Callable[[RunState], str]
) -> tuple[str, ...]:
    """Return a row of what a run has, and an original has not."""
    shown = (NOTHING if x.is_original else to_text(x.run) for x in found)
    return (title, *shown)


def _verdict(run: RunState) -> str:
    verdict = verdict_of_run(run)
    return VERDICTS[verdict] if verdict else OUTCOMES[outcome_of(run)]


def _status(column: Column) -> str:
    """Return why a run was stopped early, or that its file was deleted."""
    is_stopped = outcome_of(column.run) is RunOutcome.STOPPED
    early_end = unusual_end(column.run) if is_stopped and not column.is_original else ""
    gone = tr("no exports left") if column.is_gone else ""
    shown = ", ".join(filter(None, (early_end, gone)))
    return shown[:1].upper() + shown[1:] or NOTHING


def _file_size(column: Column) -> str:
    size = column.rung.weight_bytes if column.rung is not None else 0
    return numbers.size(size) if size else NOTHING


def _fidelity_rows(
    found: Sequence[Column], title: str, to_text: Callable[[Column, Fidelity], str]
) -> list[tuple[str, ...]]:
    """Return a row for each text on which a file was measured."""
    measured = [() if x.is_original else fidelity_of(x.run) for x in found]
    rows = []
    for text in dict.fromkeys(each.text for fidelity in measured for each in fidelity):
        shown = (
            to_text(column, each)
            if (each := next((x for x in fidelity if x.text == text), None))
            else NOTHING
            for column, fidelity in zip(found, measured, strict=True)
        )
        rows.append((title.format(text=text_phrase(text)), *shown))
    return rows


def _kl(column: Column, measured: Fidelity) -> str:
    """Return the KL of a file; where saving added to it, there is no interval."""
    nats = file_nats(column.run)
    is_first = measured is fidelity_of(column.run)[0]
    if is_first and nats - measured.divergence.value >= ladder.NOTICEABLE:
        return numbers.nats(nats)
    return divergence_interval(measured)


def _token_rows(found: Sequence[Column]) -> list[tuple[str, ...]]:
    """Return the tokens of each file, and at how many it was compared."""
    if all(each.run.tokens is None for each in found):
        return []
    return [
        _row(tr("Vocabulary"), found, _tokens),
        _run_row(tr("Compared at"), found, _compared),
    ]


def _tokens(column: Column) -> str:
    run = column.run
    if run.tokens is not None and not column.is_original:
        return numbers.whole(run.tokens.after)
    return numbers.whole(run.model.vocabulary) if run.model is not None else NOTHING


def _compared(run: RunState) -> str:
    shares = [x.compared for x in fidelity_of(run) if x.compared is not None]
    return numbers.percent(min(shares)) if shares else NOTHING


def _perplexity(column: Column) -> str:
    before, after = perplexities(column.run)
    found = before if column.is_original else after
    return NOTHING if found is None else numbers.perplexity(found)


def _parameters(column: Column) -> str:
    run = column.run
    if column.is_original and run.model is not None:
        return numbers.count(run.model.parameters)
    return numbers.count(run.history[-1].parameters) if run.history else NOTHING


def _format(run: RunState) -> str:
    exported = run.exported
    if exported is None:
        return NOTHING
    return tr("{format}, {dtype}").format(
        format=choice_label(exported.format)[0], dtype=choice_label(exported.dtype)[0]
    )


def _time(run: RunState) -> str:
    if run.ended is None:
        return NOTHING
    seconds = run.result.seconds if run.result is not None else run.seconds(run.ended)
    return numbers.duration(seconds)


def _differences(found: Sequence[Column]) -> list[tuple[str, ...]]:
    runs = [each.run for each in found if not each.is_original]
    configs = [run.config for run in runs if run.config is not None]
    if len(configs) < len(runs):
        return []
    before = (NOTHING,) * (len(found) - len(runs))
    title = tr("Setting: {name}")
    rows = settings_list.differences(configs)
    return [(title.format(name=name), *before, *values) for name, *values in rows]
