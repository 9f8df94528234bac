"""A process that runs a GGUF file by llama.cpp, which may abort it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from surgeon_engine.api.config.export import LLAMA_PACKAGE
from surgeon_engine.base.json_process import RequestFailed
from surgeon_engine.base.sentences import say
from surgeon_engine.export.gguf.check import server_parameters
from surgeon_engine.export.gguf.server import open_server
from surgeon_engine.judging.messages import (
    AllAnswered,
    Answered,
    Ask,
    FileOpened,
    OpenFile,
    Request,
)
from surgeon_engine.runtime.json_server import serve

_MILLISECONDS = 1000


class LlamaProcess:
    """Responds to requests about one file."""

    def __init__(self) -> None:
        self._server: Any = None

    def respond(self, request: Request) -> FileOpened | AllAnswered:
        """Handle a request.

        Raises:
            ModelError: The file cannot be loaded.
        """
        if isinstance(request, OpenFile):
            return self._open(request)
        return self._answer(request)

    def _open(self, request: OpenFile) -> FileOpened:
        xllamacpp = import_module(LLAMA_PACKAGE)
        parameters = server_parameters(xllamacpp, request.path, request.window)
        parameters.n_parallel = request.at_once
        parameters.n_ctx *= request.at_once
        if request.draft:
            kinds = xllamacpp.common_speculative_type
            speculative = parameters.speculative
            speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
            speculative.draft.mparams.path = request.draft
            speculative.draft.n_max = request.drafted
            speculative.draft.n_gpu_layers = 0
        self._server = open_server(parameters, os.cpu_count() or 1)
        return FileOpened(str(xllamacpp.__version__))

    def _answer(self, request: Ask) -> AllAnswered:
        response = self._server.handle_completions(
            {
                "prompt": [list(tokens) for tokens in request.prompts],
                "n_predict": request.limit,
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
        prompts = request.prompts
        for number in range(len(prompts)):
            if number not in found and len(prompts) > 1:
                alone = self._answer(Ask((prompts[number],), request.limit))
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
    no_memory = RequestFailed(
        say("There is not enough memory to run this file."),
        say("Close other programs."),
    )
    serve(Request, LlamaProcess().respond, no_memory)
