"""What the window says about what is to be removed: the plan, the goal, in brief.

Pure functions from a job and a model to words.
"""

from __future__ import annotations

from collections.abc import Iterable

from surgeon_engine.config import (
    SPARSE,
    Method,
    PruningConfig,
    RunConfig,
    Structure,
    Target,
)
from surgeon_engine.events import ModelSummary, StructureSupport
from surgeon_engine.sizes import Goal, file_dtype
from surgeon_gui import numbers
from surgeon_gui.choices import CHOICES
from surgeon_gui.file_forms import leaves_zeros
from surgeon_gui.targets import goal_or_none
from surgeon_gui.text import source_name


def in_brief(pruning: PruningConfig) -> str:
    """How much, in how many shots, of what."""
    return f"{_target(pruning)} in {_shots(pruning)}, {_structure(pruning)}"


def plan(config: RunConfig, model: ModelSummary) -> str:
    """What a run would do, in a sentence or two."""
    pruning = config.pruning
    where = source_name(config.model.source)
    how = f"{_shots(pruning)}, {_form(pruning)}"
    if pruning.method is not Method.LLM_SURGEON:
        how += f" by {CHOICES[pruning.method][0]}"
    limit = _quality_limit(pruning)
    reached = goal_or_none(config, model)
    if reached is None:
        return f"{where} is pruned in {how}.{limit}"
    return (
        f"{where}: {numbers.percent(reached.sparsity)} of "
        f"{numbers.count(reached.prunable)} prunable weights go in "
        f"{how}. {numbers.count(reached.parameters)} of "
        f"{numbers.count(model.parameters)} parameters remain"
        f"{_file(config, reached, model)}.{limit}"
    )


def goal(config: RunConfig, model: ModelSummary) -> str:
    """How much will go, in all the ways to say it; empty if it cannot be reached."""
    reached = goal_or_none(config, model)
    if reached is None:
        return ""
    pruning = config.pruning
    of_prunable = numbers.percent(reached.sparsity, decimals=2)
    of_all = numbers.percent(reached.parameter_share, decimals=2)
    return (
        f"{reached.removed:,} weights go: {of_prunable} of the "
        f"{reached.prunable:,} prunable ones, {of_all} of all "
        f"parameters. {reached.parameters:,} parameters remain; they take "
        f"{numbers.megabytes(reached.weight_bytes)} in {file_dtype(config, model)}. "
        f"{_file_in_full(config, reached, model)}"
        f"{_quality_limit(pruning)}"
    )


def _file(config: RunConfig, reached: Goal, model: ModelSummary) -> str:
    """What becomes of the file, as the end of a sentence."""
    if config.pruning.structure in SPARSE:
        return "; the others become zeros, and no file gets smaller by that"
    if leaves_zeros(config):
        return "; the others stay in the file as zeros"
    size = reached.weight_bytes
    original = numbers.size(model.file_bytes)
    return f", in a file of about {numbers.size(size)} (original {original})"


def _file_in_full(config: RunConfig, reached: Goal, model: ModelSummary) -> str:
    if config.pruning.structure in SPARSE:
        return "What goes becomes zeros in its place: no file gets smaller by it."
    if leaves_zeros(config):
        return "The masked export keeps zeros where weights went: it is no smaller."
    original = f"The original's file takes {numbers.size(model.file_bytes)}"
    if reached.weight_bytes < model.file_bytes:
        return f"{original}."
    return f"{original}, because its numbers are shorter: see step 5."


def unsupported(supports: Iterable[StructureSupport]) -> str:
    """Which structures a model does not have, a line for each reason; or nothing."""
    structures: dict[str, list[str]] = {}
    for support in supports:
        if not support.supported:
            names = structures.setdefault(support.reason, [])
            names.append(CHOICES[support.structure][0])
    return "\n".join(
        f"{', '.join(names)} cannot be chosen: {reason}"
        for reason, names in structures.items()
    )


def _shots(pruning: PruningConfig) -> str:
    return "1 shot" if pruning.shots == 1 else f"{pruning.shots} shots"


def _structure(pruning: PruningConfig) -> str:
    """What is removed, inside of a sentence."""
    if pruning.structure is Structure.N_M:
        return f"{pruning.kept}:{pruning.of} pattern"
    return CHOICES[pruning.structure][0].lower()


def _form(pruning: PruningConfig) -> str:
    """In what form it is removed."""
    words = _structure(pruning)
    return f"in a {words}" if pruning.structure is Structure.N_M else f"as {words}"


def _quality_limit(pruning: PruningConfig) -> str:
    """The sentence about it, with the space before; empty if there is none."""
    if not pruning.perplexity_rise:
        return ""
    most = numbers.percent(pruning.perplexity_rise / 100)
    return f" The run stops at the last shot that raises perplexity by at most {most}."


def _target(pruning: PruningConfig) -> str:
    """The target in few words, as it was given."""
    match pruning.target:
        case Target.PRUNABLE_SHARE:
            return numbers.percent(pruning.sparsity)
        case Target.PARAMETER_SHARE:
            return f"{numbers.percent(pruning.sparsity)} of all"
        case Target.PARAMETERS:
            return f"To {numbers.count(pruning.million_parameters * 1e6)}"
        case Target.FILE_SIZE:
            return f"To {numbers.size(round(pruning.megabytes * 1e6))}"
