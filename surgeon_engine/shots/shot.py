"""One shot: curvature -> damping -> costs, one threshold -> update -> evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import (
    DampingChoice,
    Evaluation,
    ShotFinished,
    Stage,
)
from surgeon_engine.evaluation.held_out import split
from surgeon_engine.evaluation.perplexity import evaluate
from surgeon_engine.pruning.cost_accounting import cost_histogram, total_cost
from surgeon_engine.pruning.measure_curvature import Factors, measure, of_units, pool
from surgeon_engine.pruning.methods import METHODS
from surgeon_engine.pruning.methods.base import Allocation
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.threshold import Selection
from surgeon_engine.recovery.correction import parts_of
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.damping import DampingSearch, choose_damping, with_damping
from surgeon_engine.shots.selection import Costs, cheapest_of, costs_of, remove


@dataclass(frozen=True, slots=True)
class ShotPlan:
    """Which shot it is, and how far it is to go."""

    number: int  # from 1
    share: float  # of all that is to go
    before: DampingChoice | None  # of the shot before

    @property
    def is_last(self) -> bool:
        """Whether all that is to go has gone after it."""
        return self.share >= 1


def run_shot(state: PruningState, plan: ShotPlan, context: RunContext) -> ShotFinished:
    """Remove what is cheapest until the shot's share of the goal is gone.

    Raises:
        EngineError: something that the user can act on.
        RunCancelled: the user has cancelled.
    """
    begun = context.clock()
    budget = _budget(state, plan)
    factors, choice = curvature(state, plan, context)
    pruning = state.config.pruning
    if choice is not None:
        pruning = with_damping(pruning, choice.cost, choice.update)
    with context.stage(Stage.SELECTION, plan.number):
        costs = costs_of(state, factors, pruning)
        chosen = cheapest_of(state.units, costs, pruning, budget)
        histogram = cost_histogram(costs, chosen.removed)
        _add_costs(state, costs, chosen, pruning)
        del costs
    state.is_partially_updated = True
    with context.stage(Stage.UPDATE, plan.number, len(state.units)) as step:
        state.removed = remove(state, factors, pruning, chosen.removed, step)
    del factors
    found = evaluation(state, context, Stage.EVALUATION, plan.number)
    state.is_partially_updated = False
    goal, removed = state.goal, chosen.weights + state.cut
    return ShotFinished(
        shot=plan.number,
        target=plan.share * goal.sparsity,
        sparsity=removed / goal.prunable,
        threshold=chosen.threshold,
        parameters=goal.parameters + goal.removed - removed,
        evaluation=found,
        layers=state.sparsities(),
        seconds=context.clock() - begun,
        damping=choice,
        costs=histogram,
    )


def check_windows(pruning: PruningConfig, windows: Tensor, context: RunContext) -> None:
    """Tell where there are too few windows to hold any out, before the work begins.

    Raises:
        CalibrationError: the correction cannot do without.
    """
    if pruning.is_corrected:
        parts_of(windows)
    elif pruning.searches_damping and split(windows) is None:
        given = pruning.fixed_damping
        words = (
            f"{len(windows)} windows are too few to hold any out, by which a damping "
            f"could be chosen: those of costs and update are {given.cost:g} and "
            f"{given.update:g}."
        )
        context.emit(Logged(Level.WARNING, words))


def evaluation(
    state: PruningState, context: RunContext, stage: Stage, shot: int = 0
) -> Evaluation:
    """The loss on the validation windows."""
    windows, batch = state.windows.validation, state.config.calibration.batch
    with context.stage(stage, shot, -(-len(windows) // batch)) as step:
        model = state.loaded.model
        return evaluate(model, windows, batch, state.windows.text, step)


def curvature(
    state: PruningState,
    plan: ShotPlan,
    context: RunContext,
    measured: PruningState | None = None,
) -> tuple[Factors, DampingChoice | None]:
    """The factors over all calibration windows, and the damping for this shot.

    Those of the units of `measured`, if it is given: at least those of the patient.
    """
    measured = measured or state
    pruning, windows = state.config.pruning, state.windows.calibration
    parts = split(windows) if pruning.searches_damping else None
    if parts is None:
        factors = measure(state, of_units(measured, windows), context, plan.number)
        return factors, _given(pruning)
    fit, held = parts
    factors = measure(state, of_units(measured, fit), context, plan.number)
    budget = _budget(state, plan)
    task = DampingSearch(factors, held, budget, plan.number, plan.is_last, plan.before)
    choice = choose_damping(state, task, context)
    others = measure(state, of_units(measured, held), context, plan.number)
    pool(factors, others, share=len(fit) / len(windows))
    return factors, choice


def _budget(state: PruningState, plan: ShotPlan) -> int:
    """How many weights are to be out of the model once it is done, beside the cut."""
    return state.goal.asked(plan.share) - state.cut


def _given(pruning: PruningConfig) -> DampingChoice | None:
    """The damping that was asked for; None: nothing adapts."""
    if not pruning.adapts:
        return None
    given = pruning.fixed_damping
    return DampingChoice(given.cost, given.update, tried=0)


def _add_costs(
    state: PruningState, costs: Costs, chosen: Selection, pruning: PruningConfig
) -> None:
    """Add what goes now to what each unit has paid."""
    if METHODS[pruning.method].allocation is not Allocation.GLOBAL:
        return  # its costs are places in an order
    state.total_cost = {  # a new one: what was there is put back if the shot is undone
        name: state.total_cost.get(name, 0.0)
        + total_cost(unit, chosen.removed[name], pruning.cost_basis)
        for name, unit in costs.items()
    }
