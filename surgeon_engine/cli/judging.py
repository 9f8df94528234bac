"""The commands surgeon judge and surgeon compare, and their tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import Device
from surgeon_engine.api.messages.judgment import (
    DraftJudged,
    Figures,
    JudgeSettings,
    Judgment,
    Outcome,
    Probe,
    ProbeJudged,
    PromptJudged,
    TextJudged,
    tokens_per_step,
)
from surgeon_engine.api.messages.lines import text_name
from surgeon_engine.api.messages.run import Estimate, Fidelity, format_estimate
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.api.verdict import judged_verdict
from surgeon_engine.base.files import expand_path
from surgeon_engine.base.formatting import format_count, format_percent
from surgeon_engine.cli.formatting import (
    add_row,
    bits_cells,
    compared_lines,
    headed_table,
    missing_export,
    sweep_table,
)
from surgeon_engine.cli.output import EventDisplay, Output

_DEFAULTS = JudgeSettings()
_DRAFTED = (2, 4, 8)  # tokens
_SHOWN = 3  # prompts that are shown, the worst first
_CHARACTERS = 300  # characters shown of each answer


def judge(  # noqa: PLR0913  one parameter for each option
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_FILE",
            help="Folder of a finished run, an export of it, or a model.",
        ),
    ],
    original: Annotated[
        str,
        typer.Argument(help="As for inspect; default: the original of the run."),
    ] = "",
    prompts: Annotated[
        str,
        typer.Option(metavar="FILE", help="Your prompts: one in each line, or .jsonl."),
    ] = "",
    text: Annotated[
        str, typer.Option(metavar="FILE", help="A further text to judge on.")
    ] = "",
    task: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK", help="A task of lm_eval; may be repeated."),
    ] = None,
    limit: Annotated[
        int, typer.Option(help="Items of each task; 0: all.")
    ] = _DEFAULTS.limit,
    quick: Annotated[
        bool, typer.Option("--quick", help="Use a third of the items.")
    ] = False,
    device: Annotated[
        Device, typer.Option(help="auto: a GPU if there is one.")
    ] = _DEFAULTS.device,
    draft: Annotated[
        bool,
        typer.Option(
            "--draft",
            help="Measure the original with the file as its draft model, in llama.cpp.",
        ),
    ] = False,
) -> None:
    """Judge what a pruned or quantized file has lost against the original."""
    from surgeon_engine.judging.judge import judge as judge_file
    from surgeon_engine.runtime.run_context import RunContext

    tasks = tuple(task or ())
    settings = JudgeSettings(prompts, text, tasks, limit, quick, device, draft)
    output = Output()
    with EventDisplay(output) as display:
        context = RunContext("judge", display.show)
        judged = judge_file(target, original, settings, context)
    print_judgment(judged.judgment, output)
    if judged.path:
        output.print_line(f"All figures and answers: {judged.path}")


def print_judgment(judgment: Judgment, output: Output) -> None:
    """Print the figures of a judgment, its worst prompts and the verdict."""
    for table in _tables(judgment):
        output.print_table(table)
        output.print_line("")
    for line in compared_lines(x.fidelity for x in judgment.texts):
        output.print_line(line)
    if judgment.draft is not None:
        output.print_line(_speed(judgment.draft))
    parted = [each for each in judgment.prompts if each.parts_at is not None]
    count = len(judgment.prompts)
    output.print_line(f"Answers that differ: {len(parted)} of {count}")
    if judgment.likelihood is not None:
        output.print_line(
            "Loss of the file's answers by the original, nats per byte: "
            f"{_figure(judgment.likelihood)}, {judgment.likelihood_outcome}"
        )
    for each in parted[:_SHOWN]:
        output.print_line(_prompt(each))
    programs = dict.fromkeys((judgment.original_program, judgment.file_program))
    output.print_line(f"Answers by {' and '.join(programs)}.")
    output.print_line(f"verdict: {judged_verdict(judgment)}")


def _speed(draft: DraftJudged) -> str:
    share = format_percent(draft.accepted / max(1, draft.drafted))
    if not draft.speed_alone or not draft.speed:
        return f"{share} of the drafted tokens are accepted; llama.cpp gave no times."
    return (
        f"The original in llama.cpp: {draft.speed_alone:.1f} tokens per second alone, "
        f"{draft.speed:.1f} with the file as its draft model (drafts of "
        f"{draft.tokens} tokens, {share} accepted, the likeliest token each time)"
    )


def _prompt(prompt: PromptJudged) -> str:
    return (
        f"\n> {prompt.prompt}\n"
        f"original: {prompt.original.text.strip()[:_CHARACTERS]}\n"
        f"file:     {prompt.file.text.strip()[:_CHARACTERS]}"
    )


def _tables(judgment: Judgment) -> Iterator[Table]:
    headers = ("KL to the original", "same top token", "overlap", "loss", "")
    table = headed_table("text", *headers, "bits per byte", "original")
    for text in judgment.texts:
        found = text.fidelity
        add_row(table, text_name(found.text), *_cells(found, text), *bits_cells(found))
    yield table
    if all(text.fidelity.compared is None for text in judgment.texts):
        yield _as_draft(judgment)
    table = headed_table("tokens", "count", *headers)
    for each in judgment.classes:
        count = format_count(each.figures.tokens)
        add_row(table, each.kind, count, *_cells(each.figures, each.figures))
    for part in judgment.positions:
        name, count = f"{part.first} to {part.last}", format_count(part.figures.tokens)
        cells = _cells(part.figures, part.figures)
        add_row(table, f"position {name}", count, *cells)
    yield table
    table = headed_table("probe", "original", "file", "difference", "p", "")
    for probe in judgment.probes:
        add_row(
            table,
            probe.probe,
            f"{probe.original} of {probe.items}",
            f"{probe.file} of {probe.items}",
            format_estimate(probe.difference, _points),
            f"{probe.p:.2g}",
            "the original fails it, too" if probe.original_fails else probe.outcome,
        )
    for task in judgment.tasks:
        add_row(
            table,
            f"{task.task} ({task.metric})",
            format_percent(task.original),
            format_percent(task.file),
            format_estimate(task.difference, _points),
            "",
            task.outcome,
        )
    yield table


def _as_draft(judgment: Judgment) -> Table:
    """Return how many tokens a step of the original gives if the file drafts."""
    steps = [f"tokens per step, {x} drafted" for x in _DRAFTED]
    table = headed_table("as a draft model", "acceptance", *steps)
    for text in judgment.texts:
        found = text.fidelity
        assert found.overlap is not None
        acceptance = found.overlap
        counts = [f"{tokens_per_step(acceptance.value, x):.2f}" for x in _DRAFTED]
        cell = format_estimate(acceptance, format_percent)
        add_row(table, text_name(found.text), cell, *counts)
    return table


def _cells(found: Fidelity | Figures, judged: TextJudged | Figures) -> tuple[str, ...]:
    assert found.overlap is not None
    return (
        format_estimate(found.divergence, "{:.3g}".format),
        format_estimate(found.agreement, format_percent),
        format_estimate(found.overlap, format_percent),
        _figure(judged.loss),
        judged.outcome,
    )


def _figure(estimate: Estimate) -> str:
    return format_estimate(estimate, _signed)


_signed: Callable[[float], str] = "{:+.3f}".format


def _points(share: float) -> str:
    return f"{100 * share:+.0f}"


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    context: Annotated[
        int,
        typer.Option(
            min=1, help="Tokens of prompt and answer together, for the memory."
        ),
    ] = PruningConfig().context,
) -> None:
    """Compare the files of finished runs; their probes, too, where they are judged."""
    paths = dict.fromkeys(map(expand_path, runs))  # each once
    names = [path.name for path in paths]
    folders = {
        path.name if names.count(path.name) == 1 else str(path): RunFolder(path)
        for path in paths
    }
    reports = {name: run.read_report() for name, run in folders.items()}
    output = Output()
    output.print_table(sweep_table(reports, context))
    for name, run in folders.items():
        if gone := missing_export(run, reports[name]):
            output.print_line(gone)
    found = {name: run.read_judgment() for name, run in folders.items()}
    judged = {name: each for name, each in found.items() if each is not None}
    if judged:
        output.print_line("")
        output.print_table(_probe_table(judged))


def _probe_table(judged: Mapping[str, Judgment]) -> Table:
    """Return the numbers of items that the original and each file get right."""
    table = headed_table("probe", "original", *judged)
    for probe in Probe:
        cells = [_results(each).get(probe) for each in judged.values()]
        known = (f"{x.original} of {x.items}" for x in cells if x is not None)
        if originals := "; ".join(dict.fromkeys(known)):
            results = [_right(cell) for cell in cells]
            add_row(table, probe, originals, *results)
    verdicts = [judged_verdict(each) or "-" for each in judged.values()]
    add_row(table, "verdict with probes", "", *verdicts)
    return table


def _results(judgment: Judgment) -> dict[Probe, ProbeJudged]:
    return {each.probe: each for each in judgment.probes}


def _right(result: ProbeJudged | None) -> str:
    """Return the items that are right, and the outcome where there is a difference."""
    if result is None:
        return "-"
    outcome = "" if result.outcome is Outcome.SAME else f", {result.outcome}"
    return f"{result.file} of {result.items}{outcome}"
