"""The finished runs of a model, for the forecast of its next one. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.forecast import RunPoint, usual_rounding
from surgeon_gui.state.runs.reading import RunOutcome, RunRecord
from surgeon_gui.state.runs.text import day


def points_of(
    records: Sequence[RunRecord],
    config: RunConfig,
    model: ModelSummary | None,
    now: datetime,
) -> tuple[RunPoint, ...]:
    """Return the finished runs of the model that removed the same kinds of parts.

    Those that have removed tokens are left out: the rest of their target is smaller.
    Their days are named by the time `now`.
    """
    if model is None:
        return ()
    points, dtype = [], file_form(config, model).dtype
    for record in records:
        job, found = record.config, record.fidelity
        if record.outcome is not RunOutcome.FINISHED:
            continue  # its figures may be those before recovery
        if job is None or record.sparsity is None or not found:
            continue
        if job.pruning.removes_tokens:
            continue
        is_same = job.model.source == config.model.source
        if is_same and _kind(job.pruning) == _kind(config.pruning):
            worst = max(each.divergence.value for each in found)
            of_job = file_form(job, model).dtype
            added = usual_rounding(dtype) - usual_rounding(of_job)
            shown = (day(record, now), record.sparsity, worst, job.recovery)
            points.append(RunPoint(*shown, added, of_job == dtype))
    return tuple(points)


def _kind(pruning: PruningConfig) -> tuple[object, ...]:
    """Return the settings that runs of one curve share."""
    dropped = pruning.blocks_to_drop, pruning.sublayers_to_drop
    return pruning.structure, pruning.method, pruning.widths, *dropped
