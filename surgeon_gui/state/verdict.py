"""The verdict on the file of a run."""

from __future__ import annotations

from surgeon_engine.api.messages.run import Fidelity
from surgeon_engine.api.verdict import Verdict, file_fidelity, verdict_of
from surgeon_gui.state.run import RunState


def fidelity_of(run: RunState) -> tuple[Fidelity, ...]:
    """Return the fidelity of the file of a run; of the model in memory without one."""
    evaluation = run.evaluation
    return file_fidelity(run.exported, evaluation) if evaluation is not None else ()


def verdict_on(run: RunState) -> Verdict | None:
    """Return the verdict on the file of a run; None: it was not measured."""
    before = run.baseline.fidelity if run.baseline is not None else ()
    return verdict_of(fidelity_of(run), before)
