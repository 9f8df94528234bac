"""llama.cpp in xllamacpp, an optional package: whether it is there, and its server."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from surgeon_engine.api.config.export import LLAMA_PACKAGE
from surgeon_engine.base.errors import ModelError


def is_installed() -> bool:
    """Return whether llama.cpp can be used here."""
    return find_spec(LLAMA_PACKAGE) is not None


def open_server(parameters: Any, threads: int) -> Any:
    """Load the file that the parameters name.

    Raises:
        ModelError: llama.cpp cannot load it.
    """
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    try:
        return import_module(LLAMA_PACKAGE).Server(parameters)
    except RuntimeError as error:
        raise ModelError(
            "llama.cpp cannot load {path}: {reason:clause}.",
            "Export the model again, or choose another file.",
            path=parameters.model.path,
            reason=error,
        ) from error
