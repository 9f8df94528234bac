"""Lines and tables of the command line, for events, models and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rich.table import Table
from rich.text import Text

from surgeon_engine.api.comparability import MeasuredOriginal, comparison_note
from surgeon_engine.api.config.export import DESCRIPTIONS
from surgeon_engine.api.export_marker import differences, name_list
from surgeon_engine.api.messages.benchmark import (
    Measured,
    Rate,
    speedups,
)
from surgeon_engine.api.messages.events import Event, Logged
from surgeon_engine.api.messages.lines import run_line, text_name
from surgeon_engine.api.messages.run import (
    Evaluation,
    ExpertsLeft,
    Exported,
    Fidelity,
    LayerSparsity,
    StageStarted,
    TokensRemoved,
    experts_left,
    format_estimate,
    neurons_left,
)
from surgeon_engine.api.messages.sources import Downloading
from surgeon_engine.api.report import Report
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import UnreadableFileError
from surgeon_engine.base.formatting import (
    escape_controls,
    format_count,
    format_percent,
    format_rate,
    format_size,
)
from surgeon_engine.planning.running_memory import (
    memory_of_export,
    smallest_memory,
    usable_context,
)

PADDING = (0, 2, 0, 0)  # two spaces between columns


def event_line(event: Event) -> str:
    """Return the line to print for an event, or an empty string for none."""
    match event:
        case StageStarted():
            return f"  {run_line(event)}"
        case Downloading(done=done, total=total) if total:
            return f"  {format_size(done)} of {format_size(total)}"
        case Logged(level=level, message=message):
            return f"{level.value}: {message}"
    return run_line(event)


def fidelity_table(baseline: Evaluation, fidelity: Iterable[Fidelity]) -> Table:
    """Return the fidelity of a file on each text, with 95 % intervals."""
    headers = ("KL to the original", "same top token", "overlap")
    bits = ("bits per byte", "original")
    table = headed_table("text", *headers, "perplexity", "original", *bits)
    before = {each.text: each for each in baseline.fidelity}
    for each in fidelity:
        overlap = each.overlap
        add_row(
            table,
            text_name(each.text),
            format_estimate(each.divergence, "{:.3g}".format),
            format_estimate(each.agreement, format_percent),
            "-" if overlap is None else format_estimate(overlap, format_percent),
            format_estimate(each.perplexity, "{:.2f}".format),
            f"{before[each.text].perplexity.value:.2f}",
            *bits_cells(each),
        )
    return table


def tokens_lines(
    tokens: TokensRemoved | None, fidelity: Iterable[Fidelity]
) -> Iterator[str]:
    """Yield what fewer tokens mean for the figures; nothing: there are not fewer."""
    if tokens is not None:
        yield f"{run_line(tokens)}; perplexity is per token of the original"
        yield from compared_lines(fidelity)


def experts_line(layers: Sequence[LayerSparsity]) -> str:
    """Return how many experts and neurons of them are left; empty: as many as ever."""
    parts = (
        (experts_left(layers), "experts are left in each block"),
        (neurons_left(layers), "neurons are left in each expert"),
    )
    return ", ".join(
        f"{_range(left)} of {left.of} {text}"
        for left, text in parts
        if left is not None and left.least < left.of
    )


def _range(left: ExpertsLeft) -> str:
    least, most = left.least, left.most
    return f"{least}" if least == most else f"{least} to {most}"


def bits_cells(fidelity: Fidelity) -> tuple[str, str]:
    """Return the bits per byte of a file and of the original."""
    bits, before = fidelity.bits_per_byte, fidelity.original_bits
    return (
        "-" if bits is None else format_estimate(bits, "{:.3f}".format),
        "-" if before is None else f"{before.value:.3f}",
    )


def compared_lines(fidelity: Iterable[Fidelity]) -> Iterator[str]:
    """Yield the share of tokens that are compared on each text, if not all are."""
    for each in fidelity:
        if each.compared is not None:
            yield (
                f"{text_name(each.text)}: KL, top tokens and overlap are measured at "
                f"{format_percent(each.compared)} of the tokens, which end where one "
                "of the original's ends"
            )


def sweep_table(outcomes: Mapping[str, Report | str], context: int) -> Table:
    """Return the size, the fidelity and the memory of each run of a sweep.

    KL is that on the text on which it is largest, as for the verdict. Below the table
    is a note if figures of the runs cannot be compared. `outcomes` has, by the name of
    each run, its report or the reason why it has none. The memory is for `context`
    tokens of prompt and answer together, at most as many as all models support.
    """
    reports = [each for each in outcomes.values() if not isinstance(each, str)]
    context = min((usable_context(context, x.model) for x in reports), default=context)
    tokens = f"memory, {format_count(context)} tokens"
    headers = ("parameters", "size", "verdict", "largest KL", "perplexity")
    table = headed_table("run", *headers, tokens, "fits in")
    for name, outcome in outcomes.items():
        if isinstance(outcome, str):
            add_row(table, name, outcome)
            continue
        last, exported = outcome.shots[-1], outcome.exported
        found = outcome.fidelity[0] if outcome.fidelity else None
        nats = [each.divergence.value for each in outcome.fidelity]
        perplexity = outcome.evaluation.perplexity
        add_row(
            table,
            name,
            format_count(last.parameters),
            format_size(exported.weight_bytes) if exported is not None else "-",
            outcome.verdict or "-",
            f"{max(nats):.3g}" if nats else "-",
            f"{found.perplexity.value if found else perplexity:.2f}",
            *_memory_cells(outcome, context),
        )
    originals = [
        MeasuredOriginal(x.config.model.source, x.baseline, x.baseline.fidelity)
        for x in reports
    ]
    table.caption, table.caption_justify = comparison_note(originals) or None, "left"
    return table


def _memory_cells(report: Report, context: int) -> tuple[str, str]:
    """Return the memory in which the exported model runs, and which memory holds it."""
    model, exported = report.model, report.exported
    if exported is None or not model.cache_width:
        return "-", "-"
    layers = report.shots[-1].layers
    needed = memory_of_export(exported, layers, context, model)
    fits = smallest_memory(needed)
    return format_size(needed), "-" if fits is None else f"{fits:g} GB"


def format_table(exported: Exported) -> Table:
    """Return in which formats the exported model is or can be, or why it cannot."""
    rows = [(str(exported.format), f"is in {exported.folder}")]
    for other in exported.others:
        if other.format is exported.format:
            continue
        description = DESCRIPTIONS[other.format]
        uses = f"{description.can} {description.cannot}".strip()
        rows.append((other.format, f"no: {other.reason}" if other.reason else uses))
    return rows_of(rows, width=8)


def missing_export(run: RunFolder, report: Report) -> str:
    """Return what of a run's export is gone; empty: it is there, or never was."""
    folder = run.export_of(report)
    if folder is None:
        return ""
    if not folder.is_dir():
        return f"The export of {run.path.name} is no longer in {folder}"
    with suppress(UnreadableFileError):
        if missing := differences(folder, by_content=False).missing:
            return f"{folder} has lost {name_list(missing)}"
    return ""


