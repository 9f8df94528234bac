"""Recover a pruned model: the refit, then the training, judged by held-out text."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from surgeon_engine.api.messages.events import Level, Logged
from surgeon_engine.api.messages.run import Evaluation, Recovered, Stage
from surgeon_engine.evaluation.fidelity import Reference, compare, reference_of
from surgeon_engine.model.layers import KeptWeights
from surgeon_engine.model.load import LoadedModel, load_model
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.distillation import distil
from surgeon_engine.recovery.refit import RecoveryText, refit
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.run_context import RunContext

_HELD_OUT = 8  # every how many windows of a kind one is held out


def recover(
    state: PruningState,
    evaluate: Callable[[], Evaluation],
    context: RunContext,
    shot: int = 0,
) -> Recovered | None:
    """Recover the pruned model; it never ends further from the original than before.

    Args:
        state: the pruned model.
        evaluate: evaluates it on the validation windows.
        context: receives the progress.
        shot: the shot after which it comes; 0: the end of the run.

    Returns:
        What recovery has achieved; None if there are too few windows to hold any out.

    Raises:
        EngineError: the original cannot be loaded, or a result is not finite.
        RunCancelled: the user has cancelled.
    """
    start_time = context.clock()
    text = recovery_text(state)
    if text is None:
        message = "There are too few windows to hold any out, so recovery is left out."
        context.emit(Logged(Level.WARNING, message))
        return None
    original = load_model(state.config.model)
    trains = state.config.recovery.trains
    held_out, fitted = _references(state, original, text, context, shot)
    judge = _Judge(state, held_out, context)
    after, changed = _refit(state, original, text, judge, context, shot)
    del original
    devices.release_memory()
    steps = 0
    if trains and not context.stops_after_shot:
        training = distil(state, fitted, held_out, context, shot)
        after, steps = training.after, training.steps
    seconds = context.clock() - start_time
    return Recovered(judge.before, after, changed, steps, evaluate(), seconds)


def _references(
    state: PruningState,
    original: LoadedModel,
    text: RecoveryText,
    context: RunContext,
    shot: int,
) -> tuple[Reference, Reference]:
    """Return the references of the text held out and, for a training, of the rest."""
    batch, model = state.config.calibration.batch, original.model
    fitted = text.fitted if state.config.recovery.trains else text.fitted[:0]
    batches = sum(-(-len(x) // batch) for x in (text.held_out, fitted))
    with context.stage(Stage.REFERENCE, shot, batches) as step:
        return (
            reference_of(model, text.held_out, batch, step),
            reference_of(model, fitted, batch, step),
        )


def recovery_text(state: PruningState) -> RecoveryText | None:
    """Return the user's and the model's own windows, every eighth of each held out.

    Returns:
        The text; None if there are too few windows.
    """
    kinds = [state.windows.calibration]
    if state.windows.own is not None:
        kinds.append(state.windows.own)
    fitted, held_out = zip(*map(_split, kinds), strict=True)
    text = RecoveryText(torch.cat(fitted), torch.cat(held_out))
    return text if len(text.fitted) and len(text.held_out) else None


def _split(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the windows to fit and those to hold out; a single one is fitted."""
    if len(windows) == 1:
        return windows, windows[:0]
    number = torch.arange(len(windows))
    is_held_out = number % _HELD_OUT == min(_HELD_OUT, len(windows)) - 1
    return windows[~is_held_out], windows[is_held_out]


class _Judge:
    """Measures the divergence from the original on held-out windows, in nats."""

    def __init__(
        self, state: PruningState, held_out: Reference, context: RunContext
    ) -> None:
        self._state, self._held_out, self._context = state, held_out, context
        self.before = self.divergence()

    def divergence(self) -> float:
        """Return the divergence of the model as it is now."""
        model, step = self._state.loaded.model, self._context.raise_if_cancelled
        return compare(model, self._held_out, step).divergence


def _refit(
    state: PruningState,
    original: LoadedModel,
    text: RecoveryText,
    judge: _Judge,
    context: RunContext,
    shot: int,
) -> tuple[float, int]:
    """Refit, unless that makes it worse; return the divergence, and layers changed."""
    kept = KeptWeights.of(unit.measured for unit in state.units)
    results = refit(state, original, text, context, shot)
    changed = sum(result.ridge is not None for result in results.values())
    after = judge.divergence()
    if after <= judge.before:
        return after, changed
    kept.put_back()
    message = "The refit would have moved the model away from the original: undone."
    context.emit(Logged(Level.WARNING, message))
    return judge.before, 0
