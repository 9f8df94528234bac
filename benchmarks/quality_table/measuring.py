"""Measure a run: prune in a process of its own and collect the figures of its shots."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from surgeon_engine.base.json_process import JsonProcess

from . import job
from .plan import Rival, Run
from .results import Circumstances, Figures, Key, Line
from .texts import ReadyRun

_PACKAGES = Path(__file__).parents[1]  # PYTHONPATH of the process
_POLL_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a shot, or the failure of a run."""

    shot: int  # from 1; 0: the run failed
    sparsity: float
    perplexity: float
    nats: float
    seconds: float  # duration of the run so far
    line: Line | None  # None: the shot fills no column


@dataclass(frozen=True, slots=True)
class Environment:
    """Machine and versions of a measurement."""

    machine: str
    versions: str
    engine: str


def measure_run(
    ready: ReadyRun, environment: Environment, lines: Mapping[Key, Line], folder: Path
) -> Generator[Step]:
    """Do a run; yield a step for each shot, and a last one if it fails.

    Args:
        ready: the run.
        environment: where it is measured.
        lines: the earlier measurements, for the seconds of a rival.
        folder: holds the states of interrupted runs.
    """
    missing = list(ready.run.sparsities)
    seconds, rival = None, ready.run.rival
    if rival is not None:
        seconds = _seconds(rival, ready.run, lines)
        if seconds is None:
            reason = f"The job {rival.seconds_of!r} has no figures here."
            yield _failed(ready, environment, missing[0], reason)
            return
    state = folder / f"{ready.identity}-{environment.engine}"
    task = job.Task(ready.config, ready.run.shots, str(state), seconds)
    with closing(run_in_process(task)) as messages:
        for message in messages:
            match message:
                case job.JobLogged():
                    print(f"  {message.message}", file=sys.stderr)
                case job.JobFailed() if not missing:  # after all figures
                    print(f"  {message.message}", file=sys.stderr)
                case job.JobFailed():
                    yield _failed(ready, environment, missing[0], message.message)
                case job.ShotDone() if message.planned.sparsity is None:
                    yield _step(message, None)
                case job.ShotDone():
                    line = _line(ready, environment, missing.pop(0), _figures(message))
                    yield _step(message, line)


def run_in_process(task: job.Task) -> Generator[job.Message]:
    """Yield the messages of a new process that does `task`."""
    path = os.pathsep.join(filter(None, (str(_PACKAGES), os.environ.get("PYTHONPATH"))))
    process: JsonProcess[job.Message] = JsonProcess(
        [sys.executable, "-m", "quality_table.job"],
        msgspec.json.Decoder(job.Message).decode,
        os.environ | {"PYTHONPATH": path},
    )
    with process:
        process.send(task)
        while not process.ended:
            message = process.receive(_POLL_INTERVAL_S)
            if message is not None:
                yield message
        found = process.wait_for_exit()
        if found.code:
            last = "".join(found.stderr.strip().splitlines()[-1:])
            yield job.JobFailed(f"Its process {found.reason}. {last}".strip())


def _seconds(rival: Rival, run: Run, lines: Mapping[Key, Line]) -> float | None:
    """Return the seconds of a rival; None if the other job has no figures."""
    if rival.seconds_of is None:
        return rival.seconds
    other = lines.get((rival.seconds_of, run.seed, run.sparsities[-1]))
    return other.figures.seconds if other and other.figures else None


def _figures(done: job.ShotDone) -> Figures:
    shot, first = done.shot, done.evaluation.fidelity[0]
    is_recovered = done.evaluation != shot.evaluation
    return Figures(
        reached=shot.sparsity,
        parameters=shot.parameters,
        dense_perplexity=done.original.perplexity,
        perplexity=done.evaluation.perplexity,
        nats=first.divergence.value,
        agreement=first.agreement.value,
        shot_seconds=shot.seconds,
        seconds=done.seconds,
        peak_memory_bytes=done.peak_memory_bytes,
        damping=shot.damping,
        sampling_seconds=done.sampling_seconds,
        dense=done.original.fidelity,
        fidelity=done.evaluation.fidelity,
        before_recovery=shot.evaluation.fidelity if is_recovered else (),
    )


def _line(
    ready: ReadyRun, environment: Environment, column: float, figures: Figures | None
) -> Line:
    return Line(
        job=ready.run.job,
        seed=ready.run.seed,
        sparsity=column,
        identity=ready.identity,
        at=datetime.now().astimezone().isoformat(timespec="seconds"),
        circumstances=Circumstances(
            environment.machine,
            environment.versions,
            environment.engine,
            ready.calibration_description,
            ready.validation_description,
        ),
        figures=figures,
    )


def _failed(
    ready: ReadyRun, environment: Environment, column: float, message: str
) -> Step:
    line = _line(ready, environment, column, None)
    failed = msgspec.structs.replace(line, failure=message)
    return Step(0, column, 0.0, 0.0, 0.0, failed)


def _step(done: job.ShotDone, line: Line | None) -> Step:
    found = done.evaluation
    return Step(
        done.shot.shot,
        done.shot.sparsity,
        found.perplexity,
        found.fidelity[0].divergence.value,
        done.seconds,
        line,
    )
