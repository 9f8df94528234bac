"""Controller of the playground: holds its state and sends requests to the engine."""

from __future__ import annotations

import random
from dataclasses import replace

from PySide6.QtCore import QObject, Signal, Slot

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.commands import Cancel, Generate, StopAndKeep
from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.messages.generation import GenerationSettings, Side
from surgeon_engine.api.model_info.header import has_chat_template
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.playground import state as playground_state
from surgeon_gui.state.playground.state import Models, PlaygroundState
from surgeon_gui.text.problems import Problem
from surgeon_gui.text.prompts import EXAMPLES, PromptKind, first_prompt

_MAX_SEED = 2**31 - 1


class Playground(QObject):
    """State of the playground and the actions that change it."""

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._templates: dict[str, bool] = {}  # whether originals have one
        self.state = PlaygroundState(prompt=first_prompt(PromptKind.DEMO))
        session.events_arrived.connect(self._on_events_arrived)
        session.changed.connect(self._on_session_changed)

    @property
    def app(self) -> AppState:
        """State of the application."""
        return self._session.state

    @property
    def models(self) -> Models:
        """The models to compare."""
        return playground_state.models_of(self.state, self.app)

    @property
    def obstacle(self) -> Problem | None:
        """Why text cannot be generated; None if it can."""
        return playground_state.obstacle(self.state, self.app)

    @Slot(str)
    def edit_prompt(self, prompt: str) -> None:
        """Set the prompt."""
        if prompt != self.state.prompt:
            self._set(replace(self.state, prompt=prompt))

    def use_example(self, number: int) -> None:
        """Make an example the prompt, and let the models go on with it."""
        example = EXAMPLES[self.state.kind][number].prompt
        self._set(playground_state.with_prompt(self.state, example))
        self.generate()

    @Slot(object)
    def edit_settings(self, settings: GenerationSettings) -> None:
        """Set the generation settings."""
        if settings != self.state.settings:
            self._set(replace(self.state, settings=settings))

    @Slot()
    def draw_seed(self) -> None:
        """Draw a new random seed."""
        seed = random.randint(0, _MAX_SEED)
        self.edit_settings(replace(self.state.settings, seed=seed))

    @Slot(object, str)
    def choose_model(self, side: Side, source: str) -> None:
        """Replace the model of one side."""
        self._set(playground_state.with_model(self.state, side, source, self.app))

    @Slot()
    def use_run(self) -> None:
        """Compare the models of the shown run."""
        self._set(replace(self.state, own=Models()))

    @Slot()
    def generate(self) -> None:
        """Generate text with both models."""
        if self.obstacle:
            return
        models, model = self.models, self._model_config()
        id_ = self._session.store.new_id("generate")
        self._set(
            playground_state.requested(
                self.state, id_, models, model.dtype, model.device
            )
        )
        self._session.store.send(
            Generate(
                run=id_,
                original=models.original,
                pruned=models.pruned,
                prompt=self.state.prompt,
                settings=self.state.settings,
            )
        )

    @Slot()
    def stop(self) -> None:
        """Stop generating and compare the texts; cancel if already stopping."""
        if self.state.is_writing and not self.state.is_stopping:
            self._session.store.send(StopAndKeep(run=self.state.question.id))
            self._set(replace(self.state, is_stopping=True))
        else:
            self.cancel()

    @Slot()
    def cancel(self) -> None:
        """Cancel the request and keep the text generated so far."""
        question = self.state.question
        if question.can_cancel:
            self._session.store.send(Cancel(run=question.id))
            self._set(playground_state.cancelling(self.state))

    def _model_config(self) -> ModelConfig:
        run = self.app.shown_run
        if self.state.own == Models() and run.config is not None:
            return run.config.model
        return self.app.config.model

    @Slot(object)
    def _on_events_arrived(self, batch: list[Envelope]) -> None:
        state = self.state
        for envelope in batch:
            state = playground_state.apply(state, envelope)
        if state is not self.state:
            self._set(state)

    @Slot()
    def _on_session_changed(self) -> None:
        if self.app.is_busy:
            self.cancel()  # the later request must not wait for the texts
        self._set(self.state)

    def _set(self, state: PlaygroundState) -> None:
        if original := playground_state.models_of(state, self.app).original:
            kind = self._kind_of(original, state)
            state = playground_state.with_examples(state, kind)
        self.state = playground_state.without_stale_texts(state, self.app)
        self.changed.emit()

    def _kind_of(self, source: str, state: PlaygroundState) -> PromptKind:
        if source == DEMO:
            return PromptKind.DEMO
        found = self._templates.get(source)
        is_loaded = source == state.requested_models.original
        if is_loaded and state.has_chat_template is not None:
            found = state.has_chat_template  # as the engine has read it
        if found is None:
            found = has_chat_template(source)
        if found is not None:  # its files are here
            self._templates[source] = found
        return PromptKind.CHAT if found else PromptKind.TEXT
