"""What the window says about what is to be removed: the plan, the goal, in brief.

Pure functions from a job and a model to words.
"""

from __future__ import annotations

from collections.abc import Iterable

from surgeon_engine.api.config.pruning import (
    BY_LAYER,
    NM,
    SPARSE,
    Elements,
    FileSize,
    Method,
    Parameters,
    ParameterShare,
    PrunableShare,
    PruningConfig,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary, StructureSupport
from surgeon_engine.api.planning.target_size import Goal, file_dtype
from surgeon_gui.base.translation import inside, ntr, tr
from surgeon_gui.state.job.file_formats import leaves_zeros
from surgeon_gui.state.job.targets import goal_or_none
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import CHOICES
from surgeon_gui.text.labels import source_name


def in_brief(pruning: PruningConfig) -> str:
    """How much, in how many shots, of what."""
    return tr("{target} {shots}, {structure}").format(
        target=target_in_brief(pruning),
        shots=_shots(pruning),
        structure=structure_inside(pruning),
    )


def plan(config: RunConfig, model: ModelSummary) -> str:
    """What a run would do, in a sentence or two."""
    pruning = config.pruning
    where = source_name(config.model.source)
    how = f"{_shots(pruning)}, {_form(pruning)}"
    if pruning.method is not Method.LLM_SURGEON:
        how = tr("{how} by {method}").format(how=how, method=CHOICES[pruning.method][0])
    limit = _quality_limit(pruning)
    reached = goal_or_none(config, model)
    if reached is None:
        return tr("{where} is pruned {how}.{limit}").format(
            where=where, how=how, limit=limit
        )
    return tr(
        "{where}: {sparsity} of {prunable} prunable weights go {how}. "
        "{left} of {all} parameters remain{file}.{limit}"
    ).format(
        where=where,
        sparsity=numbers.percent(reached.sparsity),
        prunable=numbers.count(reached.prunable),
        how=how,
        left=numbers.count(reached.parameters),
        all=numbers.count(model.parameters),
        file=_file(config, reached, model),
        limit=limit,
    )


def goal(config: RunConfig, model: ModelSummary) -> str:
    """How much will go, in all the ways to say it; empty if it cannot be reached."""
    reached = goal_or_none(config, model)
    if reached is None:
        return ""
    pruning = config.pruning
    of_prunable = numbers.percent(reached.sparsity, decimals=2)
    of_all = numbers.percent(reached.parameter_share, decimals=2)
    return tr(
        "{removed} weights go: {of_prunable} of the {prunable} prunable "
        "ones, {of_all} of all parameters. {parameters} parameters "
        "remain{taken}. {file}{limit}"
    ).format(
        removed=numbers.whole(reached.removed),
        of_prunable=of_prunable,
        prunable=numbers.whole(reached.prunable),
        of_all=of_all,
        parameters=numbers.whole(reached.parameters),
        taken=_taken(config, reached, model),
        file=_file_in_full(config, reached, model),
        limit=_groups(pruning, reached) + _quality_limit(pruning),
    )


def _groups(pruning: PruningConfig, reached: Goal) -> str:
    """How many groups will have the pattern, unless all; with the space before."""
    if not isinstance(pruning.structure, NM):
        return ""
    removable = pruning.structure.removed / pruning.structure.of
    share = reached.sparsity / removable
    words = numbers.percent(share, decimals=2)
    if words == numbers.percent(1.0, decimals=2):
        return ""
    return " " + tr(
        "{share} of the groups get the pattern, the others stay whole: for all of them "
        "let {full} go."
    ).format(share=words, full=numbers.percent(removable, decimals=2))


def sizes_in_brief(config: RunConfig, model: ModelSummary) -> str:
    """Parameters and file before and after, in a line each; or nothing."""
    reached = goal_or_none(config, model)
    if reached is None:
        return ""
    parameters = tr("{before} \N{RIGHTWARDS ARROW} {after} parameters").format(
        before=numbers.count(model.parameters), after=numbers.count(reached.parameters)
    )
    if config.pruning.kind in SPARSE or leaves_zeros(config):
        return parameters + "\n" + tr("The file keeps its size: zeros stay in it.")
    file = tr("{before} \N{RIGHTWARDS ARROW} {after} on disk").format(
        before=numbers.size(model.file_bytes), after=numbers.size(reached.weight_bytes)
    )
    return f"{parameters}\n{file}"


def _file(config: RunConfig, reached: Goal, model: ModelSummary) -> str:
    """What becomes of the file, as the end of a sentence."""
    if config.pruning.kind in SPARSE:
        return tr("; the others become zeros, and no file gets smaller by that")
    if leaves_zeros(config):
        return tr("; the others stay in the file as zeros")
    words = tr(", in a file of about {size} (original {original})")
    if config.pruning.kind in BY_LAYER:  # what nobody reads any more goes too
        words = tr(", in a file of at most {size} (original {original})")
    return words.format(
        size=numbers.size(reached.weight_bytes), original=numbers.size(model.file_bytes)
    )


def _taken(config: RunConfig, reached: Goal, model: ModelSummary) -> str:
    """The bytes of what remains, as the end of a sentence; empty beside zeros."""
    if leaves_zeros(config):
        return ""
    return tr("; they take {size} in {dtype}").format(
        size=numbers.megabytes(reached.weight_bytes), dtype=file_dtype(config, model)
    )


def _file_in_full(config: RunConfig, reached: Goal, model: ModelSummary) -> str:
    if config.pruning.kind in SPARSE:
        return tr("What goes becomes zeros in its place: no file gets smaller by it.")
    if leaves_zeros(config):
        return tr("The masked export keeps zeros where weights went: it is no smaller.")
    original = tr("The original's file takes {size}").format(
        size=numbers.size(model.file_bytes)
    )
    if reached.weight_bytes < model.file_bytes:
        return f"{original}."
    return tr("{original}, because its numbers are shorter: see step 5.").format(
        original=original
    )


def unsupported(supports: Iterable[StructureSupport]) -> str:
    """Which structures a model does not have, a line for each reason; or nothing."""
    structures: dict[str, list[str]] = {}
    for support in supports:
        if not support.supported:
            names = structures.setdefault(support.reason, [])
            names.append(CHOICES[support.structure][0])
    return "\n".join(
        tr("{structures} cannot be chosen: {reason}").format(
            structures=", ".join(names), reason=reason
        )
        for reason, names in structures.items()
    )


def _shots(pruning: PruningConfig) -> str:
    return ntr("in {n} shot", "in {n} shots", pruning.shots).format(n=pruning.shots)


def structure_inside(pruning: PruningConfig) -> str:
    """What is removed, inside of a sentence."""
    structure = pruning.structure
    if isinstance(structure, NM):
        return tr("{kept}:{of} pattern").format(kept=structure.kept, of=structure.of)
    if isinstance(structure, Elements):
        return tr("single weights")
    return inside(CHOICES[pruning.kind][0])


def _form(pruning: PruningConfig) -> str:
    """In what form it is removed."""
    words = structure_inside(pruning)
    if isinstance(pruning.structure, NM):
        return tr("in a {pattern}").format(pattern=words)
    return tr("as {structures}").format(structures=words)


def _quality_limit(pruning: PruningConfig) -> str:
    """The sentence about it, with the space before; empty if there is none."""
    if not pruning.max_perplexity_increase:
        return ""
    most = numbers.percent(pruning.max_perplexity_increase / 100)
    return " " + tr(
        "The run ends where perplexity would rise by more than {most}."
    ).format(most=most)


def target_in_brief(pruning: PruningConfig) -> str:
    """The target in few words, as it was given."""
    match pruning.target:
        case PrunableShare(sparsity=sparsity):
            return numbers.percent(sparsity)
        case ParameterShare(sparsity=sparsity):
            return tr("{sparsity} of all").format(sparsity=numbers.percent(sparsity))
        case Parameters(millions=millions):
            return tr("To {parameters}").format(
                parameters=numbers.count(millions * 1e6)
            )
        case FileSize(megabytes=megabytes):
            return tr("To {size}").format(size=numbers.size(round(megabytes * 1e6)))
