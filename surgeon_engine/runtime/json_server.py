"""Serve requests on the standard streams: the child's end of `SubprocessClient`."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

import msgspec
from transformers.utils import logging

from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.json_process import RequestFailed
from surgeon_engine.runtime import fence
from surgeon_engine.runtime.failures import is_out_of_memory
from surgeon_engine.runtime.json_streams import JsonOutput, read_messages


def serve(
    request_type: Any,
    answer: Callable[[Any], msgspec.Struct],
    out_of_memory: RequestFailed,
) -> None:
    """Respond to requests, one at a time, until the parent exits.

    Args:
        request_type: The union of all request types.
        answer: Returns the response to a request.
        out_of_memory: The response where `answer` runs out of memory.
    """
    output = JsonOutput()
    fence.work_directly()  # the parent watches this process
    logging.disable_progress_bar()
    requests: queue.Queue[Any] = queue.Queue()
    read_messages(request_type, requests.put)
    while True:
        try:
            response = answer(requests.get())
        except EngineError as error:
            response = RequestFailed(error.message, error.hint)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            response = out_of_memory
        output.write(response)
