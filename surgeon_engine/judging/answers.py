"""Answers of a model to prompts: by llama.cpp for GGUF files, else by transformers.

Both take the likeliest token each time. The model is in a process of its own, which has
ended, with its memory free, before another model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import transformers

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.generation import GenerationSettings
from surgeon_engine.base.calls import ModelProcess
from surgeon_engine.base.json_process import module_command
from surgeon_engine.base.sentences import say
from surgeon_engine.export.gguf.server import is_installed
from surgeon_engine.generation.messages import Opened, TextFinished, TokenGenerated
from surgeon_engine.generation.pair import COMMAND as WORKER
from surgeon_engine.judging.llama_process import AllAnswered, Answered

LLAMA = module_command("surgeon_engine.judging.llama_process")
_AT_ONCE = 4  # prompts: each has memory for a window
Check = Callable[[], None]  # called repeatedly; may raise to stop the work


@dataclass(frozen=True, slots=True)
class Speaker:
    """A model that answers."""

    gguf: Path | None  # the file, if it is one
    config: ModelConfig  # how transformers loads it
    tokenizer: str  # source of the tokenizer

    @property
    def by_llama(self) -> bool:
        """Whether llama.cpp runs it."""
        return self.gguf is not None and is_installed()


@contextmanager
def answering(
    speaker: Speaker, window: int, check: Check
) -> Iterator[_Llama | _Transformers]:
    """Keep a model in memory during the block.

    Args:
        speaker: the model.
        window: tokens of prompt and answer together.
        check: see `Check`.

    Raises:
        ModelError: the model cannot be read.
        EvaluationError: its process has ended.
    """
    name, by_llama = Path(speaker.config.source).name, speaker.by_llama
    with ModelProcess(name, LLAMA if by_llama else WORKER) as child:
        if by_llama:
            opening = (str(speaker.gguf), window, _AT_ONCE, "", 0)
            yield _Llama(child, check, child.call("open", opening, str, check))
        else:
            child.call("open", (speaker.config, speaker.tokenizer), Opened, check)
            yield _Transformers(child, check)


class _Llama:
    at_once = _AT_ONCE  # prompts, at most

    def __init__(self, child: ModelProcess, check: Check, version: str) -> None:
        self._child, self._check = child, check
        self.program = say("llama.cpp in xllamacpp {version}", version=version)

    def answer(
        self, prompts: Sequence[tuple[int, ...]], limit: int
    ) -> Sequence[Answered]:
        """Continue each prompt by at most `limit` tokens."""
        found = self._child.call("answer", (prompts, limit), AllAnswered, self._check)
        return found.answers


class _Transformers:
    at_once = 1

    def __init__(self, child: ModelProcess, check: Check) -> None:
        self._child, self._check = child, check
        self.program = f"transformers {transformers.__version__}"

    def answer(
        self, prompts: Sequence[tuple[int, ...]], limit: int
    ) -> Sequence[Answered]:
        return [self._answer(tokens, limit) for tokens in prompts]

    def _answer(self, tokens: tuple[int, ...], limit: int) -> Answered:
        pieces: list[str] = []
        method = "begin"
        arguments: tuple[object, ...] = (tokens, GenerationSettings())
        for _ in range(limit):
            found = self._child.call(method, arguments, TokenGenerated, self._check)
            if found.ends:
                return Answered("".join(pieces) + self._rest(), is_complete=True)
            pieces.append(found.piece)
            method, arguments = "extend", ()
        return Answered("".join(pieces) + self._rest(), is_complete=False)

    def _rest(self) -> str:
        return self._child.call("finish", (), TextFinished, self._check).rest
