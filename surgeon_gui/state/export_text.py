"""What the window says about files that were written, and about their speed.

Pure functions from what the engine has told to words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.messages.benchmark import Measured, Rate, Ratio, speedups
from surgeon_engine.api.messages.run import Exported, Stage
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.request import Request
from surgeon_gui.state.run import RunState
from surgeon_gui.state.step_text import doing_now
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label

_DASH = "\N{EN DASH}"
_OPEN, _CLOSE = "\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}"
_SAVE_STAGES = (Stage.LOAD, Stage.EXPORT, Stage.VERIFICATION)

_IN_BRIEF = (
    tr("Format"),
    tr("Number format"),
    tr("Weights on disk"),
    tr("Of the original's"),
    tr("Checked with"),
    tr("Same likeliest token"),
    tr("Folder"),
)
_LARGER = 1.02  # times the original's file: less is the header's

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SpeedCell:
    """One place of the table of speeds, with what stands below it in small."""

    value: str
    below: str = ""


SpeedRow = tuple[
    SpeedCell, SpeedCell, SpeedCell, SpeedCell
]  # what with its unit, original, pruned, ratio


def export_facts(run: RunState) -> Facts:
    """What is known of the files that a run has exported."""
    if run.exported is None:
        return ()
    original = run.model.file_bytes if run.model is not None else 0
    return (*_file_facts(run.exported, original), *_check_facts(run.exported))


def saved_facts(exported: Exported, original_bytes: int) -> Facts:
    """The same in brief, for files that were saved after a run."""
    facts = dict((*_file_facts(exported, original_bytes), *_check_facts(exported)))
    return tuple((name, facts[name]) for name in _IN_BRIEF if name in facts)


def unrun_note(exported: Exported | None) -> str:
    """That nothing has run what was written; empty if something has."""
    if exported is None or exported.tokens_compared:
        return ""
    return tr(
        "Not run: nothing on this computer can run this file. Try it before you use it."
    )


def larger_note(run: RunState) -> str:
    """Why the file is no smaller than the original's; empty if it is smaller."""
    if run.exported is None or run.model is None:
        return ""
    if run.exported.weight_bytes <= _LARGER * run.model.file_bytes:
        return ""
    return tr(
        "Larger than the original's file, whose numbers are shorter than "
        "{dtype}. Save it below in a shorter number format."
    ).format(dtype=choice_label(run.exported.dtype)[0])


def failure_note(run: RunState) -> str:
    """Why there is no export, or none that is complete; empty if it has not failed."""
    if not run.export_has_failed or run.error is None:
        return ""
    what = (
        tr("Nothing was exported.")
        if run.exported is None
        else tr("The export has failed.")
    )
    return f"{what} {run.error.message} {run.error.hint}".strip()


def about_format(wanted: Format) -> str:
    """What a form of file can do and what it cannot."""
    return choice_label(wanted)[1]


def unavailable(reasons: Mapping[Any, str]) -> str:
    """Which choices there are not, a line for each reason; or nothing."""
    names: dict[str, list[str]] = {}
    for choice, reason in reasons.items():
        if reason:
            names.setdefault(reason, []).append(_quoted(choice))
    return "\n".join(
        tr("Not possible: {choices}. {reason}").format(
            choices=", ".join(choices), reason=reason
        )
        for reason, choices in names.items()
    )


def phase_of(request: Request[Any]) -> str:
    """What the engine does for a question; empty if it does nothing."""
    if not request.is_open:
        return ""
    doing = doing_of(request)
    return doing[0].upper() + doing[1:]


def doing_of(request: Request[Any]) -> str:
    """The same for an open question, to stand inside of a sentence."""
    if request.is_cancelling:
        return tr("cancelling…")
    return doing_now(request.stage, request.done, request.total)


def progress_of(request: Request[Any]) -> float:
    """How much of it is done, from 0 to 1."""
    fraction = min(1.0, request.done / request.total) if request.total else 0.0
    if request.stage in _SAVE_STAGES:
        return (_SAVE_STAGES.index(request.stage) + fraction) / len(_SAVE_STAGES)
    return fraction


def ended_note(request: Request[Any], what: str) -> str:
    """How a question has ended that got no answer; empty if it got one."""
    if request.is_cancelled:
        return tr("{what} was cancelled.").format(what=what)
    return ""


def problem_of(request: Request[Any]) -> str:
    """What went wrong with a question, with its hint; empty: nothing."""
    error = request.error
    return f"{error.message} {error.hint}".strip() if error is not None else ""


