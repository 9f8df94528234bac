"""Texts of the page of a run: its title, how it ended, what to do then.

Pure functions of the state.
"""

from __future__ import annotations

from surgeon_engine.api.messages.run import Fidelity
from surgeon_engine.api.verdict import Verdict, expected_verdict
from surgeon_gui.base.translation import tr
from surgeon_gui.state.experts import left_text
from surgeon_gui.state.export_text import Facts, failure_note, larger_note, unrun_note
from surgeon_gui.state.job.vocabulary_text import tokens_phrase
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.run_text import (
    continuation,
    has_planned_size,
    missed_target,
    no_token_removed,
    nothing_removed,
    remaining,
    steps_left_out,
    undone,
    unusual_end,
)
from surgeon_gui.state.runs.reading import file_bytes
from surgeon_gui.state.runs.text import title_of
from surgeon_gui.state.verdict import (
    baseline_of,
    deciding_text,
    decision_of,
    fidelity_of,
    rests_on_weights,
    verdict_of_run,
)
from surgeon_gui.text import fidelity, numbers, verdicts

_NOT_SAVED = tr("Nothing of it is saved.")
_TITLES = {
    Status.FAILED: tr("The run failed"),
    Status.CANCELLED: tr("Canceled"),
    Status.INTERRUPTED: tr("Interrupted"),
}


def name_of(run: RunState) -> str:
    """Return the name that the user has given, or the model and its target or size."""
    is_stopped = run.result is not None and run.result.stopped_early
    reached = run.history[-1].sparsity if is_stopped else None
    size = file_bytes(run)
    return title_of(run.folder, run.name, run.config, size, reached, run.tokens)


def headline(run: RunState) -> str:
    """Return the verdict on the file of a run, or how the run ended."""
    if run.status is Status.FINISHED:
        return verdicts.title(verdict_of_run(run))
    title = _TITLES.get(run.status, "")
    if not title or run.progress < 0.005:
        return title
    share = numbers.percent(run.progress, decimals=0)
    return tr("{title} at {share}").format(title=title, share=share)


def reason(run: RunState) -> str:
    """Return what has decided the verdict on the file of a run; empty: nothing."""
    decision = decision_of(run) if run.status is Status.FINISHED else None
    return "" if decision is None else fidelity.explained_decision(decision)


def summary(run: RunState, *, is_told: bool = False) -> str:
    """Return what a run has made or why it ended, and what to do then.

    `is_told`: why it has failed can be read elsewhere in the window.
    """
    match run.status:
        case Status.FINISHED:
            return _made(run)
        case Status.FAILED:
            why = failure_note(run)
            if run.error is not None and not why:
                why = f"{run.error.message} {run.error.hint}".strip()
            return f"{'' if is_told else why} {_advice(run)}".strip()
        case Status.CANCELLED:
            return _advice(run) or _NOT_SAVED
        case Status.INTERRUPTED:
            why = tr("Its process ended before the run did.")
            return f"{why} {_advice(run) or _NOT_SAVED}"
    return ""


def _made(run: RunState) -> str:
    sentences = []
    if (found := deciding_text(run)) is not None:
        sentences.append(fidelity.same_tokens(found))
    decision = decision_of(run)
    if decision is not None and decision.better is not Verdict.NEARLY_SAME:
        is_of_text = isinstance(decision.measured, Fidelity)
        sentences.append(
            f"{fidelity.decision(decision)}."
            if is_of_text
            else fidelity.explained_decision(decision)
        )
    sentences.append(nothing_removed(run))
    sentences.append(expectation(run))
    if experts := left_text(run):
        sentences.append(f"{experts}.")
    if run.tokens is not None:
        text = tr("Its vocabulary went from {tokens}.")
        tokens = tokens_phrase(run.tokens.before, run.tokens.after)
        sentences.append(text.format(tokens=tokens))
    sentences.append(no_token_removed(run))
    if run.exported is not None and run.exported.tokens_compared:
        text = tr("The saved file was checked with {program}.")
        sentences.append(text.format(program=run.exported.checked_with))
    sentences.append(steps_left_out(run))
    if reason := _harmless_end(run):
        sentences.append(f"{reason}.")
    return " ".join(filter(None, sentences))


