"""Purposes of a run: each chooses structure, widths and file. No Qt."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import (
    SPARSE,
    HeadsAndNeurons,
    Neurons,
    PruningConfig,
    Structure,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.vocabulary import (
    AnyVocabulary,
    AutomaticVocabulary,
    SomeTokens,
    WholeVocabulary,
)
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.automatic_settings import with_width_multiple
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.planned_file import FileForm, planned_file

_FAST_MULTIPLE = 64  # of MLP widths, which processors and GPUs compute fast


class Purpose(Enum):
    """The purposes that the page New offers."""

    SMALLER = "smaller"
    FASTER = "faster"


def with_purpose(
    config: RunConfig, purpose: Purpose, model: ModelSummary | None
) -> RunConfig:
    """Return the job with the structure and the file that a purpose needs.

    Model, texts, target and recovery stay; the method too, unless it was for single
    weights. A model that has not been read is taken for one that can lose heads.
    """
    before, plain = config.pruning, PruningConfig()
    has_heads = before.kind is not Structure.NEURONS
    if model is not None:
        can = {x.structure for x in model.structures if x.supported}
        has_heads = Structure.HEADS_AND_NEURONS in can
    kind = HeadsAndNeurons if has_heads else Neurons
    if before.kind in SPARSE:  # some of its methods remove nothing else
        before = replace(before, method=plain.method, damping=plain.damping)
    pruning = replace(before, structure=kind())
    file = ExportConfig()
    export = replace(config.export, format=file.format, dtype=file.dtype)
    job = replace(config, pruning=pruning, export=export)
    if purpose is Purpose.SMALLER:
        return job
    multiple = _FAST_MULTIPLE
    if model is not None:
        needed = planned_file(model, file_form(job, model), pruning).needed_multiple
        multiple = max(needed, multiple)
    return replace(
        job, pruning=replace(pruning, structure=kind(width_multiple=multiple))
    )


def purpose_of(config: RunConfig, model: ModelSummary | None) -> Purpose | None:
    """Return the purpose that a job serves; None: settings of the user.

    That is the purpose which sets them, or else one that leads to the same structure
    and file, such as after a choice of what would be automatic.
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


def languages_of(config: RunConfig) -> tuple[str, ...]:
    """Return what keeps all its tokens while others are removed."""
    return getattr(config.pruning.vocabulary, "keep", ())


def with_languages(config: RunConfig, languages: tuple[str, ...]) -> RunConfig:
    """Return the job that removes tokens, but none of these languages.

    Without languages it keeps all tokens.
    """
    vocabulary: AnyVocabulary = WholeVocabulary()
    if languages:
        vocabulary = AutomaticVocabulary(languages)
        if isinstance(held := config.pruning.vocabulary, SomeTokens):
            vocabulary = SomeTokens(held.tokens, languages)
    return replace(config, pruning=replace(config.pruning, vocabulary=vocabulary))
