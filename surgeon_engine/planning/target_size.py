"""The exact size of a model at its pruning target: share, parameters and bytes.

    P   all parameters of the model; tied ones count once
    p   prunable weights: the linear layers in the decoder blocks
    t   parameters of removed tokens, in embeddings and head
    r   removed weights: the maximum that a run removes, or the minimum if the target is
        a size in bytes

Norms are not prunable, nor are embeddings and an untied head but for tokens: r <= p,
and P - t - r parameters remain. Bytes are the size of their file
(`planned_file.py`). Tokens count toward the target. Where the run chooses how many are
removed, t is 0 beforehand, and r may exceed p by their parameters.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from surgeon_engine.api.config.export import FOR_TRANSFORMERS, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    SPARSE,
    PruningConfig,
    Schedule,
    Structure,
    Target,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import say
from surgeon_engine.planning.fewer_tokens import parameters_to_choose
from surgeon_engine.planning.file_form import file_form, number_format
from surgeon_engine.planning.limits import max_removable
from surgeon_engine.planning.planned_file import (
    FileForm,
    PlannedFile,
    planned_file,
    quantized_formats,
)
from surgeon_engine.planning.rounding import floor_share
from surgeon_engine.planning.running_memory import GIGABYTE, planned_context

_MILLION = 1_000_000
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Goal:
    """The size of a model at its target, in each unit."""

    removed: int  # weights of layers
    prunable: int  # weights that there are to choose from
    sparsity: float  # removed / prunable weights
    of_tokens: int  # parameters that are removed with tokens
    parameters: int  # remaining parameters
    weight_bytes: int  # size of the file that holds them
    form: FileForm  # form of this file

    def asked(self, share: float) -> int:
        """Return the maximum number of removed weights at a share of the goal."""
        return floor_share(self.removed, share)

    def removed_at(self, parameters: int) -> int:
        """Return the number of removed weights of a model with `parameters` left."""
        return self.parameters + self.removed - parameters


def share_of_goal(t: float, schedule: Schedule) -> float:
    """Return the share of the goal to be removed when `t` (0 to 1) of a run is over.

    Linear: t. Cubic: 1 - (1 - t)^3, which removes most while there is most to choose
    from (Zhu and Gupta, arXiv 1710.01878).
    """
    return t if schedule is Schedule.LINEAR else 1 - (1 - t) ** 3


TARGET_TOLERANCE = 0.005  # share of prunable weights; a goal missed by more is reported


@dataclass(frozen=True, slots=True)
class PlannedSize:
    """The target size of a job, and the sizes of its files.

    It is computed once for a job and passed to all that plan with it.
    """

    file: PlannedFile
    outcome: Goal | ConfigError  # the error says why the goal is out of reach
    export_bytes: int  # the exported weights
    checkpoint_bytes: int  # a checkpoint for transformers beside them; 0: none

    @property
    def goal(self) -> Goal | None:
        """The goal, or None if it is out of reach."""
        return None if isinstance(self.outcome, ConfigError) else self.outcome

    def reached(self) -> Goal:
        """Return the goal.

        Raises:
            ConfigError: it is out of reach.
        """
        if isinstance(self.outcome, ConfigError):
            raise self.outcome
        return self.outcome


def planned_size(config: RunConfig, model: ModelSummary) -> PlannedSize:
    """Return the size of a job's result, whether its target is within reach or not."""
    pruning = config.pruning
    form = file_form(config, model)
    file = planned_file(model, form, pruning)
    # With a quality limit, the size that is reached is not known beforehand.
    is_whole = form.format is Format.MASKED or pruning.has_quality_limit
    is_whole, removed = is_whole or pruning.structure in SPARSE, 0
    outcome: Goal | ConfigError
    try:
        outcome = _goal(file)
        removed = 0 if is_whole else outcome.removed
    except ConfigError as error:
        outcome = error
    checkpoint = 0
    if form.format not in FOR_TRANSFORMERS and not config.writes_original:
        dtype = number_format(FileDtype.SAME, config.model.dtype, model.dtype)
        beside = planned_file(model, FileForm(dtype=dtype), pruning)
        checkpoint = beside.bytes(removed)
    return PlannedSize(file, outcome, file.bytes(removed), checkpoint)


