"""One shot: curvature -> damping -> costs, one threshold -> update -> evaluation.

Whole blocks, attentions and MLPs are removed first, if the settings ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
from torch import Tensor

from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.run import (
    DampingChoice,
    Evaluation,
    Routing,
    ShotFinished,
    Stage,
)
from surgeon_engine.base.decoding import decode_json, encode_json
from surgeon_engine.calibration.windows import digest_of
from surgeon_engine.curvature.measured import GateGradients, Measured, RoutedOutputs
from surgeon_engine.evaluation.evaluate import evaluate, references_from, references_of
from surgeon_engine.evaluation.held_out import split
from surgeon_engine.model.layers import PrunableLayer
from surgeon_engine.planning.constants import DEPTH_TOKENS
from surgeon_engine.planning.measured_before import Kind
from surgeon_engine.pruning.cost_accounting import cost_histogram, total_cost
from surgeon_engine.pruning.depth import Depth
from surgeon_engine.pruning.measure_curvature import (
    Factors,
    key_of_original,
    measure,
    pool,
)
from surgeon_engine.pruning.methods import METHODS
from surgeon_engine.pruning.methods.base import Allocation
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.pruning.threshold import Selection
from surgeon_engine.runtime.kept import Measurement
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.shares import Batches
from surgeon_engine.shots.damping import choose_damping, with_damping
from surgeon_engine.shots.depth_step import (
    is_depth_missing,
    remove_depth,
    removed_weights,
    warn_of_missing_depth,
)
from surgeon_engine.shots.selection import (
    Costs,
    cheapest_of,
    costs_of,
    remove,
    without_large_steps,
)
from surgeon_engine.shots.smaller_batches import with_smaller_batches
from surgeon_engine.shots.steps import ShotPlan


def run_shot(
    state: PruningState,
    plan: ShotPlan,
    context: RunContext,
    *,
    evaluates: bool = True,
    is_result: bool = True,
) -> ShotFinished:
    """Remove the cheapest candidates until the shot's share of the goal is removed.

    `evaluates` is False if the model is not evaluated afterwards, and `is_result` if
    the run goes on, so that a part of the windows may suffice.

    Raises:
        EngineError: something that the user can act on.
        RunCancelled: the user has cancelled.
    """
    start_time = context.clock()
    if state.config.pruning.drops_depth:
        remove_depth(state, _asked(state, plan), plan.number, context)
        if plan.is_last:
            warn_of_missing_depth(state, context)
    budget = _budget(state, plan)
    factors, choice = curvature(state, plan, context)
    pruning = state.config.pruning
    if choice is not None:
        pruning = with_damping(pruning, choice.cost, choice.update)
    if plan.number == 1 and not state.routing:
        keep_routing(state, factors, pruning, context)
    with context.stage(Stage.SELECTION, plan.number, len(state.units)) as step:
        costs = costs_of(state, factors, pruning, step)
        if plan.is_last:
            costs = without_large_steps(state.units, costs, pruning, budget)
        selected = cheapest_of(state.units, costs, pruning, budget)
        histogram = cost_histogram(costs, selected.removed)
        _add_costs(state, costs, selected, pruning)
        del costs
    state.begin_update()
    with context.stage(Stage.UPDATE, plan.number, len(state.units)) as step:
        removed = remove(state, factors, pruning, selected.removed, step)
        state.record_removed(removed)
    del factors
    found = None
    if evaluates:
        found = evaluation(state, context, plan.number, is_result=is_result)
    state.finish_update()
    goal, weights = state.goal, selected.weights + state.compacted_weights
    others = Depth.of(state).others if pruning.drops_depth else 0
    return ShotFinished(
        shot=plan.number,
        target=plan.share * goal.sparsity,
        sparsity=weights / goal.prunable,
        threshold=selected.threshold,
        parameters=goal.parameters + goal.removed - weights - others,
        evaluation=found,
        layers=state.sparsities(),
        seconds=context.clock() - start_time,
        damping=choice,
        costs=histogram,
    )


def unpruned_shot(state: PruningState, context: RunContext) -> ShotFinished:
    """Return the only shot of a run that removes nothing."""
    start_time = context.clock()
    return ShotFinished(
        shot=1,
        target=0.0,
        sparsity=0.0,
        threshold=None,
        parameters=state.goal.parameters,
        evaluation=evaluation(state, context, 1),
        layers=state.sparsities(),
        seconds=context.clock() - start_time,
    )


def check_windows(pruning: PruningConfig, windows: Tensor, context: RunContext) -> None:
    """Warn if there are too few windows to hold any out for the damping search."""
    if pruning.searches_damping and split(windows) is None:
        context.warn(
            "{windows} windows are too few to hold any out for the damping "
            "search: the dampings of costs and update are {cost:g} and {update:g}.",
            windows=len(windows),
            cost=pruning.cost_damping,
            update=pruning.update_damping,
        )


def evaluate_original(state: PruningState, context: RunContext) -> Evaluation:
    """Evaluate the original, and keep its hidden states for later comparisons."""
    return with_smaller_batches(
        state, context, lambda: _evaluate_original(state, context)
    )


def _evaluate_original(state: PruningState, context: RunContext) -> Evaluation:
    """Return the evaluation that an earlier run has kept, or measure and keep it.

    The runs of a sweep, or a diagnosis and the run after it, measure the same.
    """
    windows = state.windows
    texts = windows.judging
    parts, held_out = None, None
    pruning = state.config.pruning
    if pruning.searches_damping or pruning.drops_depth:
        parts = split(windows.calibration)
    if parts is not None:
        held_out = parts[1]
    elif pruning.drops_depth:
        held_out = windows.calibration
    if held_out is not None and not pruning.searches_damping:
        held_out = held_out[: max(1, DEPTH_TOKENS // held_out.shape[1])]
    batch, model = state.config.calibration.batch, state.loaded.model
    tokenizer = state.loaded.tokenizer
    key = key_of_original(
        state,
        Kind.BASELINE,
        (batch, tuple(str(text.name) for text in texts), windows.beginning),
        digest_of(text.windows for text in texts),
        None if held_out is None else digest_of([held_out]),
    )
    kept = context.kept.find(key)
    if kept is not None:
        found = decode_json(kept.facts.encode(), Evaluation)
        references = references_from(kept.tensors, texts, held_out, batch, tokenizer)
        with context.stage(Stage.BASELINE, is_kept=True) as step:
            step()
        context.inform("The original was evaluated on these texts before: kept.")
        state.keep_references(references, found)
        return found
    context.kept.drop(Kind.BASELINE)
    batches = 2 * sum(len(Batches(text.windows, batch)) for text in texts)
    if held_out is not None:
        batches += len(Batches(held_out, batch))
    with context.stage(Stage.BASELINE, total=batches) as step:
        references = references_of(model, texts, held_out, batch, step, tokenizer)
        found = evaluate(model, references, step, is_original=True)
    found = msgspec.structs.replace(found, beginning=windows.beginning)
    state.keep_references(references, found)
    facts = encode_json(found).decode()
    context.kept.keep(key, Measurement(references.tensors(), facts))
    return found


def evaluation(
    state: PruningState,
    context: RunContext,
    shot: int = 0,
    *,
    is_result: bool = True,
    earlier: Evaluation | None = None,
) -> Evaluation:
    """Evaluate the model as it is now, as a stage of the run.

    If it is not the result of the run, a part of the windows may suffice. An earlier
    evaluation has measured the error of 16-bit products, so this one does not.

    Where memory is short, fewer windows run at a time than the references have in a
    batch: a shot whose weights have changed cannot be done again.
    """
    references = state.references
    if not is_result:
        references = replace(references, baseline=state.baseline)
    if earlier is not None:
        references = replace(references, rounding=earlier.rounding)
    batches = sum(len(reference.hidden) for _, reference in references.texts)

    def work() -> Evaluation:
        at_once = state.config.calibration.batch
        with context.stage(Stage.EVALUATION, shot, batches) as step:
            return evaluate(
                state.loaded.model,
                references,
                step,
                at_once=at_once,
            )

    found = with_smaller_batches(state, context, work)
    return msgspec.structs.replace(found, beginning=state.windows.beginning)


def curvature(
    state: PruningState,
    plan: ShotPlan,
    context: RunContext,
    layers: Sequence[PrunableLayer] = (),
) -> tuple[Factors, DampingChoice | None]:
    """Measure the factors on all calibration windows and choose the damping.

    Return the factors by layer, and the damping; None if the method has none. The
    factors cover `layers`, by default the ones that units are selected by.
    """
    if state.gates is not None:
        return dict(state.gates), None

    def measure_on(windows: Tensor) -> Factors:
        return with_smaller_batches(
            state,
            context,
            lambda: measure(state, windows, context, plan.number, layers),
        )

    pruning, windows = state.config.pruning, state.windows.calibration
    parts = split(windows) if pruning.searches_damping else None
    if parts is None:
        choice = None
        if pruning.adapts:
            given = pruning.cost_damping, pruning.update_damping
            choice = DampingChoice(*given, tried=0)
        return measure_on(windows), choice
    fit, held_out = parts
    factors = measure_on(fit)
    choice = choose_damping(state, plan, factors, _budget(state, plan), context)
    others = measure_on(held_out)
    pool(factors, others, share=len(fit) / len(windows))
    return factors, choice


def keep_routing(
    state: PruningState, factors: Factors, pruning: PruningConfig, context: RunContext
) -> None:
    """Keep the routing of the original's experts; warn of experts that no token chose.

    `factors` come from the first shot, and `pruning` has the damping of the costs.
    """
    found = {}
    for unit in state.units:
        routing = routing_of(unit, factors[unit.measured.name], pruning)
        if routing is not None:
            found[unit.measured.name] = routing
    state.keep_routing(found)
    unused = sum(routing.unused for routing in found.values())
    if unused:
        context.warn(
            "No token of the calibration text is routed to {unused:,} of {experts:,} "
            "experts, which are removed first. Add texts in the languages and of the "
            "tasks that the model is to keep.",
            unused=unused,
            experts=sum(len(routing.tokens) for routing in found.values()),
        )


def routing_of(
    unit: Unit, measured: Measured, pruning: PruningConfig
) -> Routing | None:
    """Return the tokens and the costs of the experts of a unit of the original.

    None: these are not experts, or their tokens were not counted.
    """
    routed = None
    if isinstance(measured, GateGradients | RoutedOutputs):
        routed = measured.routed
    if routed is None or not isinstance(unit, CoupledUnit):
        return None
    nothing = routed.new_zeros(len(routed)).bool()
    return Routing(
        tokens=tuple(routed.tolist()),
        costs=tuple(unit.costs(measured, nothing, pruning).tolist()),
        kept=tuple(range(len(routed))),
    )


def _asked(state: PruningState, plan: ShotPlan) -> int:
    """Return how many weights of the compacted model the shot may remove in all."""
    return state.goal.asked(plan.share) - state.compacted_weights


def _budget(state: PruningState, plan: ShotPlan) -> int:
    """Return how many weights may be removed once blocks and sub-layers are."""
    asked = _asked(state, plan)
    if not state.config.pruning.drops_depth:
        return asked
    removed = removed_weights(state)
    if is_depth_missing(state) and not plan.is_last:
        return removed
    return max(asked, removed)


def _add_costs(
    state: PruningState, costs: Costs, selected: Selection, pruning: PruningConfig
) -> None:
    """Add the costs of the selection to the total costs of the units."""
    if METHODS[pruning.method].allocation is not Allocation.GLOBAL:
        return  # its costs are ranks
    state.add_costs(
        {
            name: total_cost(unit, selected.removed[name], pruning.cost_basis)
            for name, unit in costs.items()
        }
    )
