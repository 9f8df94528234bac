"""What a target comes to: as a share, as parameters and as bytes, all exact.

    P   all parameters of the model; tied ones count once
    p   prunable weights, those of the linear layers in the decoder blocks
    r   weights that go, the whole number that a run removes at most

Embeddings, norms and a head of its own are parameters that are not prunable: r is at
most p, and what remains is P - r. The bytes are those of the parameters that remain in
the number format of the file, without the few kilobytes of its header.
"""

from __future__ import annotations

from dataclasses import dataclass

from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.config.pruning import (
    NM,
    Elements,
    FileSize,
    Parameters,
    ParameterShare,
    PrunableShare,
    PruningConfig,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.planning.rounding import floor_share

BYTES_PER_PARAMETER = {
    FileDtype.FLOAT32: 4.0,
    FileDtype.BFLOAT16: 2.0,
    FileDtype.FLOAT16: 2.0,
    FileDtype.Q8_0: 34 / 32,  # a block's 32 weights and their scale
}
_MILLION = 1_000_000
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Goal:
    """The size of a model once a target is reached, in each of the ways to give it."""

    removed: int  # weights
    prunable: int  # weights that there are to choose from
    sparsity: float  # removed / prunable weights
    parameter_share: float  # removed / all parameters
    parameters: int  # that remain
    weight_bytes: int  # of those

    def asked(self, share: float) -> int:
        """How many weights are to be gone, at most, once a share of the way is gone."""
        return floor_share(self.removed, share)

    def removed_at(self, parameters: int) -> int:
        """How many weights are gone of a model that has so many parameters left."""
        return self.parameters + self.removed - parameters


MISSED = 0.005  # of the prunable weights; a goal that is missed by more is told


def file_dtype(config: RunConfig, model: ModelSummary) -> FileDtype:
    """The number format in which a run writes its model."""
    wanted = config.export
    return number_format(wanted.format, wanted.dtype, config.model.dtype, model.dtype)


def number_format(
    form: Format, wanted: FileDtype, pruned: str, stored: str
) -> FileDtype:
    """That of a file of the kind `form`, by the names of the others.

    `pruned` is what the model was pruned in; `stored`, what the original's files hold:
    empty where they are quantised.
    """
    if form is Format.ONNX:
        return FileDtype.FLOAT32
    if wanted is not FileDtype.SAME:
        return wanted
    either = [FileDtype(name) for name in (pruned, stored) if name]
    return min(either, key=BYTES_PER_PARAMETER.__getitem__)


def goal_of(pruning: PruningConfig, model: ModelSummary, dtype: FileDtype) -> Goal:
    """What `pruning` asks for of `model`.

    Raises:
        ConfigError: the model is that small already, or its prunable weights do not
            suffice; with the numbers.
    """
    return _goal(_to_remove(pruning, model, dtype), pruning, model, dtype)


def prunable_weights(pruning: PruningConfig, model: ModelSummary) -> int:
    """The p above; a bias goes with its row, but is no element of its own."""
    match pruning.structure:
        case Elements():
            return sum(layer.rows * layer.columns for layer in model.layers)
        case NM(of=of):  # columns beyond the last whole group are kept
            return sum(
                layer.rows * (layer.columns - layer.columns % of)
                for layer in model.layers
            )
    return model.prunable


def _to_remove(pruning: PruningConfig, model: ModelSummary, dtype: FileDtype) -> int:
    match pruning.target:
        case PrunableShare(sparsity=sparsity):
            return floor_share(prunable_weights(pruning, model), sparsity)
        case ParameterShare(sparsity=sparsity):
            return floor_share(model.parameters, sparsity)
        case Parameters(millions=millions):
            remaining = round(millions * _MILLION)
        case FileSize(megabytes=megabytes):
            remaining = floor_share(_MEGABYTE, megabytes / BYTES_PER_PARAMETER[dtype])
    return model.parameters - remaining


def _goal(
    removed: int, pruning: PruningConfig, model: ModelSummary, dtype: FileDtype
) -> Goal:
    most = prunable = prunable_weights(pruning, model)
    if isinstance(pruning.structure, NM):
        of = pruning.structure.of
        if not prunable:
            raise ConfigError(
                f"No layer of the model has {of} columns, as many as one group.",
                "Choose shorter groups.",
            )
        most = prunable // of * pruning.structure.removed
        if isinstance(pruning.target, PrunableShare):
            removed = min(removed, most)  # 66.7 % means every group of 1:3
    if removed < 1:
        raise ConfigError(
            f"The target leaves all of the {model.parameters:,} parameters.",
            "Ask for a smaller model.",
        )
    if removed > most:
        raise ConfigError(
            f"{removed:,} weights would have to go, but only {most:,} of the "
            f"{model.parameters:,} parameters can; embeddings, norms and head stay.",
            "Ask for a larger model.",
        )
    return Goal(
        removed=removed,
        prunable=prunable,
        sparsity=removed / prunable,
        parameter_share=removed / model.parameters,
        parameters=model.parameters - removed,
        weight_bytes=int((model.parameters - removed) * BYTES_PER_PARAMETER[dtype]),
    )
