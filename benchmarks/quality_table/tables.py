"""Format the results as a Markdown page and as CSV."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from surgeon_engine.api.config.fields import settings_of, values_of
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import Estimate, Fidelity

from .results import Circumstances, Figures, Key, Line
from .texts import ReadyRun, name_of_text

_MISSING = "-"
_HOW = (
    "KL, same top token and perplexity are measured on the validation windows, and on "
    "windows of texts of other kinds, each window scored separately. KL is KL(original "
    "|| pruned) in nats per predicted token; same top token is the share of predicted "
    "tokens for which both models rank the same token first. The CSV file has the 95 % "
    "interval of each. If a job has recovery, its figures include it. "
    "Seconds count from the first curvature to the end of recovery, over all shots, "
    "with the evaluation after each, without loading and without the text that the "
    "model itself writes, which is kept for later runs. A searched damping is chosen "
    "for a shot with later shots, except in the last column. Peak memory is the "
    "peak of the job's process so far, with model, libraries and evaluation, and so "
    "never falls from one shot to the next; on a GPU it counts the tensors. A "
    "rival is a first-order mask and plain distillation on the calibration windows, "
    "with held-out ones, until its seconds are over; its last step and the last "
    "measurement on the held-out windows come on top."
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
_LABELS = {"level": "recovery"}
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
    Table("KL from the original, nats per token", lambda f: f.nats, ".4f"),
    Table("Same top token, %", lambda f: 100 * f.agreement, ".2f"),
    Table("Perplexity", lambda f: f.perplexity, ".2f"),
)
_COSTS = (
    Table("Seconds", lambda f: f.seconds, ".1f"),
    Table(
        "Seconds to write the model's own text",
        lambda f: f.sampling_seconds or None,
        ".1f",
    ),
    Table("Peak memory, GiB", lambda f: f.peak_memory_bytes / 2**30, ".2f"),
)
# Figures of a text and their columns.
_OF_TEXT = {"divergence": "nats", "agreement": "agreement", "perplexity": "perplexity"}


def to_markdown(
    heading: Heading, runs: Sequence[ReadyRun], lines: Mapping[Key, Line]
) -> str:
    """Return the page."""
    parts = [_head(heading, runs, lines)]
    before = _tables_before_recovery(lines)
    tables = (*_TABLES, *_tables_of_others(lines), *before, *_COSTS)
    parts += [
        _table(table, runs, lines) for table in tables if _has_values(table, lines)
    ]
    parts += [_dampings(runs, lines), _failures(lines), _settings(runs)]
    return "\n\n".join(part for part in parts if part) + "\n"


def to_csv(runs: Sequence[ReadyRun], lines: Mapping[Key, Line]) -> str:
    """Return a row for each job, seed and sparsity that was measured or has failed."""
    text = io.StringIO(newline="")
    figures = [
        x
        for x in Figures.__struct_fields__
        if x not in ("damping", "dense", "fidelity", "before_recovery")
    ]
    circumstances = Circumstances.__struct_fields__
    others = len(_others(lines))
    writer = csv.writer(text, lineterminator="\n")
    names = ["job", "seed", "sparsity", *figures, *_DAMPING.values()]
    names += _names_of_intervals(others)
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
        row += _intervals(line.figures, others)
        row += [line.failure, line.at]
        row += [getattr(line.circumstances, name) for name in circumstances]
        writer.writerow([*row, differences(ready.run.config), line.identity])
    return text.getvalue()


def differences(config: RunConfig) -> str:
    """Return the settings that differ from the defaults."""
    pairs = (
        (config.pruning, ()),
        (config.recovery, ()),
        (config.calibration, _TEXT_SETTINGS),
    )
    return ", ".join(
        f"{_LABELS.get(name, name)} = {_plain(value)}"
        for part, excluded in pairs
        for name, value in values_of(part).items()
        if name not in (*_NOT_SETTINGS, *excluded)
        and value != settings_of(type(part))[name].default
    )


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _others(lines: Mapping[Key, Line]) -> tuple[Fidelity, ...]:
    """Return the figures of the original on the texts of other kinds."""
    found = [line.figures.dense for line in lines.values() if line.figures]
    return max(found, key=len, default=())[1:]


def _tables_of_others(lines: Mapping[Key, Line]) -> list[Table]:
    def value(
        number: int, name: str, scale: float
    ) -> Callable[[Figures], float | None]:
        def find(figures: Figures) -> float | None:
            if number >= len(figures.fidelity):
                return None  # a result of an earlier version
            found: Estimate = getattr(figures.fidelity[number], name)
            return scale * found.value

        return find

    return [
        Table(f"{title}, on {name_of_text(other.text)}", value(number, *rest), form)
        for number, other in enumerate(_others(lines), 1)
        for title, rest, form in (
            ("KL from the original, nats per token", ("divergence", 1), ".4f"),
            ("Same top token, %", ("agreement", 100), ".2f"),
            ("Perplexity", ("perplexity", 1), ".2f"),
        )
    ]


def _tables_before_recovery(lines: Mapping[Key, Line]) -> list[Table]:
    def value(number: int) -> Callable[[Figures], float | None]:
        def find(figures: Figures) -> float | None:
            if number >= len(figures.before_recovery):
                return None
            return figures.before_recovery[number].divergence.value

        return find

    if not any(x.figures and x.figures.before_recovery for x in lines.values()):
        return []
    title = "KL from the original before recovery, nats per token"
    texts = ["", *(f", on {name_of_text(x.text)}" for x in _others(lines))]
    return [Table(title + text, value(i), ".4f") for i, text in enumerate(texts)]


def _names_of_intervals(others: int) -> list[str]:
    """Return the names of the columns for the intervals and for the other texts."""
    names = [f"{x}_{end}" for x in _OF_TEXT.values() for end in ("low", "high")]
    for number in range(1, others + 1):
        text = f"other_{number}"
        names += [text, f"{text}_dense_perplexity"]
        names += [
            f"{text}_{x}{end}"
            for x in _OF_TEXT.values()
            for end in ("", "_low", "_high")
        ]
    return names


def _intervals(figures: Figures | None, others: int) -> list[object]:
    """Return the values of the columns that `_names_of_intervals` names."""
    if figures is None or not figures.fidelity:
        return [""] * len(_names_of_intervals(others))
    row: list[object] = []
    for number, (dense, found) in enumerate(
        zip(figures.dense, figures.fidelity, strict=True)
    ):
        estimates: list[Estimate] = [getattr(found, name) for name in _OF_TEXT]
        if number == 0:
            row += [end for x in estimates for end in (x.low, x.high)]
        else:
            row += [name_of_text(found.text), dense.perplexity.value]
            row += [part for x in estimates for part in (x.value, x.low, x.high)]
    return row


def _cells(runs: Sequence[ReadyRun]) -> list[tuple[ReadyRun, float]]:
    return [(ready, sparsity) for ready in runs for sparsity in ready.run.sparsities]


def _head(heading: Heading, runs: Sequence[ReadyRun], lines: Mapping[Key, Line]) -> str:
    days = sorted({line.at[:10] for line in lines.values()})
    seeds = sorted({ready.run.seed for ready in runs})
    others = _others(lines)
    facts = {
        "Model": f"{heading.model}, {heading.parameters:,} parameters, {heading.dtype}",
        "Perplexity of the original": _dense_perplexities(lines, len(seeds)),
        "Plan": heading.plan,
        "Date": " to ".join(dict.fromkeys((days[0], days[-1]))) if days else _MISSING,
        "Machine": _varying(lines, "machine"),
        "Versions": _varying(lines, "versions"),
        "Engine's source files": _varying(lines, "engine"),
        "Calibration": _varying(lines, "calibration"),
        "Validation": _varying(lines, "validation"),
        "Texts of other kinds": "; ".join(
            f"{name_of_text(other.text)}, {other.windows:,} windows of "
            f"{other.window_length:,} tokens"
            for other in others
        )
        or _MISSING,
        "Seeds": ", ".join(map(str, seeds)) + (_SEEDS_NOTE if len(seeds) > 1 else ""),
    }
    bullets = "\n".join(f"- {name}: {text}" for name, text in facts.items())
    return f"# Pruning {heading.model}\n\n{bullets}\n\n{_HOW}"


def _dense_perplexities(lines: Mapping[Key, Line], seeds: int) -> str:
    """Return the perplexities of the original, on each text."""
    figures = {line.seed: line.figures for line in lines.values() if line.figures}
    first = [found.dense_perplexity for found in figures.values()]
    texts = [_summary(first, ".2f", seeds)]
    for number, other in enumerate(_others(lines), 1):
        values = [
            found.dense[number].perplexity.value
            for found in figures.values()
            if number < len(found.dense)
        ]
        text = _summary(values, ".2f", seeds)
        texts.append(f"{text} on {name_of_text(other.text)}")
    return "; ".join(texts)


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
        f"The values of the last shot before the column.\n\n{_grid(runs, cell)}"
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
        if (rival := first[0].rival) is not None:
            time = rival.seconds_of or f"{rival.seconds:g} seconds"
            how += f", then plain distillation, in the time of {time}"
        settings = differences(first[0].config)
        code = f"`{_escaped(settings)}`" if settings else "none"
        rows.append(f"| {_escaped(job)} | {how} | {code} |")
    return "## Settings\n\n" + "\n".join(rows)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