def goal_of(
    pruning: PruningConfig,
    model: ModelSummary,
    form: FileForm,
    tokens: int | None = None,
) -> Goal:
    """Return the goal that the target of `pruning` sets for `model`.

    `tokens` is the number of tokens that a run keeps, once it has chosen them.

    Raises:
        ConfigError: The model is as small already, or has too few prunable weights.
    """
    file = planned_file(model, form, pruning, tokens)
    return _goal(file, is_chosen=tokens is not None)


def prunable_weights(pruning: PruningConfig, model: ModelSummary) -> int:
    """Return the number p of prunable weights; a bias is no element of its own."""
    if pruning.structure not in SPARSE:
        return model.prunable
    of = pruning.n_m.of if pruning.n_m is not None else 1
    return sum(  # columns beyond the last whole group are kept
        layer.rows * (layer.columns - layer.columns % of)
        for layer in model.linear_layers
    )


def _to_remove(file: PlannedFile) -> int:
    """Return how many weights of layers are to be removed, beside tokens."""
    pruning, model = file.pruning, file.original
    removed = 0
    match pruning.target:
        case Target.FILE_SIZE:
            return file.removed_for(floor_share(_MEGABYTE, pruning.megabytes))
        case Target.MEMORY:
            return _to_remove_for_memory(file)
        case Target.PRUNABLE_SHARE:
            removed = floor_share(prunable_weights(pruning, model), pruning.sparsity)
        case Target.PARAMETER_SHARE:
            removed = floor_share(model.parameters, pruning.sparsity)
        case Target.PARAMETERS:
            removed = model.parameters - round(pruning.million_parameters * _MILLION)
    has_only_tokens = pruning.removes_nothing or pruning.structure in SPARSE
    return removed if has_only_tokens else removed - file.of_tokens


def _to_remove_for_memory(file: PlannedFile) -> int:
    """Return the smallest number of removed weights that reaches a memory.

    0 if the whole model runs in it, and more than there are if no removal suffices.
    """
    pruning = file.pruning
    memory = round(pruning.memory_gigabytes * GIGABYTE)
    planned = planned_context(pruning.context, file.model, pruning.structure)
    prunable = prunable_weights(pruning, file.model)
    most = prunable + parameters_to_choose(pruning, file.model)
    beside = planned.beside(prunable)
    if beside >= memory:
        raise ConfigError(
            say(
                "A context of {n:,} token takes {beside:size}: no less than the target."
                if planned.tokens == 1
                else "A context of {n:,} tokens takes {beside:size}: no less than the "
                "target.",
                n=planned.tokens,
                beside=beside,
            ),
            "Choose a shorter context or more memory.",
        )

    def spare(removed: int) -> int:
        return memory - file.bytes(removed) - planned.beside(removed)

    return bisect_left(range(most + 1), 0, key=spare)


def _goal(file: PlannedFile, *, is_chosen: bool = False) -> Goal:
    removed, pruning, model = _to_remove(file), file.pruning, file.model
    if pruning.removes_tokens and not model.token_parameters:
        raise ConfigError(
            "The vocabulary of this model cannot be made smaller.",
            "Keep the whole vocabulary.",
        )
    prunable = prunable_weights(pruning, model)
    most = prunable + (0 if is_chosen else parameters_to_choose(pruning, model))
    if (pattern := pruning.n_m) is not None:
        if not prunable:
            raise ConfigError(
                "No layer of the model has {of} columns, as many as one group.",
                "Choose shorter groups.",
                of=pattern.of,
            )
        most = prunable // pattern.of * pattern.removed
        if pruning.target is Target.PRUNABLE_SHARE:
            removed = min(removed, most)  # 66.7 % means every group of 1:3
    if is_chosen and file.of_tokens:
        removed = max(0, removed)
    elif file.of_tokens and removed < 1 and not pruning.removes_nothing:
        raise _tokens_are_enough(file)
    elif pruning.is_sized and not 0 < removed <= most:
        raise _out_of_reach(removed, most, file)
    elif removed < 1 and not pruning.removes_nothing:
        raise ConfigError(
            "The target keeps all {parameters:,} parameters.",
            "Ask for a smaller model.",
            parameters=model.parameters,
        )
    if removed > most:
        raise ConfigError(
            "The target removes {removed:,} weights, but only {most:,} can be "
            "removed. Embeddings, norms and the head are not pruned.",
            _ask_for_larger(pruning),
            removed=removed,
            most=most,
        )
    return Goal(
        removed=removed,
        prunable=prunable,
        sparsity=removed / prunable,
        of_tokens=file.of_tokens,
        parameters=model.parameters - removed,
        weight_bytes=file.bytes(removed),
        form=file.form,
    )


