"""Targets in the window: what one comes to, and what an edit brings with it.

Pure functions; knows nothing of Qt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.config.fields import with_values
from surgeon_engine.api.config.pruning import (
    SPARSE,
    Correction,
    Damping,
    Fisher,
    Method,
    PruningConfig,
    Structure,
    Target,
    methods_for,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.planning.target_size import Goal, file_dtype, goal_of
from surgeon_gui.base.translation import tr
from surgeon_gui.text.choices import CHOICES

_MILLION = 1_000_000
_LARGEST_SHARE = 0.95  # that a config takes
_FIELDS = {
    Target.PRUNABLE_SHARE: "sparsity",
    Target.PARAMETER_SHARE: "sparsity",
    Target.PARAMETERS: "million_parameters",
    Target.FILE_SIZE: "megabytes",
}


def goal_or_none(config: RunConfig, model: ModelSummary) -> Goal | None:
    """What the target comes to; None where the model cannot be made that small."""
    try:
        return goal_of(config.pruning, model, file_dtype(config, model))
    except ConfigError:
        return None


def following(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What else changes when the values `before` were edited to those `after`.

    A method that cannot remove the structure gives way to one that can. A pattern that
    is chosen is one for the whole model: the size is that of every group having it.
    A method that is corrected brings back the text's own tokens.
    """
    changes: dict[str, Any] = {}
    method = after["method"]
    if method not in methods_for(after["structure"]):
        changes["method"] = method = Method.LLM_SURGEON
    if method is not before["method"] and disabled_fishers(method, after["correction"]):
        changes["fisher"] = Fisher.EMPIRICAL
    if method is not before["method"] and Method.SPARSEGPT in (
        method,
        before["method"],
    ):  # its damping is fixed
        is_fixed = method is Method.SPARSEGPT
        changes["damping"] = Damping.FIXED if is_fixed else Damping.AUTOMATIC
    is_other = any(before[name] != after[name] for name in ("structure", "pattern"))
    if after["structure"] is Structure.N_M and is_other:
        kept, _, of = after["pattern"].partition(":")
        share = 1 - int(kept) / int(of)
        if 0 < share <= _LARGEST_SHARE:
            changes.update(target=Target.PRUNABLE_SHARE, sparsity=share)
    return changes


def field_of(target: Target) -> str:
    """The field in which a target is given."""
    return _FIELDS[target]


def sizes(
    values: Mapping[str, Any], model: ModelSummary | None, dtype: FileDtype
) -> dict[Target, float]:
    """One size in each of the ways to give it, each exact to the last weight.

    Only as it is given, if it cannot be reached or there is no model yet.
    """
    given = values["target"]
    found = {given: values[field_of(given)]}
    goal = _goal(values, model, dtype)
    if goal is None or model is None:
        return found
    pruning = with_values(PruningConfig(), values)
    for target in Target:
        if target is not given:
            found[target] = _same_size(pruning, target, goal, model, dtype)
    return found


def given_as(
    values: Mapping[str, Any],
    target: Target,
    model: ModelSummary | None,
    dtype: FileDtype,
) -> dict[str, Any]:
    """What changes so that the same size is given as a `target`."""
    same = sizes(values, model, dtype)
    if target not in same:
        return {"target": target}
    return {"target": target, field_of(target): same[target]}


def _goal(
    values: Mapping[str, Any], model: ModelSummary | None, dtype: FileDtype
) -> Goal | None:
    if model is None:
        return None
    try:
        return goal_of(with_values(PruningConfig(), values), model, dtype)
    except ConfigError:
        return None


def disabled_methods(structure: Structure) -> dict[Method, str]:
    """The methods that cannot remove `structure`, each with the reason."""
    able = methods_for(structure)
    only = tr(" or ").join(CHOICES[structure][0] for structure in SPARSE)
    return {
        method: tr("{method} removes {structures} only.").format(
            method=CHOICES[method][0], structures=only
        )
        for method in Method
        if method not in able
    }


def disabled_targets(structure: Structure, form: Format) -> dict[Target, str]:
    """The ways to give a target that make no sense for what is written, and why."""
    if structure in SPARSE:
        reason = tr("Zeros stand in their place: no file gets smaller by them.")
        return {Target.FILE_SIZE: reason}
    if form is Format.MASKED:
        reason = tr("Masked files (step 5) are as large as the original.")
        return {Target.FILE_SIZE: reason}
    return {}


def disabled_fishers(method: Method, correction: Correction) -> dict[Fisher, str]:
    """The labels that do not go with a correction, and why."""
    if method is not Method.LLM_SURGEON or correction is Correction.NONE:
        return {}
    return {
        Fisher.SAMPLED: tr("The correction follows the gradient of the text itself.")
    }


def disabled_corrections(fisher: Fisher) -> dict[Correction, str]:
    """The corrections that do not go with these labels, and why."""
    if fisher is Fisher.EMPIRICAL:
        return {}
    label = CHOICES[Fisher.EMPIRICAL][0]
    return {
        Correction.LOSS: tr("Needs the gradients for: {tokens}.").format(tokens=label)
    }


def _same_size(
    pruning: PruningConfig,
    target: Target,
    goal: Goal,
    model: ModelSummary,
    dtype: FileDtype,
) -> float:
    """The number that gives `goal` as a `target`."""
    value = {
        Target.PRUNABLE_SHARE: goal.sparsity,
        Target.PARAMETER_SHARE: goal.parameter_share,
        Target.PARAMETERS: goal.parameters / _MILLION,
        Target.FILE_SIZE: goal.weight_bytes / _MILLION,
    }[target]
    name = field_of(target)
    if name == "sparsity" and value > _LARGEST_SHARE:
        return _LARGEST_SHARE
    # A quotient may come out a hair below the number of weights that it stands for.
    for nearby in (value, math.nextafter(value, math.inf), math.nextafter(value, 0.0)):
        try:
            changes: dict[str, Any] = {"target": target, name: nearby}
            tried = with_values(pruning, changes)
            if goal_of(tried, model, dtype).removed == goal.removed:
                return nearby
        except ConfigError:
            continue
    return value
