"""Kill a run at its file operations and at random moments, fail them, and resume it.

    python benchmarks/crash.py --out build/crash.jsonl [--cases 200] [--seed 0]

A run of the demo is killed right before one of its file operations, or one of them
fails: with an I/O error, or because the disk is full from then on. The faults are below
Python (`crash_faults.c`), so that the writes of torch, safetensors and tokenizers
count too. Other runs are killed at a random moment. After each:

- the next start removes what is left: no temporary file or folder remains;
- an error ended in an error message, not in a traceback;
- the run goes on from its folder, or is started again if nothing had been saved, and
  its weights equal a run without a fault, bit for bit.

Runs are forks of a process that has imported everything, and exports are not verified
in a fresh process, so that a case takes seconds. Some runs of the real command are
killed during their verification; no process may be left two seconds later.

Each case is a line of the file; repeat the command to go on after an interruption.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("crash_faults.c")
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
shots = 2
[recovery]
level = "distillation"
general_windows = 0
"""
_TIMEOUT_S = 120.0
_REAL_RUNS = 3  # runs of the command, killed during verification
_ORPHAN_SECONDS = 2.0
_FAULTS = {"kill": 0, "no space": errno.ENOSPC, "I/O error": errno.EIO}
_RANDOM = "random kill"


def main() -> int:
    """Run the cases; return the exit code."""
    options = _options()
    if "SURGEON_FAULTS" not in os.environ:
        return _start_preloaded()
    kinds = options.fault or [*_FAULTS, _RANDOM]
    sweep = _Sweep(options.out, options.cases, random.Random(options.seed), kinds)
    sweep.run()
    return sweep.report()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="lines of JSON")
    parser.add_argument("--cases", type=int, default=200, help="of each kind of fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--fault",
        action="append",
        choices=[*_FAULTS, _RANDOM],
        help="only this kind; give it again for another one",
    )
    return parser.parse_args()


