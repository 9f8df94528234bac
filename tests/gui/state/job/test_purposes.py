"""Purposes of a run: what each changes in a job, and which one a job serves."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.fields import values_of
from surgeon_engine.api.config.pruning import (
    COUPLED,
    OF_EXPERTS,
    Method,
    PruningConfig,
    Structure,
    Target,
    Vocabulary,
    Widths,
)
from surgeon_engine.api.config.purposes import Purpose
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.sources import StructureSupport
from surgeon_engine.planning.automatic_settings import with_width_multiple
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.job_check import job_errors
from surgeon_engine.planning.planned_file import FileForm
from surgeon_gui.state.job.purposes import (
    fitted_to,
    purpose_of,
    unfitted,
    with_languages,
    with_purpose,
)
from tests.helpers.configs import pruning_config, some_tokens
from tests.helpers.fake_engine import model_summary

MODEL = model_summary()
SMALLER, FASTER = Purpose.SMALLER, Purpose.FASTER


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


@pytest.mark.parametrize(("megabytes", "is_kept"), [(8, True), (0.5, False)])
def test_size_that_a_chosen_model_cannot_have_becomes_the_default(megabytes, is_kept):
    sized = pruning_config(target=Target.FILE_SIZE, megabytes=megabytes)
    found = fitted_to(RunConfig(pruning=sized), MODEL).pruning
    assert found == (sized if is_kept else replace(sized, target=Target.PRUNABLE_SHARE))


def test_target_texts_and_destination_stay():
    job = RunConfig(
        calibration=CalibrationConfig("mine.txt"),
        pruning=pruning_config(method=Method.MAGNITUDE),
        export=ExportConfig("there", format=Format.GGUF, dtype=FileDtype.Q4_0),
    )
    target = {"target": Target.MEMORY, "memory_gigabytes": 4.0, "context": 8192}
    job = replace(job, pruning=replace(job.pruning, **target))
    changed = with_purpose(job, FASTER, MODEL)
    assert target.items() <= values_of(changed.pruning).items()
    assert changed.pruning.method is Method.MAGNITUDE
    assert changed.calibration == job.calibration
    assert changed.export == ExportConfig("there")
    assert purpose_of(job, MODEL) is None  # settings of the user


QUANTIZED = msgspec.structs.replace(
    MODEL,
    dtype="",
    file_bytes=MODEL.parameters // 2,
    gguf_widths=Widths.FREE,
    tokenizer_bytes=1000,
)


@pytest.mark.parametrize("model", [MODEL, QUANTIZED])
@pytest.mark.parametrize("purpose", Purpose)
def test_choice_of_what_is_automatic_keeps_the_purpose(purpose, model):
    job = with_purpose(RunConfig(), purpose, model)
    settled = with_width_multiple(job, model, on_cuda=False)
    assert purpose_of(settled, model) is purpose
    aside = replace(job.export, folder="there", shard_gigabytes=1, save_progress=False)
    assert purpose_of(replace(job, export=aside), model) is purpose
    protected = replace(job.pruning, protect=("block 0",), shots=3)
    assert purpose_of(replace(job, pruning=protected), model) is purpose


def test_other_widths_or_another_file_are_no_purpose():
    form = file_form(RunConfig(), QUANTIZED)
    assert form == FileForm(Format.GGUF, FileDtype.Q4_0)
    same = RunConfig(export=ExportConfig(format=form.format, dtype=form.dtype))
    assert purpose_of(same, QUANTIZED) is SMALLER
    for other in (
        RunConfig(export=ExportConfig(dtype=FileDtype.Q8_0)),
        RunConfig(export=ExportConfig(format=Format.COMPACT)),
        RunConfig(pruning=PruningConfig(width_multiple=96)),
        RunConfig(pruning=PruningConfig(widths=Widths.SAME)),
    ):
        assert purpose_of(other, QUANTIZED) is None


def test_faster_has_wide_multiples_and_smaller_any_width():
    small = with_purpose(RunConfig(), SMALLER, MODEL).pruning
    fast = with_purpose(RunConfig(), FASTER, MODEL).pruning
    assert small == PruningConfig()
    assert fast == PruningConfig(width_multiple=64)
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
        assert job.pruning.structure is Structure.NEURONS
        assert purpose_of(job, model) is purpose


def test_model_of_unknown_heads_and_neurons_loses_rows_and_columns_alone():
    supports = (
        *(StructureSupport(x, "not known.") for x in COUPLED if x not in OF_EXPERTS),
        *(StructureSupport(x) for x in Structure if x not in COUPLED),
    )
    unknown = msgspec.structs.replace(MODEL, structures=supports, coupled=())
    job = RunConfig()
    fitted = fitted_to(job, unknown)
    assert fitted.pruning.structure is Structure.ROWS_AND_COLUMNS
    assert not dict(job_errors(fitted, unknown))
    assert purpose_of(fitted, unknown) is SMALLER
    assert fitted_to(unfitted(fitted, unknown), MODEL) == job
    chosen = RunConfig(pruning=PruningConfig(Structure.ROWS_AND_COLUMNS))
    assert fitted_to(unfitted(chosen, MODEL), MODEL) == chosen


def test_languages_make_the_number_of_tokens_automatic_unless_it_is_set():
    kept = with_languages(RunConfig(), ("German",))
    automatic = PruningConfig(vocabulary=Vocabulary.AUTOMATIC, kept_texts=("German",))
    assert kept.pruning == automatic
    assert purpose_of(kept, MODEL) is SMALLER
    number = replace(kept, pruning=replace(kept.pruning, **some_tokens(1_500)))
    again = with_languages(number, ("German",)).pruning
    assert again == PruningConfig(**some_tokens(1_500, ("German",)))
    assert with_languages(kept, ()) == RunConfig()
