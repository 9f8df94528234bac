"""The exact size of a model at its pruning target: share, parameters and bytes.

    P   all parameters of the model; tied ones count once
    p   prunable weights, those of the linear layers in the decoder blocks
    r   removed weights, the maximum that a run removes

Embeddings, norms and an untied head are not prunable: r <= p, and P - r parameters
remain. Bytes are those of the remaining parameters in the number format of the file
(`planned_file.py`), without its header.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.config.pruning import (
    NM,
    Elements,
    FileSize,
    Memory,
    Parameters,
    ParameterShare,
    PrunableShare,
    PruningConfig,
    Structure,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.formatting import format_size
from surgeon_engine.planning.planned_file import BYTES_PER_PARAMETER, planned_file
from surgeon_engine.planning.rounding import floor_share
from surgeon_engine.planning.running_memory import (
    GIGABYTE,
    planned_context,
)

_MILLION = 1_000_000
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Goal:
    """The size of a model at its target, in each unit."""

    removed: int  # weights
    prunable: int  # weights that there are to choose from
    sparsity: float  # removed / prunable weights
    parameter_share: float  # removed / all parameters
    parameters: int  # that remain
    weight_bytes: int  # of those
    dtype: FileDtype  # in which they have these bytes

    def asked(self, share: float) -> int:
        """Return the maximum number of removed weights at a share of the goal."""
        return floor_share(self.removed, share)

    def removed_at(self, parameters: int) -> int:
        """Return the number of removed weights of a model with `parameters` left."""
        return self.parameters + self.removed - parameters


TARGET_TOLERANCE = 0.005  # of the prunable weights; a goal missed by more is reported


def file_dtype(config: RunConfig, model: ModelSummary) -> FileDtype:
    """Return the number format in which a run writes its model."""
    wanted = config.export
    return number_format(wanted.format, wanted.dtype, config.model.dtype, model.dtype)


def number_format(
    form: Format, wanted: FileDtype, pruned: str, stored: str
) -> FileDtype:
    """Resolve the number format of an exported file.

    Args:
        form: the file format.
        wanted: the number format that was asked for.
        pruned: the one in which the model was pruned.
        stored: that of the original's files; empty if they are quantised.

    Returns:
        If `wanted` is SAME, the shorter one of `pruned` and `stored`; for a quantised
        original 8 bits in GGUF, and at most 16 in other formats.
    """
    if wanted is not FileDtype.SAME:
        return wanted
    if not stored and form is Format.GGUF:
        return FileDtype.Q8_0
    either = (FileDtype(pruned), FileDtype(stored or FileDtype.FLOAT16))
    return min(either, key=BYTES_PER_PARAMETER.__getitem__)


def goal_of(pruning: PruningConfig, model: ModelSummary, dtype: FileDtype) -> Goal:
    """Return the goal that the target of `pruning` sets for `model`.

    Raises:
        ConfigError: The model is as small already, or has too few prunable weights.
    """
    return _goal(_to_remove(pruning, model, dtype), pruning, model, dtype)


def prunable_weights(pruning: PruningConfig, model: ModelSummary) -> int:
    """Return the number p of prunable weights; a bias is no element of its own."""
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
            size = floor_share(_MEGABYTE, megabytes)
            return planned_file(model, dtype, pruning).removed_for(size)
        case Memory():
            return _to_remove_for(pruning.target, pruning, model, dtype)
    return model.parameters - remaining


def _to_remove_for(
    target: Memory, pruning: PruningConfig, model: ModelSummary, dtype: FileDtype
) -> int:
    """Return the smallest number of removed weights that reaches a memory.

    0 if the whole model runs in it, and more than there are if no removal suffices.

    Raises:
        ConfigError: The context alone takes all of it.
    """
    memory, context = round(target.gigabytes * GIGABYTE), target.context
    planned = planned_context(context, model, pruning.kind)
    beside = planned.beside(prunable_weights(pruning, model))
    if beside >= memory:
        raise ConfigError(
            f"A context of {context:,} tokens takes {format_size(beside)}, all of the "
            f"{format_size(memory)}.",
            "Choose a shorter context or more memory.",
        )
    file = planned_file(model, dtype, pruning)

    def spare(removed: int) -> int:
        return memory - file.bytes(removed) - planned.beside(removed)

    return bisect_left(range(prunable_weights(pruning, model) + 1), 0, key=spare)


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
    if pruning.is_sized and not 0 < removed <= most:
        _raise_out_of_reach(removed, most, pruning, model, dtype)
    if removed < 1 and not pruning.removes_nothing:
        raise ConfigError(
            f"The target keeps all {model.parameters:,} parameters.",
            "Ask for a smaller model.",
        )
    if removed > most:
        raise ConfigError(
            f"The target removes {removed:,} weights, but only {most:,} can be "
            "removed. Embeddings, norms and the head are not pruned.",
            "Ask for a larger model.",
        )
    return Goal(
        removed=removed,
        prunable=prunable,
        sparsity=removed / prunable,
        parameter_share=removed / model.parameters,
        parameters=model.parameters - removed,
        weight_bytes=planned_file(model, dtype, pruning).bytes(removed),
        dtype=dtype,
    )


def _raise_out_of_reach(
    removed: int,
    most: int,
    pruning: PruningConfig,
    model: ModelSummary,
    dtype: FileDtype,
) -> None:
    """Raise for a size in bytes that the model has already, or that it cannot have.

    Raises:
        ConfigError: always.
    """
    if removed < 1:
        whole = size_in_unit(pruning, model, dtype, 0)
        raise ConfigError(
            f"In {dtype}, the unpruned model takes {whole}: no more than the target.",
            "Ask for a smaller model; a target of 0 % only writes the model.",
        )
    least = size_in_unit(pruning, model, dtype, most)
    raise ConfigError(
        f"In {dtype}, the model takes {least} even without all its {most:,} prunable "
        "weights: more than the target. Embeddings, norms and the head are not pruned.",
        "Ask for a larger model, or choose a number format of fewer bits.",
    )


def memory_of_goal(
    goal: Goal, context: int, model: ModelSummary, kind: Structure
) -> int:
    """Return the bytes in which the model of a goal runs with `context` tokens."""
    beside = planned_context(context, model, kind).beside(goal.removed)
    return goal.weight_bytes + beside


def size_in_unit(
    pruning: PruningConfig, model: ModelSummary, dtype: FileDtype, removed: int
) -> str:
    """Return the size of a model in the unit of its target, rounded up.

    A target of this size can thus be reached.

    Args:
        pruning: has the target, a size in bytes.
        model: the model before pruning.
        dtype: the number format of the file.
        removed: the number of removed weights.
    """
    size = planned_file(model, dtype, pruning).bytes(removed)
    if isinstance(pruning.target, Memory):
        context = pruning.target.context
        beside = planned_context(context, model, pruning.kind).beside(removed)
        gigabytes = math.ceil((size + beside) / _MEGABYTE) / 1000
        return f"{gigabytes:,.3f} GB with a context of {context:,} tokens"
    return f"{math.ceil(10 * size / _MEGABYTE) / 10:,.1f} MB"
