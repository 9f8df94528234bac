"""Two models in two worker processes.

Separate processes keep the memory of one model out of the figures of the other, and
release all of it when they end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.generation import Side
from surgeon_engine.base.calls import ModelProcess
from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.json_process import module_command
from surgeon_engine.base.sentences import say, say_all
from surgeon_engine.generation.messages import Opened

COMMAND = module_command("surgeon_engine.generation.worker_process")
_IDLE_TIMEOUT_S = 2.0  # for the response to a request that was abandoned

Check = Callable[[], None]  # called repeatedly during long work; may raise to end it


class Pair:
    """Two loaded models."""

    def __init__(
        self, models: Mapping[Side, ModelConfig], check: Check, step: Check
    ) -> None:
        """Start both processes and load their models, one after the other.

        Raises:
            ModelError: A model cannot be found or read, or they have different
                vocabularies.
            EvaluationError: A process failed, most likely for lack of memory.
        """
        self.opened: dict[Side, Opened] = {}
        self.children: dict[Side, ModelProcess] = {}
        with ExitStack() as running:
            for side, model in models.items():
                child = ModelProcess(model.source, COMMAND)
                self.children[side] = running.enter_context(child)
            for side, model in models.items():
                arguments = (model, models[Side.ORIGINAL].source)
                child = self.children[side]
                self.opened[side] = child.call("open", arguments, Opened, check)
                step()
            ours, theirs = (self.opened[side].vocabulary for side in Side)
            if ours != theirs and not self.has_fewer_tokens:
                raise self._incomparable(
                    say(
                        "They have different vocabularies ({ours:,} and {theirs:,} "
                        "tokens).",
                        ours=ours,
                        theirs=theirs,
                    )
                )
            self._running = running.pop_all()

    @property
    def has_fewer_tokens(self) -> bool:
        """Whether the pruned model has some of the original's tokens.

        Texts are then cut into tokens by each model's own tokenizer.
        """
        return self.opened[Side.PRUNED].has_fewer_tokens

    @property
    def longest_window(self) -> int | None:
        """Maximum window of both models in tokens; None: neither states one."""
        stated = [opened.longest_window for opened in self.opened.values()]
        return min((window for window in stated if window), default=None)

    def encode(
        self, prompt: str, *, as_chat: bool, check: Check
    ) -> dict[Side, tuple[int, ...]]:
        """Tokenize a prompt with the tokenizer of the original, for both models.

        If the pruned model has fewer tokens, it gets the tokens of its own tokenizer.

        The pruned model's tokenizer may split a prompt in another way, as tokenizers of
        GGUF files sometimes do, if its tokens are the same.

        Raises:
            ModelError: The tokens of the pruned model are others, so that predictions
                cannot be compared.
        """

        def encoded(child: ModelProcess, as_chat: bool) -> tuple[int, ...]:
            return child.call("encode", (prompt, as_chat), tuple[int, ...], check)

        if self.has_fewer_tokens:
            return {x: encoded(child, as_chat) for x, child in self.children.items()}
        ours, theirs = (encoded(child, False) for child in self.children.values())
        if ours != theirs and not self._mean_the_same(ours, check):
            raise self._incomparable(
                say(
                    "They split the prompt into different tokens ({ours:,} and "
                    "{theirs:,}).",
                    ours=len(ours),
                    theirs=len(theirs),
                )
            )
        if as_chat:
            ours = encoded(self.children[Side.ORIGINAL], True)
        return dict.fromkeys(Side, ours)

    def _mean_the_same(self, tokens: tuple[int, ...], check: Check) -> bool:
        texts = {
            x.call("decode", (tokens,), str, check) for x in self.children.values()
        }
        return len(texts) == 1

    def wait_until_idle(self) -> bool:
        """Return whether both processes became idle after an abandoned request."""
        return all(x.wait_until_idle(_IDLE_TIMEOUT_S) for x in self.children.values())

    def close(self) -> None:
        """End both processes."""
        self._running.close()

    def _incomparable(self, reason: str) -> ModelError:
        original, pruned = (self.opened[side].name for side in Side)
        return ModelError(
            say_all(
                say(
                    "The predictions of {original} and {pruned} cannot be compared.",
                    original=original,
                    pruned=pruned,
                ),
                reason,
            ),
            "Choose a model and a pruned version of it.",
        )
