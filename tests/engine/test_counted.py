"""A run on blocks of full size keeps within budgets of memory, copies and waits.

The GPU has shapes and no numbers (`tests/helpers/abstract_gpu.py`). The two blocks are
those of Llama-2-7B, the job has 8 windows of 2,048 tokens for calibration, 4 that the
model writes, 2 for validation and 1 of another text.
"""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig

from surgeon_engine.api.config.pruning import RowsAndColumns
from surgeon_engine.api.config.run import Offload
from surgeon_engine.planning.footprint import Footprint
from surgeon_engine.planning.job import Job
from tests.helpers.abstract_gpu import FLOAT64, SMALL, abstract_gpu
from tests.helpers.counted_run import count, counted_job

pytestmark = pytest.mark.slow

GIGABYTE = 1e9
# By stage: waits of the host, GB copied either way, GB on the GPU at the peak.
BUDGETS = {
    "baseline": (20, 0.11, 1.95),
    "curvature": (140, 2.3, 2.5),
    "selection": (5, 0.001, 1.75),
    "update": (0, 0.001, 2.4),
    "evaluation": (70, 0.11, 2.1),
    "compaction": (20, 0.75, 1.75),
    "reference": (10, 0.6, 2.3),
    "refit": (490, 5.0, 4.5),
    "distillation": (55, 0.31, 3.05),
}


def llama_2_7b(blocks: int, inner: int = 11008) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=4096,
        intermediate_size=inner,
        num_attention_heads=32,
        num_key_value_heads=32,
        num_hidden_layers=blocks,
        vocab_size=32000,
        max_position_embeddings=4096,
    )


@pytest.fixture(scope="module")
def run():
    return count(llama_2_7b(2), counted_job(windows=8))


@pytest.mark.parametrize("stage", BUDGETS)
def test_stage_keeps_within_its_budgets(run, stage):
    counts, (waits, copied, peak) = run.gpu.counts[stage], BUDGETS[stage]
    assert sum(counts.waits.values()) <= waits, dict(counts.waits)
    both_ways = counts.copied.total() - counts.copied["ahead"]
    assert both_ways <= copied * GIGABYTE
    assert counts.peaks["GPU"] <= peak * GIGABYTE


def test_nothing_on_the_gpu_is_in_float64(run):
    assert run.gpu.doubles == 0
    assert not any(x.flops["GPU", FLOAT64] for x in run.gpu.counts.values())


def test_products_of_the_curvature_are_those_of_the_formulas(run):
    """They are two forwards, and a backward to the activations for each label."""
    windows, draws, length, hidden, inner = 8 + 2, 2 * 8 + 2, 2048, 4096, 11008
    block = 4 * hidden**2 + 3 * hidden * inner
    gates = hidden**2 + hidden * inner
    products = 2 * length * (2 * windows * block + draws * (block + gates))
    products += (length - 1) * hidden * 32000 * (windows + draws)
    products += 2 * length**2 * hidden * (2 * 2 * windows + 5 * draws)  # attention
    (found,) = run.gpu.counts["curvature"].flops.values()
    assert found == pytest.approx(2 * products, rel=1e-3)


PLANNED = [
    pytest.param(None, Offload.OFF, 2, id="heads and neurons"),
    pytest.param(None, Offload.ON, 3, id="streaming", marks=pytest.mark.thorough),
    pytest.param(
        RowsAndColumns(), Offload.OFF, 2, id="rows", marks=pytest.mark.thorough
    ),
]


@pytest.mark.parametrize(("structure", "offload", "blocks"), PLANNED)
def test_planned_memory_is_that_of_the_count(structure, offload, blocks, request):
    job = counted_job(structure, 8, offload)
    is_known = structure is None and offload is Offload.OFF
    found = request.getfixturevalue("run") if is_known else None
    found = found or count(llama_2_7b(blocks), job)
    assert_as_planned(job, found)


@pytest.mark.thorough
def test_planned_memory_of_a_wide_layer_is_that_of_the_count():
    """The held-out sums of its refit are in main memory."""
    job = counted_job(None, 8, Offload.OFF)
    assert_as_planned(job, count(llama_2_7b(2, inner=14336), job))


def assert_as_planned(job, found):
    planned, counts = Footprint(Job.of(job, found.model)), found.gpu.counts.values()
    gpu = max(x.peaks["GPU"] for x in counts)
    host = max(x.peaks["host and stored"] for x in counts)
    assert planned.on_device == pytest.approx(gpu, rel=0.1)
    assert planned.on_host == pytest.approx(host, rel=0.1)


def test_wait_and_float64_are_counted():
    """The budgets see an `item` and a `double` on the GPU."""
    with abstract_gpu() as gpu:
        x = torch.zeros(2 * SMALL, 4, device="cuda")
        gpu.phase = "mistake"
        x.sum().item()
        (x.double().T @ x.double()).cpu()
    counts = gpu.counts["mistake"]
    assert dict(counts.waits) == {"_local_scalar_dense": 1, "to host": 1}
    assert counts.flops["GPU", FLOAT64] == 2 * 4 * 4 * 2 * SMALL
    assert gpu.doubles == 2 * x.numel() + 16
    assert counts.copied == {"to host": 16 * 8}
    assert counts.peaks["GPU"] == x.nbytes + 2 * 2 * x.nbytes + 16 * 8
