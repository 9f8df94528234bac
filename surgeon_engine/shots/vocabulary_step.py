"""Remove tokens from the vocabulary, before the first shot.

One threshold divides the target between tokens, heads and neurons: all have costs in
nats per token of text and parameter. Later stages see a model with fewer tokens.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import Vocabulary, display_name
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.model.vocabulary.dimensions import required_rows
from surgeon_engine.model.vocabulary.smaller import tokenizer_size, with_vocabulary
from surgeon_engine.model.vocabulary.tokens import table_for
from surgeon_engine.planning.fewer_tokens import planned_tokens
from surgeon_engine.planning.target_size import goal_of
from surgeon_engine.pruning.measure_curvature import Factors, measure
from surgeon_engine.pruning.methods import METHODS
from surgeon_engine.pruning.methods.base import Needs
from surgeon_engine.pruning.smaller_vocabulary import SmallerVocabulary
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.units import units_of
from surgeon_engine.pruning.threshold import Removals, cheapest
from surgeon_engine.pruning.token_costs import (
    nats_per_removed,
    removable_tokens,
    token_frequencies,
)
from surgeon_engine.runtime import ranks
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.shares import Batches
from surgeon_engine.shots.selection import costs_of
from surgeon_engine.shots.smaller_batches import with_smaller_batches

_VOCABULARY, _KEPT = "vocabulary", "kept"  # in the saved state


def remove_tokens(state: PruningState, context: RunContext) -> None:
    """Remove the tokens that the settings ask for from a model that is still whole.

    An interrupted run has saved its choice.

    Raises:
        ConfigError: no tokens can be removed from the model, or a name is unknown.
    """
    if not state.config.pruning.removes_tokens:
        return
    gates: Factors | None = None
    kept = _saved_tokens(context)
    if kept is None:
        # Processes that share a run must choose the same.
        removals = ranks.agree(lambda: _removals(state, context))
        gates = _gates(state, context)
        kept = _kept_tokens(state, removals, gates)
        context.save({_VOCABULARY: {_KEPT: kept}}, has_tokens=True)
    elif not context.saver.saved.shots:
        gates = _gates(state, context)
    pruning, original, form = state.config.pruning, state.original, state.goal.form
    if len(kept) == _tokens_of(state):
        _warn_of_whole_vocabulary(state, context)
        state.set_goal(goal_of(pruning, original, form, original.vocabulary))
        return
    vocabulary = SmallerVocabulary.of(state.loaded, kept)
    goal = goal_of(pruning, original, form, len(vocabulary.kept))
    loaded = with_vocabulary(state.loaded, kept)
    units = units_of(pruning, loaded.model)
    state.use_vocabulary(vocabulary, loaded, units, goal, gates)
    assert state.tokens is not None
    context.emit(state.tokens)


def _warn_of_whole_vocabulary(state: PruningState, context: RunContext) -> None:
    if state.config.pruning.vocabulary is Vocabulary.AUTOMATIC:
        context.warn(
            "No token was removed: for their size, {structure} cost less. To remove "
            "some all the same, give the number of tokens to keep.",
            structure=display_name(state.config.pruning.structure),
        )
    else:
        context.warn(
            "No token was removed: the vocabulary has no more than are to be kept."
        )


def _saved_tokens(context: RunContext) -> Tensor | None:
    """Return the kept tokens of an interrupted run; None: they are unknown."""
    if not context.saver.saved.has_tokens:
        return None
    found = context.load_progress(_VOCABULARY)
    return None if found is None else found[_KEPT]


def _tokens_of(state: PruningState) -> int:
    """Return the number of tokens of the whole vocabulary."""
    tokenizer = state.loaded.tokenizer
    assert tokenizer is not None
    return tokenizer_size(tokenizer)


def _gates(state: PruningState, context: RunContext) -> Factors | None:
    """Measure the gates of the first shot; None: the method needs something else.

    They belong to the original, so that runs with other settings share them.
    """
    pruning = state.config.pruning
    is_gates = METHODS[pruning.method].needs is Needs.GATES
    if pruning.removes_nothing or pruning.drops_depth or not is_gates:
        return None
    windows = state.windows.calibration
    return with_smaller_batches(
        state, context, lambda: measure(state, windows, context, 1)
    )


def _kept_tokens(
    state: PruningState, removals: Removals, gates: Factors | None
) -> Tensor:
    """Return the tokens that the model keeps: int64, ascending."""
    pruning = state.config.pruning
    if pruning.chooses_tokens:
        count = _share_of_tokens(state, removals, gates)
    else:
        planned = planned_tokens(pruning, state.original)
        count = max(0, removals.candidates - planned)
    is_kept = torch.ones(removals.candidates, dtype=torch.bool)
    is_kept[removals.candidate[:count]] = False
    return is_kept.nonzero().squeeze(1)


def _removals(state: PruningState, context: RunContext) -> Removals:
    """Return the tokens that can be removed, in the order of their costs."""
    loaded, windows = state.loaded, state.windows
    needed, rows = required_rows(loaded.model), state.original.vocabulary
    table = table_for(loaded.tokenizer, rows, needed, state.config.pruning.kept_texts)
    each = state.original.token_parameters
    texts = windows.fitted
    batch = state.config.calibration.batch
    batches = sum(len(Batches(text, batch)) for text in texts)
    with context.stage(Stage.VOCABULARY, total=batches) as step:
        frequencies = token_frequencies(loaded.model, texts, batch, step)
        first = removable_tokens(frequencies[: table.size], table, each)
        nu = 1.0
        if state.config.pruning.chooses_tokens:
            nu = nats_per_removed(loaded, windows, first, context.raise_if_cancelled)
            context.inform(
                "Text costs {nats:.2f} nats more for each token that is written with "
                "others.",
                nats=nu,
            )
    return replace(first, cost=first.cost * nu)


def _share_of_tokens(
    state: PruningState, tokens: Removals, gates: Factors | None
) -> int:
    """Return how many tokens one threshold removes beside heads and neurons."""
    assert gates is not None  # see `RunConfig.contradictions`
    costs = costs_of(state, gates, state.config.pruning)
    costs[_VOCABULARY] = tokens
    selected = cheapest(costs, state.goal.removed)
    return int(selected.removed[_VOCABULARY].sum())
