"""What is known of the losses of a file: rows by kind of text and test, and answers."""

from __future__ import annotations

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.messages.judgment import Judgment
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.model_info.source_names import is_gguf_name
from surgeon_engine.planning.judging import seconds_to_judge
from surgeon_gui.base.translation import tr
from surgeon_gui.state.run import RunState
from surgeon_gui.state.run_text import sample_pair
from surgeon_gui.state.verdict import OnText, on_texts
from surgeon_gui.text import numbers
from surgeon_gui.text.fidelity import divergence_interval, text_name
from surgeon_gui.text.judgments import CLASSES, POSITIONS, PROBES, Answer, LostRow


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
