"""The export of the pruned model, and its verification by a fresh process."""

from __future__ import annotations

from surgeon_engine.api.config.export import K_FORMATS, QUANTIZED, Format
from surgeon_engine.api.config.pruning import COUPLED
from surgeon_engine.planning import speed
from surgeon_engine.planning.constants import (
    CHECK_KEPT,
    CHECK_ROOM,
    FLOAT,
    PROBED_TOKENS,
    PROBED_WINDOWS,
)
from surgeon_engine.planning.job import Job
from surgeon_engine.planning.stages.evaluation import evaluated
from surgeon_engine.planning.stages.need import Moment, StageNeed
from surgeon_engine.planning.stages.selection import saved_at_the_end

LIBRARIES = 450_000_000  # bytes that a process with torch and transformers holds
_COPIES = 4  # matrices: the largest A, its inverse and its factors
_OTHER_FILES = 1_000_000  # bytes of tokenizer, card and the rest beside the weights
_FEEDBACK_PASSES = 4  # over the text, to feed errors of rounding forward
_QUANTIZED = 4e6  # weights rounded a second
_LIBRARIES_SECONDS = 8.0  # until a fresh process is ready, on a usual processor
_USUAL_CALL = 1e-6  # seconds, of that processor
_CHECKS = 4  # passes over the windows of the probe


def export(job: Job) -> StageNeed:
    """State the need of the export, of a checkpoint beside it, and of the probe."""
    size = job.size
    tokens = min(PROBED_TOKENS, job.length)
    probe = 2 * tokens * job.model.vocabulary * FLOAT  # logits of both models
    written = size.export_bytes + size.checkpoint_bytes + probe + _OTHER_FILES
    written += int(saved_at_the_end(job))
    moments: tuple[Moment, ...] = ()
    seconds = 0.5 + 2 * size.export_bytes / speed.DISK
    if size.file.form.dtype in QUANTIZED:
        longest = max((layer.columns for layer in job.model.layers), default=0)
        moments = (Moment(_COPIES * FLOAT * longest**2),)
        seconds += _quantization(job)
    return StageNeed(seconds, moments=moments, process=_exporting(job), written=written)


def verification(job: Job) -> StageNeed:
    """State the need of a fresh process; the engine still holds its model."""
    size = job.size.export_bytes
    windows = PROBED_WINDOWS * _CHECKS
    if job.size.file.form.dtype in QUANTIZED:
        windows += job.judging_windows
    held, copied = float(size), 0
    match job.size.file.form.format:
        case Format.COMPACT if job.offloads:
            held = 0  # weights that the system maps leave memory when it is short
        case Format.PLAIN | Format.MASKED if size > CHECK_ROOM * job.free_on_host:
            held = CHECK_KEPT * job.free_on_host + size / max(1, job.model.blocks)
            copied = size  # what transformers joins goes to a temporary folder
    return StageNeed(
        fresh_process(job) + size / speed.DISK + speed.forward(job, windows),
        process=0 if job.offloads else job.weights,
        child=LIBRARIES + held + evaluated(job, 1),
        written=copied,
    )


def fresh_process(job: Job) -> float:
    """Return the time until a new process with torch is ready."""
    return _LIBRARIES_SECONDS * max(1.0, job.rates.call / _USUAL_CALL)


def _exporting(job: Job) -> float:
    """Return the models in memory, and the tensors being written.

    For coupled structures there are two, one of them with zeros filled in; in files, if
    blocks are offloaded.
    """
    if job.offloads:
        held = job.weights_on_host if job.is_on_gpu else 0
        return held + job.size.export_bytes / max(1, job.model.blocks)
    is_coupled = job.config.pruning.structure in COUPLED
    return job.weights * (2 if is_coupled else 1) + job.size.export_bytes


def _quantization(job: Job) -> float:
    """Return the time to round weights by what the layers read of the text."""
    is_k = job.size.file.form.dtype in K_FORMATS
    forward = speed.forward(job, job.config.calibration.windows)
    passes = 1 if is_k else _FEEDBACK_PASSES
    return passes * forward + job.model.parameters / _QUANTIZED
