"""Search the Hub for models: a process asks it, the engine judges what it found."""

from __future__ import annotations

import dataclasses
import os
import time

import msgspec

from surgeon_engine.api.messages.sources import HubModel, HubSearched
from surgeon_engine.base.calls import Refused
from surgeon_engine.base.decoding import json_decoder
from surgeon_engine.base.errors import DownloadError
from surgeon_engine.base.json_process import JsonProcess, module_command
from surgeon_engine.hub.download import ENVIRONMENT
from surgeon_engine.hub.messages import ModelsFound, SearchMessage
from surgeon_engine.model.classes import is_known, unknown_type
from surgeon_engine.runtime.run_context import RunContext

COMMAND = module_command("surgeon_engine.hub.search_process")
TIMEOUT_S = 30.0  # the process has shorter limits for each of its requests
_MAX_QUERY = 200  # characters
_POLL_INTERVAL_S = 0.1


def search_hub(
    query: str, context: RunContext, *, timeout_s: float = TIMEOUT_S
) -> HubSearched:
    """Return the models of the Hub that match words.

    Raises:
        DownloadError: The Hub cannot be searched.
        RunCancelled: The user has cancelled.
    """
    words = "".join(char for char in query if char.isprintable())[:_MAX_QUERY]
    decode = json_decoder(SearchMessage)
    end = time.monotonic() + timeout_s
    with JsonProcess((*COMMAND, words), decode, os.environ | ENVIRONMENT) as process:
        while time.monotonic() < end:
            context.raise_if_cancelled()
            match process.receive(_POLL_INTERVAL_S):
                case ModelsFound(models=models):
                    return HubSearched(tuple(map(_judged, models)))
                case Refused() as refused:
                    raise refused.error
            if process.ended:
                reason = process.wait_for_exit().summary
                raise DownloadError(
                    "The search failed: {reason:clause}.", "Try again.", reason=reason
                )
    raise DownloadError(
        "The search was given up after {seconds:.0f} seconds.",
        "Check the network connection.",
        seconds=timeout_s,
    )


def _judged(model: HubModel) -> HubModel:
    """Return a model with the reason why transformers cannot build it, if so."""
    if model.facts.problem or not model.model_type:
        return model
    if is_known(model.model_type):
        return model
    error = unknown_type(model.model_type)
    facts = dataclasses.replace(model.facts, problem=error.message, hint=error.hint)
    return msgspec.structs.replace(model, facts=facts)
