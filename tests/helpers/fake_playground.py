"""What the fake engine says of two models that write: always the same two texts."""

from __future__ import annotations

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
REST = "\N{REPLACEMENT CHARACTER}"  # of the original's last character
NATS = {
    Side.ORIGINAL: (0.01, 1.25, 0.3, 0.0, 0.6, 0.1, 0.2),
    Side.PRUNED: (0.01, 1.25, 4.5, 2.1, 0.07),
}
TOO_LONG = "The prompt has 600 tokens, and these models can read 512."
MEMORY = 390_000_000, 380_000_000


def playground_events(
    command: Generate, is_stopped: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """All events of a request, in order."""
    yield StageStarted(Stage.LOAD, 0)
    yield ModelsLoaded("demo", "export", False)
    if "too long" in command.prompt:
        yield Failed(TOO_LONG, "Shorten the prompt.")
        return
    yield StageStarted(Stage.GENERATION, 0)
    most = command.settings.new_tokens
    texts = {side: text[:most] for side, text in TEXTS.items()}
    for index, pieces in enumerate(zip_longest(*texts.values())):
        if is_stopped():
            texts = {side: text[:index] for side, text in texts.items()}
            break
        for side, piece in zip(Side, pieces, strict=True):
            if piece is not None:
                yield TokenWritten(side, index, piece)
    if texts[Side.ORIGINAL][-1] == "":
        yield TokenWritten(Side.ORIGINAL, len(texts[Side.ORIGINAL]) - 1, REST)
    yield StageStarted(Stage.COMPARISON, 0)
    for side, text in texts.items():
        found = tuple(disagreement(nats) for nats in NATS[side][: len(text)])
        yield TextCompared(side, 0, found[:2])
        if len(found) > 2:
            yield TextCompared(side, 2, found[2:])
    yield generated(*(len(text) for text in texts.values()))


def disagreement(nats: float) -> Disagreement:
    """Two guesses that differ in the token that is put first from half a nat on."""
    would = Guess("\n" if nats >= 0.5 else " same", 0.4, 0.004)
    return Disagreement(nats, nats < 0.5, Guess(" same", 0.9, 0.05), would)


def generated(original: int, pruned: int) -> Generated:
    """Texts of so many tokens each, the second faster."""
    return Generated(
        Written("demo", original, 4, 0.01, 0.5, MEMORY[0], Stop.LENGTH),
        Written("export", pruned, 4, 0.008, 0.2, MEMORY[1], Stop.END_OF_TEXT),
        "a processor",
    )
