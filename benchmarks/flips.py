"""Flip single bits of every file that Surgeon reads back, and check that it notices.

    python benchmarks/flips.py [--flips 200] [--seed 0] [--sentences 5]

A run of a tiny model is interrupted three times: within a damping search, within the
training of its recovery, and while it exports. In each case one bit of one file is
flipped, with the time of the file left as it was, and the run goes on. Finished runs
are exported again in the same way. An outcome is one of:

    equal      the same result as without the flip, bit for bit
    warned     the same, and the log says what was damaged
    sentence   an error that a user can act on
    DIFFERENT, TRACEBACK, SIGNAL, HANG    none of them may happen

Cases are forks of a process that has imported everything, and so are the processes
that read the files of strangers. Exports are not verified in a fresh process, so that
nothing but the checks of the files notices a flip.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file

from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Damping, Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Event, Level, Logged
from surgeon_engine.api.messages.run import (
    Progressed,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.errors import EngineError
from surgeon_engine.base.path_problems import unreadable
from surgeon_engine.export.base import VerificationResult
from surgeon_engine.export.export import export_again
from surgeon_engine.export.formats import WRITERS
from surgeon_engine.run.pipeline import prune, resume
from surgeon_engine.runtime import fence, run_context, saver
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.runs import job

_SECONDS = 60.0  # time limit of a case
_SENTENCE, _TRACEBACK = 3, 4  # exit codes of a case
_HEADER_BYTES = 4_000  # half of the flips are in here, where structure is
_SHOWN = 300  # characters of a sentence
_BAD = ("DIFFERENT", "TRACEBACK", "SIGNAL", "HANG")


class _Cut(BaseException):
    """End a run like a kill: nothing in the program handles it."""


@dataclass(frozen=True, slots=True)
class _Target:
    """Files of one kind, and the stages of a run at which they are read."""

    name: str
    patterns: tuple[str, ...]  # below the scratch folder
    stages: tuple[str, ...]


_RESUMED = ("search", "training", "exporting")
_TARGETS = (
    _Target("resume parts", ("runs/run/resume/*.safetensors",), _RESUMED),
    _Target("state.json", ("runs/run/resume/*.json",), _RESUMED),
    _Target("cached text", ("cache/surgeon/own_samples/*",), _RESUMED),
    _Target("original", ("llama/*",), _RESUMED),
    _Target("text file", ("*.npy",), _RESUMED),
    _Target("config and log", ("runs/run/run.toml", "runs/run/*.jsonl"), _RESUMED),
    _Target(
        "export again",
        ("runs/run/export/*", "runs/run/probe.safetensors", "runs/run/report.json"),
        ("finished",),
    ),
)


def main() -> int:
    """Flip bits in each kind of file, and print how often each outcome was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="the kinds whose name has this")
    parser.add_argument("--sentences", type=int, default=0, help="to be shown of each")
    parser.add_argument("--folder", type=Path, default=Path("build/flips"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scratch = _Scratch(arguments.folder.absolute())
    _prepare(scratch)
    rng, bad = random.Random(arguments.seed), 0
    for target in (x for x in _TARGETS if arguments.only in x.name):
        outcomes: Counter[str] = Counter()
        sentences: set[str] = set()
        for number in range(arguments.flips):
            stage = target.stages[number % len(target.stages)]
            flipped, outcome = _case(scratch, target, stage, rng)
            outcomes[outcome] += 1
            if outcome == "sentence":
                sentences.add(scratch.output.read_text(errors="replace")[-_SHOWN:])
            if outcome in _BAD:
                bad += 1
                print(f"{outcome}: {target.name}, {stage}, {flipped}")
                print(scratch.output.read_text(errors="replace")[-2000:])
        print(f"{target.name:17} {dict(sorted(outcomes.items()))}", flush=True)
        for sentence in sorted(sentences)[: arguments.sentences]:
            print(f"    {sentence.strip()}", flush=True)
    return 1 if bad else 0


class _Scratch:
    """A folder in which each stage can be put back as it was."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.live = folder, folder / "live"
        self.output = folder / "output.txt"
        shutil.rmtree(folder, ignore_errors=True)
        self.live.mkdir(parents=True)
        os.environ["XDG_CACHE_HOME"] = str(self.live / "cache")

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.live / "runs" / "run"

    def keep(self, stage: str) -> None:
        """Keep a copy of all files at a stage."""
        shutil.copytree(self.live, self.folder / stage)

    def put_back(self, stage: str) -> None:
        """Put all files back as they were at a stage."""
        shutil.rmtree(self.live, ignore_errors=True)
        shutil.copytree(self.folder / stage, self.live)


def _prepare(scratch: _Scratch) -> None:
    """Interrupt a run at each stage, and finish it."""
    fence.call = _fenced
    run_context._SECONDS_BETWEEN_PROGRESS = 0.0
    saver._SECONDS_BETWEEN, saver._SHARE_OF_TIME = 0.0, 1e9
    unverified = VerificationResult(0, 0.0, 0.0, 1.0, None, "nothing")
    for writer in WRITERS.values():
        type(writer).verify = lambda *_: unverified
    config = _config(scratch.live)
    (scratch.live / "runs").mkdir()
    for stage in _RESUMED:
        work = (
            _resumed
            if scratch.run.exists()
            else lambda run, react: _started(config, run, react)
        )
        try:
            work(scratch.run, _cut_at(stage))
        except _Cut:
            (scratch.run / "process.json").unlink(missing_ok=True)
        scratch.keep(stage)
    _resumed(scratch.run, lambda _: None)
    scratch.keep("finished")
    for stage in (*_RESUMED, "finished"):
        scratch.put_back(stage)
        status = _forked(scratch, _work_at(stage))
        if status != "done":
            raise SystemExit(f"{stage}: {scratch.output.read_text()}")
        _EXPECTED[stage] = json.loads(scratch.output.read_text().splitlines()[-1])


_EXPECTED: dict[str, dict[str, str]] = {}


def _fenced(function: str, arguments: Any, _: object, blame: fence.Blame) -> Any:
    """Do the same as `fence.call` in a fork, which has nothing to import."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        fence.work_directly()
        try:
            answer = True, fence.resolve(function)(*arguments)
        except EngineError as error:
            answer = False, (type(error), error.message, error.hint)
        except BaseException as error:  # noqa: BLE001  (a panic of Rust is no Exception)
            reason = unreadable(blame.subject, fence.describe(error))
            answer = False, (blame.error, reason, blame.hint)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    if not data:
        raise blame.error(unreadable(blame.subject, "the reader crashed"), blame.hint)
    returned, value = pickle.loads(data)
    if returned:
        return value
    kind, message, hint = value
    raise kind(message, hint)


def _config(folder: Path) -> RunConfig:
    config = job(
        folder,
        windows=8,
        structure=Structure.HEADS_AND_NEURONS,
        shots=3,
        sparsity=0.4,
        damping=Damping.AUTOMATIC,
    )
    recovery = RecoveryConfig(Recovery.DISTILLATION, general_windows=4, epochs=2)
    return dataclasses.replace(
        config,
        recovery=recovery,
        evaluation=EvaluationConfig(windows=2),
        export=ExportConfig(format=Format.COMPACT),
    )


def _cut_at(stage: str) -> Callable[[Event], None]:
    """Return what ends a run at a stage."""
    shots = []

    def react(event: Event) -> None:
        if isinstance(event, ShotFinished):
            shots.append(event)
        progressed = event if isinstance(event, Progressed) else None
        reached = {
            "search": progressed is not None
            and len(shots) == 2
            and progressed.stage is Stage.DAMPING
            and progressed.done == 3,
            "training": progressed is not None
            and progressed.stage is Stage.DISTILLATION
            and progressed.done == 3,
            "exporting": isinstance(event, StageStarted)
            and event.stage is Stage.EXPORT,
        }
        if reached[stage]:
            raise _Cut

    return react


def _context(react: Callable[[Event], None]) -> RunContext:
    return RunContext("flips", lambda envelope: react(envelope.event))


def _started(config: RunConfig, run: Path, react: Callable[[Event], None]) -> None:
    prune(config, run, _context(react))


def _resumed(run: Path, react: Callable[[Event], None]) -> None:
    resume(run, _context(react))


def _work_at(stage: str) -> Callable[[Path, Callable[[Event], None]], Path]:
    """Return what is done at a stage; it returns the folder of the result."""

    def go_on(run: Path, react: Callable[[Event], None]) -> Path:
        _resumed(run, react)
        return run / "export"

    def export(run: Path, react: Callable[[Event], None]) -> Path:
        again = run.parent / "again"
        export_again(str(run), ExportConfig(str(again), Format.MASKED), _context(react))
        return again

    return export if stage == "finished" else go_on


def _case(
    scratch: _Scratch, target: _Target, stage: str, rng: random.Random
) -> tuple[str, str]:
    """Flip a bit at a stage and go on; return which one, and the outcome."""
    scratch.put_back(stage)
    paths = [path for x in target.patterns for path in scratch.live.glob(x)]
    path = rng.choice(sorted(path for path in paths if path.stat().st_size))
    flipped = _flip(path, rng)
    status = _forked(scratch, _work_at(stage))
    if status != "done":
        return flipped, status
    *log, found = scratch.output.read_text().splitlines()
    if json.loads(found) != _EXPECTED[stage]:
        return flipped, "DIFFERENT"
    return flipped, "warned" if "damaged" in "".join(log) else "equal"


def _flip(path: Path, rng: random.Random) -> str:
    """Flip a bit of a file, leave its time as it was, and describe the bit."""
    facts, data = path.stat(), bytearray(path.read_bytes())
    within = len(data) if rng.random() < 0.5 else min(len(data), _HEADER_BYTES)
    at, bit = rng.randrange(within), rng.randrange(8)
    data[at] ^= 1 << bit
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return f"{path.name} byte {at} bit {bit}"


def _forked(
    scratch: _Scratch, work: Callable[[Path, Callable[[Event], None]], Path]
) -> str:
    """Do some work in a fork of this process; return its outcome."""
    sys.stdout.flush()
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _exit_after(scratch, work)
    while time.monotonic() - start < _SECONDS:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return _outcome(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "HANG"


def _outcome(status: int) -> str:
    if os.WIFSIGNALED(status):
        return "SIGNAL"
    codes = {0: "done", _SENTENCE: "sentence"}
    return codes.get(os.WEXITSTATUS(status), "TRACEBACK")


def _exit_after(
    scratch: _Scratch, work: Callable[[Path, Callable[[Event], None]], Path]
) -> None:
    """Do the work and end this process; the last line it writes is the result."""
    output = os.open(scratch.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)

    def react(event: Event) -> None:
        if isinstance(event, Logged) and event.level is not Level.INFO:
            print(event.message)

    code = _TRACEBACK
    try:
        result = work(scratch.run, react)
        print(f"\n{json.dumps(dict(_content(scratch.run, result)))}")
        code = 0
    except EngineError as error:
        print(f"{error.message} {error.hint}")
        code = _SENTENCE
    finally:
        if code == _TRACEBACK:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)


def _content(run: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield digests of all that a result consists of, without times."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors" or path.name == "kept.indices":
            for name, x in load_file(path).items():
                digest = hashlib.sha256(x.numpy().tobytes()).hexdigest()
                yield f"{path.name} {name} {tuple(x.shape)} {x.dtype}", digest
        elif path.suffix in (".json", ".py") and path.name != "surgeon-export.json":
            yield path.name, hashlib.sha256(path.read_bytes()).hexdigest()
    report = RunFolder(run).read_report()
    shots = [msgspec.structs.replace(shot, seconds=0) for shot in report.shots]
    recovered = report.recovered
    if recovered is not None:
        recovered = msgspec.structs.replace(recovered, seconds=0)
    figures = msgspec.json.encode((report.baseline, shots, recovered))
    yield "figures", hashlib.sha256(figures).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
