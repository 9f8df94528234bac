"""The check of a target against the minimum and the maximum that can be removed.

The window checks a target while it is being chosen, the engine before it starts.
"""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.layer_patterns import check_patterns
from surgeon_engine.api.config.pruning import (
    OF_EXPERTS,
    SPARSE,
    Coupling,
    PruningConfig,
    Structure,
    display_name,
)
from surgeon_engine.api.messages.sources import NO_EXPERTS, ModelSummary
from surgeon_engine.base.errors import ConfigError, PruningError
from surgeon_engine.base.sentences import say, say_all, say_list
from surgeon_engine.planning.fewer_tokens import parameters_to_choose
from surgeon_engine.planning.limits import (
    bundle_of,
    depth_of,
    max_removable,
    min_removable,
)
from surgeon_engine.planning.planned_file import (
    FileForm,
    planned_file,
    quantized_formats,
)
from surgeon_engine.planning.rounding import ceil_share, floor_share
from surgeon_engine.planning.target_size import Goal, goal_of, size_in_unit


def _protects_all(pruning: PruningConfig, model: ModelSummary) -> bool:
    """Return True if nothing could be removed without minimum densities, either."""
    unlimited = replace(pruning, min_density=0.0, layer_min_density=())
    return bool(pruning.protect) and not max_removable(unlimited, model)


def check_target_in_limits(
    goal: Goal, pruning: PruningConfig, model: ModelSummary
) -> None:
    """Check that a goal is between the minimum and the maximum that can be removed.

    Raises:
        PruningError: The goal is outside, with the numbers, or the model cannot be
            pruned in this structure.
    """
    if pruning.removes_nothing:
        return
    check_supported(pruning, model)
    if model.layers:
        check_patterns(pruning.protect, pruning.layer_min_density, model.layers)
    _check_depth(goal, pruning, model)
    _check_limits(goal, pruning, model)


def _check_limits(goal: Goal, pruning: PruningConfig, model: ModelSummary) -> None:
    most, least = max_removable(pruning, model), min_removable(pruning, model)
    most += parameters_to_choose(pruning, model)
    if least <= goal.removed <= most:
        return
    if goal.removed > most and _protects_all(pruning, model):
        raise PruningError(
            "Everything that could be removed is protected.", "Protect less."
        )
    same = say("All layers lose equally many.") if pruning.has_same_widths else ""
    formats = _about_formats(goal, pruning, model)
    if goal.removed < least:
        message, advice = _too_little(goal, pruning, model, least)
        raise PruningError(message, say_all(same, formats, advice))
    message, smallest, advice = _too_much(goal, pruning, model, most)
    experts = _about_experts(pruning, model)
    raise PruningError(message, say_all(smallest, same, formats, experts, advice))


def _too_little(
    goal: Goal, pruning: PruningConfig, model: ModelSummary, least: int
) -> tuple[str, str]:
    """Return what to say of a target below the smallest removal, and the advice."""
    structure = display_name(pruning.structure)
    if pruning.is_sized:
        message = say(
            "The smallest removal leaves about {size}: at least {least:,} weights are "
            "removed as {structure}.",
            size=size_in_unit(planned_file(model, goal.form, pruning), least),
            least=least,
            structure=structure,
        )
        return message, say("Choose a smaller size, or a finer structure.")
    message = say(
        "The target removes {removed:,} weights ({sparsity:percent2} of the prunable "
        "ones), but at least {least:,} ({least_share:percent2}) are removed as "
        "{structure}.",
        removed=goal.removed,
        sparsity=goal.sparsity,
        least=least,
        least_share=ceil_share(10_000, least / goal.prunable) / 10_000,
        structure=structure,
    )
    return message, say("Raise the target, or choose a finer structure.")


def _too_much(
    goal: Goal, pruning: PruningConfig, model: ModelSummary, most: int
) -> tuple[str, str, str]:
    """Return what to say of a target beyond the limit, the smallest size, the advice.

    The smallest size is "" if the sentence has it, or if no file is smaller.
    """
    size = size_in_unit(planned_file(model, goal.form, pruning), most)
    structure, kept = display_name(pruning.structure), _kept(pruning)
    if pruning.is_sized:
        message = say(
            "The smallest possible size is {size}: at most {most:,} weights can be "
            "removed as {structure}. {kept}",
            size=size,
            most=most,
            structure=structure,
            kept=kept,
        )
        advice = say(
            "Choose a larger size, protect less, lower the minimum density, or choose "
            "another structure."
        )
        return message, "", advice
    message = say(
        "The target removes {removed:,} weights ({sparsity:percent2} of the prunable "
        "ones), but at most {most:,} ({most_share:percent2}) can be removed as "
        "{structure}. {kept}",
        removed=goal.removed,
        sparsity=goal.sparsity,
        most=most,
        most_share=floor_share(10_000, most / goal.prunable) / 10_000,  # can be typed
        structure=structure,
        kept=kept,
    )
    is_whole = pruning.structure in SPARSE or goal.form.format is Format.MASKED
    smallest = (
        "" if is_whole else say("The smallest possible size is {size}.", size=size)
    )
    advice = say(
        "Lower the target, protect less, lower the minimum density, or choose another "
        "structure."
    )
    return message, smallest, advice


