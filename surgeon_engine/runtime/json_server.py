"""The inside end of a process with one model in it: hears requests, sends replies."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from transformers.utils import logging

from surgeon_engine.api.errors import EngineError
from surgeon_engine.api.json_process import RequestFailed
from surgeon_engine.runtime import devices


def serve(
    requests: Any, answer: Callable[[Any], msgspec.Struct], no_memory: RequestFailed
) -> None:
    """Answer `requests` until the end of the input, `no_memory` where there is none.

    That end means that whoever asks is gone: the process ends at once, even in the
    middle of its work.
    """
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stray prints are no replies
    logging.disable_progress_bar()
    waiting: queue.Queue[Any] = queue.Queue()

    def listen() -> None:
        decoder = msgspec.json.Decoder(requests)
        for line in sys.stdin.buffer:
            waiting.put(decoder.decode(line))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        reply = _reply(answer, waiting.get(), no_memory)
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()


def _reply(
    answer: Callable[[Any], msgspec.Struct], request: Any, no_memory: RequestFailed
) -> msgspec.Struct:
    try:
        return answer(request)
    except EngineError as error:
        return RequestFailed(error.message, error.hint)
    except (RuntimeError, MemoryError) as error:
        if not devices.is_out_of_memory(error):
            raise
        return no_memory
