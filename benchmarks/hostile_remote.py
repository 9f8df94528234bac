"""Let malicious programs answer instead of an engine on another computer.

Each plays for some seconds. No call may block, memory must stay bounded, and the
connection must end in an error message if the other side breaks the rules:

    python benchmarks/hostile_remote.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from importlib.metadata import version

from surgeon_engine.api.messages.commands import ListFiles
from surgeon_engine.api.remote import RemoteEngine
from surgeon_engine.base.ssh import Computer

SECONDS = 6.0
MAX_CALL_S = 2.5
MAX_MEGABYTES = 400
_OUT = "import sys, os, time, random; out = sys.stdout.buffer; w = out.write\n"
_STARTED = {
    "type": "EngineStarted",
    "version": version("surgeon"),
    "computer": "c",
    "runs_folder": "/r",
}


def line(event: object, at: float = 0.0) -> str:
    """Return the code that writes an event."""
    text = json.dumps({"run": "", "at": at, "event": event}) + "\n"
    return f"w({text.encode()!r}); out.flush()\n"


def forever(code: str) -> str:
    """Return code that does not end."""
    return f"while True:\n  {code}"


_LOGGED = {"type": "Logged", "level": "info", "message": "x" * 200}
_PROGRESSED = {"type": "Progressed", "stage": "load", "shot": 1, "done": 1, "total": 9}
_PROGRAMS = {
    "silence": "time.sleep(60)",
    "endless noise": forever("w(b'welcome\\n')"),
    "endless line": forever("w(b'x' * 65536)"),
    "endless line, started": line(_STARTED) + forever("w(b'x' * 65536)"),
    "endless errors": line(_STARTED) + forever("os.write(2, b'x' * 65536)"),
    "log lines": line(_STARTED) + forever(line(_LOGGED).split("; out")[0]),
    "started again and again": forever(line(_STARTED).split("; out")[0]),
    "deep lists": line(_STARTED) + "w(b'[' * 10_000_000 + b'\\n')",
    "deep objects": line(_STARTED) + "w(b'{\"a\":' * 3_000_000 + b'\\n')",
    "a long list": line(_STARTED) + "w(b'[' + b'[],' * 5_000_000 + b'1]\\n')",
    "many keys": line(_STARTED)
    + "w(b'{' + b','.join(b'\"%d\":\"\"' % i for i in range(1_000_000)) + b'}\\n')",
    "a long number": line(_STARTED) + "w(b'9' * 10_000_000 + b'\\n')",
    "a long text": line(_STARTED)
    + line(_LOGGED).replace("x" * 200, "' + b'x' * 15_000_000 + b'"),
    "random bytes": line(_STARTED) + forever("w(random.randbytes(4096))"),
    "halves": line(_STARTED) + "w(b'{\"run\":'); out.flush(); time.sleep(60)",
    "closes and stays": line(_STARTED) + "out.flush(); os.close(1); time.sleep(60)",
    "escapes": line(_STARTED) + line({**_LOGGED, "message": "\x1b[2J\x1b]0;x\x07"}),
    "another version": line({**_STARTED, "version": "\x1b[2J" * 1000}),
    "time beyond the calendar": line(_STARTED, 1e300),
    "a huge integer": line(_STARTED) + line({**_PROGRESSED, "done": 10**400}),
    "offsets": line(_STARTED)
    + forever(line(_PROGRESSED).replace('"run": ""', '"run": "x", "offset": -1')),
}  # fmt: skip


def play(program: str) -> str:
    """Return how a client fares with a program instead of ssh."""
    engine = RemoteEngine(
        Computer("there"), (sys.executable, "-c", _OUT + program), (0.2, 0.2)
    )
    start, longest, events, last = time.monotonic(), 0.0, 0, ""
    while time.monotonic() - start < SECONDS and not engine.ended:
        began = time.monotonic()
        envelope = engine.receive(0.1)
        engine.send(ListFiles(run="x", folder="/"))
        longest = max(longest, time.monotonic() - began)
        if envelope is not None:
            events += 1
            last = getattr(envelope.event, "message", "") or last
    began = time.monotonic()
    engine.kill()
    closing = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    is_good = longest < MAX_CALL_S and used < MAX_MEGABYTES and last.isprintable()
    verdict = "good" if is_good else "BAD"
    return (
        f"{verdict}: longest call {longest:.2f} s, closing {closing:.1f} s, peak "
        f"{used:.0f} MB, {events:,} events, {last[:90]!r}"
    )


def main() -> None:
    """Play each program in a process of its own."""
    if len(sys.argv) > 1:
        print(play(_PROGRAMS[sys.argv[1]]))
        return
    for name in _PROGRAMS:
        command = (sys.executable, __file__, name)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"{name:26} {done.stdout.strip() or done.stderr[-300:]}", flush=True)


if __name__ == "__main__":
    main()
