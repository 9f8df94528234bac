"""Measure a run: prune in another process and compare each result with the dense model.

The dense model is loaded in this process, and only while the pruning process waits.
Neither its time nor its memory is counted as the method's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import torch

from surgeon_engine.api.errors import EvaluationError, ModelError
from surgeon_engine.evaluation.divergence import Divergence, divergence
from surgeon_engine.model.load import load_model
from surgeon_engine.runtime import devices

from . import job
from .results import Circumstances, Figures, Line
from .texts import ReadyRun

_PACKAGES = Path(__file__).parents[1]  # PYTHONPATH of the process


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a shot, or the failure of a run."""

    shot: int  # from 1; 0: the run failed
    sparsity: float
    perplexity: float
    seconds: float
    line: Line | None  # None: the shot fills no column


@dataclass(frozen=True, slots=True)
class Environment:
    """Machine, versions and working folder of a measurement."""

    folder: Path  # for files of weights
    machine: str
    versions: str
    engine: str


def measure_run(ready: ReadyRun, environment: Environment) -> Generator[Step]:
    """Do a run; yield a step for each shot, and a last one if it fails."""
    weights = environment.folder / "weights.pt"
    task = job.Task(ready.config, ready.run.shots, str(weights))
    missing = list(ready.run.sparsities)
    with closing(run_in_process(task)) as messages:
        for message in messages:
            if isinstance(message, job.JobFailed):
                yield _failed(ready, environment, missing[0], message.message)
                return
            if message.planned.sparsity is None:
                yield _step(message, None)
                continue
            try:
                found = compare_with_dense(ready, weights)
            except EvaluationError as error:
                yield _failed(ready, environment, missing[0], error.message)
                return
            column = missing.pop(0)
            figures = _figures(message, found)
            yield _step(message, _line(ready, environment, column, figures))
            if not missing:
                return


def run_in_process(task: job.Task) -> Generator[job.Message]:
    """Yield the messages of a new process that does `task`.

    After each message, the process waits until the next one is requested.
    """
    path = os.pathsep.join(filter(None, (str(_PACKAGES), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-m", "quality_table.job"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )
    decoder = msgspec.json.Decoder(job.Message)
    try:
        _write_line(process, msgspec.json.encode(task))
        assert process.stdout is not None
        for line in process.stdout:
            yield decoder.decode(line)
            _write_line(process, b"")
        if code := process.wait():
            reason = f"signal {-code}" if code < 0 else f"exit code {code}"
            yield job.JobFailed(f"Its process ended with {reason}.")
    finally:
        process.kill()
        process.communicate()


def _write_line(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(line + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # the process has ended; its exit code is read after its output


def compare_with_dense(ready: ReadyRun, weights: Path) -> Divergence:
    """Return the divergence of the pruned model with these weights from the dense one.

    Raises:
        EvaluationError: The divergence is not finite, or there is too little memory.
    """
    try:
        dense, pruned = (load_model(ready.config.model).model for _ in range(2))
        values = torch.load(weights, weights_only=True, map_location="cpu")
        if pruned.load_state_dict(values, strict=False).unexpected_keys:
            raise ModelError("The weights of the job belong to another model.")
        batch = ready.config.calibration.batch
        return divergence(dense, pruned, ready.validation, batch, lambda: None)
    except (MemoryError, RuntimeError) as error:
        if not devices.is_out_of_memory(error):
            raise
        raise EvaluationError(
            "There is not enough memory to compare with the dense model."
        ) from error
    finally:
        dense = pruned = None
        devices.reset_peak_memory()  # free the GPU for the process that prunes


def _figures(message: job.ShotDone, found: Divergence) -> Figures:
    shot = message.shot
    return Figures(
        reached=shot.sparsity,
        parameters=shot.parameters,
        dense_perplexity=message.dense_perplexity,
        perplexity=shot.evaluation.perplexity,
        nats=found.nats,
        agreement=found.agreement,
        shot_seconds=shot.seconds,
        seconds=message.seconds,
        peak_memory_bytes=message.peak_memory_bytes,
        damping=shot.damping,
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
    return Step(0, column, 0.0, 0.0, failed)


def _step(message: job.ShotDone, line: Line | None) -> Step:
    shot, perplexity = message.shot, message.shot.evaluation.perplexity
    return Step(shot.shot, shot.sparsity, perplexity, shot.seconds, line)
