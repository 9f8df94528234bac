"""The events of a run as lines of a log, in the language of this process."""

from __future__ import annotations

from surgeon_engine.api.config.calibration import TEXT_NAMES
from surgeon_engine.api.config.evaluation import OWN_TEXT
from surgeon_engine.api.messages.events import Event
from surgeon_engine.api.messages.run import (
    ACTIVITIES,
    BaselineEvaluated,
    DampingChoice,
    Evaluation,
    Exported,
    Recovered,
    RecoveryUndone,
    RunFinished,
    RunResumed,
    RunStarted,
    ShotFinished,
    Stage,
    StageStarted,
    TokensRemoved,
    step_left_out,
)
from surgeon_engine.base.sentences import Sentence, reworded, say, say_list


def text_name(text: str) -> str:
    """Return the name of a text as people call it."""
    if text == OWN_TEXT:
        return say("text by the model itself")
    return reworded(TEXT_NAMES.get(text, text))


def stage_name(stage: Stage, shot: int) -> str:
    """Return what a stage does; `shot` is 0 outside the shots."""
    doing = Sentence(ACTIVITIES[stage], {})
    return say("{doing} (shot {shot})", doing=doing, shot=shot) if shot else doing


def damping_clauses(choice: DampingChoice | None) -> tuple[str, ...]:
    """Return the damping of a shot as clauses; empty for a method without damping."""
    if choice is None:
        return ()
    damping = say(
        "damping {cost:g} for costs and {update:g} for the update, {how}",
        cost=choice.cost,
        update=choice.update,
        how=(
            say("best of {tried} tried", tried=choice.tried)
            if choice.tried
            else say("as given")
        ),
    )
    if (nats := choice.held_out_nats) is None:
        return (damping,)
    return damping, say("KL {nats:.3g} on held-out windows", nats=nats)


def run_line(event: Event) -> str:
    """Return the line of an event, without a period; empty if it has none."""
    match event:
        case RunStarted() | RunResumed() | RunFinished():
            return _run_line(event)
        case TokensRemoved(before=before, after=after):
            return say(
                "vocabulary: {before:count} to {after:count} tokens",
                before=before,
                after=after,
            )
        case StageStarted(stage=stage, shot=shot):
            return stage_name(stage, shot)
        case BaselineEvaluated(evaluation=evaluation):
            value = evaluation.perplexity
            return say("original: perplexity {value:.2f}", value=value)
        case ShotFinished():
            return _shot_line(event)
        case Recovered() | RecoveryUndone():
            return _recovery_line(event)
        case Exported():
            return _exported_line(event)
    return ""


def _run_line(event: RunStarted | RunResumed | RunFinished) -> str:
    match event:
        case RunStarted(folder=folder, model=model, device=device):
            return say(
                "model {name}: {parameters:count} parameters, {prunable:count} of "
                "them prunable; {device}; run folder {folder}",
                name=model.name,
                parameters=model.parameters,
                prunable=model.prunable,
                device=device,
                folder=folder,
            )
        case RunResumed(shots=shots, seconds=seconds):
            return say(
                "resumed after {shots} shot, {time:duration} of work"
                if shots == 1
                else "resumed after {shots} shots, {time:duration} of work",
                shots=shots,
                time=seconds,
            )
        case RunFinished(seconds=seconds, peak_memory_bytes=peak):
            return say(
                "done in {time:duration}, peak memory {peak:size}",
                time=seconds,
                peak=peak,
            )


def _shot_line(event: ShotFinished) -> str:
    quality = "" if event.evaluation is None else _quality(event.evaluation)
    clauses = say_list(
        say("sparsity {share:percent2}", share=event.sparsity),
        quality,
        say("{time:duration}", time=event.seconds),
    )
    line = say("shot {shot}: {clauses}", shot=event.shot, clauses=clauses)
    return say_list(line, *damping_clauses(event.damping), separator="; ")


def _quality(evaluation: Evaluation) -> str:
    """Return the KL and the same top tokens on each text, and more of the first."""
    of_first = say("perplexity {value:.2f}", value=evaluation.perplexity)
    if not evaluation.fidelity:
        return of_first
    if (bits := evaluation.fidelity[0].bits_per_byte) is not None:
        of_first = say_list(of_first, say("{bits:.3f} bits per byte", bits=bits.value))
    parts = (
        say(
            "{nats:.3g} nats ({share:percent0} same top token) on {text}"
            if number
            else "{nats:.3g} nats ({share:percent0} same top token, {more}) on {text}",
            nats=each.divergence.value,
            share=each.agreement.value,
            more=of_first,
            text=text_name(each.text),
        )
        for number, each in enumerate(evaluation.fidelity)
    )
    return say("KL {parts}", parts=say_list(*parts, separator="; "))


def _recovery_line(event: Recovered | RecoveryUndone) -> str:
    if isinstance(event, RecoveryUndone):
        # A message says why a whole recovery was undone.
        return "" if event.stage is None else step_left_out(event.stage)
    return say(
        "recovery: KL to the original {before:.3f} -> {after:.3f} nats on held-out "
        "text; {quality}, {time:duration}",
        before=event.nats_before,
        after=event.nats_after,
        quality=_quality(event.evaluation),
        time=event.seconds,
    )


def _exported_line(event: Exported) -> str:
    file = say(
        "{format}, {dtype}, {size:size}",
        format=event.format,
        dtype=event.dtype.label,
        size=event.weight_bytes,
    )
    if event.tokens_compared == 0:
        return say(
            "exported to {folder} ({file}); its tensors were read back by {program}, "
            "no program that could run them is installed",
            folder=event.folder,
            file=file,
            program=event.checked_with,
        )
    line = say(
        "exported and verified: {folder} ({file}); {program}: maximum logit difference "
        "{difference:.2g}, the top token is the same for {share:percent}",
        folder=event.folder,
        file=file,
        program=event.checked_with,
        difference=event.largest_difference,
        share=event.agreement,
    )
    if event.saving_divergence is None:
        return line
    nats = event.saving_divergence
    return say_list(line, say("KL to the model in memory {nats:.2g} nats", nats=nats))
