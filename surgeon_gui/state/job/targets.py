"""Pruning targets: their goals, equivalent values, and the effects of edits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import (
    MAX_SHARE,
    OF_SHARE,
    SPARSE,
    Damping,
    Method,
    PruningConfig,
    Structure,
    Target,
    Vocabulary,
    display_name,
    methods_for,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.planning.fewer_tokens import typical_tokens
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.planned_file import FileForm, planned_file
from surgeon_engine.planning.running_memory import usable_context
from surgeon_engine.planning.target_size import (
    Goal,
    goal_of,
    memory_of_goal,
    prunable_weights,
)
from surgeon_gui.base.translation import tr
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import CHOICES
from surgeon_gui.text.field_text import FieldText
from surgeon_gui.text.labels import FIELDS

_MILLION = 1_000_000
_BILLION = 1_000_000_000
_STEP = 0.1  # share that the next target removes more, or less
IN_BYTES = (Target.FILE_SIZE, Target.MEMORY)
# In the order in which boxes offer them.
UNITS = {x: CHOICES[x][0] for x in (*IN_BYTES, *OF_SHARE, Target.PARAMETERS)}
_OF_TARGET = [x for x in settings_of(PruningConfig).values() if x.choice == "target"]
# The target, its values in all units, and the context of a memory.
TARGET_FIELDS = ("target", *(setting.name for setting in _OF_TARGET))


def target_of(pruning: PruningConfig) -> dict[str, Any]:
    """Return the settings of the target of a job."""
    return {name: getattr(pruning, name) for name in TARGET_FIELDS}


def goal_or_none(
    config: RunConfig, model: ModelSummary, tokens: int | None = None
) -> Goal | None:
    """Return the goal of a job; None if the model cannot be made that small.

    `tokens`: the number that its run keeps; None: unknown.
    """
    try:
        return goal_of(config.pruning, model, file_form(config, model), tokens)
    except ConfigError:
        return None


def is_too_large(config: RunConfig, model: ModelSummary) -> bool:
    """Return True if the whole model is no larger than the target."""
    values = asdict(config.pruning)
    name = target_field(values["target"])
    if name == "sparsity":
        return False
    whole = {**values, "target": Target.PRUNABLE_SHARE, "sparsity": 0.0}
    if config.pruning.chooses_tokens:
        whole["vocabulary"] = Vocabulary.WHOLE
    form = file_form(config, model)
    largest = converted(whole, values["target"], model, form).get(name)
    return largest is not None and values[name] >= largest


def context_of(config: RunConfig, model: ModelSummary) -> int:
    """Return the tokens of context for which the memory of a job's model is given."""
    return usable_context(config.pruning.context, model)


def step_obstacle(config: RunConfig | None, *, is_smaller: bool) -> str:
    """Return why a job has no smaller or gentler target; empty if it has one."""
    if config is None or with_step(config, is_smaller=is_smaller) == config:
        if is_smaller:
            return tr("There is no smaller target.")
        return tr("There is no gentler target.")
    return ""


def with_step(config: RunConfig, *, is_smaller: bool) -> RunConfig:
    """Return the job with a target that leaves a smaller model, or a larger one.

    Its result goes to the folder of its run: a destination holds the last one. Without
    such a target, the job itself.
    """
    values = asdict(config.pruning)
    name = target_field(values["target"])
    if name == "sparsity":
        share = values[name] + (_STEP if is_smaller else -_STEP)
        value = min(round(share, 2), MAX_SHARE)
        if value <= 0:
            return config
    else:
        value = values[name] * (1 - _STEP if is_smaller else 1 + _STEP)
        value = round(value, 2 - math.floor(math.log10(value)))  # three figures
    try:
        pruning = replace(config.pruning, **{name: value})
    except ConfigError:  # beyond what a pattern or the unit allows
        return config
    if pruning == config.pruning:
        return config
    return replace(config, pruning=pruning, export=replace(config.export, folder=""))


def implied_changes(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    model: ModelSummary | None = None,
) -> dict[str, Any]:
    """Return the changes that an edit of `before` to `after` implies.

    - A method that does not support the structure is replaced by the default.
    - The target becomes the share that a newly chosen N:M pattern removes.
    - SparseGPT sets a fixed damping; leaving it restores the automatic one.
    - A number of tokens that the model does not exceed becomes a usual one.
    """
    changes: dict[str, Any] = {}
    method = after["method"]
    if method not in methods_for(after["structure"]):
        changes["method"] = method = PruningConfig().method
    if method is not before["method"] and Method.SPARSEGPT in (
        method,
        before["method"],
    ):
        is_fixed = method is Method.SPARSEGPT
        changes["damping"] = Damping.FIXED if is_fixed else Damping.AUTOMATIC
    is_number = after["vocabulary"] is Vocabulary.TOKENS is not before["vocabulary"]
    if is_number and model and model.vocabulary <= after["vocabulary_tokens"]:
        changes["vocabulary_tokens"] = typical_tokens(model.vocabulary)
    is_new = any(before[name] != after[name] for name in ("structure", "pattern"))
    if after["structure"] is Structure.N_M and is_new:
        share = _share_of(after["pattern"])
        if 0 < share <= MAX_SHARE:
            changes.update(target=Target.PRUNABLE_SHARE, sparsity=share)
    return changes


