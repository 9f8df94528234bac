"""Continue a prompt with the model of a run, as it is after each shot."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from surgeon_engine.api.config.samples import NEW_TOKENS
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.generation import GenerationSettings
from surgeon_engine.api.messages.run import SampleWritten, Stage
from surgeon_engine.base.errors import EngineError, ModelError
from surgeon_engine.base.sentences import say
from surgeon_engine.generation.generated_text import GeneratedText, encode_prompt
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.runtime import ranks
from surgeon_engine.runtime.run_context import RunContext

_GREEDY = GenerationSettings(temperature=0.0, new_tokens=NEW_TOKENS)
_FAILURES = (EngineError, MemoryError, RuntimeError)


class RunSamples:
    """Writes the samples of a run, if its settings ask for them.

    The tokens are the most likely ones, so that nothing is drawn and the result of the
    run is the same as without samples. A sample that fails is reported and left out.

    Args:
        state: the model, which changes between the samples.
        context: receives the samples.
    """

    def __init__(self, state: PruningState, context: RunContext) -> None:
        self._state = state
        self.context = context
        self._is_on = state.config.samples.after_shots

    def write_original(self) -> None:
        """Write the sample of the original."""
        self._write(Stage.SAMPLING, 0, SampleWritten(0, ""))

    def write(self, shot: int) -> None:
        """Write the sample after a shot."""
        self._write(Stage.GENERATION, shot, SampleWritten(shot, ""))

    def write_recovered(self, shot: int) -> None:
        """Write the sample after recovery; `shot` was the last one."""
        self._write(Stage.GENERATION, 0, SampleWritten(shot, "", is_recovered=True))

    def _write(self, stage: Stage, shot: int, sample: SampleWritten) -> None:
        if not self._is_on or not ranks.is_first():
            return
        try:
            with self.context.stage(stage, shot, NEW_TOKENS) as step:
                text = self._continued(step)
        except _FAILURES as error:
            self._give_up(getattr(error, "message", "") or str(error))
            return
        self.context.emit(msgspec.structs.replace(sample, text=text))

    def _continued(self, step: Callable[[], None]) -> str:
        """Return how the model continues the prompt."""
        loaded = self._state.loaded
        if loaded.tokenizer is None:
            raise ModelError(say("The model has no tokenizer."))
        prompt = encode_prompt(
            loaded.tokenizer, self._state.config.samples.prompt, as_chat=False
        )
        text = GeneratedText(loaded.model, loaded.tokenizer, prompt, _GREEDY)
        pieces = []
        for number in range(NEW_TOKENS):
            token = text.extend() if number else text.begin()
            if token.ends:
                break
            pieces.append(token.piece)
            step()
        return "".join(pieces) + text.rest()

    def _give_up(self, reason: str) -> None:
        """Report why there is no sample, and write none from now on."""
        self._is_on = False
        message = say("No samples are written: {reason:clause}.", reason=reason)
        self.context.emit(Logged(Level.WARNING, message))
