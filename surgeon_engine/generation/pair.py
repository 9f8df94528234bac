"""Two models that are asked in turns, each in a process of its own.

A process each, so that the memory of one is not counted with the other's, and all of
it is given back when the process ends. Imports neither torch nor Qt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.errors import ModelError
from surgeon_engine.api.json_process import SubprocessClient
from surgeon_engine.api.messages.generation import Side
from surgeon_engine.generation.messages import Encode, Encoded, Open, Opened, Reply

COMMAND = (sys.executable, "-m", "surgeon_engine.generation.worker_process")
_SECONDS_TO_SETTLE = 2.0  # for a token that is on its way when nobody wants it any more

Check = Callable[[], None]  # called now and then; what it raises ends the work


@dataclass(frozen=True, slots=True)
class Sides:
    """What is opened."""

    original: ModelConfig
    pruned: ModelConfig


class Pair:
    """The models of both sides, ready to work."""

    def __init__(self, sides: Sides, check: Check, step: Check) -> None:
        """Start both processes and let them read their models, one after the other.

        Raises:
            ModelError: one cannot be found or read, or both do not belong together.
            EvaluationError: a process failed, most likely for want of memory.
        """
        self.opened: dict[Side, Opened] = {}
        self.children: dict[Side, SubprocessClient] = {}
        with ExitStack() as running:
            both = ((Side.ORIGINAL, sides.original), (Side.PRUNED, sides.pruned))
            for side, model in both:
                child = SubprocessClient(model.source, COMMAND, Reply, "used")
                self.children[side] = running.enter_context(child)
            for side, model in both:
                request = Open(model, tokenizer=sides.original.source)
                self.opened[side] = self.children[side].ask(request, Opened, check)
                step()
            self._check_same_tokenizer()
            self._running = running.pop_all()

    @property
    def longest_window(self) -> int | None:
        """The tokens that both can read; None: neither says how many."""
        stated = [opened.longest_window for opened in self.opened.values()]
        return min((window for window in stated if window), default=None)

    def encode(self, prompt: str, *, as_chat: bool, check: Check) -> tuple[int, ...]:
        """The tokens of a prompt, by the tokenizer of the original.

        Raises:
            ModelError: the other side cuts it into other tokens, so that the models
                do not speak of the same.
        """
        plain = Encode(prompt, as_chat=False)
        ours, theirs = (
            child.ask(plain, Encoded, check).tokens for child in self.children.values()
        )
        if ours != theirs:
            raise self._strangers(
                f"cut the prompt into different tokens ({len(ours):,} and "
                f"{len(theirs):,})"
            )
        if not as_chat:
            return ours
        chat = Encode(prompt, as_chat=True)
        return self.children[Side.ORIGINAL].ask(chat, Encoded, check).tokens

    def wait_until_idle(self) -> bool:
        """Whether both can be asked again, after something has interrupted them."""
        return all(
            x.wait_until_idle(_SECONDS_TO_SETTLE) for x in self.children.values()
        )

    def close(self) -> None:
        """End both processes."""
        self._running.close()

    def _check_same_tokenizer(self) -> None:
        ours, theirs = (self.opened[side].vocabulary for side in Side)
        if ours != theirs:
            raise self._strangers(
                f"have different vocabularies ({ours:,} and {theirs:,} tokens)"
            )

    def _strangers(self, how: str) -> ModelError:
        original, pruned = (self.opened[side].name for side in Side)
        return ModelError(
            f"{original} and {pruned} {how}, so their predictions cannot be compared.",
            "Choose a model and what it was pruned to.",
        )
