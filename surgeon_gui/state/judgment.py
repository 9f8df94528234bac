"""The known losses of a file: rows by kind of text and test, and answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from surgeon_engine.api.config.export import QUANTIZED, Format
from surgeon_engine.api.messages.judgment import (
    Judgment,
    Outcome,
    ProbeJudged,
    TaskJudged,
)
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.model_info.source_names import is_gguf_name
from surgeon_engine.api.verdict import LIMITS, Verdict
from surgeon_engine.planning.judging import seconds_to_judge
from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import sample_pair
from surgeon_gui.state.verdict import OnText, on_texts
from surgeon_gui.text import numbers
from surgeon_gui.text.fidelity import divergence_interval, same_top_token, text_name
from surgeon_gui.text.judgments import CLASSES, PROBES, Answer
from surgeon_gui.text.verdicts import VERDICTS

_LOST = {Verdict.DIFFERENT, Verdict.BROKEN}
_SAME_TOKEN = tr(
    "Same top token: the share of tokens for which both models have the same first "
    "choice."
)
_NO_LIMIT = tr("The ring only says that no limit applies here.")


class Standing(Enum):
    """The standing of a file against the original in a row."""

    KEPT = auto()  # as close as the limits ask for, beyond chance
    OPEN = auto()
    LOST = auto()  # worse, beyond chance
    BROKEN = auto()


@dataclass(frozen=True, slots=True)
class LostRow:
    """A kind of text, a test or kinds of tokens, and how the file does there."""

    name: str
    outcome: str
    meaning: str  # definition of the figures
    standing: Standing = Standing.OPEN


_STANDING = {
    Outcome.WORSE: Standing.LOST,
    Outcome.SAME: Standing.OPEN,
    Outcome.BETTER: Standing.KEPT,
}


def judging_time(run: RunState, machine: Machine | None) -> str:
    """Return what judging the file of a run does, and how long it takes."""
    config, model, exported = run.settled_config, run.model, run.exported
    what = tr("Tests and prompts")
    if config is None or model is None or exported is None or machine is None:
        return what
    in_llama = (
        is_gguf_name(config.model.source),
        exported.format is Format.GGUF,
    )
    seconds = seconds_to_judge(config, model, machine, in_llama=in_llama)
    if seconds is None:
        return what
    return tr("Tests and prompts, about {time}").format(
        time=numbers.rough_duration(seconds)
    )


def lost_rows(run: RunState) -> tuple[LostRow, ...]:
    """Return rows: the texts, the worst first; tests; and tokens of several kinds.

    Without a judgment there are the texts of the run alone.
    """
    texts = [
        _text_row(each)
        for each in sorted(on_texts(run), key=lambda x: x.fidelity.agreement.value)
    ]
    further = _judged_rows(run.judgment) if run.judgment is not None else ()
    return (*texts, *further)


def _text_row(on_text: OnText) -> LostRow:
    found, ends = on_text.fidelity, set(on_text.ends)
    verdict, standing = VERDICTS[on_text.verdict], Standing.OPEN
    if ends <= _LOST:
        is_broken = on_text.verdict is Verdict.BROKEN
        standing = Standing.BROKEN if is_broken else Standing.LOST
    elif not ends & _LOST:
        standing = Standing.KEPT
    else:
        verdict = tr("{verdict}, at the limit").format(verdict=verdict)
    limits = LIMITS[Verdict.CLOSE]
    mark = tr(
        "KL {nats}. The mark is a tick up to a KL of {limit} and from {share} same top "
        "token, a cross beyond, and a ring where a limit is within the 95 % interval."
    ).format(
        nats=divergence_interval(found),
        limit=numbers.nats(limits.divergence),
        share=numbers.percent(limits.agreement, decimals=0),
    )
    meaning = [mark, _SAME_TOKEN]
    if found.overlap is not None:
        kept = tr("Of 100 tokens that the file samples, the original would keep {n}.")
        count = round(100 * found.overlap.value)
        meaning.append(kept.format(n=numbers.whole(count)))
    outcome = tr("{verdict}; {same}").format(
        verdict=verdict, same=same_top_token(found.agreement.value)
    )
    return LostRow(text_name(found.text), outcome, "\n".join(meaning), standing)


def _judged_rows(judgment: Judgment) -> tuple[LostRow, ...]:
    rows = [
        _test_row(PROBES[each.probe], each, each.file, each.original)
        for each in judgment.probes
    ]
    for task in judgment.tasks:
        passed, before = (
            round(task.file * task.items),
            round(task.original * task.items),
        )
        rows.append(_test_row(task.task, task, passed, before))
    of_words = tr("Here: of these words in all texts.")
    words = f"{_SAME_TOKEN} {of_words} {_NO_LIMIT}"
    for each in judgment.classes:
        share = same_top_token(each.figures.agreement.value)
        rows.append(LostRow(CLASSES[each.kind], share, words))
    if len(judgment.positions) > 1:
        found = (each.figures.agreement.value for each in judgment.positions)
        shares = same_top_token(*found)
        where = tr("Here: in each quarter of the windows of all texts, in order.")
        name = tr("By position in the text")
        rows.append(LostRow(name, shares, f"{_SAME_TOKEN} {where} {_NO_LIMIT}"))
    return tuple(rows)


def _test_row(
    name: str, test: ProbeJudged | TaskJudged, passed: int, before: int
) -> LostRow:
    counts = tr("{n} of {all}, original {before}").format(
        n=numbers.whole(passed),
        all=numbers.whole(test.items),
        before=numbers.whole(before),
    )
    if isinstance(test, ProbeJudged) and test.original_fails:
        counts = tr("{counts}: the original fails it, too").format(counts=counts)
    elif test.outcome is Outcome.SAME:
        counts = tr("{counts}: cannot tell apart").format(counts=counts)
    meaning = tr(
        "Prompts that this file and the original get right. The mark is a cross "
        "if the file gets fewer right, a tick if it gets more, and a ring if that "
        "may be chance (p at least 0.05): they cannot be told apart."
    )
    return LostRow(name, counts, meaning, _STANDING[test.outcome])


def answers(run: RunState) -> tuple[Answer, ...]:
    """Return what both models have answered where they part, the worst first.

    Without a judgment, it is what both have written after the prompt of the samples.
    """
    if run.judgment is not None:
        return tuple(
            Answer(
                each.prompt,
                each.original.text,
                each.file.text,
                _both(each.original.nats_per_byte, each.file.nats_per_byte),
            )
            for each in run.judgment.prompts
            if each.parts_at is not None
        )
    pair = sample_pair(run)
    if pair is None or not pair[0].pruned:
        return ()
    is_rounded = run.exported is not None and run.exported.dtype in QUANTIZED
    return (replace(pair[0], is_rounded_later=is_rounded),)


def _both(first: float | None, second: float | None) -> tuple[float, float] | None:
    return None if first is None or second is None else (first, second)
