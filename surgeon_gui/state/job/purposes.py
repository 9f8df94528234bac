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
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.planned_file import planned_file

_FAST_MULTIPLE = 64  # of MLP widths, which processors and GPUs compute fast


class Purpose(Enum):
    """The purposes that the page New offers."""

    SMALLER = "smaller"
    FASTER = "faster"


def with_purpose(config: RunConfig, purpose: Purpose, model: ModelSummary) -> RunConfig:
    """Return the job with the structure and the file that a purpose needs.

    Model, texts, target and recovery stay; the method too, unless it was for single
    weights.
    """
    can = {x.structure for x in model.structures if x.supported}
    kind = HeadsAndNeurons if Structure.HEADS_AND_NEURONS in can else Neurons
    before, plain = config.pruning, PruningConfig()
    if before.kind in SPARSE:  # some of its methods remove nothing else
        before = replace(before, method=plain.method, damping=plain.damping)
    pruning = replace(before, structure=kind())
    export = replace(ExportConfig(), folder=config.export.folder)
    job = replace(config, pruning=pruning, export=export)
    if purpose is Purpose.SMALLER:
        return job
    needed = planned_file(model, file_form(job, model), pruning).needed_multiple
    structure = kind(width_multiple=max(needed, _FAST_MULTIPLE))
    return replace(job, pruning=replace(pruning, structure=structure))


def purpose_of(config: RunConfig, model: ModelSummary | None) -> Purpose | None:
    """Return the purpose that a job serves; None: settings of the user."""
    if model is None:
        return None
    for purpose in Purpose:
        if with_purpose(config, purpose, model) == config:
            return purpose
    return None


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
