"""What is known of the losses of a file: rows by kind of text and test, and answers."""

from __future__ import annotations

from surgeon_engine.api.messages.judgment import Judgment
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import sample_pair
from surgeon_gui.state.verdict import OnText, on_texts
from surgeon_gui.text.fidelity import divergence_interval, text_name
from surgeon_gui.text.judgments import CLASSES, POSITIONS, PROBES, Answer, LostRow

# On two cores of a desktop, very roughly.
_SECONDS, _SECONDS_PER_PARAMETER = 30.0, 1.5e-6


def seconds_to_judge(model: ModelSummary) -> float:
    """Return about how long it takes to judge a file of a model."""
    return _SECONDS + _SECONDS_PER_PARAMETER * model.parameters


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
    found = on_text.fidelity
    return LostRow(
        text_name(found.text),
        verdict=on_text.verdict,
        ends=on_text.ends,
        nats=divergence_interval(found),
        shares=(found.agreement.value,),
        kept=None if found.overlap is None else found.overlap.value,
    )


def _judged_rows(judgment: Judgment) -> tuple[LostRow, ...]:
    probes = (
        LostRow(
            PROBES[each.probe],
            outcome=each.outcome,
            original_fails=each.original_fails,
            passed=each.file,
            passed_before=each.original,
            prompts=each.items,
        )
        for each in judgment.probes
    )
    tasks = (
        LostRow(
            each.task,
            outcome=each.outcome,
            passed=round(each.file * each.items),
            passed_before=round(each.original * each.items),
            prompts=each.items,
        )
        for each in judgment.tasks
    )
    classes = (
        LostRow(CLASSES[each.kind], shares=(each.figures.agreement.value,))
        for each in judgment.classes
    )
    shares = tuple(x.figures.agreement.value for x in judgment.positions)
    positions = (LostRow(POSITIONS, shares=shares),) if len(shares) > 1 else ()
    return (*probes, *tasks, *classes, *positions)


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
    if pair is None or not pair.pruned:
        return ()
    return (Answer(pair.prompt, pair.original, pair.pruned),)


def _both(first: float | None, second: float | None) -> tuple[float, float] | None:
    return None if first is None or second is None else (first, second)
