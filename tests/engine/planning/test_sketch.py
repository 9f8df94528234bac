"""The estimate of a sketched model is close to that of the inspected one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.model_info.header import (
    DecoderSizes,
    ModelFacts,
    decoder_sizes,
    model_facts,
)
from surgeon_engine.model.fenced import inspect_model
from surgeon_engine.planning.estimate import Footprint, estimate
from surgeon_engine.planning.job import Job
from surgeon_engine.planning.sketch import sketch_model
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
