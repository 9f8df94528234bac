"""The results as a Markdown page and as CSV."""

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
    "Perplexity, KL and agreement are over the same validation windows, each scored by "
    "itself. KL is KL(dense || pruned) in nats per predicted token; agreement is the "
    "share of predicted tokens for which both models put the same one first. Both are "
    "computed in another process, while the job waits, from weights that the job wrote "
    "to a file: the dense model takes none of the job's time or memory. Seconds count "
    "from the dense model on, over all shots, with the evaluation after each; loading "
    "is not in them. A column with steps of the correction (the last table) is as if "
    "the run ended there: its correction is in the figures, and the next shot begins "
    "without. A damping that is searched for is that of a shot with others to come, "
    "except in the last column. Peak memory is that of the job's process up to then, "
    "with the model, the libraries and the evaluation, and so never falls from one "
    "shot to the next; on a GPU it is that of its tensors. The model keeps its size; a "
    "run of the program makes one that loses heads and neurons smaller between shots, "
    "and is faster in the later ones."
)
_OF_SEEDS = (
    "; figures are mean ± (largest - smallest). The seed draws the windows of "
    "calibration, and of validation unless they come as a token file"
)
# Fields of a DampingChoice, and what they are called among others.
_DAMPING = {
    "cost": "cost_damping",
    "update": "update_damping",
    "tried": "tried",
}
_NOT_SETTINGS = ("sparsity", "text", "validation_text", "seed")
_OF_TEXTS = ("windows", "validation_windows", "window_length")  # said by the protocol


@dataclass(frozen=True, slots=True)
class Heading:
    """The subject of the page."""

    model: str
    parameters: int
    plan: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Table:
    """One figure for all jobs and sparsities."""

    title: str
    value: Callable[[Figures], float | None]  # None: there is none
    number: str  # format


_TABLES = (
    Table("Perplexity", lambda f: f.perplexity, ".2f"),
    Table("Perplexity before the correction", lambda f: f.uncorrected, ".2f"),
    Table("KL from the dense model, nats per token", lambda f: f.nats, ".4f"),
    Table("Agreement with the dense model, %", lambda f: 100 * f.agreement, ".2f"),
    Table("Seconds from the dense model", lambda f: f.seconds, ".1f"),
    Table("Peak memory, GiB", lambda f: f.peak_memory_bytes / 2**30, ".2f"),
)


def markdown(
    heading: Heading, runs: Sequence[ReadyRun], lines: Mapping[Key, Line]
) -> str:
    """Return the page."""
    parts = [_head(heading, runs, lines)]
    parts += [_table(table, runs, lines) for table in _TABLES if _has(table, lines)]
    parts += [_dampings(runs, lines), _failures(lines), _settings(runs)]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_csv(runs: Sequence[ReadyRun], lines: Mapping[Key, Line]) -> str:
    """Return a row for each job, seed and sparsity that was measured or failed."""
    text = io.StringIO(newline="")
    figures = [x for x in Figures.__struct_fields__ if x not in ("damping", "steps")]
    circumstances = Circumstances.__struct_fields__
    writer = csv.writer(text, lineterminator="\n")
    names = ["job", "seed", "sparsity", *figures, *_DAMPING.values(), "steps"]
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
        row += [_plain(getattr(line.figures, "steps", ())), line.failure, line.at]
        row += [getattr(line.circumstances, name) for name in circumstances]
        writer.writerow([*row, differences(ready.run.config), line.identity])
    return text.getvalue()


def differences(config: RunConfig) -> str:
    """Return the settings that differ from the defaults."""
    pairs = ((config.pruning, ()), (config.calibration, _OF_TEXTS))
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
        "Seeds": ", ".join(map(str, seeds)) + (_OF_SEEDS if len(seeds) > 1 else ""),
    }
    bullets = "\n".join(f"- {name}: {words}" for name, words in facts.items())
    return f"# Pruning {heading.model}\n\n{bullets}\n\n{_HOW}"


def _varying(lines: Mapping[Key, Line], name: str) -> str:
    """Return a circumstance; if it varies, with the jobs of each value."""
    jobs: dict[str, dict[str, None]] = {}
    for line in lines.values():
        words = getattr(line.circumstances, name)
        jobs.setdefault(words, {})[line.job] = None
    if len(jobs) < 2:
        return next(iter(jobs), _MISSING)
    return "; ".join(f"{words} ({', '.join(names)})" for words, names in jobs.items())


def _has(table: Table, lines: Mapping[Key, Line]) -> bool:
    """Return True if there is such a figure, or no figure yet."""
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
        return "; ".join(filter(None, (_choice(line) for line in found if line)))

    return (
        "## Damping of costs / of the update, and steps of the correction\n\n"
        f"Of the shot that ended there.\n\n{_grid(runs, cell)}"
    )


def _choice(line: Line) -> str:
    figures = line.figures
    if figures is None or figures.damping is None:
        return ""
    words = f"{figures.damping.cost:g} / {figures.damping.update:g}"
    if figures.steps is not None:
        lengths = (f"{length:g}" for length in figures.steps)
        words += f", steps {' + '.join(lengths) or 'none'}"
    return words


def _grid(
    runs: Sequence[ReadyRun], cell: Callable[[str, float, Sequence[int]], str]
) -> str:
    """Return a Markdown table: a row for each job, a column for each sparsity."""
    columns = sorted({sparsity for _, sparsity in _cells(runs)})
    rows = [["job", *(f"{100 * column:g} %" for column in columns)]]
    rows.append(["---"] * len(rows[0]))
    for job in dict.fromkeys(ready.run.job for ready in runs):
        own = [ready for ready in runs if ready.run.job == job]
        seeds = sorted({ready.run.seed for ready in own})
        has = {sparsity for _, sparsity in _cells(own)}
        rows.append(
            [job]
            + [(cell(job, c, seeds) if c in has else "") or _MISSING for c in columns]
        )
    return "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in rows)


def _summary(values: Sequence[float], number: str, of: int) -> str:
    """Format a value, or the mean and the range of several."""
    if not values:
        return _MISSING
    words = f"{statistics.mean(values):{number}}"
    if len(values) > 1:
        words += f" ± {max(values) - min(values):{number}}"
    return words + (f" ({len(values)} of {of} seeds)" if len(values) < of else "")


def _failures(lines: Mapping[Key, Line]) -> str:
    failed = [line for line in lines.values() if line.failure]
    if not failed:
        return ""
    return "## What failed\n\n" + "\n".join(
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
        said = differences(first[0].config)
        code = f"`{_escaped(said)}`" if said else "none"
        rows.append(f"| {_escaped(job)} | {how} | {code} |")
    return "## Settings\n\n" + "\n".join(rows)


def _escaped(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")
