"""Lines and tables of the command line, for events, models and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from surgeon_engine.api.comparability import MeasuredOriginal, comparison_note
from surgeon_engine.api.config.calibration import TEXT_NAMES
from surgeon_engine.api.config.export import DESCRIPTIONS
from surgeon_engine.api.messages.benchmark import (
    ROUNDS_TO_TRIM,
    Measured,
    Rate,
    speedups,
)
from surgeon_engine.api.messages.events import Event, Logged
from surgeon_engine.api.messages.run import (
    ACTIVITIES,
    BaselineEvaluated,
    DampingChoice,
    Evaluation,
    ExpertsLeft,
    Exported,
    Fidelity,
    LayerSparsity,
    Recovered,
    RecoveryUndone,
    RunFinished,
    RunResumed,
    RunStarted,
    ShotFinished,
    Stage,
    StageStarted,
    TokensRemoved,
    experts_left,
    format_estimate,
    neurons_left,
    step_left_out,
)
from surgeon_engine.api.messages.sources import Downloading
from surgeon_engine.api.report import Report
from surgeon_engine.base.formatting import (
    escape_controls,
    format_count,
    format_duration,
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


def stage_name(stage: Stage, shot: int) -> str:
    """Return what a stage does; `shot` is 0 outside the shots."""
    return ACTIVITIES[stage] + (f" (shot {shot})" if shot else "")


def text_name(text: str) -> str:
    """Return the name of a text as people call it."""
    return TEXT_NAMES.get(text, text)


def event_line(event: Event) -> str:
    """Return the line to print for an event, or an empty string for none."""
    match event:
        case RunStarted() | RunResumed() | TokensRemoved() | RunFinished():
            return _run_line(event)
        case StageStarted(stage=stage, shot=shot):
            return f"  {stage_name(stage, shot)}"
        case BaselineEvaluated(evaluation=evaluation):
            return f"original: perplexity {evaluation.perplexity:.2f}"
        case ShotFinished(shot=shot, sparsity=sparsity, evaluation=evaluation):
            quality = ""
            if evaluation is not None:
                quality = f"{_quality(evaluation)}, "
            return (
                f"shot {shot}: sparsity {format_percent(sparsity, 2)}, {quality}"
                f"{format_duration(event.seconds)}{_damping(event.damping)}"
            )
        case Recovered() | RecoveryUndone():
            return _recovered(event)
        case Exported():
            return _exported(event)
        case Downloading(done=done, total=total) if total:
            return f"  {format_size(done)} of {format_size(total)}"
        case Logged(level=level, message=message):
            return f"{level.value}: {message}"
    return ""


def _run_line(event: RunStarted | RunResumed | TokensRemoved | RunFinished) -> str:
    match event:
        case TokensRemoved():
            return _tokens_line(event)
        case RunStarted(folder=folder, model=model, device=device):
            return (
                f"{model.name}: {format_count(model.parameters)} parameters, "
                f"{format_count(model.prunable)} of them prunable; {device}; "
                f"run folder {folder}"
            )
        case RunResumed(shots=shots, seconds=seconds):
            return (
                f"resumed after {shots} shot{'s' if shots != 1 else ''}, "
                f"{format_duration(seconds)} of work"
            )
        case RunFinished(seconds=seconds, peak_memory_bytes=peak):
            return (
                f"done in {format_duration(seconds)}, peak memory {format_size(peak)}"
            )


def _tokens_line(event: TokensRemoved) -> str:
    before, after = format_count(event.before), format_count(event.after)
    return f"vocabulary: {before} to {after} tokens"


def _quality(evaluation: Evaluation) -> str:
    """Return the KL and the same top tokens on each text, and more of the first."""
    of_first = f"perplexity {evaluation.perplexity:.2f}"
    if not evaluation.fidelity:
        return of_first
    if (bits := evaluation.fidelity[0].bits_per_byte) is not None:
        of_first += f", {bits.value:.3f} bits per byte"
    parts = (
        f"{each.divergence.value:.3g} nats ({format_percent(each.agreement.value, 0)} "
        f"same top token{'' if number else f', {of_first}'}) on {text_name(each.text)}"
        for number, each in enumerate(evaluation.fidelity)
    )
    return f"KL {'; '.join(parts)}"


def fidelity_table(baseline: Evaluation, fidelity: Iterable[Fidelity]) -> Table:
    """Return the fidelity of a file on each text, with 95 % intervals.

    Args:
        baseline: the evaluation of the original.
        fidelity: that of the file.
    """
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
        yield (f"{_tokens_line(tokens)}; perplexity is per token of the original")
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
    """Return the bits per byte of a file, and those of the original."""
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
                f"{text_name(each.text)}: KL, top tokens and overlap are those of "
                f"{format_percent(each.compared)} of the tokens, which end where one "
                "of the original's ends"
            )


def sweep_table(outcomes: Mapping[str, Report | str], context: int) -> Table:
    """Return the size, the fidelity and the memory of each run of a sweep.

    KL is that on the text on which it is largest, as for the verdict. Below the table
    is a note if figures of the runs cannot be compared.

    Args:
        outcomes: by the name of the run, its report, or why it has none.
        context: tokens of prompt and answer together, for the memory; at most as many
            as all models support.
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


def _recovered(event: Recovered | RecoveryUndone) -> str:
    if isinstance(event, RecoveryUndone):
        # A message says why a whole recovery was undone.
        return "" if event.stage is None else step_left_out(event.stage)
    return (
        f"recovery: KL to the original {event.nats_before:.3f} -> "
        f"{event.nats_after:.3f} nats on held-out text; "
        f"{_quality(event.evaluation)}, {format_duration(event.seconds)}"
    )


def _exported(event: Exported) -> str:
    size = f"{event.format}, {event.dtype.label}, {format_size(event.weight_bytes)}"
    if event.tokens_compared == 0:
        return (
            f"exported to {event.folder} ({size}); its tensors were read back by "
            f"{event.checked_with}, no program that could run them is installed"
        )
    divergence = ""
    if event.saving_divergence is not None:
        divergence = f", KL to the model in memory {event.saving_divergence:.2g} nats"
    return (
        f"exported and verified: {event.folder} ({size}); {event.checked_with}: "
        f"maximum logit difference {event.largest_difference:.2g}, the top "
        f"token is the same for {format_percent(event.agreement)}{divergence}"
    )


def _damping(choice: DampingChoice | None) -> str:
    if choice is None or choice.tried == 0:
        return ""
    return (
        f"; damping {choice.cost:g} for costs, {choice.update:g} for the update "
        f"(best of {choice.tried})"
    )


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


def measurement_notes(measured: Measured) -> str:
    """Return how the figures of a measurement were taken."""
    spread = "the lowest and the highest round"
    if measured.rounds >= ROUNDS_TO_TRIM:
        spread = "the range without " + spread
    return (
        f"{', '.join(filter(None, (measured.device, measured.dtype)))}.\n"
        f"Prompts of {format_count(measured.prompt_tokens)} tokens; "
        f"{format_count(measured.generated_tokens)} tokens generated one by one.\n"
        f"Medians of {measured.rounds} rounds; in brackets {spread}."
    )


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
