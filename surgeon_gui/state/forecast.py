"""The finished runs of a model, for the forecast of its next one. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

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
    """Return the finished runs of the model, the structure and the method of a job.

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
        kinds = [(x.pruning.structure, x.pruning.method) for x in (job, config)]
        if job.model.source == config.model.source and kinds[0] == kinds[1]:
            worst = max(each.divergence.value for each in found)
            of_job = file_form(job, model).dtype
            added = usual_rounding(dtype) - usual_rounding(of_job)
            shown = (day(record, now), record.sparsity, worst, job.recovery.level)
            points.append(RunPoint(*shown, added, of_job == dtype))
    return tuple(points)
