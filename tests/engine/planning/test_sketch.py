"""Estimates of models and texts that are known by their headers alone."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.model_info.header import (
    DecoderSizes,
    MixtureSizes,
    ModelFacts,
    decoder_sizes,
    model_facts,
)
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.planning.estimate import Footprint, estimate
from surgeon_engine.planning.job import Job
from surgeon_engine.planning.resource_check import settings_that_fit
from surgeon_engine.planning.sketch import sketch_model
from surgeon_engine.planning.token_files import with_token_file_shape
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_machine import machine
from tests.helpers.tiny_models import save_tiny_model

SMOLLM2 = DecoderSizes(30, 576, 1536, 9, 3, 64, 49_152)
TIED = 134_479_872  # with one matrix for embeddings and head


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "gpt_neox", "gemma3"])
def test_sketch_needs_as_much_as_the_inspected_model(tmp_path, family):
    folder = save_tiny_model(tmp_path / family, family)
    options = json.loads((folder / "config.json").read_text())
    sketch = sketch_model(model_facts(str(folder)), decoder_sizes(options))
    model = inspect_model(ModelConfig(source=str(folder))).model
    assert sketch.parameters == model.parameters
    assert sketch.prunable == pytest.approx(model.prunable, rel=0.15)
    needed, exact = (Footprint(Job.of(RunConfig(), x)) for x in (sketch, model))
    assert needed.peak == pytest.approx(exact.peak, rel=0.1)
    assert needed.job.factors == pytest.approx(exact.job.factors, rel=0.3)
    assert needed.disk == pytest.approx(exact.disk, rel=0.1)


@pytest.mark.parametrize("family", ["qwen3_moe", "deepseek_v3"])
def test_sketch_of_a_mixture_has_the_experts_of_the_inspected_model(tmp_path, family):
    folder = save_tiny_model(tmp_path / family, family)
    options = json.loads((folder / "config.json").read_text())
    sketch = sketch_model(ModelFacts(family), decoder_sizes(options))
    model = inspect_model(ModelConfig(source=str(folder))).model
    found, exact = sketch.experts, model.experts
    assert [x.layers[0].partition(".")[0] for x in found] == [
        x.layers[0].split(".")[2] for x in exact
    ]
    assert {(x.groups, x.chosen) for x in found} == {(8, 2)}
    assert sketch.idle_parameters == pytest.approx(model.idle_parameters, rel=0.01)
    assert sketch.parameters == pytest.approx(model.parameters, rel=0.1)


def test_parameters_of_a_mixture_are_those_that_its_authors_state():
    qwen = replace(SMOLLM2, blocks=48, hidden_size=2048, intermediate_size=6144)
    qwen = replace(qwen, heads=32, key_value_heads=4, head_size=128, vocabulary=151_936)
    mixture = MixtureSizes(128, 8, 768)
    sketch = sketch_model(ModelFacts("Qwen3-30B-A3B"), replace(qwen, mixture=mixture))
    assert sketch.parameters == pytest.approx(30.5e9, rel=0.002)
    active = sketch.parameters - sketch.idle_parameters
    assert active == pytest.approx(3.3e9, rel=0.02)


def test_number_of_parameters_decides_what_the_config_leaves_open():
    facts = ModelFacts("a", parameters=TIED)
    tied = sketch_model(facts, SMOLLM2)
    assert len(tied.layers) == 30 * 7
    assert tied.prunable == TIED - 49_152 * 576
    ungated = TIED - 30 * 1536 * 576 + 49_152 * 576
    assert len(sketch_model(replace(facts, parameters=ungated), SMOLLM2).layers) == 180


def test_unknown_number_of_parameters_is_computed():
    sketch = sketch_model(ModelFacts("a"), SMOLLM2)
    assert sketch.parameters == TIED + 49_152 * 576
    assert sketch.file_bytes == 2 * sketch.parameters
    assert sketch.dtype == "bfloat16"


def test_fewer_parameters_than_layers_need_are_believed():
    sketch = sketch_model(ModelFacts("a", parameters=10), SMOLLM2)
    assert sketch.prunable == sketch.parameters == 10
    estimate(RunConfig(), sketch, machine())


@pytest.mark.parametrize("dtype", ["F8_E4M3", "int4", ""])
def test_unusual_number_format_is_replaced(dtype):
    assert sketch_model(ModelFacts("a", dtype=dtype), SMOLLM2).dtype == "bfloat16"


def test_quantized_model_has_no_number_format():
    assert sketch_model(ModelFacts("a", dtype="FP8"), SMOLLM2).dtype == ""


MODEL = model_summary()


@pytest.fixture
def files(tmp_path):
    """Return a calibration file of 6 windows of 40 tokens, and a validation file."""
    paths = []
    for name, count in (("calibration", 6), ("validation", 2)):
        paths.append(str(tmp_path / f"{name}.npy"))
        np.save(paths[-1], np.zeros((count, 40), dtype=np.int32))
    return paths


def test_counts_and_lengths_come_from_the_files(files):
    own, other = files
    read = with_token_file_shape(CalibrationConfig(text=own, validation_text=other))
    assert (read.windows, read.validation_windows, read.window_length) == (6, 2, 40)


def test_unreadable_files_change_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    names = ("none.npy", "pipe.npy", "pipe.npy/a.npy")
    for text in ("builtin", "~nobody/a.npy", *(str(tmp_path / x) for x in names)):
        calibration = CalibrationConfig(text=text)
        assert with_token_file_shape(calibration) == calibration
    (tmp_path / "broken.npy").write_bytes(b"no numbers")
    broken = CalibrationConfig(text=str(tmp_path / "broken.npy"))
    assert with_token_file_shape(broken) == broken


@pytest.mark.parametrize(
    "header", [b"-" * 9_000 + b"1", b"(" * 9_000, b"{'shape': (1, 2), 'shape': (2e9"]
)
def test_strange_headers_are_not_evaluated(tmp_path, header):
    path = tmp_path / "strange.npy"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    path.write_bytes(start + header)
    with_token_file_shape(CalibrationConfig(text=str(path)))


def test_estimate_uses_the_windows_of_the_file(files):
    own, other = files
    of_files = CalibrationConfig(text=own, validation_text=other)
    same = replace(of_files, windows=6, validation_windows=2, window_length=40)
    ours, theirs = (
        estimate(RunConfig(calibration=each), MODEL, machine())
        for each in (of_files, same)
    )
    assert ours == theirs


def test_windows_of_a_file_are_not_reduced(files):
    own, other = files
    job = RunConfig(calibration=CalibrationConfig(text=own, validation_text=other))
    fitted = settings_that_fit(job, MODEL, machine(free=10**6), 10**12)
    fields = [change.field for change in fitted.changes] if fitted else []
    assert not {"calibration.windows", "calibration.window_length"} & set(fields)
