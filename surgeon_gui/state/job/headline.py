"""The headline of the draft: sizes, expected quality, time. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.config.pruning import PruningConfig, Target, Vocabulary
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.api.verdict import expected_verdict
from surgeon_engine.planning.automatic_settings import with_width_multiple
from surgeon_engine.planning.estimate import seconds_of_epoch
from surgeon_engine.planning.fewer_tokens import parameters_to_choose
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.forecast import (
    Basis,
    End,
    Forecast,
    RunPoint,
    expected_divergence,
    forecast,
)
from surgeon_engine.planning.limits import max_removable
from surgeon_engine.planning.planned_file import planned_file
from surgeon_engine.planning.rounding import floor_share
from surgeon_engine.planning.running_memory import planned_context
from surgeon_engine.planning.target_size import Goal, prunable_weights
from surgeon_gui.base import paths
from surgeon_gui.base.translation import ntr, tr
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job.alternatives import longest_within, quantized_files
from surgeon_gui.state.job.file_formats import is_larger, leaves_zeros
from surgeon_gui.state.job.plan_text import result_bytes
from surgeon_gui.state.job.targets import (
    IN_BYTES,
    context_of,
    converted,
    goal_or_none,
    is_too_large,
    share_with_tokens,
    target_field,
    value_text,
)
from surgeon_gui.state.job.vocabulary_text import brief_warning, planned_tokens
from surgeon_gui.state.request import RequestKind
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from surgeon_gui.text.verdicts import PHRASES

_ENDS = {
    End.PROTECTION: tr("Protected layers end the curve."),
    End.DENSITY: tr("The minimum density ends the curve."),
    End.FORMAT: tr("The blocks of {dtype} end the curve."),
    End.STRUCTURE: tr("The last part of each layer stays."),
}


@dataclass(frozen=True, slots=True)
class Headline:
    """The lines below the curve."""

    title: str
    details: str
    warning: str = ""  # in front of the details
    alternative: FileDtype | None = None  # quantizing alone is as small, and closer


def draft_forecast(
    state: AppState,
    points: tuple[RunPoint, ...],
    rises: tuple[Sequence[float], Sequence[float]] | None,
) -> Forecast | None:
    """Return the forecast of the draft; None without a model that can be pruned."""
    model = state.model
    if model is None:
        return None
    settled = with_width_multiple(state.config, model, on_cuda=state.on_cuda)
    is_timed = any(x.minutes for x in (settled.recovery, *(p.recovery for p in points)))
    epoch = seconds_of_epoch(settled, model, state.machine) if is_timed else 0.0
    return forecast(settled.pruning, model, points, rises, settled.recovery, epoch)


def size_text(
    config: RunConfig, model: ModelSummary, share: float, *, is_limit: bool = False
) -> str:
    """Return the size at a share of the prunable weights: memory, or the file.

    A limit is rounded up, so that it can be chosen as it is shown; so is a memory.
    """
    if leaves_zeros(config):
        return numbers.percent(share)
    is_need = is_limit or config.pruning.target is Target.MEMORY
    form = numbers.needed_size if is_need else numbers.size
    return form(_size_at(config, model, share))


def target_text(
    config: RunConfig, model: ModelSummary, share: float, unit: Target
) -> str:
    """Return the size at a share of the prunable weights in a unit."""
    if unit in IN_BYTES:
        return size_text(config, model, share, is_limit=True)
    share = share_with_tokens(config, model, share)
    values = {**asdict(config.pruning), "target": Target.PRUNABLE_SHARE}
    values["sparsity"] = share
    found = converted(values, unit, model, file_form(config, model))
    return value_text(unit, found.get(target_field(unit), 0.0))


def _size_at(config: RunConfig, model: ModelSummary, share: float) -> int:
    pruning = config.pruning
    removed = floor_share(prunable_weights(pruning, model), share)
    size = planned_file(model, file_form(config, model), pruning).bytes(removed)
    if pruning.target is Target.MEMORY:
        context = planned_context(pruning.context, model, pruning.structure)
        size += context.beside(removed)
    return size


def place_of_run(config: RunConfig, model: ModelSummary, share: float) -> float:
    """Return the share at which a draft has the size of a run that kept all tokens."""
    if leaves_zeros(config) or not config.pruning.removes_tokens:
        return share
    form, prunable = file_form(config, model), prunable_weights(config.pruning, model)
    whole = replace(config.pruning, vocabulary=Vocabulary.WHOLE)
    size = planned_file(model, form, whole).bytes(floor_share(prunable, share))
    return planned_file(model, form, config.pruning).removed_for(size) / prunable


def basis_text(found: Forecast) -> str:
    """Return what a forecast rests on."""
    count = len(found.points)
    if found.basis is Basis.DIAGNOSIS and count:
        return tr("measured on this model, and {n} of its runs").format(n=count)
    if found.basis is Basis.DIAGNOSIS:
        return tr("measured on this model")
    if found.basis is Basis.OWN_RUNS:
        return ntr(
            "estimated from {n} run of this model",
            "estimated from {n} runs of this model",
            count,
        ).format(n=count)
    if found.basis is Basis.NOTHING:
        return tr("the quality to expect of this method is not known")
    if found.basis is Basis.DENSE:
        return tr("estimated from runs of models without experts")
    return tr("estimated from runs of similar models")


def end_text(config: RunConfig, model: ModelSummary, found: Forecast) -> str:
    """Return what keeps the model from becoming smaller; empty: nothing else."""
    label = choice_label(file_form(config, model).dtype)[0]
    return _ENDS[found.end].format(dtype=label) if found.end in _ENDS else ""


def nearest_share(state: AppState, model: ModelSummary, found: Forecast) -> float:
    """Return the share that can be removed and is nearest to a target out of reach.

    For a size in bytes, it is the exact end, which may lie beyond the end of the curve.
    """
    config = state.config
    goal = goal_or_none(config, model)
    is_too_little = goal is not None and goal.sparsity < found.first
    if is_too_little or is_too_large(config, model):
        return found.possible(0.0)
    if not config.pruning.is_sized:
        return found.smallest
    pruning = with_width_multiple(config, model, on_cuda=state.on_cuda).pruning
    most = max_removable(pruning, model) + parameters_to_choose(pruning, model)
    return most / prunable_weights(pruning, model)


def sized_at(config: RunConfig, model: ModelSummary, share: float) -> PruningConfig:
    """Return the settings of a job with the size at a share as its target in bytes."""
    size = _size_at(config, model, share)
    return replace(config.pruning, megabytes=size / 1e6, memory_gigabytes=size / 1e9)


def headline(state: AppState, found: Forecast | None) -> Headline | None:
    """Return the lines about a draft that can be started; None for another."""
    model, config = state.model, state.config
    if model is None:
        return None
    goal = goal_or_none(config, model)
    if goal is None:
        return None
    before = numbers.size(model.file_bytes)
    is_same = leaves_zeros(config)
    sizes = tr("{before} to {after}").format(
        before=before, after=numbers.size(goal.weight_bytes)
    )
    if is_same:
        sizes = tr("{share} of the weights become zero").format(
            share=numbers.percent(goal.sparsity)
        )
    expected = expected_divergence(config, model, goal, found)
    if config.pruning.removes_nothing and config.pruning.removes_tokens:
        title = tr("{sizes}, only tokens are removed").format(sizes=sizes)
    elif config.pruning.removes_nothing:
        title = tr("{sizes}, nothing is removed").format(sizes=sizes)
    elif config.pruning.has_quality_limit:
        title = tr("{sizes}, as far as the quality limit allows").format(sizes=sizes)
    elif expected is None:
        title = sizes
    else:
        title = tr("{sizes}, likely {verdict}").format(
            sizes=sizes, verdict=PHRASES[expected_verdict(expected.value)]
        )
    is_growing = not is_same and is_larger(goal.weight_bytes, model)
    warning = tr("The file is larger than the original") if is_growing else ""
    # `quantized_files` is empty where the file keeps its size.
    most = min(goal.weight_bytes, model.file_bytes - 1)
    alternative = longest_within(quantized_files(config, model), most)
    if alternative is not None:
        warning = tr("{dtype} alone is as small and closer").format(
            dtype=choice_label(alternative)[0]
        )
    preview = state.request(RequestKind.VOCABULARY).response
    warning = warning or brief_warning(preview)
    tokens = planned_tokens(config, model)
    details = (tokens, _form(state), _time(state), _memory(config, model, goal))
    shown = " \N{MIDDLE DOT} ".join(filter(None, details))
    shown = f"{shown[:1].upper()}{shown[1:]}"
    return Headline(title, shown, warning, alternative)


def destination_text(state: AppState) -> tuple[str, str]:
    """Return where the file will be, in one line, and the whole path for a tooltip."""
    folder = state.config.export.folder or state.runs_folder
    shown = folder if state.computer else paths.with_tilde(folder)
    tip = tr("The files go to {folder}. Choose another folder.")
    if not state.config.export.folder:
        tip = tr("The files go to a new folder in {folder}. Choose another folder.")
    return tr("Saved in {folder}").format(folder=shown), tip.format(folder=folder)


def _memory(config: RunConfig, model: ModelSummary, goal: Goal) -> str:
    context, kind = context_of(config, model), config.pruning.structure
    removed = 0 if leaves_zeros(config) else goal.removed
    beside = planned_context(context, model, kind).beside(removed)
    needed = result_bytes(config, model) + beside
    return tr("{memory} of memory, {tokens}").format(
        memory=numbers.needed_size(needed), tokens=numbers.tokens(context)
    )


def _time(state: AppState) -> str:
    check = state.resource_check
    seconds = check.estimate.seconds if check is not None else None
    if seconds is None:
        return ""
    return tr("about {time}").format(time=numbers.rough_duration(seconds))


def _form(state: AppState) -> str:
    assert state.model is not None
    form = file_form(state.config, state.model)
    label = choice_label(form.dtype)[0]
    if form.format is Format.GGUF:
        return tr("GGUF, {dtype}").format(dtype=label)
    if planned_file(state.model, form, state.config.pruning).needs_own_code:
        return tr("Compact with own code, {dtype}").format(dtype=label)
    return tr("{format}, {dtype}").format(
        format=choice_label(form.format)[0], dtype=label
    )


def quantized_only(config: RunConfig, dtype: FileDtype) -> RunConfig:
    """Return the job that writes the whole model in a number format."""
    whole = replace(config.pruning, target=Target.PRUNABLE_SHARE, sparsity=0.0)
    pruning = replace(whole, vocabulary=Vocabulary.WHOLE)
    export = replace(config.export, format=Format.GGUF, dtype=dtype)
    return replace(config, pruning=pruning, export=export)


def has_own_text(calibration: CalibrationConfig) -> bool:
    """Return True if the calibration text is not the built-in one."""
    return calibration.text != CalibrationConfig().text
