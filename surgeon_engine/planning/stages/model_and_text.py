"""Loading the model, and reading, writing and sampling text."""

from __future__ import annotations

from surgeon_engine.api.config.calibration import BUILTIN_TEXT
from surgeon_engine.api.config.samples import NEW_TOKENS
from surgeon_engine.planning import speed
from surgeon_engine.planning.job import Job
from surgeon_engine.planning.stages.need import ANY_NUMBER, StageNeed


def load(job: Job) -> StageNeed:
    """State the need of loading; a model in another number format is there twice."""
    converted = job.model.file_bytes if job.is_converted else 0
    seconds = 0.5 + speed.loading(job)
    return StageNeed(seconds, process=job.unmapped + converted)


def text(job: Job) -> StageNeed:
    """State the need of reading and tokenizing the texts."""
    del job
    return StageNeed(0.5)


def sampling(job: Job) -> StageNeed:
    """State the need of the windows that the original writes, token by token."""
    config = job.config
    texts = [job.own_windows]
    if BUILTIN_TEXT in config.calibration.texts_read and not config.evaluation.texts:
        texts.append(config.evaluation.windows)
    seconds = sum(speed.writing_windows(job, windows) for windows in texts)
    if config.samples.after_shots:
        seconds += speed.writing(job, NEW_TOKENS)
    return StageNeed(seconds, ANY_NUMBER)


def generation(job: Job) -> StageNeed | None:
    """State the need of a sample after each shot and after recovery."""
    if not job.config.samples.after_shots:
        return None
    count = job.config.pruning.shots + bool(job.recovery_windows)
    return StageNeed(count * speed.writing(job, NEW_TOKENS))