def _out_of_reach(removed: int, most: int, file: PlannedFile) -> ConfigError:
    """Return the error for a size that the model has already, or cannot have."""
    if removed < 1:
        return ConfigError(
            "In {dtype}, the unpruned model takes {size}: no more than the target.",
            "Ask for a smaller model; a target of 0 % only writes the model.",
            dtype=file.form.dtype.label,
            size=size_in_unit(file, 0),
        )
    of_tokens = parameters_to_choose(file.pruning, file.model)
    most = min(most, max_removable(file.pruning, file.model) + of_tokens)
    return ConfigError(
        "In {dtype}, the model takes {size} even without all the {most:,} weights that "
        "can be removed: more than the target. Embeddings, norms and the head are not "
        "pruned.",
        say("Ask for a larger model, or choose a number format of fewer bits.")
        if _has_shorter_form(file)
        else _ask_for_larger(file.pruning),
        dtype=file.form.dtype.label,
        size=size_in_unit(file, most),
        most=most,
    )


def _tokens_are_enough(file: PlannedFile) -> ConfigError:
    """Return the error for a target that the removed tokens reach alone."""
    removed = file.original.vocabulary - file.model.vocabulary
    return ConfigError(
        "{tokens:,} tokens have {parameters:,} parameters: without them, the model is "
        "no larger than the target.",
        "Keep more tokens, or ask for a smaller model; a target of 0 % removes tokens "
        "alone.",
        tokens=removed,
        parameters=file.of_tokens,
    )


def _ask_for_larger(pruning: PruningConfig) -> str:
    """Return what to try where too few weights can be removed."""
    if pruning.removes_tokens:
        return say("Ask for a larger model, or keep fewer tokens.")
    return say("Ask for a larger model, or remove tokens from the vocabulary, too.")


def _has_shorter_form(file: PlannedFile) -> bool:
    """Return whether another number format makes the file of a model smaller."""
    model, format = file.model, file.form.format
    may_be_gguf = format is Format.GGUF or format is Format.AUTOMATIC
    shorter: tuple[FileDtype, ...] = (FileDtype.FLOAT16,)
    if may_be_gguf and model.gguf_widths is not None:
        shorter, format = quantized_formats(model), Format.GGUF
    return any(
        planned_file(file.original, FileForm(format, dtype), file.pruning).bytes(0)
        < file.bytes(0)
        for dtype in shorter
    )


def memory_of_goal(
    goal: Goal, context: int, model: ModelSummary, kind: Structure
) -> int:
    """Return the bytes that a model at its goal needs to run with `context` tokens."""
    beside = planned_context(context, model, kind).beside(goal.removed)
    return goal.weight_bytes + beside


def size_in_unit(file: PlannedFile, removed: int) -> str:
    """Return the size of a model in the unit of its target, rounded up as all sizes.

    A target of this size can thus be reached.
    """
    size, pruning = file.bytes(removed), file.pruning
    if pruning.target is Target.MEMORY:
        planned = planned_context(pruning.context, file.model, pruning.structure)
        return say(
            "{size:size} with a context of {n:,} token"
            if planned.tokens == 1
            else "{size:size} with a context of {n:,} tokens",
            n=planned.tokens,
            size=size + planned.beside(removed),
        )
    return say("{size:size}", size=size)
