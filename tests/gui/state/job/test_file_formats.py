"""File formats: problems of a job, number formats, destinations."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from surgeon_engine.api.config.export import (
    DESCRIPTIONS,
    ExportConfig,
    FileDtype,
    Format,
)
from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.base.errors import ExportError
from surgeon_engine.planning.formats import check_format
from surgeon_gui.state.job import file_formats
from surgeon_gui.state.job.checks import find_problems
from surgeon_gui.text.problems import Step, sentence
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_results import RAGGED, exported
from tests.helpers.mixtures import mixture_summary

AUTOMATIC, COMPACT, PLAIN, MASKED, GGUF = Format


def test_format_that_the_number_format_needs_may_be_impossible():
    rows = replace(
        RunConfig(pruning=pruning_config(Structure.ROWS)),
        export=ExportConfig(dtype=FileDtype.Q4_K_M),
    )
    (problem,) = find_problems(rows, model_summary(), "")[Step.EXPORT]
    assert problem.setting == "format"
    assert sentence(problem).startswith("GGUF for llama.cpp is not possible here.")
    like_original = replace(rows, export=ExportConfig())
    assert Step.EXPORT not in find_problems(like_original, model_summary(), "")


@pytest.mark.parametrize("file_format", Format)
def test_disabled_dtypes_are_those_that_a_format_does_not_support(file_format):
    disabled = file_formats.disabled_dtypes(file_format, None)
    assert set(FileDtype) - set(disabled) == set(DESCRIPTIONS[file_format].dtypes)


def test_implied_changes_reset_a_dtype_that_the_format_does_not_support():
    before = {"format": GGUF, "dtype": FileDtype.Q8_0}
    after = before | {"format": COMPACT}
    assert file_formats.implied_changes(before, after) == {"dtype": FileDtype.SAME}
    assert file_formats.implied_changes(before, before) == {}


def test_disabled_save_formats_has_the_reason_of_the_engine():
    result = exported("there", PruningConfig())
    reasons = file_formats.disabled_save_formats(result)
    assert reasons[PLAIN] == RAGGED
    assert AUTOMATIC not in reasons
    assert file_formats.suggested_format(result, (COMPACT,)) is GGUF


def test_format_not_reported_by_the_engine_is_disabled():
    result = exported("there", PruningConfig())
    others = [other for other in result.others if other.format is not GGUF]
    reasons = file_formats.disabled_save_formats(
        type(result)(result.folder, 1, 1, 0.0, others=tuple(others))
    )
    assert reasons[GGUF]


@pytest.mark.parametrize(
    ("export", "name"),
    [
        (ExportConfig(format=AUTOMATIC), "transformers"),
        (ExportConfig(format=GGUF), "gguf"),
        (ExportConfig(format=GGUF, dtype=FileDtype.Q4_K_M), "gguf-q4_k_m"),
    ],
)
def test_default_folder_is_named_after_the_format(export, name):
    folder = PurePosixPath("/runs/1")
    assert file_formats.default_folder(folder, export) == folder / name


def test_number_format_of_experts_is_for_mixtures_alone():
    dtype = FileDtype.MXFP4_MOE
    config = RunConfig(export=ExportConfig(format=Format.GGUF, dtype=dtype))
    dense, mixture = model_summary(), mixture_summary()
    for model, is_disabled in ((dense, True), (mixture, False)):
        assert (
            dtype in file_formats.disabled_dtypes(Format.GGUF, model)
        ) is is_disabled
    with pytest.raises(ExportError, match="has no experts"):
        check_format(config, dense)
