"""Purposes of a run: what each changes in a job, and which one a job serves."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    HeadsAndNeurons,
    Memory,
    Method,
    Neurons,
    PruningConfig,
    Structure,
)
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.vocabulary import AutomaticVocabulary, SomeTokens
from surgeon_engine.api.messages.sources import StructureSupport
from surgeon_gui.state.job.purposes import (
    Purpose,
    languages_of,
    purpose_of,
    with_languages,
    with_purpose,
)
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary

MODEL = model_summary()
SMALLER, FASTER = Purpose.SMALLER, Purpose.FASTER


def test_default_job_makes_a_smaller_file():
    assert purpose_of(RunConfig(), MODEL) is SMALLER
    assert purpose_of(RunConfig(), None) is None


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("structure", Structure)
def test_purpose_is_that_of_the_job_it_has_changed(purpose, structure):
    job = RunConfig(pruning=pruning_config(structure, shots=2))
    changed = with_purpose(job, purpose, MODEL)
    assert purpose_of(changed, MODEL) is purpose
    assert with_purpose(changed, purpose, MODEL) == changed
    assert changed.pruning.shots == 2


@pytest.mark.parametrize("method", [Method.SPARSEGPT, Method.WANDA])
def test_method_for_single_weights_is_replaced(method):
    job = RunConfig(pruning=pruning_config(Structure.ELEMENTS, method=method))
    pruning = with_purpose(job, SMALLER, MODEL).pruning
    plain = PruningConfig()
    assert (pruning.method, pruning.damping) == (plain.method, plain.damping)


def test_target_texts_and_destination_stay():
    job = RunConfig(
        calibration=CalibrationConfig("mine.txt"),
        pruning=pruning_config(method=Method.MAGNITUDE),
        export=ExportConfig("there", format=Format.GGUF, dtype=FileDtype.Q4_0),
    )
    job = replace(job, pruning=replace(job.pruning, target=Memory(4.0, 8192)))
    changed = with_purpose(job, FASTER, MODEL)
    assert changed.pruning.target == Memory(4.0, 8192)
    assert changed.pruning.method is Method.MAGNITUDE
    assert changed.calibration == job.calibration
    assert changed.export == ExportConfig("there")
    assert purpose_of(job, MODEL) is None  # settings of the user


def test_faster_has_wide_multiples_and_smaller_any_width():
    small = with_purpose(RunConfig(), SMALLER, MODEL).pruning
    fast = with_purpose(RunConfig(), FASTER, MODEL).pruning
    assert small.structure == HeadsAndNeurons()
    assert fast.structure == HeadsAndNeurons(width_multiple=64)
    blocks = msgspec.structs.replace(MODEL, dtype="", file_bytes=MODEL.parameters // 2)
    needed = with_purpose(RunConfig(), FASTER, blocks).pruning.width_multiple
    assert needed >= 64 and needed % 32 == 0


def test_model_without_heads_to_remove_loses_neurons():
    supports = (
        StructureSupport(Structure.HEADS_AND_NEURONS, "not known."),
        StructureSupport(Structure.NEURONS),
    )
    model = msgspec.structs.replace(MODEL, structures=supports)
    for purpose in Purpose:
        job = with_purpose(RunConfig(), purpose, model)
        assert isinstance(job.pruning.structure, Neurons)
        assert purpose_of(job, model) is purpose


def test_languages_make_the_number_of_tokens_automatic_unless_it_is_set():
    kept = with_languages(RunConfig(), ("German",))
    assert kept.pruning.vocabulary == AutomaticVocabulary(("German",))
    assert languages_of(kept) == ("German",)
    assert purpose_of(kept, MODEL) is SMALLER
    number = replace(kept, pruning=replace(kept.pruning, vocabulary=SomeTokens(1_500)))
    again = with_languages(number, ("German",)).pruning.vocabulary
    assert again == SomeTokens(1_500, ("German",))
    assert with_languages(kept, ()) == RunConfig()
