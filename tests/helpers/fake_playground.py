"""Responses of the fake engine to Generate: always the same two texts."""

from collections.abc import Callable, Iterator
from itertools import zip_longest

from surgeon_engine.api.messages.commands import Generate
from surgeon_engine.api.messages.events import Event, Failed
from surgeon_engine.api.messages.generation import (
    Disagreement,
    Generated,
    Guess,
    ModelsLoaded,
    Side,
    Stop,
    TextCompared,
    TokenWritten,
    Written,
)
from surgeon_engine.api.messages.run import Stage, StageStarted

TEXTS = {
    Side.ORIGINAL: (" loads", " a", " module", "\n", "by", " name", ""),
    Side.PRUNED: (" loads", " the", " moon", "\n", "."),
}
REST = "\N{REPLACEMENT CHARACTER}"  # the incomplete last character
NATS = {
    Side.ORIGINAL: (0.01, 1.25, 0.3, 0.0, 0.6, 0.1, 0.2),
    Side.PRUNED: (0.01, 1.25, 4.5, 2.1, 0.07),
}
TOO_LONG = "The prompt has 600 tokens, and these models can read 512."
MEMORY = 390_000_000, 380_000_000


def playground_events(
    command: Generate, is_stopped: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """Yield the events of a request in order."""
    yield StageStarted(Stage.LOAD, 0)
    yield ModelsLoaded(False)
    if "too long" in command.prompt:
        yield Failed(TOO_LONG, "Shorten the prompt.")
        return
    yield StageStarted(Stage.GENERATION, 0)
    max_tokens = command.settings.new_tokens
    texts = {side: text[:max_tokens] for side, text in TEXTS.items()}
    for index, tokens in enumerate(zip_longest(*texts.values())):
        if is_stopped():
            texts = {side: text[:index] for side, text in texts.items()}
            break
        for side, token in zip(Side, tokens, strict=True):
            if token is not None:
                yield TokenWritten(side, index, token)
    if texts[Side.ORIGINAL][-1] == "":
        yield TokenWritten(Side.ORIGINAL, len(texts[Side.ORIGINAL]) - 1, REST)
    yield StageStarted(Stage.COMPARISON, 0)
    for side, text in texts.items():
        compared = tuple(disagreement(nats) for nats in NATS[side][: len(text)])
        yield TextCompared(side, 0, compared[:2])
        if len(compared) > 2:
            yield TextCompared(side, 2, compared[2:])
    yield generated(*(len(text) for text in texts.values()))


def disagreement(nats: float) -> Disagreement:
    """Return the guesses of both models, with another top token from 0.5 nats on."""
    pruned_guess = Guess("\n" if nats >= 0.5 else " same", 0.4, 0.004)
    return Disagreement(nats, nats < 0.5, Guess(" same", 0.9, 0.05), pruned_guess)


def generated(original: int, pruned: int) -> Generated:
    """Return the result of generating so many tokens; the pruned model is faster."""
    return Generated(
        Written(original, 4, 0.01, 0.5, MEMORY[0], Stop.LENGTH),
        Written(pruned, 4, 0.008, 0.2, MEMORY[1], Stop.END_OF_TEXT),
        "a processor",
    )
