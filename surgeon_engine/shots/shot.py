"""One shot: curvature -> damping -> costs, one threshold -> update -> evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.events import (
    Level,
    Logged,
)
from surgeon_engine.api.messages.run import (
    DampingChoice,
    Evaluation,
    ShotFinished,
    Stage,
)
from surgeon_engine.evaluation.held_out import split
from surgeon_engine.evaluation.perplexity import evaluate
from surgeon_engine.pruning.cost_accounting import (
    cost_histogram,
    paid,
)
from surgeon_engine.pruning.measure_curvature import (
    Factors,
    measure,
    of_units,
    pool,
)
from surgeon_engine.pruning.methods import METHODS
from surgeon_engine.pruning.methods.base import Allocation
from surgeon_engine.pruning.state import Patient
from surgeon_engine.pruning.threshold import Selection
from surgeon_engine.recovery.correction import parts_of
from surgeon_engine.runtime.run_context import Session
from surgeon_engine.shots.damping import (
    Task,
    choose_damping,
    with_damping,
)
from surgeon_engine.shots.selection import (
    Costs,
    cheapest_of,
    costs_of,
    remove,
)


@dataclass(frozen=True, slots=True)
class Round:
    """Which shot it is, and how far it is to go."""

    number: int  # from 1
    share: float  # of all that is to go
    before: DampingChoice | None  # of the shot before

    @property
    def is_last(self) -> bool:
        """Whether all that is to go has gone after it."""
        return self.share >= 1


def run_shot(patient: Patient, this: Round, session: Session) -> ShotFinished:
    """Remove what is cheapest until the shot's share of the goal is gone.

    Raises:
        EngineError: something that the user can act on.
        RunCancelled: the user has cancelled.
    """
    begun = session.clock()
    budget = _budget(patient, this)
    factors, choice = curvature(patient, this, session)
    pruning = patient.config.pruning
    if choice is not None:
        pruning = with_damping(pruning, choice.cost, choice.update)
    with session.stage(Stage.SELECTION, this.number):
        costs = costs_of(patient, factors, pruning)
        chosen = cheapest_of(patient.units, costs, pruning, budget)
        histogram = cost_histogram(costs, chosen.removed)
        _pay(patient, costs, chosen, pruning)
        del costs
    patient.is_cut_open = True
    with session.stage(Stage.UPDATE, this.number, len(patient.units)) as step:
        patient.gone = remove(patient, factors, pruning, chosen.removed, step)
    del factors
    found = evaluation(patient, session, Stage.EVALUATION, this.number)
    patient.is_cut_open = False
    goal, removed = patient.goal, chosen.weights + patient.cut
    return ShotFinished(
        shot=this.number,
        target=this.share * goal.sparsity,
        sparsity=removed / goal.prunable,
        threshold=chosen.threshold,
        parameters=goal.parameters + goal.removed - removed,
        evaluation=found,
        layers=patient.sparsities(),
        seconds=session.clock() - begun,
        damping=choice,
        costs=histogram,
    )


def check_windows(pruning: PruningConfig, windows: Tensor, session: Session) -> None:
    """Tell where there are too few windows to hold any out, before the work begins.

    Raises:
        CalibrationError: the correction cannot do without.
    """
    if pruning.is_corrected:
        parts_of(windows)
    elif pruning.searches_damping and split(windows) is None:
        words = (
            f"{len(windows)} windows are too few to hold any out, by which a damping "
            f"could be chosen: those of costs and update are {pruning.cost_damping:g} "
            f"and {pruning.update_damping:g}, as given."
        )
        session.emit(Logged(Level.WARNING, words))


def evaluation(
    patient: Patient, session: Session, stage: Stage, shot: int = 0
) -> Evaluation:
    """The loss on the validation windows."""
    windows, batch = patient.windows.validation, patient.config.calibration.batch
    with session.stage(stage, shot, -(-len(windows) // batch)) as step:
        model = patient.loaded.model
        return evaluate(model, windows, batch, patient.windows.text, step)


def curvature(
    patient: Patient, this: Round, session: Session, measured: Patient | None = None
) -> tuple[Factors, DampingChoice | None]:
    """The factors over all calibration windows, and the damping for this shot.

    Those of the units of `measured`, if it is given: at least those of the patient.
    """
    measured = measured or patient
    pruning, windows = patient.config.pruning, patient.windows.calibration
    parts = split(windows) if pruning.searches_damping else None
    if parts is None:
        factors = measure(patient, of_units(measured, windows), session, this.number)
        return factors, _given(pruning)
    fit, held = parts
    factors = measure(patient, of_units(measured, fit), session, this.number)
    budget = _budget(patient, this)
    task = Task(factors, held, budget, this.number, this.is_last, this.before)
    choice = choose_damping(patient, task, session)
    others = measure(patient, of_units(measured, held), session, this.number)
    pool(factors, others, share=len(fit) / len(windows))
    return factors, choice


def _budget(patient: Patient, this: Round) -> int:
    """How many weights are to be out of the model once it is done, beside the cut."""
    return patient.goal.asked(this.share) - patient.cut


def _given(pruning: PruningConfig) -> DampingChoice | None:
    """The damping that was asked for; None: nothing adapts."""
    if not pruning.adapts:
        return None
    return DampingChoice(pruning.cost_damping, pruning.update_damping, tried=0)


def _pay(
    patient: Patient, costs: Costs, chosen: Selection, pruning: PruningConfig
) -> None:
    """Add what goes now to what each unit has paid."""
    if METHODS[pruning.method].allocation is not Allocation.GLOBAL:
        return  # its costs are places in an order
    patient.paid = {  # a new one: what was there is put back if the shot is undone
        name: patient.paid.get(name, 0.0)
        + paid(unit, chosen.removed[name], pruning.cost_basis)
        for name, unit in costs.items()
    }