def measurement_table(measured: Measured) -> Table:
    """Return the figures of one model, or of two with their ratio."""
    models = measured.models
    is_pair = len(models) == 2
    table = headed_table("", *(model.name for model in models), *["ratio"] * is_pair)
    ratios = speedups(measured) if is_pair else None
    rows: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("file size", "file_bytes", format_size),
        ("parameters", "parameters", format_count),
        ("prompt, tokens/s", "prompt", _rate),
        ("generation, tokens/s", "generation", _rate),
        ("process, loaded", "loaded_bytes", format_size),
        ("process, peak", "peak_bytes", format_size),
    )
    for name, field, to_text in rows:
        values = [getattr(model, field) for model in models]
        cells = [to_text(value) for value in values]
        if (ratio := getattr(ratios, field, None)) is not None:
            cells.append(f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})")
        elif is_pair:
            cells.append(f"{values[1] / values[0]:.2f}")
        add_row(table, name, *cells)
    return table


def _rate(rate: Rate) -> str:
    low, high = format_rate(rate.low), format_rate(rate.high)
    return f"{format_rate(rate.median)} ({low} to {high})"


def rows_of(rows: Iterable[Sequence[str]], width: int) -> Table:
    """Return a table of names, at least `width` characters wide, and texts."""
    table = Table.grid(padding=PADDING)
    table.add_column(min_width=width, no_wrap=True)
    table.add_column()
    for row in rows:
        add_row(table, *row)
    return table


def headed_table(first: str, *others: str) -> Table:
    """Return a table without lines, whose columns after the first hold numbers."""
    table = Table(box=None, pad_edge=False, padding=PADDING, show_header=True)
    table.add_column(first)
    for header in others:
        table.add_column(Text(escape_controls(header)), justify="right")
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row of plain texts, without what a terminal would obey."""
    table.add_row(*(Text(escape_controls(cell)) for cell in cells))
