"""Recover the pruned model block by block, in one pass over both models.

Block after block and forwards, each model runs the block on its own hidden states. In
between, the pruned block is refitted (`refit.py`) and, if the settings ask for it,
trained (`reconstruction.py`), so that later blocks make up for the rest of the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.saved_state import SavedBlocks
from surgeon_engine.model.layers import ExpertsLayer
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.offload import on_device, one_at_a_time
from surgeon_engine.model.saved_weights import load_weights, weights_of
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.recovery.block_pair import BlockPair, RecoveryText
from surgeon_engine.recovery.expert_refit import refit_experts
from surgeon_engine.recovery.least_squares import FitResult
from surgeon_engine.recovery.reconstruction import Reconstruction, reconstruct
from surgeon_engine.recovery.refit import Target, refit_block, targets_of
from surgeon_engine.recovery.weight_training import WeightTraining, masks_of, trainable
from surgeon_engine.runtime import host_memory
from surgeon_engine.runtime.hidden_store import HiddenStore
from surgeon_engine.runtime.run_context import RunContext


@dataclass(slots=True, eq=False)
class BlockPass:
    """The results of a pass."""

    fits: dict[str, FitResult] = field(default_factory=dict)  # by layer
    reconstructions: list[Reconstruction] = field(default_factory=list)  # by block
    is_cut: bool = False  # the user has stopped it before its end

    @property
    def refitted(self) -> int:
        """The number of layers whose weights the refit has changed."""
        return sum(fit.ridge is not None for fit in self.fits.values())

    @property
    def reconstructed(self) -> int:
        """The number of blocks whose weights the training has changed."""
        return sum(each.after < each.before for each in self.reconstructions)


@torch.no_grad()
def recover_blocks(
    state: PruningState,
    original: LoadedModel,
    text: RecoveryText,
    context: RunContext,
    shot: int = 0,
) -> BlockPass:
    """Refit the layers of all units, and train the blocks if the settings say so.

    Stop ends it after a block; the blocks after it stay as they were.

    `original` is the model before anything was removed. `shot` is that after which
    the pass comes; 0: the end of the run.

    Raises:
        ModelError: the blocks of the model cannot be run one at a time.
        RunCancelled: the user has cancelled.
    """
    reconstructs = state.config.recovery.reconstructs
    stage = Stage.RECONSTRUCTION if reconstructs else Stage.REFIT
    result, done, seconds = (BlockPass(), 0, 0.0) if shot else _resumed(state, context)
    blocks = (*original.blocks, *state.loaded.blocks)
    if done == len(original.blocks):
        with context.stage(stage, shot) as step:
            step()
        return result
    with (
        context.stage(stage, shot, len(original.blocks), seconds=seconds) as step,
        one_at_a_time(blocks),
        HiddenStore(state.loaded.device) as store,
    ):
        vocabulary = state.vocabulary
        kept = None if vocabulary is None else vocabulary.kept
        pair = BlockPair(original, state.loaded, text, store, context, kept)
        pair.is_trained = reconstructs
        for index, block in enumerate(state.loaded.blocks):
            if index < done:
                pair.compute_after()
                pair.advance()
                step()
                continue
            if result.is_cut or context.stops_after_shot:
                result.is_cut = True
                return result
            with (
                on_device(original.blocks[index]),
                on_device(block, changes=True),
            ):
                result.fits |= _refitted(pair, targets_of(state, original, index))
                if reconstructs:
                    masks = masks_of(state, index)
                    weights = WeightTraining(trainable(state, block), masks)
                    seed = state.config.calibration.seed + index
                    result.reconstructions.append(reconstruct(pair, weights, seed))
                pair.advance()
            host_memory.return_freed()  # the next block has other sizes
            result.is_cut = reconstructs and context.stops_after_shot
            is_partial = not result.is_cut and index + 1 < len(original.blocks)
            if shot == 0 and is_partial and context.saver.is_due:
                _save(state, result, index + 1, context)
            step()
    if shot == 0 and not result.is_cut:  # with the seconds of the stage
        _save(state, result, len(original.blocks), context)
    return result


def _refitted(pair: BlockPair, targets: Sequence[Target]) -> dict[str, FitResult]:
    """Refit the layers of a block, then its experts."""
    layers = [each.layer for each in targets]
    experts = [layer for layer in layers if isinstance(layer, ExpertsLayer)]
    found = refit_block(pair, [x for x in targets if x.layer not in experts])
    for layer in experts:
        if (result := refit_experts(pair, layer)) is not None:
            found[layer.name] = result
    return found


def _resumed(state: PruningState, context: RunContext) -> tuple[BlockPass, int, float]:
    """Return the results of an interrupted pass, its blocks and its seconds."""
    saved = context.saver.saved.blocks
    weights = context.load_progress("blocks") if saved is not None else None
    if saved is None or weights is None:
        return BlockPass(), 0, 0.0
    load_weights(state.loaded.model, weights)
    fits = {name: FitResult(*numbers) for name, numbers in saved.fits.items()}
    reconstructions = [Reconstruction(*numbers) for numbers in saved.reconstructions]
    return BlockPass(fits, reconstructions), saved.done, saved.seconds


def _save(
    state: PruningState, done: BlockPass, blocks: int, context: RunContext
) -> None:
    saved = SavedBlocks(
        blocks,
        {name: (x.ridge, x.before, x.after) for name, x in done.fits.items()},
        tuple((x.before, x.after) for x in done.reconstructions),
        context.seconds_of_stage,
        len(state.loaded.blocks),
    )
    context.save({"blocks": weights_of(state.loaded.model)}, blocks=saved)
