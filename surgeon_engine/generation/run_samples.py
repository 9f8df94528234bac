"""Continue a prompt with the model of a run, as it is after each shot."""

from __future__ import annotations

from collections.abc import Callable

from surgeon_engine.api.config.samples import NEW_TOKENS
from surgeon_engine.api.messages.generation import GenerationSettings
from surgeon_engine.api.messages.run import SampleWritten, Stage
from surgeon_engine.base.errors import EngineError, ModelError
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
    """

    def __init__(self, state: PruningState, context: RunContext) -> None:
        self._state = state
        self.context = context
        self._is_on = state.config.samples.after_shots

    def write(self, shot: int, *, is_recovered: bool = False) -> None:
        """Write the sample after a shot, or after the recovery of the last one.

        That of the original has the number 0.
        """
        if not self._is_on or not ranks.is_first():
            return
        stage = Stage.GENERATION if shot else Stage.SAMPLING
        try:
            with self.context.stage(
                stage, 0 if is_recovered else shot, NEW_TOKENS
            ) as step:
                text = self._continued(step)
        except _FAILURES as error:
            self._is_on = False  # none from now on
            reason = getattr(error, "message", "") or str(error)
            self.context.warn("No samples are written: {reason:clause}.", reason=reason)
            return
        self.context.emit(SampleWritten(shot, text, is_recovered=is_recovered))

    def _continued(self, step: Callable[[], None]) -> str:
        """Return how the model continues the prompt."""
        loaded = self._state.loaded
        if loaded.tokenizer is None:
            raise ModelError("The model has no tokenizer.")
        prompt = encode_prompt(
            loaded.tokenizer, self._state.config.samples.prompt, as_chat=False
        )
        text = GeneratedText(loaded.model, loaded.tokenizer, prompt, _GREEDY)
        pieces = []
        for _ in range(NEW_TOKENS):
            token = text.extend()
            if token.ends:
                break
            pieces.append(token.piece)
            step()
        return "".join(pieces) + text.rest()
