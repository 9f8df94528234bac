"""State of the playground, as pure functions of events and user actions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
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
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job.checks import engine_obstacle, first_missing, place_obstacle
from surgeon_gui.state.request import Request
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.sources.resolver import model_problem
from surgeon_gui.text.problems import Kind, Problem
from surgeon_gui.text.prompts import PromptKind, first_prompt

MAX_DIFFERENCES = 12  # tokens in the list of the largest differences


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text."""

    piece: str
    disagreement: Disagreement | None = None  # None if not compared yet


@dataclass(frozen=True, slots=True)
class Models:
    """Sources of the two models to compare; empty if none is chosen."""

    original: str = ""
    pruned: str = ""

    def source(self, side: Side) -> str:
        """Return the source of the model on one side."""
        return self.original if side is Side.ORIGINAL else self.pruned


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Position of a token: the side, and the index in its text."""

    side: Side
    index: int


@dataclass(frozen=True, slots=True)
class PlaygroundState:
    """The draft of a request, and the texts of the last one."""

    prompt: str = ""
    kind: PromptKind = PromptKind.DEMO  # kind of the example prompts
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    own: Models = Models()  # the user's choice in place of the run's models
    question: Request[Generated] = Request()
    is_stopping: bool = False  # the texts end where they are
    requested_prompt: str = ""  # prompt of the texts shown
    requested_models: Models = Models()
    texts: Mapping[Side, tuple[Token, ...]] = field(default_factory=dict)
    has_chat_template: bool | None = None  # in the requested models; None: unknown
    is_before_rounding: bool = False  # the pruned one of them, unlike its file

    @property
    def is_writing(self) -> bool:
        """True if the texts are growing, so that they can be stopped and kept."""
        question = self.question
        return question.is_open and question.stage is Stage.GENERATION

    def tokens(self, side: Side) -> tuple[Token, ...]:
        """Return the tokens of one side."""
        return self.texts.get(side, ())


def requested(
    state: PlaygroundState, request: str, models: Models, dtype: Dtype, device: Device
) -> PlaygroundState:
    """Return the state after a new pair of texts was requested."""
    known = state.has_chat_template if models == state.requested_models else None
    return replace(
        state,
        settings=replace(state.settings, dtype=dtype, device=device),
        question=Request(request),
        is_stopping=False,
        requested_prompt=state.prompt + "\n\n" * state.settings.as_chat,
        requested_models=models,
        texts={},
        has_chat_template=known,
    )


def apply(state: PlaygroundState, envelope: Envelope) -> PlaygroundState:
    """Return the state after an event; events of other requests are ignored."""
    if envelope.run != state.question.id or not state.question.is_open:
        return state
    state = _with_text(state, envelope.event)
    return replace(state, question=state.question.with_event(envelope.event))


def cancelling(state: PlaygroundState) -> PlaygroundState:
    """Return the state after cancellation was requested."""
    return replace(state, question=state.question.cancelling())


def with_model(
    state: PlaygroundState, side: Side, source: str, app: AppState
) -> PlaygroundState:
    """Return the state with another model on one side."""
    own = models_of(state, app)
    if side is Side.ORIGINAL:
        own = replace(own, original=source)
    else:
        own = replace(own, pruned=source)
    return replace(state, own=own)


def with_examples(state: PlaygroundState, kind: PromptKind) -> PlaygroundState:
    """Return the state with examples of a kind; a prompt of the user stays."""
    if kind is state.kind or state.question.is_open:
        return state
    if state.prompt != first_prompt(state.kind):
        return replace(state, kind=kind)
    return with_prompt(replace(state, kind=kind), first_prompt(kind))


def with_prompt(state: PlaygroundState, example: str) -> PlaygroundState:
    """Return the state with an example as prompt, as a chat message if it is one."""
    as_chat = state.kind is PromptKind.CHAT
    settings = replace(state.settings, as_chat=as_chat)
    return replace(state, prompt=example, settings=settings)


def without_stale_texts(state: PlaygroundState, app: AppState) -> PlaygroundState:
    """Return the state without texts of models that are no longer chosen."""
    models = models_of(state, app)
    is_pending = state.question.is_open or not models.pruned
    if is_pending or models == state.requested_models or not any(state.texts.values()):
        return state
    return replace(state, question=Request(), texts={})


def models_of(state: PlaygroundState, app: AppState) -> Models:
    """Return the models to compare: the user's choice, else the models of the run."""
    return state.own if state.own != Models() else models_of_run(app.shown_run)


