"""Tell which measurements of a job an earlier run has kept on the disk.

A plan knows neither the windows nor the content of the model's files, which determine
what is kept (`runtime/kept.py`). It compares marks: a digest of the settings and of the
size of the model. Where a text or a model has changed since, an equal mark misleads an
estimate, never a run.
"""

from __future__ import annotations

import hashlib
from enum import Enum

from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.machine import Machine
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.token_files import with_token_file_shape

_DIGITS = 16


class Kind(Enum):
    """The kinds of measurements of an original model."""

    GATES = "gates"
    BASELINE = "baseline"  # its evaluation and its hidden states
    TEXT = "text"  # its hidden states on what a training first reads, and is judged by


def measured_before(
    config: RunConfig, model: ModelSummary, machine: Machine
) -> frozenset[Kind]:
    """Return the kinds of measurements that a run finds on the disk of a machine.

    Several processes that share a run find nothing.
    """
    if not machine.measured or machine.processes(config.model) > 1:
        return frozenset()
    marks = ((kind, mark_of(kind, config, model)) for kind in Kind)
    return frozenset(kind for kind, mark in marks if mark in machine.measured)


def mark_of(kind: Kind, config: RunConfig, model: ModelSummary) -> str:
    """Return the mark of the measurement of a kind that a job needs."""
    place, pruning, evaluation = config.model, config.pruning, config.evaluation
    facts: tuple[object, ...] = (
        (place.source, place.dtype, place.device, model.file_bytes, model.parameters),
        with_token_file_shape(config.calibration),
    )
    match kind:
        case Kind.GATES:
            facts += (
                (pruning.method, pruning.fisher, pruning.structure),
                config.general_windows,
            )
        case Kind.BASELINE:
            facts += (
                (evaluation.windows, evaluation.texts),
                (pruning.searches_damping, pruning.drops_depth),
            )
        case Kind.TEXT:
            facts += (config.general_windows, config.recovery.trains)
    return hashlib.sha256(repr((kind, facts)).encode()).hexdigest()[:_DIGITS]