def target_without_pattern(
    current: Mapping[str, Any], earlier: Mapping[str, Any], structure: Structure
) -> dict[str, Any]:
    """Return the changes of the target when another structure replaces N:M.

    Args:
        current: the settings with N:M; a target that is not the pattern's stays.
        earlier: those before N:M was chosen.
        structure: that replaces it.
    """
    of_pattern = (Target.PRUNABLE_SHARE, _share_of(current["pattern"]))
    if (current["target"], current["sparsity"]) != of_pattern:
        return {}
    if structure in SPARSE and earlier["target"] in IN_BYTES:
        return {}
    return {name: earlier[name] for name in TARGET_FIELDS}


def _share_of(pattern: str) -> float:
    """Return the share of the weights that an N:M pattern removes."""
    kept, _, group = pattern.partition(":")
    return 1 - int(kept) / int(group)


def target_field(target: Target) -> str:
    """Return the name of the field that holds the value of a target."""
    return next(x.name for x in _OF_TARGET if target in x.option.kinds)


def target_text(target: Target) -> FieldText:
    """Return the texts of the field that holds the value of a target."""
    return FIELDS[f"pruning.{target_field(target)}"]


def value_text(target: Target, value: float) -> str:
    """Format the value of a target: 30 %, 2.10 M, 3.72 MB."""
    if target in OF_SHARE:
        return numbers.percent(value, decimals=2)
    if target is Target.PARAMETERS:
        return numbers.count(value * _MILLION)
    return numbers.chosen_size(round(value * target_text(target).stored_bytes))


def equivalent_sizes(
    values: Mapping[str, Any], model: ModelSummary | None, form: FileForm
) -> dict[Target, float]:
    """Return the target size in every unit, each exact to one weight.

    If the size cannot be reached, or without a model, only the unit that is set.
    """
    unit = values["target"]
    found = {unit: values[target_field(unit)]}
    goal = _goal(values, model, form)
    if goal is None or model is None:
        return found
    for target in Target:
        if target is not unit:
            found[target] = _value_in_unit(values, target, goal, model, form)
    return found


def converted(
    values: Mapping[str, Any],
    target: Target,
    model: ModelSummary | None,
    form: FileForm,
) -> dict[str, Any]:
    """Return the changes that express the same size in the unit `target`."""
    sizes = equivalent_sizes(values, model, form)
    if target not in sizes:
        return {"target": target}
    return {"target": target, target_field(target): sizes[target]}


def share_with_tokens(config: RunConfig, model: ModelSummary, share: float) -> float:
    """Return the target that leaves a share of prunable weights to be removed.

    Tokens whose number is set count toward it, except beside zeros.
    """
    pruning = config.pruning
    if pruning.structure in SPARSE:
        return share
    of_tokens = planned_file(model, file_form(config, model), pruning).of_tokens
    return min(MAX_SHARE, share + of_tokens / prunable_weights(pruning, model))


def _goal(
    values: Mapping[str, Any], model: ModelSummary | None, form: FileForm
) -> Goal | None:
    if model is None:
        return None
    try:
        return goal_of(PruningConfig(**values), model, form)
    except ConfigError:
        return None


def disabled_methods(structure: Structure) -> dict[Method, str]:
    """Return the methods that do not support `structure`, with the reasons."""
    supported = methods_for(structure)
    return {
        method: tr("{method} does not remove {kind}.").format(
            method=CHOICES[method][0], kind=display_name(structure)
        )
        for method in Method
        if method not in supported
    }


def disabled_targets(structure: Structure, file_format: Format) -> dict[Target, str]:
    """Return the units without meaning for the exported file, with the reasons."""
    if structure in SPARSE:
        reason = tr("This structure sets weights to zero: the file keeps its size.")
        return dict.fromkeys(IN_BYTES, reason)
    if file_format is Format.MASKED:
        reason = tr("Masked files (Expert, Export) are as large as the original.")
        return dict.fromkeys(IN_BYTES, reason)
    return {}


def _value_in_unit(
    values: Mapping[str, Any],
    target: Target,
    goal: Goal,
    model: ModelSummary,
    form: FileForm,
) -> float:
    """Return the value in the unit `target` that leads to `goal`."""
    context, kind = values["context"], values["structure"]
    # Tokens count toward a target, except beside zeros.
    removed = goal.removed + (kind not in SPARSE and goal.removed > 0) * goal.of_tokens
    value = {
        Target.PRUNABLE_SHARE: removed / goal.prunable,
        Target.PARAMETER_SHARE: removed / model.parameters,
        Target.PARAMETERS: (model.parameters - removed) / _MILLION,
        Target.FILE_SIZE: goal.weight_bytes / _MILLION,
        Target.MEMORY: memory_of_goal(goal, context, model, kind) / _BILLION,
    }[target]
    name = target_field(target)
    if name == "sparsity" and value > MAX_SHARE:
        return MAX_SHARE
    # Rounding may put a quotient just below the number of weights it stands for.
    for nearby in (value, math.nextafter(value, math.inf), math.nextafter(value, 0.0)):
        try:
            changed = {**values, "target": target, name: nearby}
            candidate = PruningConfig(**changed)
            if goal_of(candidate, model, form).removed == goal.removed:
                return nearby
        except ConfigError:
            continue
    return value
