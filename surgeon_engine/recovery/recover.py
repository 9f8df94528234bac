"""Recover a pruned model: block by block, then as a whole, judged by held-out text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from surgeon_engine.api.config.recovery import judging_windows
from surgeon_engine.api.messages.run import (
    Evaluation,
    Recovered,
    RecoveryUndone,
    Stage,
    UndoReason,
)
from surgeon_engine.calibration.windows import TokenWindows
from surgeon_engine.model.load import LoadedModel, load_original
from surgeon_engine.planning.measured_before import Kind
from surgeon_engine.pruning.measure_curvature import key_of_original
from surgeon_engine.pruning.state import PruningState, Snapshot
from surgeon_engine.recovery.block_pair import RecoveryText
from surgeon_engine.recovery.block_pass import BlockPass, recover_blocks
from surgeon_engine.recovery.distillation import distil
from surgeon_engine.recovery.fresh_text import FreshText
from surgeon_engine.recovery.judge import Judge, KeptText, predictions
from surgeon_engine.runtime import devices
from surgeon_engine.runtime.hidden_store import HiddenStore
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.shares import Batches


def recover(
    state: PruningState,
    before: Snapshot,
    evaluate: Callable[[], Evaluation],
    context: RunContext,
    shot: int = 0,
) -> Recovered | None:
    """Recover the pruned model; it never ends further from the original than before.

    `before` is the snapshot to which a step that makes it worse is undone. `shot`
    is the shot before recovery; 0: recovery is at the end of the run, where it is saved
    and, after an interruption, goes on from the state in the saver of `context`. The
    result is None if there are too few windows to hold any out.

    Raises:
        EngineError: the original cannot be loaded, or a result is not finite.
        RunCancelled: the user has cancelled.
    """
    start_time = context.clock()
    if (text := recovery_text(state)) is None:
        context.warn(
            "There are too few windows to hold any out, so recovery is left out."
        )
        return None
    with context.stage(Stage.REFERENCE, shot, 1 + 2 * len(text.held_out)) as step:
        original = load_original(state.config.model, state.loaded)
        step()
        key = key_of_original(state, Kind.TEXT, original=original)
        kept, windows = KeptText(context.kept, key), text.in_original.held_out
        held_out = predictions(original.model, windows, step, state.vocabulary, kept)
        model = state.loaded.model
        judge = Judge(model, held_out, context, model.dtype)
        divergence = judge.divergence(step)
    passed = recover_blocks(state, original, text, context, shot)
    trains = state.config.recovery.training_epochs > 0
    stopped_early = passed.is_cut or (trains and context.stops_after_shot)
    after, steps = judge.divergence(), 0
    if after > divergence:
        state.restore(before)
        undone = Stage.RECONSTRUCTION if passed.reconstructions else Stage.REFIT
        context.emit(RecoveryUndone(UndoReason.WORSE, undone, shot))
        passed, after = BlockPass(), divergence
    if trains and not stopped_early:
        with HiddenStore(state.loaded.device) as store:
            fresh = _training_text(state, original, text, store, kept)
            del original
            training = distil(state, fresh, judge, after, context, shot)
            del fresh
            if training.steps and training.after >= after:
                undone = Stage.DISTILLATION
                context.emit(RecoveryUndone(UndoReason.WORSE, undone, shot))
            after, steps = training.after, training.steps
            stopped_early = training.stopped_early
    else:
        del original
    devices.release_memory()
    seconds = context.clock() - start_time
    return Recovered(
        divergence,
        after,
        passed.refitted,
        steps,
        evaluate(),
        seconds,
        blocks=passed.reconstructed,
        stopped_early=stopped_early,
    )


def recovery_text(state: PruningState) -> RecoveryText | None:
    """Return the user's windows and general text, some windows of each held out.

    The result is None if there are too few windows.
    """
    found = _recovery_text(state, state.windows)
    if found is None or state.vocabulary is None:
        return found
    in_original = _recovery_text(state, state.original_windows)
    return replace(found, in_original_tokens=in_original)


def _recovery_text(state: PruningState, windows: TokenWindows) -> RecoveryText | None:
    kinds = [_split(each) for each in windows.fitted]
    fitted, held_out = map(torch.cat, zip(*kinds, strict=True))
    if not len(fitted) or not len(held_out):
        return None
    batch = state.config.calibration.batch
    return RecoveryText(
        Batches(fitted, batch),
        Batches(held_out, batch),
        users=len(kinds[0][0]),
        shipped=0 if windows.shipped is None else len(kinds[-1][0]),
    )


def _training_text(
    state: PruningState,
    original: LoadedModel,
    text: RecoveryText,
    store: HiddenStore,
    kept: KeptText,
) -> FreshText:
    """Return the text of each epoch of a training."""
    read, windows = text.in_original.fitted.windows, state.original_windows
    own_end = len(read) - text.shipped
    own, shipped = read[text.users : own_end], read[own_end:]
    pool = shipped if windows.reserve is None else torch.cat([shipped, windows.reserve])
    users = list(read[: text.users, None])
    if windows.later:
        places = (~_held_out(len(windows.calibration))).nonzero().flatten().tolist()
        later = [windows.later[place] for place in places]
        users = [torch.cat(pair) for pair in zip(users, later, strict=True)]
    return FreshText(
        original,
        users,
        own,
        pool,
        text.shipped,
        text.fitted.size,
        state.config.calibration.seed,
        store,
        state.vocabulary,
        kept,
    )


def _split(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the windows to fit and the windows to hold out."""
    is_held_out = _held_out(len(windows))
    return windows[~is_held_out], windows[is_held_out]


def _held_out(windows: int) -> Tensor:
    """Return which windows are held out, evenly spread.  Shape windows, bool."""
    count = judging_windows(windows)
    places = [(place + 1) * windows // count - 1 for place in range(count)]
    found = torch.zeros(windows, dtype=torch.bool)
    found[places] = True
    return found