def expectation(run: RunState) -> str:
    """Return what was expected of a run and what came instead; empty: as expected.

    Within the expected band, another verdict is no surprise.
    """
    verdict, expected = verdict_of_run(run), run.expected
    if verdict is None or expected is None:
        return ""
    likely = expected_verdict(expected.value)
    worst = max(fidelity_of(run), key=lambda each: each.divergence.value)
    is_within = expected.low <= worst.divergence.value <= expected.high
    if likely is verdict or is_within:
        return ""
    return tr(
        "Expected: {likely} (KL {low} to {high}). Measured: {verdict} (KL {nats} on "
        "{text})."
    ).format(
        likely=verdicts.PHRASES[likely],
        low=numbers.nats(expected.low),
        high=numbers.nats(expected.high),
        verdict=verdicts.PHRASES[verdict],
        nats=numbers.nats(worst.divergence.value),
        text=fidelity.text_phrase(worst.text),
    )


def warnings(run: RunState) -> str:
    """Return what is unusual about the result of a finished run; empty if nothing."""
    if run.status is not Status.FINISHED:
        return ""
    reason = "" if _harmless_end(run) else unusual_end(run)
    found = (
        f"{reason}." if reason else "",
        verdicts.ON_WEIGHTS if rests_on_weights(run) else "",
        larger_note(run),
        unrun_note(run.exported),
        undone(run),
    )
    return " ".join(filter(None, found))


def _harmless_end(run: RunState) -> str:
    """Return by how much a run misses its target though its file is small enough."""
    reason = unusual_end(run)
    is_harmless = reason == missed_target(run) and has_planned_size(run)
    return reason if is_harmless else ""


def _advice(run: RunState) -> str:
    """Return that an unfinished run can go on; empty if it cannot."""
    if run.resumes_at is None:
        return ""
    kept = tr("Its progress is kept.")
    return f"{kept} {continuation(run.resumes_at, run.config)}".strip()


def clock(run: RunState, now: float) -> str:
    """Return the remaining time and that so far, or how long the run took."""
    spent = run.seconds(now)
    left = remaining(run, now)
    if not run.status.is_busy:
        return left
    so_far = tr("{time} so far").format(time=numbers.whole_duration(spent))
    return " · ".join(filter(None, (_doing(run), left, so_far if spent else "")))


def _doing(run: RunState) -> str:
    """Return what the run does besides going on; empty in the usual case."""
    return {
        Status.STARTING: _starting(run),
        Status.PAUSING: tr("pausing at the next safe point"),
        Status.PAUSED: tr("paused"),
        Status.STOPPING: tr("finishing"),
        Status.CANCELLING: _cancelling(run),
    }.get(run.status, "")


def _starting(run: RunState) -> str:
    if run.saved_seconds:  # its clock stands still until its state is loaded
        return tr("resuming…")
    return tr("starting…") if run.stage is None else ""


def _cancelling(run: RunState) -> str:
    if not run.computer:
        return tr("Canceling…")
    text = tr("Canceling… Waiting for {computer}.").rstrip(".")
    return text.format(computer=run.computer)


def quality_facts(run: RunState) -> Facts:
    """Return the KL of the file and its perplexity on each text that judges."""
    if run.evaluation is None or run.baseline is None:
        return ()
    before = {each.text: each for each in baseline_of(run)}
    facts = [
        (fidelity.text_name(each.text), _quality(each, before.get(each.text)))
        for each in fidelity_of(run)
    ]
    if not facts:
        change = tr("{before} \N{RIGHTWARDS ARROW} {after}").format(
            before=numbers.perplexity(run.baseline.perplexity),
            after=numbers.perplexity(run.evaluation.perplexity),
        )
        facts = [(tr("Perplexity"), change)]
    return (*facts, *vocabulary_facts(run))


def vocabulary_facts(run: RunState) -> Facts:
    """Return the tokens before and after, and at how many the file is compared."""
    if run.tokens is None:
        return ()
    text = tokens_phrase(run.tokens.before, run.tokens.after)
    parts = (text, fidelity.compared(fidelity_of(run)))
    note = tr("Perplexity is per token of the original.")
    value = ", ".join(filter(None, parts))
    return ((tr("Vocabulary"), f"{value}\n{note}"),)


def _quality(after: Fidelity, before: Fidelity | None) -> str:
    nats = tr("KL {nats}").format(nats=fidelity.divergence_interval(after))
    if before is None:
        return nats
    change = tr("perplexity {before} \N{RIGHTWARDS ARROW} {after}").format(
        before=numbers.perplexity(before.perplexity.value),
        after=numbers.perplexity(after.perplexity.value),
    )
    bits = ", ".join(filter(None, (fidelity.bits(after), fidelity.compared([after]))))
    return "\n".join(filter(None, (f"{nats}, {change}", bits)))
