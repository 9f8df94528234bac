"""What the playground says about the texts of two models."""

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
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.export_text import phase_of
from surgeon_gui.state.playground.state import (
    Place,
    PlaygroundState,
    comparisons,
    ranking,
)
from surgeon_gui.text import numbers
from surgeon_gui.text.labels import source_name

LINE_END = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"
_TAB = "\N{RIGHTWARDS ARROW TO BAR}"
_GENERIC = ("export", "checkpoint", "compact", "masked", "stock")  # names of folders
_SMALLEST = 0.005  # nats that two decimals still show


def side_name(side: Side) -> str:
    """What a side is called."""
    return tr("Original") if side is Side.ORIGINAL else tr("Pruned")


def model_name(source: str) -> str:
    """A model's name; with the folder around it where its own says nothing."""
    if not source:
        return tr("none chosen")
    name, around = source_name(source), Path(source).parent.name
    return f"{around}/{name}" if name in _GENERIC and around else name


def shown_token(piece: str) -> str:
    """A token so that its spaces and line ends can be seen, in quotation marks."""
    if not piece:
        return tr("part of a character")
    visible = piece.replace("\n", LINE_END).replace("\t", _TAB)
    return f"“{visible}”"


def nats(value: float) -> str:
    """A divergence with its unit."""
    is_tiny = 0 < value < _SMALLEST
    shown = f"< {numbers.fixed(0.01, 2)}" if is_tiny else numbers.fixed(value, 2)
    return tr("{number} nats").format(number=shown).replace(" ", "\N{NO-BREAK SPACE}")


def token_tip(piece: str, found: Disagreement | None) -> str:
    """What is known of a token, for the mouse over it."""
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
    """The line below a text: how long, how fast, how much memory, why it ends."""
    if answer is None:
        count = len(state.tokens(side))
        return describe_tokens(count) if count else ""
    written = answer.original if side is Side.ORIGINAL else answer.pruned
    parts = [describe_tokens(written.tokens)]
    if written.tokens_per_second is not None:
        speed = numbers.rate(written.tokens_per_second)
        parts.append(tr("{rate} tokens/s").format(rate=speed))
    parts.append(tr("{size} memory").format(size=numbers.size(written.memory_bytes)))
    if ending := _ending(written):
        parts.append(ending)
    return " · ".join(parts)


def written_tip(answer: Generated | None) -> str:
    """How the figures of the line below a text were taken."""
    how = tr(
        "The models take turns, token by token, and each is timed while it alone is at "
        "work. Memory is the most that the model's process used, its programs "
        "included; on a GPU it is the most that its tensors used. A text that has "
        "ended was ended by its model."
    )
    if answer is None:
        return how
    return "\n".join(
        [
            how,
            tr("{device}. Prompt: {tokens}, read in {ours} and {theirs}.").format(
                device=answer.device,
                tokens=describe_tokens(answer.original.prompt_tokens),
                ours=_brief(answer.original.prompt_seconds),
                theirs=_brief(answer.pruned.prompt_seconds),
            ),
        ]
    )


def status_line(state: PlaygroundState) -> str:
    """What is being done, or how it has ended without an answer; empty: neither."""
    question = state.question
    if state.is_writing and state.is_stopping and not question.is_cancelling:
        return tr("Stopping…")
    if question.is_open:
        return phase_of(question)
    if question.is_cancelled:
        return tr("Cancelled. The texts are as long as they were by then.")
    return ""


def summary(state: PlaygroundState) -> str:
    """How alike both models are on these texts; empty before they are compared."""
    found = comparisons(state.original) + comparisons(state.pruned)
    if not found:
        return ""
    agreed = sum(each.agrees for each in found) / len(found)
    parts = [
        tr(
            "Pruned agrees on {share} of the likeliest tokens; on average they are "
            "{mean} apart."
        ).format(
            share=numbers.percent(agreed, decimals=0),
            mean=nats(sum(each.nats for each in found) / len(found)),
        )
    ]
    places = ranking(state)
    if not places:
        return tr("Both models expect exactly the same everywhere.")
    token = state.tokens(places[0].side)[places[0].index]
    assert token.found is not None
    where = {
        Side.ORIGINAL: tr("Most different at {token} in the original's text: {nats}."),
        Side.PRUNED: tr("Most different at {token} in the pruned one's text: {nats}."),
    }
    parts.append(
        where[places[0].side].format(
            token=shown_token(token.piece), nats=nats(token.found.nats)
        )
    )
    return " ".join(parts)


def place_line(state: PlaygroundState, place: Place) -> str:
    """One line of the list of tokens that differ most."""
    token = state.tokens(place.side)[place.index]
    assert token.found is not None
    said, would = token.found.original, token.found.pruned
    if token.found.agrees:
        words = tr("{nats}  {side}, token {number}: {token}; both say {said} first")
    else:
        words = tr(
            "{nats}  {side}, token {number}: {token}; original says {said}, pruned "
            "says {would}"
        )
    return words.format(
        nats=nats(token.found.nats),
        side=side_name(place.side),
        number=place.index + 1,
        token=shown_token(token.piece),
        said=_with_share(said),
        would=_with_share(would),
    )


def text_of(state: PlaygroundState, side: Side) -> str:
    """The prompt with what one model has written after it."""
    return state.asked_prompt + "".join(x.piece for x in state.tokens(side))


def describe_tokens(count: int) -> str:
    """A number of tokens."""
    return ntr("{n} token", "{n} tokens", count).format(n=numbers.whole(count))


def _guess(who: str, guess: Guess) -> str:
    return tr("{who}: {likeliest} first ({share}), this token {written}").format(
        who=who,
        likeliest=shown_token(guess.likeliest),
        share=_share(guess.probability),
        written=_share(guess.of_written),
    )


def _with_share(guess: Guess) -> str:
    return f"{shown_token(guess.likeliest)} ({_share(guess.probability)})"


def _share(probability: float) -> str:
    decimals = 0 if probability >= 0.1 else 1 if probability >= 0.001 else 4
    return numbers.percent(probability, decimals=decimals)


def _brief(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f}\N{NO-BREAK SPACE}ms"
    return numbers.duration(seconds)


def _ending(written: Written) -> str:
    words = {
        Stop.LENGTH: "",  # as was to be expected
        Stop.END_OF_TEXT: tr("ended"),
        Stop.WINDOW: tr("window full"),
        Stop.ASKED: tr("stopped"),
    }
    return words[written.stop]