def _about_experts(pruning: PruningConfig, model: ModelSummary) -> str:
    """Return that experts can be removed, too; empty if they are, or there are none."""
    if not model.experts or pruning.structure in OF_EXPERTS:
        return ""
    return say(
        "Most weights of this model are in its experts: choose {other:choice}.",
        other=Structure.EXPERTS_AND_NEURONS,
    )


def check_supported(pruning: PruningConfig, model: ModelSummary) -> None:
    """Check that a model supports the structure that is to be removed.

    Raises:
        PruningError: It does not.
    """
    if not model.structures:
        return
    reasons = {x.structure: x.reason for x in model.structures}
    if reason := reasons.get(pruning.structure, NO_EXPERTS):
        names = [x for x, reason in reasons.items() if not reason]
        possible = say_list(*names, spec="choice")
        raise PruningError(reason, "Choose one of: {possible}.", possible=possible)


def _kept(pruning: PruningConfig) -> str:
    """Return what is kept whatever the target is."""
    if pruning.structure is Structure.EXPERTS:
        return say(
            "Other layers, protected ones, the minimum density, and in each block as "
            "many experts as a token uses are kept."
        )
    if pruning.structure in OF_EXPERTS:
        return say(
            "Other layers, protected ones, the minimum density, the last head or "
            "neuron, and in each block as many experts as a token uses are kept."
        )
    return say(
        "Other layers, protected ones, the minimum density, and the last row, column, "
        "head or neuron are kept."
    )


def _about_formats(goal: Goal, pruning: PruningConfig, model: ModelSummary) -> str:
    """Return the number formats in which a target out of reach is possible.

    Blocks of a format make widths multiples of its length. Empty if that is not the
    reason, or if there is no such format.
    """
    bundle = bundle_of(Coupling.NEURONS, pruning)
    if planned_file(model, goal.form, pruning).needed_multiple != bundle:
        return ""
    possible = []
    for dtype in quantized_formats(model):
        form = FileForm(goal.form.format, dtype)
        needed = planned_file(model, form, pruning).needed_multiple
        if needed < bundle and _is_possible(pruning, needed, model, form):
            possible.append(dtype.label)
    if not possible:
        return ""
    return say(
        "In {dtype}, MLP widths are multiples of {multiple}. These number formats have "
        "shorter blocks, and the target is possible: {possible}.",
        dtype=goal.form.dtype.label,
        multiple=bundle,
        possible=say_list(*possible),
    )


def _is_possible(
    pruning: PruningConfig, multiple: int, model: ModelSummary, form: FileForm
) -> bool:
    pruning = replace(pruning, width_multiple=multiple)
    try:
        removed = goal_of(pruning, model, form).removed
    except ConfigError:
        return False
    most = max_removable(pruning, model)
    return min_removable(pruning, model) <= removed <= most


def _check_depth(goal: Goal, pruning: PruningConfig, model: ModelSummary) -> None:
    """Check that so many blocks and sub-layers can be removed within the goal."""
    if not pruning.drops_depth or not model.coupled:
        return
    depth, total = depth_of(pruning, model), model.blocks
    blocks, sublayers = pruning.blocks_to_drop, pruning.sublayers_to_drop
    # One block keeps both of its sub-layers.
    most = min(len(depth.blocks), total - 1)
    if blocks > most:
        raise PruningError(
            "{blocks} blocks should be removed as a whole, but at most {most} of "
            "{total} can be: one block is kept, and so are those with protected "
            "layers, a minimum density, or layers beside heads and neurons.",
            "Remove fewer blocks as a whole, or protect less.",
            settings=("dropped_blocks",),
            blocks=blocks,
            most=most,
            total=total,
        )
    most = min(len(depth.sublayers), total - 1) - blocks
    if sublayers > most:
        raise PruningError(
            "{sublayers} attentions and MLPs should be removed as a whole, but at "
            "most {most} can be: one of each block that is not removed, and of one "
            "block none. Protected ones and those with a minimum density are kept.",
            "Remove fewer of them, or protect less.",
            settings=("dropped_sublayers",),
            sublayers=sublayers,
            most=max(0, most),
        )
    least = sum(depth.blocks[:blocks]) + sum(depth.sublayers[:sublayers])
    if least > goal.removed:
        raise PruningError(
            "The blocks, attentions and MLPs to be removed as a whole have at least "
            "{least:,} weights ({least_share:percent} of the prunable ones), but the "
            "target removes {removed:,} ({sparsity:percent}).",
            "Raise the target, or remove fewer of them as a whole.",
            settings=("dropped_blocks" if blocks else "dropped_sublayers", "target"),
            least=least,
            least_share=least / goal.prunable,
            removed=goal.removed,
            sparsity=goal.sparsity,
        )
