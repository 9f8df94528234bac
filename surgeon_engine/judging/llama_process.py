"""A process that runs a GGUF file by llama.cpp, which may abort it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import msgspec

from surgeon_engine.api.config.export import LLAMA_PACKAGE
from surgeon_engine.base.errors import ModelError
from surgeon_engine.export.gguf.check import server_parameters
from surgeon_engine.export.gguf.server import open_server
from surgeon_engine.runtime.json_server import serve

_MILLISECONDS = 1000


class Answered(msgspec.Struct, frozen=True):
    """An answer."""

    text: str
    is_complete: bool  # it has ended by itself


class AllAnswered(msgspec.Struct, frozen=True):
    """The answers, in the order of the prompts."""

    answers: tuple[Answered, ...]
    # Tokens and time of the last answer after its first token.
    tokens: int = 0
    seconds: float = 0.0
    drafted: int = 0  # tokens
    accepted: int = 0  # drafted tokens that were kept


class LlamaProcess:
    """A GGUF file; `open` must be called first."""

    _server: Any

    def open(
        self, path: str, window: int, at_once: int, draft: str, drafted: int
    ) -> str:
        """Load a file; return the version of the package.

        Args:
            path: The file.
            window: Tokens of prompt and answer together.
            at_once: Prompts of a call of `answer`, at most.
            draft: A file with the same tokens that drafts; empty: none.
            drafted: Tokens of a draft.

        Raises:
            ModelError: It cannot be loaded.
        """
        xllamacpp = import_module(LLAMA_PACKAGE)
        parameters = server_parameters(xllamacpp, path, window)
        parameters.n_parallel = at_once
        parameters.n_ctx *= at_once
        if draft:
            kinds = xllamacpp.common_speculative_type
            speculative = parameters.speculative
            speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
            speculative.draft.mparams.path = draft
            speculative.draft.n_max = drafted
            speculative.draft.n_gpu_layers = 0
        self._server = open_server(parameters, os.cpu_count() or 1)
        return str(xllamacpp.__version__)

    def answer(self, prompts: tuple[tuple[int, ...], ...], limit: int) -> AllAnswered:
        """Continue prompts with the likeliest tokens, at most so many each."""
        response = self._server.handle_completions(
            {
                "prompt": [list(tokens) for tokens in prompts],
                "n_predict": limit,
                "temperature": 0,
                "cache_prompt": True,  # the beginning that all have in common
            }
        )
        found = {
            choice["index"]: Answered(choice["text"], choice["finish_reason"] == "stop")
            for choice in response.get("choices", ())
        }
        # An answer that ends within a character of several bytes has no choice, and may
        # leave others without one.
        for number in range(len(prompts)):
            if number not in found and len(prompts) > 1:
                alone = self.answer((prompts[number],), limit)
                found[number] = alone.answers[0]
        none = Answered("", is_complete=False)
        timings = response.get("timings", {})
        return AllAnswered(
            tuple(found.get(number, none) for number in range(len(prompts))),
            tokens=timings.get("predicted_n", 0),
            seconds=timings.get("predicted_ms", 0.0) / _MILLISECONDS,
            drafted=timings.get("draft_n", 0),
            accepted=timings.get("draft_n_accepted", 0),
        )


if __name__ == "__main__":
    no_memory = ModelError(
        "There is not enough memory to run this file.", "Close other programs."
    )
    serve(LlamaProcess(), no_memory)
