"""The needs of each stage of a run: bytes on the device and the host, disk and seconds.

A stage states its own needs, in one function of a job. It returns None if the job has
no such stage. `estimate.py` adds them up.
"""

from __future__ import annotations

from collections.abc import Callable

from surgeon_engine.api.messages.run import Stage
from surgeon_engine.planning.job import Job
from surgeon_engine.planning.stages import (
    curvature,
    evaluation,
    export,
    model_and_text,
    recovery,
    selection,
)
from surgeon_engine.planning.stages.need import StageNeed

Statement = Callable[[Job], StageNeed | None]

STAGES: dict[Stage, Statement] = {
    Stage.LOAD: model_and_text.load,
    Stage.TEXT: model_and_text.text,
    Stage.SAMPLING: model_and_text.sampling,
    Stage.BASELINE: evaluation.baseline,
    Stage.VOCABULARY: selection.vocabulary,
    Stage.DEPTH: selection.depth,
    Stage.CURVATURE: curvature.curvature,
    Stage.DAMPING: selection.damping,
    Stage.SELECTION: selection.selection,
    Stage.UPDATE: selection.update,
    Stage.EVALUATION: evaluation.evaluation,
    Stage.GENERATION: model_and_text.generation,
    Stage.REFERENCE: recovery.reference,
    Stage.REFIT: recovery.refit,
    Stage.RECONSTRUCTION: recovery.reconstruction,
    Stage.DISTILLATION: recovery.distillation,
    Stage.EXPORT: export.export,
    Stage.VERIFICATION: export.verification,
}
# Stages after the last shot.
RECOVERY = (Stage.REFERENCE, Stage.REFIT, Stage.RECONSTRUCTION, Stage.DISTILLATION)
