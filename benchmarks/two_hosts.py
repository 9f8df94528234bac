"""Let two hosts start, resume and clean up runs in one folder at the same time.

    python benchmarks/two_hosts.py [--rounds 200] [--runs 3] [--workers 2]

A host is a PID and a mount namespace (`unshare`, which needs root): its processes do
not see the processes of the other host or their numbers. In each round all workers of
both hosts start the same run, and then all of them resume it, until each has had it
once; one in ten is killed during its work. Two processes of each host clean up
meanwhile. Afterwards:

- one worker has started each run, and its config is in the folder;
- no two workers were ever in a run at the same time;
- each worker found all files that it was writing, and all of them are there;
- no temporary file is left once the hosts have cleaned up.

Real runs of the demo follow: both hosts start one, the winner is killed, both resume
it, and its weights equal a run that was alone, bit for bit.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.litter import remove_litter
from surgeon_engine.api.messages.events import Envelope, Level, Logged
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.api.saved_state import Origin, SavedState
from surgeon_engine.base.errors import RunFolderError
from surgeon_engine.base.files import partial_path, write_atomically
from surgeon_engine.base.sealed_json import sealed_json
from surgeon_engine.base.versions import STATE

_HOSTS, _CLEANERS = 2, 2
# A host ends with the process that has started it.
_UNSHARE = (
    *("setpriv", "--pdeathsig", "KILL", "unshare", "--kill-child"),
    *("--pid", "--fork", "--mount-proc", "--mount"),
)
_SHARE_KILLED = 0.1
_FAILURES = (
    "both entered",
    "another config",
    "lost while it was written",
    "lost afterwards",
    "left over",
    "still locked",
    "tracebacks",
    "another result",
)
_JOB = """
version = 1
[calibration]
windows = 8
validation_windows = 4
window_length = 64
[evaluation]
windows = 0
[pruning]
method = "first_order"
sparsity = 0.4
shots = 3
[recovery]
level = "off"
general_windows = 0
"""


class _Worker:
    """One process of a host, in step with the others through files.

    Args:
        place: the folder that the hosts share.
        name: the name of the worker.
        count: the number of all workers.
    """

    def __init__(self, place: Path, name: str, count: int) -> None:
        self._place, self._name, self._count = place, name, count
        self._number = int(name.partition("-")[0])
        self._random = random.Random(name)
        self.seen: Counter[str] = Counter()

    def round(self, number: int) -> None:
        """Start a run with all others, and resume it until this one has had it."""
        run = RunFolder(self._place / "runs" / f"{number:03}")
        self._meet(f"{number}-start")
        self._start(run)
        self._meet(f"{number}-resume")
        if self._random.random() < _SHARE_KILLED:
            self._die_in(run)
        while not self._resume(run):
            time.sleep(self._random.uniform(0, 0.01))
        self._meet(f"{number}-end")

    def _meet(self, name: str) -> None:
        """Wait for all other workers."""
        folder = self._place / "meetings" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self._name).touch()
        while sum(1 for _ in folder.iterdir()) < self._count:
            time.sleep(0.001)

    def _start(self, run: RunFolder) -> None:
        config = RunConfig()
        seed = dataclasses.replace(config.calibration, seed=self._number)
        config = dataclasses.replace(config, calibration=seed)
        try:
            with run.created(config), self._alone(run):
                state = SavedState(Origin({}, "", "", {}), RecoveryConfig())
                run.saved_state.path.mkdir()
                write_atomically(run.saved_state.state_path, sealed_json(state, STATE))
                if run.read_config() != config:
                    self.seen["another config"] += 1
                self.seen["started"] += 1
        except RunFolderError:
            self.seen["refused"] += 1

    def _resume(self, run: RunFolder) -> bool:
        try:
            with run.locked(), self._alone(run):
                self._work(run)
        except RunFolderError:
            self.seen["busy"] += 1
            return False
        self.seen["resumed"] += 1
        return True

    def _work(self, run: RunFolder) -> None:
        """Write what a run writes, slowly, and look whether it is still there."""
        run.saved_state.read()
        run.append(Envelope("x", time.time(), Logged(Level.INFO, self._name)))
        unfinished = run.path / f".tmp{self._number % 10}aBcDe"  # as of safetensors
        folder = partial_path(run.path / f"export-{self._name}")
        folder.mkdir()
        for path in (unfinished, folder / "model.safetensors"):
            path.write_text(self._name)
        time.sleep(self._random.uniform(0, 0.004))
        for path in (unfinished, folder / "model.safetensors"):
            if not path.exists() or path.read_text() != self._name:
                self.seen["lost while it was written"] += 1
        unfinished.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rename(run.path / f"export-{self._name}")

    @contextlib.contextmanager
    def _alone(self, run: RunFolder) -> Iterator[None]:
        """Count workers that are in a run at the same time."""
        mark = self._place / "inside" / run.path.name
        try:
            mark.open("x").close()
        except FileExistsError:
            self.seen["both entered"] += 1
        yield
        mark.unlink(missing_ok=True)

    def _die_in(self, run: RunFolder) -> None:
        """Let a child be killed at its work on the run."""
        if (child := os.fork()) == 0:
            with contextlib.suppress(RunFolderError), run.locked():
                partial_path(run.path / "export-killed").mkdir()
                (run.path / ".tmpkIlLed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        self.seen["killed" if os.WIFSIGNALED(status) else "refused"] += 1


def _host(place: Path, host: int, rounds: int, workers: int) -> None:
    """Be one of the hosts: work and clean up, and write what was seen."""
    pids = []
    for number in range(workers):
        if (pid := os.fork()) == 0:
            worker = _Worker(
                place, f"{host * workers + number}-{host}", _HOSTS * workers
            )
            for each in range(rounds):
                worker.round(each)
            (place / "seen" / f"{host}-{number}").write_text(json.dumps(worker.seen))
            os._exit(0)
        pids.append(pid)
    for _ in range(_CLEANERS):
        if os.fork() == 0:
            while True:
                remove_litter(place / "runs")
                time.sleep(0.002)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    remove_litter(place / "runs")
    sys.exit(max(map(abs, codes)))


def _in_namespace(*arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = (*_UNSHARE, *arguments)
    return subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def races(place: Path, rounds: int, workers: int) -> Counter[str]:
    """Return how often what happened in all rounds."""
    for name in ("runs", "seen", "inside"):
        (place / name).mkdir(parents=True)
    hosts = [
        _in_namespace(
            *(sys.executable, __file__, "--host", str(host), "--place", str(place)),
            *("--rounds", str(rounds), "--workers", str(workers)),
        )
        for host in range(_HOSTS)
    ]
    seen: Counter[str] = Counter()
    for host in hosts:
        output, _ = host.communicate()
        if host.returncode:
            raise SystemExit(output)
    for file in (place / "seen").iterdir():
        seen.update(json.loads(file.read_text()))
    for run in map(RunFolder, (place / "runs").iterdir()):
        lines = sum(1 for _ in run.log_lines())
        exports = len(list(run.path.glob("export-*")))
        seen["lost afterwards"] += 2 * _HOSTS * workers - lines - exports
        seen["left over"] += len(list(run.path.glob(".*")))
        seen["still locked"] += run.is_being_worked_on
    return seen


def real_runs(place: Path, number: int) -> Counter[str]:
    """Let two hosts start, lose and resume real runs; return what happened."""
    place.mkdir(parents=True)
    job = place / "job.toml"
    job.write_text(_JOB)
    surgeon = "import sys; from surgeon_engine.cli.main import main; sys.exit(main())"
    command = (sys.executable, "-c", surgeon)
    start = (*command, "run", str(job), "--run-dir", str(place), "--name")
    _in_namespace(*start, "0").communicate()
    expected, seen = _digest(place / "0"), Counter[str]()
    for each in map(str, range(1, number + 1)):
        run = RunFolder(place / each)
        pair = [_in_namespace(*start, each) for _ in range(_HOSTS)]
        while sum(x.poll() is None for x in pair) == _HOSTS:  # one is refused
            time.sleep(0.05)
        while not run.saved_state.exists and any(x.poll() is None for x in pair):
            time.sleep(0.05)
        seen["refused to start"] += _kill_the_one_at_work(pair)
        pair = [_in_namespace(*command, "resume", str(run.path)) for _ in range(_HOSTS)]
        outputs = [x.communicate()[0] for x in pair]
        seen["resumed"] += sum(x.returncode == 0 for x in pair)
        seen["refused to resume"] += sum(x.returncode == 1 for x in pair)
        seen["tracebacks"] += sum("Traceback" in x for x in outputs)
        seen["another result"] += _digest(run.path) != expected
    return seen


def _kill_the_one_at_work(pair: list[subprocess.Popen[str]]) -> int:
    """Kill what still runs, as whole hosts; return how many had been refused."""
    refused = sum(x.poll() == 1 for x in pair)
    for each in pair:
        # `unshare` is the parent of the host's first process, with which all end.
        for child in _children(each.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        each.communicate()
    return refused


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(x) for x in path.read_text().split()] if path.exists() else []


def _digest(run: Path) -> str:
    weights = (run / "export").glob("*.safetensors")
    return hashlib.sha256(b"".join(x.read_bytes() for x in sorted(weights))).hexdigest()


def main() -> None:
    """Run as described above, or as one of the hosts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2, help="of each host")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--host", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.host is not None:
        _host(given.place, given.host, given.rounds, given.workers)
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        seen = races(Path(folder) / "races", given.rounds, given.workers)
        print(f"{given.rounds} rounds, {time.monotonic() - start:.0f} s: {dict(seen)}")
        failures += sum(seen[each] for each in _FAILURES)
        if given.runs:
            start = time.monotonic()
            seen = real_runs(Path(folder) / "real", given.runs)
            print(f"{given.runs} runs, {time.monotonic() - start:.0f} s: {dict(seen)}")
            failures += sum(seen[each] for each in _FAILURES)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
