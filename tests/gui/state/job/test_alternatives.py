"""The plan says where quantising alone makes as small a file, and where it does not."""

from __future__ import annotations

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.planning.planned_file import PlannedFile
from surgeon_gui.state.job.alternatives import advice
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import model_summary

MODEL = model_summary()


def job(sparsity=0.3, structure=Structure.HEADS_AND_NEURONS, **export):
    pruning = pruning_config(structure, sparsity=sparsity)
    return RunConfig(pruning=pruning, export=ExportConfig(**export))


def test_quantising_is_advised_where_it_makes_as_small_a_file():
    text = advice(job(), MODEL)
    size = PlannedFile(MODEL, FileDtype.Q8_0, pruning_config(sparsity=0.0)).bytes(0)
    assert text.startswith("If only the size of the file counts, quantize instead")
    assert f"{choice_label(FileDtype.Q8_0)[0]} takes {numbers.size(size)}" in text


def test_longest_number_format_that_is_as_small_is_advised():
    # The rows of this model fill no blocks of Q6_K: it would be as large as Q8_0.
    text = advice(job(0.1, format=Format.GGUF, dtype=FileDtype.Q8_0), MODEL)
    assert choice_label(FileDtype.Q5_K_M)[0] in text


def test_pruning_on_top_of_few_bits_has_no_alternative():
    text = advice(job(0.3, format=Format.GGUF, dtype=FileDtype.Q4_0), MODEL)
    assert text.startswith("Quantizing alone does not make it as small")


@pytest.mark.parametrize(
    "config",
    [job(0.0), job(structure=Structure.ELEMENTS), job(format=Format.MASKED)],
)
def test_nothing_is_advised_where_the_file_keeps_its_size(config):
    assert advice(config, MODEL) == ""


def test_nothing_is_advised_for_a_model_that_gguf_files_of_this_kind_cannot_hold():
    other = msgspec.structs.replace(MODEL, gguf_widths=None)
    assert advice(job(), other) == ""
