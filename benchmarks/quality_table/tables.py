"""Format the results as a Markdown page and as CSV."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from surgeon_engine.api.config.fields import settings_of, values_of
from surgeon_engine.api.config.run import RunConfig

from .results import Circumstances, Figures, Key, Line
from .texts import ReadyRun

_MISSING = "-"
_HOW = (
    "Perplexity, KL and agreement are measured on the same validation windows, each "
    "scored separately. KL is KL(dense || pruned) in nats per predicted token; "
    "agreement is the share of predicted tokens for which both models have the same "
    "top token. Both are computed in another process, while the job waits, from "
    "weights that the job wrote to a file: the dense model takes none of the job's "
    "time or memory. Seconds count from the dense model on, over all shots, with the "
    "evaluation after each, without loading. A searched damping is that of a shot "
    "with later shots, except in the last column. Peak memory is that of "
    "the job's process so far, with the model, the libraries and the evaluation, and "
    "so never falls from one shot to the next; on a GPU it is that of its tensors. "
    "The model keeps its size in memory; an ordinary run compacts a model that loses "
    "heads and neurons between shots, which makes the later shots faster."
)
_SEEDS_NOTE = (
    "; figures are mean ± (largest - smallest). The seed draws the calibration "
    "windows, and the validation windows unless they come from a token file"
)
# Fields of a DampingChoice and their columns.
_DAMPING = {
    "cost": "cost_damping",
    "update": "update_damping",
    "tried": "tried",
}
_NOT_SETTINGS = ("sparsity", "text", "validation_text", "seed")
_TEXT_SETTINGS = ("windows", "validation_windows", "window_length")  # in the heading


@dataclass(frozen=True, slots=True)
class Heading:
    """Model and plan of the page."""

    model: str
    parameters: int
    plan: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Table:
    """One figure for all jobs and sparsities."""

    title: str
    value: Callable[[Figures], float | None]  # None: not measured
    number: str  # format


_TABLES = (
    Table("Perplexity", lambda f: f.perplexity, ".2f"),
    Table("KL from the dense model, nats per token", lambda f: f.nats, ".4f"),
    Table("Agreement with the dense model, %", lambda f: 100 * f.agreement, ".2f"),
    Table("Seconds from the dense model", lambda f: f.seconds, ".1f"),
    Table("Peak memory, GiB", lambda f: f.peak_memory_bytes / 2**30, ".2f"),
)


def to_markdown(
    heading: Heading, runs: Sequence[ReadyRun], lines: Mapping[Key, Line]
) -> str:
    """Return the page."""
    parts = [_head(heading, runs, lines)]
    parts += [
        _table(table, runs, lines) for table in _TABLES if _has_values(table, lines)
    ]
    parts += [_dampings(runs, lines), _failures(lines), _settings(runs)]
    return "\n\n".join(part for part in parts if part) + "\n"


def to_csv(runs: Sequence[ReadyRun], lines: Mapping[Key, Line]) -> str:
    """Return a row for each job, seed and sparsity that was measured or has failed."""
    text = io.StringIO(newline="")
    figures = [x for x in Figures.__struct_fields__ if x != "damping"]
    circumstances = Circumstances.__struct_fields__
    writer = csv.writer(text, lineterminator="\n")
    names = ["job", "seed", "sparsity", *figures, *_DAMPING.values()]
    names += ["failure", "at", *circumstances, "settings", "identity"]
    writer.writerow(names)
    for ready, sparsity in _cells(runs):
        line = lines.get((ready.run.job, ready.run.seed, sparsity))
        if line is None:
            continue
        choice = line.figures.damping if line.figures else None
        row: list[object] = [line.job, line.seed, line.sparsity]
        row += [getattr(line.figures, name, "") for name in figures]
        row += [getattr(choice, name, "") for name in _DAMPING]
        row += [line.failure, line.at]
        row += [getattr(line.circumstances, name) for name in circumstances]
        writer.writerow([*row, differences(ready.run.config), line.identity])
    return text.getvalue()


def differences(config: RunConfig) -> str:
    """Return the settings that differ from the defaults."""
    pairs = ((config.pruning, ()), (config.calibration, _TEXT_SETTINGS))
    return ", ".join(
        f"{name} = {_plain(value)}"
        for part, excluded in pairs
        for name, value in values_of(part).items()
        if name not in (*_NOT_SETTINGS, *excluded)
        and value != settings_of(type(part))[name].default
    )


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _cells(runs: Sequence[ReadyRun]) -> list[tuple[ReadyRun, float]]:
    return [(ready, sparsity) for ready in runs for sparsity in ready.run.sparsities]


def _head(heading: Heading, runs: Sequence[ReadyRun], lines: Mapping[Key, Line]) -> str:
    days = sorted({line.at[:10] for line in lines.values()})
    seeds = sorted({ready.run.seed for ready in runs})
    dense = {
        line.seed: line.figures.dense_perplexity
        for line in lines.values()
        if line.figures
    }
    facts = {
        "Model": f"{heading.model}, {heading.parameters:,} parameters, {heading.dtype}",
        "Dense perplexity": _summary(list(dense.values()), ".2f", len(seeds)),
        "Plan": heading.plan,
        "Date": " to ".join(dict.fromkeys((days[0], days[-1]))) if days else _MISSING,
        "Machine": _varying(lines, "machine"),
        "Versions": _varying(lines, "versions"),
        "Engine's source files": _varying(lines, "engine"),
        "Calibration": _varying(lines, "calibration"),
        "Validation": _varying(lines, "validation"),
        "Seeds": ", ".join(map(str, seeds)) + (_SEEDS_NOTE if len(seeds) > 1 else ""),
    }
    bullets = "\n".join(f"- {name}: {text}" for name, text in facts.items())
    return f"# Pruning {heading.model}\n\n{bullets}\n\n{_HOW}"


def _varying(lines: Mapping[Key, Line], name: str) -> str:
    """Return a circumstance; if it differs between measurements, with their jobs."""
    jobs: dict[str, dict[str, None]] = {}
    for line in lines.values():
        text = getattr(line.circumstances, name)
        jobs.setdefault(text, {})[line.job] = None
    if len(jobs) < 2:
        return next(iter(jobs), _MISSING)
    return "; ".join(f"{text} ({', '.join(names)})" for text, names in jobs.items())


def _has_values(table: Table, lines: Mapping[Key, Line]) -> bool:
    """Return whether the figure was measured, or nothing was measured yet."""
    found = [line.figures for line in lines.values() if line.figures]
    return not found or any(table.value(figures) is not None for figures in found)


def _table(table: Table, runs: Sequence[ReadyRun], lines: Mapping[Key, Line]) -> str:
    def cell(job: str, sparsity: float, seeds: Sequence[int]) -> str:
        found = [lines.get((job, seed, sparsity)) for seed in seeds]
        figures = [line.figures for line in found if line and line.figures]
        if not figures and any(line is not None for line in found):
            return "failed"
        values = [x for x in map(table.value, figures) if x is not None]
        return _summary(values, table.number, len(seeds))

    return f"## {table.title}\n\n{_grid(runs, cell)}"


def _dampings(runs: Sequence[ReadyRun], lines: Mapping[Key, Line]) -> str:
    def cell(job: str, sparsity: float, seeds: Sequence[int]) -> str:
        found = [lines.get((job, seed, sparsity)) for seed in seeds]
        return "; ".join(filter(None, (_damping(line) for line in found if line)))

    return (
        "## Damping of costs / of the update\n\n"
        f"Those of the last shot before the column.\n\n{_grid(runs, cell)}"
    )


def _damping(line: Line) -> str:
    figures = line.figures
    if figures is None or figures.damping is None:
        return ""
    return f"{figures.damping.cost:g} / {figures.damping.update:g}"


def _grid(
    runs: Sequence[ReadyRun], cell: Callable[[str, float, Sequence[int]], str]
) -> str:
    """Return a table with a row for each job and a column for each sparsity."""
    columns = sorted({sparsity for _, sparsity in _cells(runs)})
    rows = [["job", *(f"{100 * column:g} %" for column in columns)]]
    rows.append(["---"] * len(rows[0]))
    for job in dict.fromkeys(ready.run.job for ready in runs):
        own = [ready for ready in runs if ready.run.job == job]
        seeds = sorted({ready.run.seed for ready in own})
        measured = {sparsity for _, sparsity in _cells(own)}
        rows.append(
            [job]
            + [
                (cell(job, c, seeds) if c in measured else "") or _MISSING
                for c in columns
            ]
        )
    return "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in rows)


def _summary(values: Sequence[float], number: str, seeds: int) -> str:
    """Return a value, or the mean and the spread of several."""
    if not values:
        return _MISSING
    text = f"{statistics.mean(values):{number}}"
    if len(values) > 1:
        text += f" ± {max(values) - min(values):{number}}"
    return text + (f" ({len(values)} of {seeds} seeds)" if len(values) < seeds else "")


def _failures(lines: Mapping[Key, Line]) -> str:
    failed = [line for line in lines.values() if line.failure]
    if not failed:
        return ""
    return "## Failures\n\n" + "\n".join(
        f"- {line.job}, seed {line.seed}, {100 * line.sparsity:g} %: {line.failure}"
        for line in failed
    )


def _settings(runs: Sequence[ReadyRun]) -> str:
    rows = ["| job | runs | settings that differ from the defaults |", "|---|---|---|"]
    for job in dict.fromkeys(ready.run.job for ready in runs):
        own = [ready.run for ready in runs if ready.run.job == job]
        first = [run for run in own if run.seed == own[0].seed]
        shots = len(first[0].shots)
        how = f"{shots} shot{'s' if shots > 1 else ''}"
        if len(first) > 1:
            how += " for each sparsity, each from the dense model"
        settings = differences(first[0].config)
        code = f"`{_escaped(settings)}`" if settings else "none"
        rows.append(f"| {_escaped(job)} | {how} | {code} |")
    return "## Settings\n\n" + "\n".join(rows)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