def _start_preloaded() -> int:
    """Compile the faults, and run this program with them."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "faults.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"],
            check=True,
        )
        environment = os.environ | {
            "LD_PRELOAD": str(library),
            "SURGEON_FAULTS": str(library),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run([sys.executable, *sys.argv], env=environment).returncode


@dataclass
class _Sweep:
    """The cases, and the run to compare them with."""

    out: Path
    cases: int
    draw: random.Random
    kinds: list[str]  # kinds of faults

    def __post_init__(self) -> None:
        self._import_engine()
        self.faults = ctypes.CDLL(os.environ["SURGEON_FAULTS"])
        self.work = Path(tempfile.mkdtemp(prefix="crash-"))
        self.out.parent.mkdir(parents=True, exist_ok=True)
        lines = self.out.read_text().splitlines() if self.out.exists() else []
        self.results = [json.loads(line) for line in lines]
        self.done = {(each["fault"], each["at"]) for each in self.results}

    def _import_engine(self) -> None:
        import torch
        import transformers.models.llama.modeling_llama  # noqa: F401

        import surgeon_engine.run.pipeline  # noqa: F401
        from surgeon_engine.export.base import VerificationResult
        from surgeon_engine.export.formats import WRITERS
        from surgeon_engine.runtime import saver

        torch.set_num_threads(1)
        unverified = VerificationResult(0, 0.0, 0.0, 1.0, None, "nothing")
        for writer in WRITERS.values():
            type(writer).verify = lambda *_: unverified  # type: ignore[method-assign]
        saver._SECONDS_BETWEEN, saver._SHARE_OF_TIME = 0.0, 1e9  # save wherever it may

    def run(self) -> None:
        """Run all cases that are not done yet."""
        try:
            start = time.monotonic()
            whole = self.work / "whole"
            self._fork(whole, self._count)
            operations = int((whole / "operations").read_text())
            seconds = time.monotonic() - start
            self.expected = _weights(whole / "run")
            print(f"{operations} file operations, {seconds:.1f} s", flush=True)
            for fault in self.kinds:
                if fault == _RANDOM:
                    self._kill_at_random(seconds)
                    continue
                for at in _spread(operations, self.cases):
                    work = functools.partial(self._prune, at=at, fault=_FAULTS[fault])
                    self._case(fault, at, work)
            for case in range(_REAL_RUNS):
                if ("orphans", case) not in self.done:
                    self._record(self._orphans(case))
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def _kill_at_random(self, seconds: float) -> None:
        for case in range(self.cases):
            moment = self.draw.random() * seconds
            self._case(_RANDOM, case, self._prune, moment)

    def report(self) -> int:
        """Print how many cases ended how; return the exit code."""
        bad = [each for each in self.results if not _is_good(each)]
        for fault in dict.fromkeys(each["fault"] for each in self.results):
            ends = Counter(x["end"] for x in self.results if x["fault"] == fault)
            print(fault, dict(ends))
        for each in bad:
            print("BAD", json.dumps(each))
        print(f"{len(self.results)} cases, {len(bad)} of them bad")
        return 1 if bad else 0

    def _case(
        self,
        fault: str,
        at: int,
        work: Callable[[Path], None],
        kill_after: float | None = None,
    ) -> None:
        if (fault, at) in self.done:
            return
        folder = self.work / "case"
        found = self._fork(folder, work, kill_after)
        result = {"fault": fault, "at": at, "sentence": found.text}
        state = folder / "run" / "resume" / "state.json"
        is_complete = (folder / "run" / "report.json").exists()
        result["end"] = (
            "complete" if is_complete else "resumed" if state.exists() else "again"
        )
        result["traceback"] = found.code not in (0, 1, -signal.SIGKILL)
        self._fork(folder, _tidy, keep=True)
        result["litter"] = _litter(folder)
        after = found
        if not is_complete:
            after = self._fork(folder, _go_on, keep=True)
        result["after"] = "" if after.code == 0 or is_complete else after.text
        result["identical"] = _weights(folder / "run") == self.expected
        self._record(result)

    def _record(self, result: dict[str, object]) -> None:
        self.results.append(result)
        with self.out.open("a") as file:
            file.write(json.dumps(result) + "\n")
        if len(self.results) % 20 == 0:
            print(f"{len(self.results)} cases", flush=True)

    # in forks

    def _count(self, folder: Path) -> None:
        self.faults.faults_arm(os.fsencode(folder), ctypes.c_long(0), 0)
        _start(folder)
        count = self.faults.faults_counted()
        self.faults.faults_arm(b"", ctypes.c_long(0), 0)
        (folder / "operations").write_text(str(count))

    def _prune(self, folder: Path, at: int = 0, fault: int = 0) -> None:
        self.faults.faults_arm(os.fsencode(folder), ctypes.c_long(at), fault)
        _start(folder)

    def _fork(
        self,
        folder: Path,
        work: Callable[[Path], None],
        kill_after: float | None = None,
        *,
        keep: bool = False,
    ) -> _End:
        """Do some work in a fork of this process, which may be killed meanwhile.

        Raises:
            TimeoutError: The fork does not end; the machine may be too busy.
        """
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        log = folder.with_suffix(".log")
        pid = os.fork()
        if pid == 0:
            _in_fork(folder, log, work)
        until = time.monotonic() + (kill_after or _TIMEOUT_S)
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > until:
                os.killpg(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
                if kill_after is None:
                    raise TimeoutError(f"A case has taken over {_TIMEOUT_S:.0f} s.")
                break
            time.sleep(0.002)
        return _End(os.waitstatus_to_exitcode(status), log.read_text().strip())

    def _orphans(self, case: int) -> dict[str, object]:
        """Kill the real command during its verification, and count what is left."""
        import psutil

        folder = self.work / "real"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "job.toml").write_text(_JOB)
        command = ["run", "job.toml", "--run-dir", ".", "--name", "run"]
        environment = {x: y for x, y in os.environ.items() if x != "LD_PRELOAD"}
        process = subprocess.Popen(
            [sys.executable, "-m", "surgeon_engine", *command],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        log = folder / "run" / "events.jsonl"
        while not (log.exists() and b'"verification"' in log.read_bytes()):
            if process.poll() is not None:
                raise RuntimeError("The run has ended before its verification.")
            time.sleep(0.01)
        time.sleep(0.5 * case)  # the verifier has started
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        time.sleep(_ORPHAN_SECONDS)
        left = [each.pid for each in children if each.is_running()]
        return {
            "fault": "orphans",
            "at": case,
            "end": f"{len(children)} children, {len(left)} left",
            "litter": left,
        }


@dataclass(frozen=True)
class _End:
    """How a fork has ended."""

    code: int  # negative: the signal
    text: str  # the last line of its output


def _in_fork(folder: Path, log: Path, work: Callable[[Path], None]) -> None:
    from surgeon_engine.base.errors import EngineError

    os.setsid()
    tempfile.tempdir = str(folder / "tmp")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    code = 0
    try:
        work(folder)
    except EngineError as error:
        print(f"{error.message} {error.hint}", flush=True)
        code = 1
    except BaseException:  # noqa: BLE001 (shown, as a failure of the case)
        import traceback

        traceback.print_exc()
        code = 99
    finally:
        os._exit(code)


def _start(folder: Path) -> None:
    from surgeon_engine.api.config.toml import config_from_toml
    from surgeon_engine.run.pipeline import prune
    from surgeon_engine.runtime.run_context import RunContext

    context = RunContext("crash", lambda _: None)
    prune(config_from_toml(_JOB), folder / "run", context)


def _go_on(folder: Path) -> None:
    """Resume a run, or start it again if nothing has been saved."""
    from surgeon_engine.run.pipeline import resume
    from surgeon_engine.runtime.run_context import RunContext

    if (folder / "run" / "resume" / "state.json").exists():
        resume(folder / "run", RunContext("crash", lambda _: None))
    else:
        shutil.rmtree(folder / "run", ignore_errors=True)
        _start(folder)


def _tidy(folder: Path) -> None:
    from surgeon_engine.api.litter import remove_litter

    remove_litter(folder)


def _litter(folder: Path) -> list[str]:
    """Return what no later start would use or remove."""
    hidden = [path for path in folder.rglob(".*")]
    temporary = [path for path in (folder / "tmp").iterdir()]
    return [str(path.relative_to(folder)) for path in (*hidden, *temporary)]


def _weights(run: Path) -> dict[str, bytes]:
    """Return the weights of the export; of the checkpoint if the export has failed."""
    from safetensors.torch import load_file

    export = run / "export"
    folder = export if export.exists() else run / "checkpoint"
    return {
        f"{path.name} {name}": tensor.view(-1).numpy().tobytes()
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def _spread(operations: int, cases: int) -> list[int]:
    """Return the numbers of some operations, evenly spread, all if there are few."""
    count = min(operations, cases)
    return sorted({1 + place * operations // count for place in range(count)})


def _is_good(result: dict[str, object]) -> bool:
    if result["fault"] == "orphans":
        return not result["litter"]
    is_clean = not (result["litter"] or result["traceback"] or result["after"])
    return is_clean and bool(result["identical"])


if __name__ == "__main__":
    sys.exit(main())
