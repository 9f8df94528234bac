"""A process that runs a GGUF file by llama.cpp, which may abort it."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from surgeon_engine.base.errors import ModelError
from surgeon_engine.base.json_process import RequestFailed
from surgeon_engine.base.sentences import say
from surgeon_engine.export.gguf.check import server_parameters
from surgeon_engine.judging.messages import Answered, Ask, FileOpened, OpenFile, Request
from surgeon_engine.runtime.json_server import serve

PACKAGE = "xllamacpp"


def is_installed() -> bool:
    """Return whether llama.cpp can be used here."""
    return find_spec(PACKAGE) is not None


class LlamaProcess:
    """Responds to requests about one file."""

    def __init__(self) -> None:
        self._server: Any = None

    def respond(self, request: Request) -> FileOpened | Answered:
        """Handle a request.

        Raises:
            ModelError: The file cannot be loaded.
        """
        if isinstance(request, OpenFile):
            return self._open(request)
        return self._answer(request)

    def _open(self, request: OpenFile) -> FileOpened:
        xllamacpp = import_module(PACKAGE)
        parameters = server_parameters(xllamacpp, request.path, request.window)
        threads = os.cpu_count() or 1
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads
        try:
            self._server = xllamacpp.Server(parameters)
        except RuntimeError as error:
            raise ModelError(
                "llama.cpp cannot load {path}: {reason:clause}.",
                "Export the model again, or choose another file.",
                path=request.path,
                reason=error,
            ) from error
        return FileOpened(str(xllamacpp.__version__))

    def _answer(self, request: Ask) -> Answered:
        response = self._server.handle_completions(
            {
                "prompt": list(request.tokens),
                "n_predict": request.limit,
                "temperature": 0,
                "cache_prompt": False,  # answers do not depend on earlier prompts
            }
        )
        # An answer that ends within a character of several bytes has no choices.
        for choice in response.get("choices", ()):
            return Answered(choice["text"], choice["finish_reason"] == "stop")
        return Answered("", is_complete=False)


if __name__ == "__main__":
    no_memory = RequestFailed(
        say("There is not enough memory to run this file."),
        say("Close other programs."),
    )
    serve(Request, LlamaProcess().respond, no_memory)
