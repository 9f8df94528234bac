"""Texts about exported files and their speed.

Pure functions of the events of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.messages.benchmark import Measured, Rate, Ratio, speedups
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.run import Exported, Stage
from surgeon_engine.planning.planned_file import FileForm
from surgeon_gui.base.translation import tr
from surgeon_gui.state.bars import memory_bytes
from surgeon_gui.state.job.file_formats import (
    disabled_dtypes,
    disabled_save_formats,
    is_larger,
)
from surgeon_gui.state.request import Request
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import planned_export, stage_progress
from surgeon_gui.text import fidelity, memory, numbers
from surgeon_gui.text.choices import choice_label

_UNCHANGED = 5e-5  # a relative change that two decimals of a percentage do not show
_DASH = "\N{EN DASH}"
_OPEN, _CLOSE = "\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}"
_SAVE_STAGES = (Stage.LOAD, Stage.EXPORT, Stage.VERIFICATION)

_OF_THE_RUN = (tr("Perplexity"), tr("KL to the original"))  # not of a later export

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SpeedCell:
    """One cell of the speed table."""

    value: str
    below: str  # second line, in a smaller font


SpeedRow = tuple[SpeedCell, ...]  # metric and unit, original, pruned, ratio


class OriginalSpeed(NamedTuple):
    """Texts about the original's speed, to be shown beside the file's."""

    text: str
    ratio: str = ""  # for a tooltip
    is_file_slower: bool = False


def export_facts(run: RunState) -> Facts:
    """Return names and values that describe the export of a run."""
    if run.exported is None:
        return ()
    original = run.model.file_bytes if run.model is not None else 0
    return (
        *_file_facts(run.exported, original),
        *_memory_facts(run),
        *_check_facts(run.exported, _text_of(run)),
    )


def _memory_facts(run: RunState) -> Facts:
    """Return the memory in which the exported model runs; empty if it is not known."""
    if (found := memory_bytes(run)) is None:
        return ()
    pair, context = found
    return ((memory.title(context), numbers.needed_size(round(pair.after))),)


def saved_facts(exported: Exported, original_bytes: int) -> Facts:
    """Return the most important facts of files that were saved after a run."""
    facts = (*_file_facts(exported, original_bytes), *_check_facts(exported))
    return tuple(fact for fact in facts if fact[0] not in _OF_THE_RUN)


def saved_sentence(exported: Exported) -> str:
    """Return where a model was saved."""
    text = tr("Pruned model saved to {folder} ({size}).")
    if not exported.tokens_compared:
        text = tr(
            "Pruned model saved to {folder} ({size}). No program on this computer can "
            "run it."
        )
    size = numbers.size(exported.weight_bytes)
    return text.format(folder=exported.folder, size=size)


def save_forecast(run: RunState, export: ExportConfig) -> tuple[str, str]:
    """Return what a further export will be, and a warning if it is a large file."""
    planned = planned_export(run, export)
    if planned is None:
        return "", ""
    form, size = planned
    line = tr("The file will have about {size}, in {dtype}.")
    line = line.format(size=numbers.size(size), dtype=choice_label(form.dtype)[0])
    if run.model is None or not is_larger(size, run.model):
        return line, ""
    warning = tr("Larger than the original of {size}, whose weights have fewer bits.")
    warning = warning.format(size=numbers.size(run.model.file_bytes))
    return line, f"{warning} {_way_to_fewer_bytes(run, export, form, size)}".strip()


def _way_to_fewer_bytes(
    run: RunState, export: ExportConfig, form: FileForm, size: int
) -> str:
    """Return what makes a further export smaller; "" if no choice does."""
    reasons = disabled_save_formats(run.exported) if run.exported is not None else {}
    if form.format is not Format.GGUF and not reasons.get(Format.GGUF):
        return tr("GGUF files have shorter number formats.")
    impossible = disabled_dtypes(export.format, run.model)
    for dtype in (each for each in FileDtype if each not in impossible):
        other = planned_export(run, replace(export, dtype=dtype))
        if other is not None and other[0].format is form.format and other[1] < size:
            return tr("Choose a shorter number format.")
    return ""


def unrun_note(exported: Exported | None) -> str:
    """Return a warning if no program could run the exported file; otherwise ""."""
    if exported is None or exported.tokens_compared:
        return ""
    return tr(
        "Not run: no program on this computer can run this file. Test it before you "
        "use it."
    )


def larger_note(run: RunState) -> str:
    """Return why the file is larger than the original's; "" if it is not."""
    if run.exported is None or not is_larger(run.exported.weight_bytes, run.model):
        return ""
    return tr(
        "Larger than the original file, whose weights have fewer bits than {dtype}. "
        "Choose Save in another format, and a shorter number format."
    ).format(dtype=choice_label(run.exported.dtype)[0])


def failure_note(run: RunState) -> str:
    """Return why a run failed during or after its export; "" if it did not."""
    if run.error is None or not (run.exported is not None or run.is_exporting):
        return ""
    summary = (
        tr("Nothing was exported.")
        if run.exported is None
        else tr("The export failed.")
    )
    return f"{summary} {run.error.message} {run.error.hint}".strip()


def phase_of(request: Request[Any]) -> str:
    """Return the current activity of a request as a sentence; "" if it is closed."""
    if not request.is_open:
        return ""
    doing = stage_progress(request.stage, request.done, request.total)
    if request.is_cancelling:
        doing = tr("canceling…")
    return doing[0].upper() + doing[1:]