def models_of_run(run: RunState) -> Models:
    """Return the original of a run and its export.

    For an export for other programs it is the run folder: the engine takes the file if
    it can be read, else the model from which it was made.
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


def obstacle(state: PlaygroundState, app: AppState) -> Problem | None:
    """Return why no text can be generated; None if it can."""
    if busy := engine_obstacle(app) or place_obstacle(app):
        return busy
    if state.question.is_open:
        return Problem(Kind.GENERATING)
    if missing := _missing(models_of(state, app), app):
        return missing
    if not state.prompt.strip():
        return Problem(Kind.NO_PROMPT)
    return None


def ranking(state: PlaygroundState) -> tuple[TokenPlace, ...]:
    """Return the tokens at which the models differ most, largest difference first."""
    found = [
        (token.disagreement.nats, TokenPlace(side, index))
        for side in Side
        for index, token in enumerate(state.tokens(side))
        if token.disagreement is not None
    ]
    # The sort is stable: ties keep the order of the text.
    found.sort(key=lambda item: -item[0])
    shared = _shared_tokens(state)
    places = [
        place
        for nats, place in found
        if nats > 0 and (place.side is Side.ORIGINAL or place.index >= shared)
    ]
    return tuple(places[:MAX_DIFFERENCES])


def comparisons(tokens: Sequence[Token]) -> list[Disagreement]:
    """Return the comparisons of the tokens that have been compared."""
    return [token.disagreement for token in tokens if token.disagreement is not None]


def _shared_tokens(state: PlaygroundState) -> int:
    """Return the length of the common beginning of both texts, in tokens."""
    both = zip(*map(state.tokens, Side), strict=False)
    alike = itertools.takewhile(lambda pair: pair[0].piece == pair[1].piece, both)
    return sum(1 for _ in alike)


def _missing(models: Models, app: AppState) -> Problem | None:
    if not models.original:
        return Problem(Kind.NO_ORIGINAL if models.pruned else Kind.NO_MODELS)
    if not models.pruned:
        has_failed = app.shown_run.status in (Status.FAILED, Status.CANCELLED)
        return Problem(Kind.NOTHING_EXPORTED if has_failed else Kind.NO_PRUNED)
    if models == models_of_run(app.shown_run):
        return first_missing(app, models.original, models.pruned)
    if app.computer:
        return None  # only the engine can look there
    return model_problem(models.original) or model_problem(models.pruned)


def _with_text(state: PlaygroundState, event: Event) -> PlaygroundState:
    match event:
        case ModelsLoaded(has_chat_template=known, is_before_rounding=is_before):
            return replace(state, has_chat_template=known, is_before_rounding=is_before)
        case TokenWritten(side=side, index=index, piece=piece):
            tokens = state.tokens(side)
            if index < len(tokens):  # completes a character
                piece = tokens[index].piece + piece
            longer = (*tokens[:index], Token(piece))
            return replace(state, texts={**state.texts, side: longer})
        case TextCompared(side=side, first=first, found=found):
            tokens = state.tokens(side)
            end = first + len(found)
            compared = [
                replace(token, disagreement=each)
                for token, each in zip(tokens[first:end], found, strict=True)
            ]
            whole = (*tokens[:first], *compared, *tokens[end:])
            return replace(state, texts={**state.texts, side: whole})
    return state
