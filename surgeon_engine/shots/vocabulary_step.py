"""Remove tokens from the vocabulary, before the first shot.

One threshold divides the target between tokens, heads and neurons: all have costs in
nats per token of text and parameter. Later stages see a model with fewer tokens.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from surgeon_engine.api.config.pruning import SPARSE, display_name
from surgeon_engine.api.config.vocabulary import AutomaticVocabulary, SomeTokens
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.model.vocabulary.smaller import (
    required_tokens,
    tokenizer_size,
    with_vocabulary,
)
from surgeon_engine.model.vocabulary.tokens import (
    check_rows,
    protected,
    token_table,
    too_few_tokens,
)
from surgeon_engine.planning.fewer_tokens import with_fewer_tokens
from surgeon_engine.planning.target_size import Goal, goal_of
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
    texts_of,
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
        ConfigError: so many tokens cannot be removed, or the model has no tokenizer.
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
    if len(kept) == _tokens_of(state):
        _warn_of_whole_vocabulary(state, context)
        return
    vocabulary = SmallerVocabulary.of(state.loaded, kept)
    goal = _goal_without_tokens(state, kept)
    loaded = with_vocabulary(state.loaded, kept)
    assert loaded.kept_tokens is not None
    vocabulary = vocabulary.with_rows(loaded.kept_tokens)
    units = units_of(state.config.pruning, loaded.model)
    state.use_vocabulary(vocabulary, loaded, units, goal, gates)
    assert state.tokens is not None
    context.emit(state.tokens)


def _warn_of_whole_vocabulary(state: PruningState, context: RunContext) -> None:
    if isinstance(state.config.pruning.vocabulary, AutomaticVocabulary):
        context.warn(
            "No token was removed: for their size, {structure} cost less. To remove "
            "some all the same, give the number of tokens to keep.",
            structure=display_name(state.config.pruning.kind),
        )
    else:
        context.warn(
            "No token was removed: the vocabulary has no more than are to be kept."
        )


def _saved_tokens(context: RunContext) -> Tensor | None:
    """Return what `_kept_tokens` has returned before an interruption."""
    if not context.saver.saved.has_tokens:
        return None
    found = context.load_progress(_VOCABULARY)
    return None if found is None else found[_KEPT]


def _tokens_of(state: PruningState) -> int:
    """Return the tokens of the whole vocabulary."""
    tokenizer = state.loaded.tokenizer
    assert tokenizer is not None
    return tokenizer_size(tokenizer)


def _gates(state: PruningState, context: RunContext) -> Factors | None:
    """Measure the gates of the first shot; None: the method needs something else.

    They are those of the original, which runs with other settings share.
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
    settings = state.config.pruning.vocabulary
    if isinstance(settings, SomeTokens):
        count = removals.candidates - settings.tokens
        if count > len(removals.candidate):
            least = removals.candidates - len(removals.candidate)
            raise too_few_tokens(settings.tokens, least)
        count = max(0, count)
    else:
        assert isinstance(settings, AutomaticVocabulary)
        count = _share_of_tokens(state, removals, gates)
    is_kept = torch.ones(removals.candidates, dtype=torch.bool)
    is_kept[removals.candidate[:count]] = False
    return is_kept.nonzero().squeeze(1)


def _removals(state: PruningState, context: RunContext) -> Removals:
    """Return the tokens that can be removed, in the order of their costs."""
    loaded, windows = state.loaded, state.windows
    settings = state.config.pruning.vocabulary
    assert isinstance(settings, AutomaticVocabulary | SomeTokens)
    if loaded.tokenizer is None:
        raise ConfigError(
            "The model has no tokenizer, so no tokens can be removed.",
            "Keep the whole vocabulary, or add the files of the tokenizer.",
        )
    table = token_table(loaded.tokenizer)
    check_rows(table, state.original.vocabulary)
    fixed = table.fixed | required_tokens(loaded)
    fixed |= protected(table, settings.keep, loaded.tokenizer)
    each = _parameters_of_token(state)
    texts = texts_of(windows)
    batch = state.config.calibration.batch
    batches = sum(len(Batches(text, batch)) for text in texts)
    with context.stage(Stage.VOCABULARY, total=batches) as step:
        frequencies = token_frequencies(loaded.model, texts, batch, step)
        first = removable_tokens(frequencies[: table.size], table, fixed, each)
        nu = 1.0
        if isinstance(settings, AutomaticVocabulary):
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
    assert gates is not None  # see `check_vocabulary`
    costs = costs_of(state, gates, state.config.pruning)
    costs[_VOCABULARY] = tokens
    selected = cheapest(costs, state.goal.removed)
    return int(selected.removed[_VOCABULARY].sum())


def _parameters_of_token(state: PruningState) -> int:
    """Return the parameters of a token, in embeddings and head.

    Raises:
        ConfigError: the model must keep all tokens.
    """
    found = state.original.token_parameters
    if not found:
        raise ConfigError(
            "The vocabulary of this model cannot be made smaller.",
            "Keep the whole vocabulary.",
        )
    return found


def _goal_without_tokens(state: PruningState, kept: Tensor) -> Goal:
    """Return what remains to be removed from the blocks.

    Raises:
        ConfigError: the tokens alone are more than the target removes.
    """
    goal, pruning = state.goal, state.config.pruning
    removed = state.original.vocabulary - len(kept)
    gone = removed * _parameters_of_token(state)
    if pruning.removes_nothing or pruning.kind in SPARSE:  # beside zeros
        return replace(goal, parameters=goal.parameters - gone)
    if gone > goal.removed:
        raise ConfigError(
            "{tokens:,} tokens have {gone:,} parameters, more than the {goal:,} that "
            "the target removes.",
            "Keep more tokens, or raise the target; a target of 0 % removes tokens "
            "alone.",
            tokens=removed,
            gone=gone,
            goal=goal.removed,
        )
    if pruning.is_sized:  # tokens and weights of blocks may have other bytes
        return goal_of(pruning, with_fewer_tokens(state.original, len(kept)), goal.form)
    rest = goal.removed - gone
    return replace(goal, removed=rest, sparsity=rest / goal.prunable)
