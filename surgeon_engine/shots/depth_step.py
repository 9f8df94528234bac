"""Remove whole blocks, attentions and MLPs, before a shot removes heads and neurons.

A shot removes as many of them as its share of the target allows. Until all are removed,
it removes nothing else.
"""

from __future__ import annotations

import torch

from surgeon_engine.api.messages.run import Stage
from surgeon_engine.base.sentences import say
from surgeon_engine.model.offload import on_device
from surgeon_engine.pruning.depth import (
    Depth,
    SkipCosts,
    Sublayers,
    choose,
    held_out_part,
    in_order_of_removal,
)
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.runtime.run_context import RunContext


def remove_depth(
    state: PruningState, budget: int, shot: int, context: RunContext
) -> None:
    """Remove the cheapest blocks, then sub-layers of others, that the settings ask for.

    `budget` is the maximum number of weights of the compacted model to be removed.

    Raises:
        ModelError: the blocks cannot be run one at a time.
        PruningError: a block cannot be removed as a whole.
    """
    pruning = state.config.pruning
    depth = Depth.of(state)
    if missing := pruning.blocks_to_drop - depth.dropped_blocks:
        _remove(state, depth.blocks, missing, budget, shot, context)
        depth = Depth.of(state)
    is_over = depth.dropped_blocks == pruning.blocks_to_drop
    missing = pruning.sublayers_to_drop - depth.dropped_sublayers
    if missing and is_over:
        _remove(state, depth.sublayers, missing, budget, shot, context)


def is_depth_missing(state: PruningState) -> bool:
    """Return whether later shots will remove further blocks or sub-layers."""
    pruning, depth = state.config.pruning, Depth.of(state)
    return (
        depth.dropped_blocks < pruning.blocks_to_drop
        or depth.dropped_sublayers < pruning.sublayers_to_drop
    )


def warn_of_missing_depth(state: PruningState, context: RunContext) -> None:
    """Warn if the target did not allow to remove all blocks or sub-layers."""
    pruning, depth = state.config.pruning, Depth.of(state)
    for done, asked, kind in (
        (depth.dropped_blocks, pruning.blocks_to_drop, say("blocks")),
        (
            depth.dropped_sublayers,
            pruning.sublayers_to_drop,
            say("attentions and MLPs"),
        ),
    ):
        if done < asked:
            context.warn(
                "{done} of {asked} {kind} were removed as a whole: the next one has "
                "more weights than the rest of the target.",
                done=done,
                asked=asked,
                kind=kind,
            )


def removed_weights(state: PruningState) -> int:
    """Return the number of weights removed from the units of the compacted model."""
    total = 0
    for unit in state.units:
        assert isinstance(unit, CoupledUnit)
        total += unit.removed_weights(state.removed[unit.measured.name])
    return total


def _remove(
    state: PruningState,
    candidates: tuple[Sublayers, ...],
    count: int,
    budget: int,
    shot: int,
    context: RunContext,
) -> None:
    """Remove up to `count` candidates of different blocks, the cheapest first."""
    room = budget - removed_weights(state)
    if not any(x.left <= room for x in candidates):
        return
    blocks = len(state.loaded.blocks)
    total = blocks + sum(blocks - each.block for each in candidates)
    held_out = state.references.held_out
    assert held_out is not None
    with context.stage(Stage.DEPTH, shot, total) as step:
        measured = SkipCosts(state.loaded, held_out_part(held_out))
        costs = zip(candidates, measured.measure(candidates, step), strict=True)
        basis = state.config.pruning.cost_basis
        ranked = in_order_of_removal(costs, basis)
        check = context.raise_if_cancelled
        chosen = choose(measured, ranked, basis, count, room, check)
    if chosen:
        state.begin_update()
    for candidate, cost in chosen:
        _remove_candidate(state, candidate, cost)
        context.inform(
            "Removed as a whole: {label}. The KL to the original on held-out "
            "windows rises by {cost:.3g} nats per token.",
            label=candidate.label,
            cost=cost,
        )


def _remove_candidate(state: PruningState, candidate: Sublayers, cost: float) -> None:
    removed = dict(state.removed)
    for unit in candidate.units:
        name = unit.measured.name
        removed[name] = torch.ones(unit.candidates, dtype=torch.bool)
        with on_device(state.loaded.blocks[candidate.block], changes=True):
            for layer, mask in unit.zeros(removed[name]):
                layer.zero(mask)
        share = unit.all_weights / candidate.weights
        state.add_costs({name: max(0.0, cost) * share})
    state.record_removed(removed)
