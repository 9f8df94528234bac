"""Texts of the playground: status, summary, differences and tooltips."""

from __future__ import annotations

from pathlib import Path

from surgeon_engine.api.messages.generation import (
    Disagreement,
    Generated,
    Guess,
    Side,
    Stop,
    Written,
)
from surgeon_gui.base.translation import tr
from surgeon_gui.state.export_text import phase_of
from surgeon_gui.state.playground.state import (
    PlaygroundState,
    TokenPlace,
    comparisons,
    models_of_run,
    ranking,
)
from surgeon_gui.state.result_text import name_of
from surgeon_gui.state.run import RunState
from surgeon_gui.state.runs.reading import is_run, read_record
from surgeon_gui.state.runs.text import title
from surgeon_gui.text import numbers
from surgeon_gui.text.labels import source_name

LINE_END = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"
_TAB = "\N{RIGHTWARDS ARROW TO BAR}"
_MIN_SHOWN = 0.005  # nats; rounds to 0.01


def side_name(side: Side) -> str:
    """Return the name of a side."""
    return tr("Original") if side is Side.ORIGINAL else tr("Pruned")


def model_name(source: str, shown: RunState) -> str:
    """Return the name of a model: the title of its run if it comes from one."""
    if not source:
        return tr("no model chosen")
    if source == models_of_run(shown).pruned and shown.exported is not None:
        return name_of(shown)
    path = Path(source)
    folders = (path, path.parent) if path.is_absolute() else ()
    if (folder := next(filter(is_run, folders), None)) is not None:
        return title(read_record(folder))
    return source_name(source)


def shown_token(piece: str) -> str:
    """Return a token in quotation marks, with visible line ends and tabs."""
    if not piece:
        return tr("part of a character")
    visible = piece.replace("\n", LINE_END).replace("\t", _TAB)
    visible = visible.replace(" ", "\N{NO-BREAK SPACE}")  # no line ends after a mark
    return tr("“{prompt}”").format(prompt=visible)


def nats(value: float) -> str:
    """Format a divergence with its unit."""
    is_tiny = 0 < value < _MIN_SHOWN
    shown = f"< {numbers.fixed(0.01, 2)}" if is_tiny else numbers.fixed(value, 2)
    return tr("{number} nats").format(number=shown).replace(" ", "\N{NO-BREAK SPACE}")


def token_tip(piece: str, found: Disagreement | None) -> str:
    """Return the tooltip of a token."""
    if found is None:
        return tr("{token}: not compared yet").format(token=shown_token(piece))
    lines = [
        tr("{token}: the models differ by {nats}").format(
            token=shown_token(piece), nats=nats(found.nats)
        ),
        _guess(side_name(Side.ORIGINAL), found.original),
        _guess(side_name(Side.PRUNED), found.pruned),
    ]
    return "\n".join(lines)


def written_line(state: PlaygroundState, side: Side, answer: Generated | None) -> str:
    """Return the line below a text: length, speed, why it ended, and its weights."""
    count = len(state.tokens(side))
    parts = [numbers.tokens(count)] if count else []
    if answer is not None:
        written = answer.original if side is Side.ORIGINAL else answer.pruned
        parts = [numbers.tokens(written.tokens)]
        if written.tokens_per_second is not None:
            speed = numbers.rate(written.tokens_per_second)
            parts.append(tr("{rate} tokens/s").format(rate=speed))
        parts += filter(None, [_ending(written)])
    if parts and side is Side.PRUNED and state.is_before_rounding:
        parts.append(tr("written by the model before rounding"))
    return " · ".join(parts)


def written_tip(answer: Generated | None) -> str:
    """Return the tooltip of the line below a text: how its figures were measured."""
    method = tr(
        "The models take turns, token by token, and each is timed while the other is "
        'idle. "ended" means that the model ended its text.'
    )
    if answer is None:
        return method
    return "\n".join(
        [
            method,
            tr(
                "{device}. Prompt: {tokens}, read in {original} (original) and "
                "{pruned} (pruned). Peak of the processes, libraries included: "
                "{original_size} and {pruned_size}."
            ).format(
                device=answer.device,
                tokens=numbers.tokens(answer.original.prompt_tokens),
                original=_short_duration(answer.original.prompt_seconds),
                pruned=_short_duration(answer.pruned.prompt_seconds),
                original_size=numbers.size(answer.original.memory_bytes),
                pruned_size=numbers.size(answer.pruned.memory_bytes),
            ),
        ]
    )


