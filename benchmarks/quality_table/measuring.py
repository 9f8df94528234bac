"""One run as its figures come: the process that prunes, and the comparison with dense.

The dense model is loaded here, not where pruning is measured, and only while that other
process waits: neither its time nor its memory counts as the method's.
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
from surgeon_engine.api.messages.run import Evaluation
from surgeon_engine.evaluation.divergence import Divergence, divergence
from surgeon_engine.model.load import load_model
from surgeon_engine.runtime import devices

from . import job
from .results import Circumstances, Figures, Line
from .texts import ReadyRun

_PACKAGES = Path(__file__).parents[1]  # where the process finds this package


@dataclass(frozen=True, slots=True)
class Step:
    """A shot that is over, or that the run failed."""

    shot: int  # from 1; 0: it failed
    sparsity: float
    perplexity: float
    seconds: float
    line: Line | None  # None: the shot is only on the way to a column


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is measured."""

    folder: Path  # for weights
    machine: str
    versions: str
    engine: str


def steps_of(ready: ReadyRun, place: Place) -> Generator[Step]:
    """Do a run: a step for each of its shots, and a last one if it fails."""
    weights = place.folder / "weights.pt"
    task = job.Task(ready.config, ready.run.shots, str(weights))
    missing = list(ready.run.sparsities)
    with closing(messages_of(task)) as messages:
        for message in messages:
            if isinstance(message, job.JobFailed):
                yield _failed(ready, place, missing[0], message.words)
                return
            if message.planned.sparsity is None:
                yield _step(message, None)
                continue
            try:
                found = compared_with_dense(ready, weights)
            except EvaluationError as error:
                yield _failed(ready, place, missing[0], error.message)
                return
            column = missing.pop(0)
            figures = _figures(message, found)
            yield _step(message, _line(ready, place, column, figures))
            if not missing:
                return


def messages_of(task: job.Task) -> Generator[job.Message]:
    """What a process of its own says of `task`; it waits until the next is wanted."""
    path = os.pathsep.join(filter(None, (str(_PACKAGES), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-m", "quality_table.job"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )
    decoder = msgspec.json.Decoder(job.Message)
    try:
        _report(process, msgspec.json.encode(task))
        assert process.stdout is not None
        for line in process.stdout:
            yield decoder.decode(line)
            _report(process, b"")
        if code := process.wait():
            words = f"signal {-code}" if code < 0 else f"exit code {code}"
            yield job.JobFailed(f"Its process ended with {words}.")
    finally:
        process.kill()
        process.communicate()


def _report(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(line + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended; with what code is seen at the end of its output


def compared_with_dense(ready: ReadyRun, weights: Path) -> Divergence:
    """The pruned model of `ready` with the weights in a file, beside the dense one.

    Raises:
        EvaluationError: the divergence is not finite, or there is no memory for it.
    """
    try:
        dense, pruned = (load_model(ready.config.model).model for _ in range(2))
        values = torch.load(weights, weights_only=True, map_location="cpu")
        if pruned.load_state_dict(values, strict=False).unexpected_keys:
            raise ModelError("The weights of the job are those of another model.")
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
        devices.reset_peak_memory()  # leave a GPU to the process that prunes


def _figures(message: job.ShotDone, found: Divergence) -> Figures:
    shot = message.shot
    return Figures(
        reached=shot.sparsity,
        parameters=shot.parameters,
        dense_perplexity=message.dense_perplexity,
        perplexity=_evaluation(message).perplexity,
        nats=found.nats,
        agreement=found.agreement,
        shot_seconds=shot.seconds,
        seconds=message.seconds,
        peak_memory_bytes=message.peak_memory_bytes,
        damping=shot.damping,
        steps=message.corrected.lengths if message.corrected else None,
        uncorrected=shot.evaluation.perplexity if message.corrected else None,
    )


def _evaluation(message: job.ShotDone) -> Evaluation:
    return (message.corrected or message.shot).evaluation


def _line(
    ready: ReadyRun, place: Place, column: float, figures: Figures | None
) -> Line:
    return Line(
        job=ready.run.job,
        seed=ready.run.seed,
        sparsity=column,
        identity=ready.identity,
        at=datetime.now().astimezone().isoformat(timespec="seconds"),
        circumstances=Circumstances(
            place.machine,
            place.versions,
            place.engine,
            ready.calibration_words,
            ready.validation_words,
        ),
        figures=figures,
    )


def _failed(ready: ReadyRun, place: Place, column: float, words: str) -> Step:
    line = _line(ready, place, column, None)
    failed = msgspec.structs.replace(line, failure=words)
    return Step(0, column, 0.0, 0.0, failed)


def _step(message: job.ShotDone, line: Line | None) -> Step:
    shot, perplexity = message.shot, _evaluation(message).perplexity
    return Step(shot.shot, shot.sparsity, perplexity, shot.seconds, line)
