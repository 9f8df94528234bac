"""The time to judge a file: both models answer, then the original and the file read.

Measured on two cores: 84 s for the demo, a checkpoint, and a GGUF file of it (88 s by
these constants); 285 s for two GGUF files of SmolLM2-135M (246 s).
"""

from __future__ import annotations

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning import speed
from surgeon_engine.planning.job import Job
from surgeon_engine.planning.stages.export import fresh_process
from surgeon_engine.planning.target_size import planned_size

# Tokens of all answers, at most, and of the prompts.
ANSWERED, PROMPTED = 4_300, 11_000
_WINDOWS = 16  # windows of each text
_CONTINUATIONS = 32  # windows, about
_LLAMA = 3.0  # times as long as a forward of as many tokens
_LLAMA_START = 0.3  # start time, relative to a process with torch
# Per token by transformers: the message, counted in blocks; calls of Python per block.
_MESSAGE, _CALLS = 6, 1000


def seconds_to_judge(
    config: RunConfig,
    model: ModelSummary,
    machine: Machine,
    *,
    in_llama: tuple[bool, bool],
) -> float | None:
    """Return how long it takes to judge the file of a run; None: it is not known.

    Args:
        config: the config of the run.
        model: the original.
        machine: the machine that computes, with its pace.
        in_llama: whether llama.cpp runs the original, and the file.
    """
    rates = machine.rates(config.model.device)
    if rates is None:
        return None
    job = Job(config, model, planned_size(config, model), rates=rates)
    # The held-out text, the model's own, and the named ones.
    texts = 2 + len(config.evaluation.texts) + len(config.calibration.more_texts)
    read = texts * _WINDOWS + _CONTINUATIONS
    seconds = sum(_answering(job, by_llama=each) for each in in_llama)
    seconds += speed.writing_windows(job, _WINDOWS)
    seconds += 2 * (speed.loading(job) + speed.forward(job, read))
    return machine.pace * seconds


def _answering(job: Job, *, by_llama: bool) -> float:
    """Return the time for all answers of a model, in a process of its own."""
    start = fresh_process(job)
    if by_llama:
        windows = -(-(PROMPTED + ANSWERED) // job.length)
        return _LLAMA_START * start + _LLAMA * speed.forward(job, windows)
    of_token = (job.model.blocks + _MESSAGE) * _CALLS * job.rates.call
    reading = speed.forward(job, -(-PROMPTED // job.length))
    writing = speed.writing(job, ANSWERED) + ANSWERED * of_token
    return start + speed.loading(job) + reading + writing
