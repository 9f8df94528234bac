"""Serve the methods of an object on the standard streams, to a `ModelProcess`."""

from __future__ import annotations

import queue

from surgeon_engine.base.calls import Call, Refused
from surgeon_engine.base.errors import EngineError
from surgeon_engine.runtime import fence
from surgeon_engine.runtime.failures import is_out_of_memory
from surgeon_engine.runtime.json_streams import JsonOutput, read_messages


def serve(worker: object, out_of_memory: EngineError) -> None:
    """Answer calls of public methods, one at a time, until the parent exits.

    `out_of_memory` is raised there where a method runs out of memory.
    """
    output = JsonOutput()
    fence.work_directly()  # the parent watches this process
    calls: queue.Queue[Call] = queue.Queue()
    read_messages(Call, calls.put)
    while True:
        call = calls.get()
        try:
            answer = call.answer(getattr(worker, call.function))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            answer = Refused.by(out_of_memory)
        output.write(answer)
