"""The process of `fence`: runs one function after another, within limits.

`python -m surgeon_engine.runtime.fence_process MODULE...` imports the modules, reads
`Call` from the standard input and writes `fence.Message` to the standard output, as
JSON lines.
"""

from __future__ import annotations

import importlib
import queue
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from surgeon_engine.base.calls import Call
from surgeon_engine.runtime import fence
from surgeon_engine.runtime.json_streams import JsonOutput, read_messages

_STATUS = Path("/proc/self/status")
_OOM_SCORE = Path("/proc/self/oom_score_adj"), "1000"  # the first to be killed
_KILOBYTE = 1024


def main(modules: list[str]) -> None:
    """Run the functions that the parent asks for, until it ends."""
    output = JsonOutput()
    calls: queue.Queue[Call] = queue.Queue()
    read_messages(Call, calls.put)
    fence.work_directly(output.write)
    with suppress(OSError):
        _OOM_SCORE[0].write_text(_OOM_SCORE[1])
    for module in modules:
        importlib.import_module(module)
    while True:
        output.write(_answer(calls.get()))


def _answer(call: Call) -> msgspec.Struct:
    """Return the result of a function, or the error that it raised."""
    try:
        function = fence.resolve(call.function)
        fence.alive()
        limit_memory(call.memory)
        return call.answer(function, fence.from_plain, fence.to_plain)
    except BaseException as error:  # a panic of Rust is no Exception
        return fence.Failed(fence.describe(error))


def limit_memory(size: int) -> None:
    """Let this process take `size` more bytes; only Linux has such a limit."""
    if sys.platform != "linux":
        return
    import resource

    lines = _STATUS.read_text().splitlines()
    used = next(int(line.split()[1]) for line in lines if line.startswith("VmData"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = used * _KILOBYTE + size
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))  # no dumps of crashes


if __name__ == "__main__":
    main(sys.argv[1:])