def speed_rows(measured: Measured) -> tuple[SpeedRow, ...]:
    """The table of two models: what, original, pruned, ratio."""
    first, second = measured.models
    found = speedups(measured)
    return (
        (
            SpeedCell(tr("Prompt"), "tokens/s"),
            *_rates(first.prompt, second.prompt, found.prompt),
        ),
        (
            SpeedCell(tr("Generation"), "tokens/s"),
            *_rates(first.generation, second.generation, found.generation),
        ),
        (SpeedCell(tr("Memory to run")), *_sizes(first.peak_bytes, second.peak_bytes)),
        (SpeedCell(tr("File size")), *_sizes(first.file_bytes, second.file_bytes)),
    )


def how_measured(measured: Measured) -> str:
    """What the figures of the table are, and what they were taken with."""
    return tr(
        "Medians of {rounds} rounds in turns; small: how far the rounds "
        "spread. Taken on: {device}, {dtype}. Prompts of {prompt} tokens, "
        "{generated} tokens generated one by one."
    ).format(
        rounds=measured.rounds,
        device=measured.device,
        dtype=measured.dtype,
        prompt=numbers.whole(measured.prompt_tokens),
        generated=numbers.whole(measured.generated_tokens),
    )


def _file_facts(exported: Exported, original_bytes: int) -> Facts:
    against = _DASH
    if original_bytes:
        share = numbers.percent(exported.weight_bytes / original_bytes)
        against = tr("{share} of {size}").format(
            share=share, size=numbers.size(original_bytes)
        )
    return (
        (tr("Format"), choice_label(exported.format)[0]),
        (tr("Number format"), choice_label(exported.dtype)[0]),
        (tr("Weights on disk"), numbers.size(exported.weight_bytes)),
        (tr("Of the original's"), against),
        (tr("Forecast"), _forecast(exported)),
        (tr("Whole folder"), numbers.size(exported.bytes)),
    )


def _forecast(exported: Exported) -> str:
    if not exported.forecast_bytes:
        return tr("none was made")
    off = exported.weight_bytes - exported.forecast_bytes
    size = numbers.size(exported.forecast_bytes)
    if not off:
        return tr("{size}, exact to the byte").format(size=size)
    share = numbers.percent(abs(off) / exported.forecast_bytes, decimals=2)
    if share.startswith("0\N{NO-BREAK SPACE}"):
        share = numbers.size(abs(off))
    if off > 0:
        return tr("{size}; came out {share} larger").format(size=size, share=share)
    return tr("{size}; came out {share} smaller").format(size=size, share=share)


def _check_facts(exported: Exported) -> Facts:
    folder = (tr("Folder"), exported.folder)
    checked = (tr("Checked with"), exported.checked_with)
    if not exported.tokens_compared:
        return checked, folder
    facts = [
        checked,
        (
            tr("Compared"),
            ntr("{n} token", "{n} tokens", exported.tokens_compared).format(
                n=numbers.whole(exported.tokens_compared)
            ),
        ),
        (tr("Largest difference"), numbers.scientific(exported.largest_difference)),
        (tr("Same likeliest token"), numbers.percent(exported.agreement, decimals=2)),
    ]
    if exported.perplexity is not None:
        words = tr("{perplexity} on the first windows")  # the run's is of all
        reloaded = words.format(perplexity=numbers.perplexity(exported.perplexity))
        facts.append((tr("Perplexity reloaded"), reloaded))
        if exported.expected_perplexity is not None:
            in_memory = numbers.perplexity(exported.expected_perplexity)
            facts.append((tr("Perplexity in memory"), in_memory))
    return (*facts, folder)


def _quoted(choice: Enum) -> str:
    return f"{_OPEN}{choice_label(choice)[0]}{_CLOSE}"


def _rates(
    first: Rate, second: Rate, ratio: Ratio
) -> tuple[SpeedCell, SpeedCell, SpeedCell]:
    return _rate(first), _rate(second), _spread_of(ratio, numbers.ratio)


def _rate(rate: Rate) -> SpeedCell:
    return _spread_of(rate, numbers.rate)


def _spread_of(figure: Rate | Ratio, words: Any) -> SpeedCell:
    spread = f"{words(figure.low)}{_DASH}{words(figure.high)}"
    return SpeedCell(words(figure.median), spread)


def _sizes(first: int, second: int) -> tuple[SpeedCell, SpeedCell, SpeedCell]:
    return (
        SpeedCell(numbers.size(first)),
        SpeedCell(numbers.size(second)),
        SpeedCell(numbers.ratio(second / first) if first else _DASH),
    )