def status_line(state: PlaygroundState) -> str:
    """Return the phase of the current request, or that it was cancelled; else empty."""
    question = state.question
    if state.is_writing and state.is_stopping and not question.is_cancelling:
        return tr("Stopping…")
    if question.is_open:
        return phase_of(question)
    if question.is_cancelled and not any(map(state.tokens, Side)):
        return tr("Canceled.")
    if question.is_cancelled:
        return tr("Canceled. The texts so far are kept.")
    return ""


def summary(state: PlaygroundState) -> str:
    """Summarize the agreement of both models; empty before the comparison."""
    found = [x for side in Side for x in comparisons(state.tokens(side))]
    response = state.question.response
    if response is not None and not response.is_compared:
        return tr("The models have different tokens: only their texts are shown.")
    if not found:
        return ""
    agreement = sum(each.agrees for each in found) / len(found)
    sentences = [
        tr(
            "Same top token for {share} of the tokens of these two texts; mean "
            "difference {mean}."
        ).format(
            share=numbers.percent(agreement, decimals=0),
            mean=nats(sum(each.nats for each in found) / len(found)),
        )
    ]
    places = ranking(state)
    if not places:
        return tr("The predictions of both models are identical.")
    token = state.tokens(places[0].side)[places[0].index]
    assert token.disagreement is not None
    where = {
        Side.ORIGINAL: tr(
            "Largest difference at {token} in the original's text: {nats}."
        ),
        Side.PRUNED: tr(
            "Largest difference at {token} in the pruned model's text: {nats}."
        ),
    }
    sentences.append(
        where[places[0].side].format(
            token=shown_token(token.piece), nats=nats(token.disagreement.nats)
        )
    )
    return " ".join(sentences)


def token_line(state: PlaygroundState, place: TokenPlace) -> str:
    """Return one line of the list of the largest differences."""
    token = state.tokens(place.side)[place.index]
    assert token.disagreement is not None
    if token.disagreement.agrees:
        template = tr(
            "{nats}  {side}, token {number}: {token}; both predict {top} "
            "(original {share}, pruned {share_after})"
        )
    else:
        template = tr(
            "{nats}  {side}, token {number}: {token}; original predicts {original}, "
            "pruned {pruned}"
        )
    before, after = token.disagreement.original, token.disagreement.pruned
    return template.format(
        nats=nats(token.disagreement.nats),
        side=side_name(place.side),
        number=place.index + 1,
        token=shown_token(token.piece),
        original=_with_share(before),
        pruned=_with_share(after),
        top=shown_token(before.likeliest),
        share=_share(before.probability),
        share_after=_share(after.probability),
    )


def text_of(state: PlaygroundState, side: Side) -> str:
    """Return the prompt with the text that one model generated."""
    return state.requested_prompt + "".join(x.piece for x in state.tokens(side))


def _guess(model: str, guess: Guess) -> str:
    return tr("{model}: top token {top} ({share}), this token {written}").format(
        model=model,
        top=shown_token(guess.likeliest),
        share=_share(guess.probability),
        written=_share(guess.of_written),
    )


def _with_share(guess: Guess) -> str:
    return f"{shown_token(guess.likeliest)} ({_share(guess.probability)})"


def _share(probability: float) -> str:
    decimals = 0 if probability >= 0.1 else 1 if probability >= 0.001 else 4
    return numbers.percent(probability, decimals=decimals)


def _short_duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f}\N{NO-BREAK SPACE}ms"
    return numbers.duration(seconds)


def _ending(written: Written) -> str:
    endings = {
        Stop.LENGTH: "",  # the normal case
        Stop.END_OF_TEXT: tr("ended"),
        Stop.WINDOW: tr("context full"),
        Stop.ASKED: tr("stopped"),
    }
    return endings[written.stop]
