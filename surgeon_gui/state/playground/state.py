"""What the playground knows, as pure functions of events and of what the user does.

Knows nothing of Qt.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from surgeon_engine.api.config.export import FOR_TRANSFORMERS
from surgeon_engine.api.config.run import Device, Dtype
from surgeon_engine.api.messages.events import Envelope, Event
from surgeon_engine.api.messages.generation import (
    Disagreement,
    Generated,
    GenerationSettings,
    ModelsLoaded,
    Side,
    TextCompared,
    TokenWritten,
)
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.base import paths
from surgeon_gui.base.translation import tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job.checks import engine_obstacle
from surgeon_gui.state.request import Request
from surgeon_gui.state.run import RunState, Status

MAX_DIFFERENCES = 12  # tokens in the list of those that differ most


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text."""

    piece: str
    found: Disagreement | None = None  # None: not compared yet


@dataclass(frozen=True, slots=True)
class Models:
    """Which two models are compared; empty: none."""

    original: str = ""
    pruned: str = ""

    def of(self, side: Side) -> str:
        """The source of one side."""
        return self.original if side is Side.ORIGINAL else self.pruned


@dataclass(frozen=True, slots=True)
class Place:
    """Where a token stands."""

    side: Side
    index: int


@dataclass(frozen=True, slots=True)
class PlaygroundState:
    """The draft of a question, and the texts that have come of the last one."""

    prompt: str = ""
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    own: Models = Models()  # chosen by the user in place of the run's
    question: Request[Generated] = Request()
    is_stopping: bool = False  # the texts are to end where they are
    asked_prompt: str = ""  # of the texts that are shown
    asked: Models = Models()
    original: tuple[Token, ...] = ()
    pruned: tuple[Token, ...] = ()
    has_chat_template: bool | None = None  # of the models asked; None: not known yet

    @property
    def is_writing(self) -> bool:
        """Whether the texts are growing, so that they can be ended and kept."""
        question = self.question
        return question.is_open and question.stage is Stage.GENERATION

    def tokens(self, side: Side) -> tuple[Token, ...]:
        """The text of one side."""
        return self.original if side is Side.ORIGINAL else self.pruned


def asked(
    state: PlaygroundState, request: str, models: Models, dtype: Dtype, device: Device
) -> PlaygroundState:
    """The state after two texts were asked for, which begins anew."""
    known = state.has_chat_template if models == state.asked else None
    return replace(
        state,
        settings=replace(state.settings, dtype=dtype, device=device),
        question=Request(request),
        is_stopping=False,
        asked_prompt=state.prompt + "\n\n" * state.settings.as_chat,
        asked=models,
        original=(),
        pruned=(),
        has_chat_template=known,
    )


def apply(state: PlaygroundState, envelope: Envelope) -> PlaygroundState:
    """The state after an event; those of other requests change nothing."""
    if envelope.run != state.question.id or not state.question.is_open:
        return state
    state = _with_text(state, envelope.event)
    return replace(state, question=state.question.with_event(envelope.event))


def cancelling(state: PlaygroundState) -> PlaygroundState:
    """The state after the end was asked for."""
    return replace(state, question=state.question.cancelling())


def with_model(
    state: PlaygroundState, side: Side, source: str, app: AppState
) -> PlaygroundState:
    """The state after one side was chosen; the other stays what it is."""
    own = models_of(state, app)
    if side is Side.ORIGINAL:
        own = replace(own, original=source)
    else:
        own = replace(own, pruned=source)
    return replace(state, own=own)


def without_others(state: PlaygroundState, app: AppState) -> PlaygroundState:
    """The state without texts that other models wrote than those that are compared."""
    models = models_of(state, app)
    is_coming = state.question.is_open or not models.pruned
    if is_coming or models == state.asked or not (state.original or state.pruned):
        return state
    return replace(state, question=Request(), original=(), pruned=())


def models_of(state: PlaygroundState, app: AppState) -> Models:
    """Which models are compared: the user's choice, else those of the run shown."""
    return state.own if state.own != Models() else models_of_run(app.run)


def models_of_run(run: RunState) -> Models:
    """The original of a run and what it has exported.

    Files for other programs cannot be loaded; what they were made of lies in the run.
    """
    if run.config is None:
        return Models()
    exported = run.exported
    if exported is None or run.status.is_busy:
        pruned = ""
    elif exported.format in FOR_TRANSFORMERS:
        pruned = exported.folder
    else:
        pruned = run.folder
    return Models(run.config.model.source, pruned)


def obstacle(state: PlaygroundState, app: AppState) -> str:
    """Why nothing can be generated; empty if it can."""
    if told := engine_obstacle(app):
        return told
    if state.question.is_open:
        return tr("Both models are writing.")
    if missing := _missing(models_of(state, app), app):
        return missing
    if not state.prompt.strip():
        return tr("Write a prompt first.")
    return ""


def ranking(state: PlaygroundState) -> tuple[Place, ...]:
    """The tokens of both texts at which the models differ most, those first."""
    found = [
        (token.found.nats, Place(side, index))
        for side in Side
        for index, token in enumerate(state.tokens(side))
        if token.found is not None
    ]
    # Of equals the first in the text: sorting is stable.
    found.sort(key=lambda each: -each[0])
    shared = _shared_tokens(state)
    places = [
        place
        for nats, place in found
        if nats > 0 and (place.side is Side.ORIGINAL or place.index >= shared)
    ]
    return tuple(places[:MAX_DIFFERENCES])


def comparisons(tokens: Sequence[Token]) -> list[Disagreement]:
    """What is known of the tokens that have been compared."""
    return [token.found for token in tokens if token.found is not None]


def _shared_tokens(state: PlaygroundState) -> int:
    """With how many of the same tokens both texts begin: they are compared alike."""
    both = zip(state.original, state.pruned, strict=False)
    alike = itertools.takewhile(lambda pair: pair[0].piece == pair[1].piece, both)
    return sum(1 for _ in alike)


def _missing(models: Models, app: AppState) -> str:
    if not models.original and not models.pruned:
        return tr("Prune a model first, or choose two models.")
    if not models.original:
        return tr("Choose the original too.")
    if not models.pruned:
        if app.run.status in (Status.FAILED, Status.CANCELLED):
            return tr("The run has exported nothing; choose a pruned model.")
        return tr("Choose the pruned model too.")
    for source in (models.original, models.pruned):
        if source != DEMO and not paths.exists(source):
            return tr("There is nothing at {path} any more.").format(path=source)
    return ""


def _with_text(state: PlaygroundState, event: Event) -> PlaygroundState:
    match event:
        case ModelsLoaded(has_chat_template=has_chat_template):
            return replace(state, has_chat_template=has_chat_template)
        case TokenWritten(side=side, index=index, piece=piece):
            tokens = state.tokens(side)
            if index < len(tokens):  # the rest of a character
                piece = tokens[index].piece + piece
            return _with_tokens(state, side, (*tokens[:index], Token(piece)))
        case TextCompared(side=side, first=first, found=found):
            tokens = state.tokens(side)
            end = first + len(found)
            compared = [
                replace(token, found=each)
                for token, each in zip(tokens[first:end], found, strict=True)
            ]
            return _with_tokens(
                state, side, (*tokens[:first], *compared, *tokens[end:])
            )
    return state


def _with_tokens(
    state: PlaygroundState, side: Side, tokens: tuple[Token, ...]
) -> PlaygroundState:
    if side is Side.ORIGINAL:
        return replace(state, original=tokens)
    return replace(state, pruned=tokens)