def progress_of(request: Request[Any]) -> float:
    """Return the progress of a request, from 0 to 1."""
    fraction = min(1.0, request.done / request.total) if request.total else 0.0
    if request.stage in _SAVE_STAGES:
        return (_SAVE_STAGES.index(request.stage) + fraction) / len(_SAVE_STAGES)
    return fraction


def ended_note(request: Request[Any], name: str) -> str:
    """Return a note if the request called `name` was cancelled; otherwise ""."""
    if request.is_cancelled:
        return tr("{what} was canceled.").format(what=name)
    return ""


def problem_of(request: Request[Any], told: Failed | None = None) -> str:
    """Return the error of a request with its hint; "" if there is none.

    `told`: the error that the window shows elsewhere, which is not repeated.
    """
    error = request.error
    if error is None or error is told:
        return ""
    return f"{error.message} {error.hint}".strip()


def speed_titles(measured: Measured) -> tuple[str, ...]:
    """Return the titles of the speed table, except for the metric column."""
    if len(measured.models) == 1:
        return (tr("Pruned"),)
    return tr("Original"), tr("Pruned"), tr("Ratio per round")


def speed_rows(measured: Measured) -> tuple[SpeedRow, ...]:
    """Return the rows of the speed table: metric, original, pruned, ratio.

    The original and the ratio are left out if the file was measured alone.
    """
    models = measured.models
    prompt = generation = None
    if len(models) == 2:
        ratios = speedups(measured)
        prompt, generation = ratios.prompt, ratios.generation
    return (
        (
            SpeedCell(tr("Prompt"), "tokens/s"),
            *_rates([each.prompt for each in models], prompt),
        ),
        (
            SpeedCell(tr("Generation"), "tokens/s"),
            *_rates([each.generation for each in models], generation),
        ),
    )


def original_speed(measured: Measured) -> OriginalSpeed:
    """Return the original's speed, and the ratio of the file's to it."""
    if len(measured.models) == 1:
        return OriginalSpeed(tr("original: no GGUF file"))
    ratio = speedups(measured).generation
    text = tr("was {n}, within noise")
    if ratio.is_faster or ratio.is_slower:
        text = tr("was {n}")
    shown, title = _with_range(ratio, numbers.ratio), tr("Ratio per round")
    text = text.format(n=numbers.rate(measured.models[0].generation.median))
    tip = f"{title}: {shown.value} ({shown.below})"
    return OriginalSpeed(text, tip, ratio.is_slower)


def _file_facts(exported: Exported, original_bytes: int) -> Facts:
    size = numbers.size(exported.weight_bytes)
    if original_bytes:
        share = numbers.percent(exported.weight_bytes / original_bytes, decimals=0)
        size = tr("{size} ({share} of the original)").format(size=size, share=share)
    return (
        (tr("Format"), choice_label(exported.format)[0]),
        (tr("Number format"), choice_label(exported.dtype)[0]),
        (tr("Weights on disk"), size),
    )


def _text_of(run: RunState) -> str:
    """Return the name of the text on which a run checks its files; empty: unknown."""
    if run.evaluation is None or not run.evaluation.fidelity:
        return ""
    return fidelity.text_phrase(run.evaluation.fidelity[0].text)


def _check_facts(exported: Exported, text: str = "") -> Facts:
    folder = (tr("Folder"), exported.folder)
    verified_with = (tr("Checked with"), exported.checked_with)
    if not exported.tokens_compared:
        return verified_with, folder
    facts = [verified_with, (tr("File and model in memory"), _verified(exported))]
    if exported.saving_divergence is not None:
        nats = numbers.nats(exported.saving_divergence)
        facts.append((tr("KL by saving"), _on_text(nats, text)))
    # Only what saving has changed: these are the first windows, the run had all.
    perplexity, divergence = _OF_THE_RUN
    for name, after, before, where in (
        (perplexity, exported.perplexity, exported.expected_perplexity, ""),
        (divergence, exported.divergence, exported.expected_divergence, text),
    ):
        if after is not None and before:
            facts.append((name, _on_text(_change(after / before - 1), where)))
    return (*facts, folder)


def _on_text(figure: str, text: str) -> str:
    """Return a figure with the text on which it was measured, if that is known."""
    return (
        tr("{figure}, on {text}").format(figure=figure, text=text) if text else figure
    )


def _change(change: float) -> str:
    if abs(change) < _UNCHANGED:
        return tr("unchanged by saving")
    share = numbers.percent(abs(change), decimals=2)
    if change > 0:
        return tr("{share} more than before saving").format(share=share)
    return tr("{share} less than before saving").format(share=share)


def _verified(exported: Exported) -> str:
    compared = exported.tokens_compared
    return tr(
        "same top token for {same} of {compared} tokens that check the file; max "
        "logit difference {difference}"
    ).format(
        same=numbers.whole(round(exported.agreement * compared)),
        compared=numbers.whole(compared),
        difference=numbers.significant(exported.largest_difference, 2),
    )


def _rates(rates: Sequence[Rate], ratio: Ratio | None) -> Iterator[SpeedCell]:
    for each in rates:
        yield _with_range(each, numbers.rate)
    if ratio is not None:
        yield _with_range(ratio, numbers.ratio)


def _with_range(figure: Rate | Ratio, to_text: Callable[[float], str]) -> SpeedCell:
    low, high = to_text(figure.low), to_text(figure.high)
    return SpeedCell(to_text(figure.median), f"{low}{_DASH}{high}")
