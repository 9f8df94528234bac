"""The purposes of a job, and their structure, widths and file. No Qt."""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.fields import settings_of
from surgeon_engine.api.config.pruning import (
    COUPLED,
    OF_EXPERTS,
    OF_SHARE,
    SPARSE,
    PruningConfig,
    Structure,
    Vocabulary,
)
from surgeon_engine.api.config.purposes import Purpose, structure_for, with_method_for
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.errors import ConfigError, PruningError
from surgeon_engine.planning.automatic_settings import with_width_multiple
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.planned_file import FileForm, planned_file
from surgeon_engine.planning.target_check import check_target_in_limits
from surgeon_engine.planning.target_size import goal_of
from surgeon_gui.base.latest import latest
from surgeon_gui.state.job.targets import target_of

_SETTINGS = settings_of(PruningConfig).values()
_FAST_MULTIPLE = 64  # for MLP widths that processors and GPUs compute fast


def with_purpose(
    config: RunConfig, purpose: Purpose, model: ModelSummary | None
) -> RunConfig:
    """Return the job with the structure and the file that a purpose needs.

    Model, texts, target and recovery stay; the method too, unless it was for single
    weights or does not remove the structure. Of a model that has not been read, the
    job is taken to say whether it has experts, heads and neurons.
    """
    before, plain = config.pruning, PruningConfig()
    of_job = (before.structure,) if before.structure in COUPLED else ()
    kind = structure_for(purpose, kinds_of(model) or of_job)
    if before.structure in SPARSE:
        before = replace(before, method=plain.method, damping=plain.damping)
    before = with_method_for(kind, before)
    usual = {x.name: x.default for x in _SETTINGS if x.choice == "structure"}
    pruning = replace(before, structure=kind, **usual)
    file = ExportConfig()
    export = replace(config.export, format=file.format, dtype=file.dtype)
    job = replace(config, pruning=pruning, export=export)
    if purpose is Purpose.SMALLER:
        return job
    multiple = _FAST_MULTIPLE
    if model is not None:
        needed = planned_file(model, file_form(job, model), pruning).needed_multiple
        multiple = max(needed, multiple)
    return replace(job, pruning=replace(pruning, width_multiple=multiple))


def with_chosen_purpose(
    config: RunConfig, purpose: Purpose, model: ModelSummary
) -> RunConfig:
    """Return the job for a purpose that the user chooses.

    Each purpose removes something: a job that removes nothing, such as one that only
    quantizes, gets the default target.
    """
    if config.pruning.removes_nothing:
        target = target_of(PruningConfig())
        config = replace(config, pruning=replace(config.pruning, **target))
    return with_purpose(config, purpose, model)


def fitted_to(config: RunConfig, model: ModelSummary) -> RunConfig:
    """Return the job of a newly chosen model.

    It has the structure of its purpose, with experts or not, and the default target in
    place of a size that the model cannot have. The structure of a job without a purpose
    stays: it is a setting of the user.
    """
    purpose, kind = None, config.pruning.structure
    if kind not in kinds_of(model) or bool(model.experts) is not (kind in OF_EXPERTS):
        purpose = purpose_of(config, None)
    if purpose is not None:
        config = with_purpose(config, purpose, model)
    if config.pruning.target in OF_SHARE:
        return config
    usual = replace(config.pruning, **target_of(PruningConfig()))
    usual_job = replace(config, pruning=usual)
    can_have = _can_have_target(config, model) or not _can_have_target(usual_job, model)
    return config if can_have else usual_job


def unfitted(config: RunConfig, model: ModelSummary | None) -> RunConfig:
    """Return the job without the rows and columns that its purpose removes of a model.

    The next model may have heads and neurons.
    """
    purpose = purpose_of(config, model)
    if purpose is None or config.pruning.structure in COUPLED:
        return config
    return with_purpose(config, purpose, None)


def _can_have_target(config: RunConfig, model: ModelSummary) -> bool:
    """Return True if nothing keeps a model from the target of a job."""
    try:
        goal = goal_of(config.pruning, model, file_form(config, model))
        check_target_in_limits(goal, config.pruning, model)
    except (ConfigError, PruningError):
        return False
    return True


def kinds_of(model: ModelSummary | None) -> tuple[Structure, ...]:
    """Return the structures that a model supports; none of one that is not known."""
    found = () if model is None else model.structures
    return tuple(each.structure for each in found if each.supported)


@latest
def purpose_of(config: RunConfig, model: ModelSummary | None) -> Purpose | None:
    """Return the purpose that a job serves; None: settings of the user.

    The purpose sets exactly these settings, or else leads to the same structure and
    file, such as after a choice of a value that would be automatic.
    """
    jobs = {purpose: with_purpose(config, purpose, model) for purpose in Purpose}
    for purpose, job in jobs.items():
        if job == config:
            return purpose
    if model is None:
        return None
    settled = _settled(config, model)
    same = (each for each, job in jobs.items() if _settled(job, model) == settled)
    return next(same, None)


def _settled(config: RunConfig, model: ModelSummary) -> tuple[PruningConfig, FileForm]:
    """Return what a run removes and writes, without automatic settings."""
    job = with_width_multiple(config, model, on_cuda=False)
    return job.pruning, file_form(job, model)


def with_languages(config: RunConfig, languages: tuple[str, ...]) -> RunConfig:
    """Return the job that removes tokens, but none of these languages.

    Without languages it keeps all tokens.
    """
    vocabulary = config.pruning.vocabulary
    if not languages:
        vocabulary = Vocabulary.WHOLE
    elif vocabulary is Vocabulary.WHOLE:
        vocabulary = Vocabulary.AUTOMATIC
    pruning = replace(config.pruning, vocabulary=vocabulary, kept_texts=languages)
    return replace(config, pruning=pruning)
