"""Save the state of a run after a shot, and return to it after an interruption.

weight.NAME    the weights that a run has changed
removed.UNIT   the removed candidates of a unit, eight in a byte
kept.PART      the original numbers of the groups left of a compacted unit, int64
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from surgeon_engine.api.config.run import Offload, RunConfig
from surgeon_engine.api.config.samples import SamplesConfig
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.api.messages.run import Recovered, ShotFinished
from surgeon_engine.api.saved_state import Origin, SavedSteps
from surgeon_engine.base.errors import RunFolderError
from surgeon_engine.base.sentences import say
from surgeon_engine.calibration.windows import digest_of
from surgeon_engine.model.identity import check_same
from surgeon_engine.model.saved_weights import load_weights, weights_of
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.base import Unit
from surgeon_engine.pruning.structures.heads_neurons import CoupledUnit
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.runtime.saver import Tensors
from surgeon_engine.runtime.versions import versions
from surgeon_engine.shots.compaction_step import compact_state
from surgeon_engine.shots.quality_budget import RecoveredShot

_WEIGHT, _REMOVED, _KEPT = "weight.", "removed.", "kept."
_AFTER_SHOT = ("trials", "blocks", "training", "recovered")  # parts that it ends


def origin_of(state: PruningState) -> Origin:
    """Return the digests of the inputs of a run."""
    windows = state.windows
    others = (text.windows for text in windows.others)
    parts = (*windows.fitted, windows.validation, *others)
    text, settings = digest_of(parts), _digest_of_config(state.config)
    return Origin(state.loaded.identity, text, settings, versions())


_PUT_BACK = say("Put it back where it was, or start the run again with its run.toml.")


def check_origin(saved: Origin, found: Origin) -> tuple[str, ...]:
    """Check that a run continues with the inputs that it began with.

    Returns:
        Sentences about versions that have changed since.

    Raises:
        ModelError: a file of the model has changed.
        RunFolderError: the text or the settings have changed.
    """
    check_same(saved.model, found.model)
    if saved.text != found.text:
        changed = say("The text is no longer the one that this run began with.")
        raise RunFolderError(changed, _PUT_BACK)
    if saved.settings != found.settings:
        changed = say("The config is no longer the one that this run began with.")
        raise RunFolderError(changed, _PUT_BACK)
    return tuple(
        say(
            "The run began with {name} {before}; this is {version}. The result may "
            "differ slightly from one without an interruption.",
            name=name,
            before=saved.versions.get(name, "?"),
            version=version,
        )
        for name, version in found.versions.items()
        if saved.versions.get(name) != version
    )


def save_shot(
    state: PruningState,
    shots: Sequence[ShotFinished],
    steps: SavedSteps | None,
    recovered_shot: RecoveredShot | None,
    context: RunContext,
) -> None:
    """Save the state after a shot.

    `steps` is the position on the way to the goal; None: the caller knows it.
    `recovered_shot` is the recovery that a quality limit asked for.
    """
    recovered, weights = None, None
    if recovered_shot is not None:
        recovered = recovered_shot.recovered
        names = {id(p): name for name, p in state.loaded.model.named_parameters()}
        values = recovered_shot.snapshot.weights.values()
        weights = {names[id(parameter)]: value for parameter, value in values}
    context.save(
        {
            "shot": _tensors_of(state),
            "recovered_shot": weights,
            **dict.fromkeys(_AFTER_SHOT),
        },
        shots=tuple(shots),
        steps=steps,
        total_cost=dict(state.total_cost),
        recovered_shot=recovered,
        search=None,
        blocks=None,
        training=None,
        is_recovered=False,
        recovered=None,
    )


def save_recovered(
    state: PruningState, recovered: Recovered | None, context: RunContext
) -> None:
    """Save the state after recovery.

    `recovered` is None if it was left out or undone.
    """
    over = dict.fromkeys(("shot", "recovered_shot", "blocks", "training"))
    context.save(
        {"recovered": _tensors_of(state), **over},
        is_recovered=True,
        recovered=recovered,
        blocks=None,
        training=None,
    )


def restore(state: PruningState, context: RunContext) -> RecoveredShot | None:
    """Return to the state of an interrupted run.

    `state` has the original model, and is pruned as far as the run was.

    Returns:
        The recovery of the last shot that a quality limit asked for.

    Raises:
        RunFolderError: a file is damaged, or of another model.
    """
    saver, saved = context.saver, context.saver.saved
    tensors = saver.load("recovered" if saved.is_recovered else "shot")
    kept, units = _part(tensors, _KEPT), {x.measured.name: x for x in state.units}
    if kept:
        state.record_removed(
            {name: _not_kept(unit, kept) for name, unit in units.items()}
        )
        compact_state(state)
    packed = _part(tensors, _REMOVED)
    state.record_removed(
        {
            name: torch.from_numpy(
                np.unpackbits(packed[name].numpy(), count=len(removed)).astype(bool)
            )
            for name, removed in state.removed.items()
        }
    )
    load_weights(state.loaded.model, _part(tensors, _WEIGHT))
    state.add_costs(saved.total_cost)
    if saved.shots:
        layers = saved.shots[-1].layers
        state.keep_routing({x.name: x.routing for x in layers if x.routing})
    if saved.recovered_shot is None:
        return None
    before = state.take_snapshot()
    load_weights(state.loaded.model, saver.load("recovered_shot"))
    after = state.take_snapshot()
    state.restore(before)
    return RecoveredShot(saved.recovered_shot, after)


def _not_kept(unit: Unit, kept: Tensors) -> Tensor:
    """Return the candidates of a compacted unit that are not left, bool."""
    assert isinstance(unit, CoupledUnit)
    parts = unit.of_parts(torch.arange(unit.candidates))
    removed = [~torch.isin(x - x[0], kept[name]) for name, x in parts.items()]
    return torch.cat(removed)


def _tensors_of(state: PruningState) -> Tensors:
    weights = weights_of(state.loaded.model)
    return {
        **{f"{_WEIGHT}{name}": x for name, x in weights.items()},
        **{
            f"{_REMOVED}{name}": torch.from_numpy(np.packbits(x.cpu().numpy()))
            for name, x in state.removed.items()
        },
        **{f"{_KEPT}{name}": x for name, x in state.kept.items()},
    }


def _part(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): x
        for name, x in tensors.items()
        if name.startswith(prefix)
    }


def _digest_of_config(config: RunConfig) -> str:
    """Return a digest of a config, as it is once it was read from a file.

    Samples and the place of the weights have no effect on the result, and the number of
    GPUs none beyond rounding.
    """
    model = replace(config.model, offload=Offload.AUTOMATIC, gpus=1)
    config = replace(config, model=model, samples=SamplesConfig())
    read = config_from_toml(config_to_toml(config))
    return hashlib.sha256(config_to_toml(read).encode()).hexdigest()
