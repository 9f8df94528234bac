"""The removed share of each block of a model, for the picture of a run."""

from __future__ import annotations

from collections import Counter

from surgeon_engine.api.config.pruning import Coupling
from surgeon_gui.state.run import RunState

Shares = tuple[tuple[float, ...], ...]


def removed_by_block(run: RunState) -> Shares:
    """Return a row with the removed share of weights of each block; empty: none yet.

    A model whose neurons or experts are known has two rows: of its attention, and of
    these.
    """
    if run.model is None or not run.history:
        return ()
    mlps = {
        name
        for each in run.model.coupled
        if each.kind in (Coupling.NEURONS, Coupling.EXPERTS)
        for name in each.layers
    }
    weights: Counter[tuple[bool, int]] = Counter()
    removed: Counter[tuple[bool, int]] = Counter()
    for layer in run.layers:
        place = layer.name in mlps, layer.block
        weights[place] += layer.weights
        removed[place] += layer.removed
    return tuple(
        tuple(
            removed[kind, block] / max(1, weights[kind, block])
            for block in range(run.model.blocks)
        )
        for kind in ((False, True) if mlps else (False,))
    )
