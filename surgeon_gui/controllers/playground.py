"""The playground's mind: holds the state, asks the engine, says when to redraw."""

from __future__ import annotations

import random
from dataclasses import replace

from PySide6.QtCore import QObject, Signal, Slot

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.commands import Cancel, Generate, StopAndKeep
from surgeon_engine.api.messages.events import Envelope
from surgeon_engine.api.messages.generation import GenerationSettings, Side
from surgeon_gui.controllers.session import Session
from surgeon_gui.state.app import AppState
from surgeon_gui.state.playground import state as playground_state
from surgeon_gui.state.playground.state import Models, PlaygroundState
from surgeon_gui.text.prompts import FIRST

_LARGEST_SEED = 2**31 - 1


class Playground(QObject):
    """State, and the ways in which it changes."""

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.state = PlaygroundState(prompt=FIRST)
        session.events_arrived.connect(self._on_events_arrived)
        session.changed.connect(self._on_session_changed)

    @property
    def app(self) -> AppState:
        """What the rest of the window knows."""
        return self._session.state

    @property
    def models(self) -> Models:
        """Which models are compared."""
        return playground_state.models_of(self.state, self.app)

    @property
    def obstacle(self) -> str:
        """Why nothing can be generated; empty if it can."""
        return playground_state.obstacle(self.state, self.app)

    @Slot(str)
    def edit_prompt(self, prompt: str) -> None:
        """Let the texts begin with `prompt`."""
        if prompt != self.state.prompt:
            self._set(replace(self.state, prompt=prompt))

    @Slot(object)
    def edit_settings(self, settings: GenerationSettings) -> None:
        """Let the texts be made like that."""
        if settings != self.state.settings:
            self._set(replace(self.state, settings=settings))

    @Slot()
    def draw_seed(self) -> None:
        """Take another seed."""
        seed = random.randint(0, _LARGEST_SEED)
        self.edit_settings(replace(self.state.settings, seed=seed))

    @Slot(object, str)
    def choose_model(self, side: Side, source: str) -> None:
        """Compare another model than that of the run."""
        self._set(playground_state.with_model(self.state, side, source, self.app))

    @Slot()
    def use_run(self) -> None:
        """Compare the models of the run that is shown."""
        self._set(replace(self.state, own=Models()))

    @Slot()
    def generate(self) -> None:
        """Let both models write."""
        if self.obstacle:
            return
        models, model = self.models, self._model_config()
        id_ = self._session.new_id("generate")
        self._set(
            playground_state.asked(self.state, id_, models, model.dtype, model.device)
        )
        self._session.send(
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
        """End the texts where they are and let them be compared; once more: cancel."""
        if self.state.is_writing and not self.state.is_stopping:
            self._session.send(StopAndKeep(run=self.state.question.id))
            self._set(replace(self.state, is_stopping=True))
        else:
            self.cancel()

    @Slot()
    def cancel(self) -> None:
        """End it now; what there is of the texts stays."""
        question = self.state.question
        if question.can_cancel:
            self._session.send(Cancel(run=question.id))
            self._set(playground_state.cancelling(self.state))

    def _model_config(self) -> ModelConfig:
        """In which format, and where, the models are computed."""
        run = self.app.run
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
            self.cancel()  # what was asked for later must not wait for the texts
        self._set(self.state)

    def _set(self, state: PlaygroundState) -> None:
        self.state = playground_state.without_stale_texts(state, self.app)
        self.changed.emit()
