"""Kill a run on another computer at random moments, resume it, compare the weights.

    python benchmarks/detached_kills.py [--kills 100] [--seed 0]

The other computer is this one, by OpenSSH and a server on the loopback interface. At
each random moment one of these is killed: the process of the run, the engine there, the
connection. Then the client connects again; a run that was killed is resumed. No event
may arrive twice or be lost, and the weights must be the same as without a kill.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.api.messages.commands import ResumeRun, StartRun
from surgeon_engine.api.messages.events import ConnectionChanged, Envelope, Failed
from surgeon_engine.api.messages.run import Progressed, RunFinished
from surgeon_engine.api.remote import RemoteEngine
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.sealed_json import decode_sealed_line
from surgeon_engine.base.ssh import Computer
from tests.helpers.fake_remote import remote_command
from tests.helpers.loopback_ssh import LoopbackSsh

_JOB = """
[calibration]
windows = 8
validation_windows = 4
window_length = 64
[evaluation]
windows = 0
[pruning]
method = "first_order"
sparsity = 0.4
shots = 20
[recovery]
level = "distillation"
general_windows = 0
"""
_TARGETS = ("run", "engine", "connection")
_SECONDS = 600.0  # within which a run has to end after the last kill


class _Bench:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.server = LoopbackSsh(folder / "sshd")
        command = remote_command(folder / "there", module="surgeon_engine")
        waits = (0.2,) * 100
        self.client = RemoteEngine(
            Computer("loopback", command), self.server.ssh, waits
        )
        self.config: RunConfig = config_from_toml(_JOB)
        self.kills: dict[str, int] = dict.fromkeys(_TARGETS, 0)

    def weights_of(self, name: str, kills: int) -> str:
        """Return a digest of the weights of a run with so many kills."""
        run, config = RunFolder(self.folder / name), self.config
        command: StartRun | ResumeRun = StartRun(
            run=_name(), config=config, folder=str(run.path), detached=True
        )
        self.client.send(command)
        received: list[Envelope] = []
        deadline = self._later(_SECONDS)
        while not received or not isinstance(received[-1].event, RunFinished):
            if kills and self._receive(
                received, self._later(self.random.uniform(0, 6))
            ):
                kills -= self._kill(run)
                deadline = self._later(_SECONDS)
            elif not kills:
                self._receive(received, self._later(0.5))
            if received and isinstance(received[-1].event, Failed):
                if "was killed" not in received[-1].event.message:
                    sys.exit(f"failed: {received[-1].event}")
                self._check(run, received[:-1])
                received.clear()
                if run.saved_state.exists:
                    command = ResumeRun(
                        run=_name(), folder=str(run.path), detached=True
                    )
                else:  # nothing is saved: it begins again
                    run = RunFolder(self.folder / f"{name}-{uuid.uuid4().hex[:4]}")
                    command = StartRun(
                        run=_name(), config=config, folder=str(run.path), detached=True
                    )
                self.client.send(command)
            if time.monotonic() > deadline:
                sys.exit("the run does not end")
        self._check(run, received)
        (file,) = (run.path / "export").glob("*.safetensors")
        return hashlib.sha256(file.read_bytes()).hexdigest()

    def _later(self, seconds: float) -> float:
        return time.monotonic() + seconds

    def _receive(self, received: list[Envelope], until: float) -> bool:
        """Receive until then; return whether the run goes on."""
        while time.monotonic() < until:
            envelope = self.client.receive(0.05)
            if envelope is None or not envelope.run:
                event = envelope.event if envelope is not None else None
                if isinstance(event, ConnectionChanged) and event.message:
                    print(f"  {event.status.value}: {event.message[:70]}", flush=True)
                continue
            received.append(envelope)
            if isinstance(envelope.event, Failed | RunFinished):
                return False
        return True

    def _kill(self, run: RunFolder) -> int:
        target = self.random.choice(_TARGETS)
        use = run.use
        found = []
        for each in psutil.process_iter():
            try:
                is_there = each.environ().get("XDG_STATE_HOME") == str(
                    self.folder / "there"
                )
                is_engine = each.cmdline()[-1:] == ["serve"]
            except psutil.Error:
                continue
            is_run = use is not None and use.holder and each.pid == use.holder.pid
            is_engine = is_engine and is_there
            if is_run if target == "run" else is_engine and target == "engine":
                found.append(each)
        if target == "connection":
            self.server.cut()
            self.server.start()
        for each in found:
            each.kill()
        done = int(bool(found) or target == "connection")
        self.kills[target] += done
        return done

    def _check(self, run: RunFolder, received: list[Envelope]) -> None:
        """Compare what has arrived with the log."""
        # The log is missing if the run was killed before its first event.
        logged = run.log_lines() if run.events_path.exists() else ()
        whole = [line for line in logged if line.endswith(b"\n")]
        events = [decode_sealed_line(line, Envelope).event for line in whole]
        lasting = [each for each in events if not isinstance(each, Progressed)]
        arrived = [x.event for x in received if not isinstance(x.event, Progressed)]
        if arrived != lasting:
            sys.exit(f"{len(arrived)} events have arrived of {len(lasting)}")


def _name() -> str:
    return f"run-{uuid.uuid4().hex[:8]}"


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(Path(folder), options.seed)
        try:
            expected, number, left = bench.weights_of("plain", 0), 0, options.kills
            while left > 0:
                number += 1
                before = sum(bench.kills.values())
                if bench.weights_of(f"killed-{number}", left) != expected:
                    sys.exit(f"other weights after {bench.kills}")
                left -= sum(bench.kills.values()) - before
                print(f"run {number}: same weights, {bench.kills}", flush=True)
        finally:
            bench.client.kill()
            bench.server.close()


if __name__ == "__main__":
    main()
