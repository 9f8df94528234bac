"""A run on blocks of full size keeps within budgets of memory, copies and waits.

The GPU has shapes and no numbers (`tests/helpers/abstract_gpu.py`). The model has two
blocks of Llama-2-7B; the job has 8 windows of 2,048 tokens for calibration, 4 that the
model writes, 2 for validation and 1 of another text.
"""

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, Qwen3MoeConfig

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.recovery import GradientCheckpointing, Recovery
from surgeon_engine.api.config.run import Offload
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.planning.estimate import Footprint
from surgeon_engine.planning.job import Job
from tests.helpers.abstract_gpu import FLOAT64, SMALL, abstract_gpu
from tests.helpers.counted_run import count, counted_job, summary_of

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
    "reference": (36, 0.8, 2.3),
    "refit": (490, 5.0, 4.5),
    "distillation": (120, 1.6, 2.4),  # with a pass of the original over new text
}
# By stage: how far its statement of the GPU's memory may be from the count. Reference
# copies fewer blocks of the original than it may.
STATED = {
    **dict.fromkeys(("baseline", "curvature", "selection", "update"), 0.08),
    **dict.fromkeys(("evaluation", "refit", "distillation"), 0.05),
    "reference": 0.2,
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


def test_stages_keep_within_their_budgets_and_take_what_they_state():
    """One run for all of this: it takes several seconds."""
    job = counted_job(windows=8)
    run = count(llama_2_7b(2), job)
    found = run.gpu.counts
    for stage, (waits, copied, peak) in BUDGETS.items():
        counts = found[stage]
        assert sum(counts.waits.values()) <= waits, (stage, dict(counts.waits))
        both_ways = counts.copied.total() - counts.copied["ahead"]
        assert both_ways <= copied * GIGABYTE, stage
        assert counts.peaks["GPU"] <= peak * GIGABYTE, stage
    assert run.gpu.doubles == 0
    assert not any(x.flops["GPU", FLOAT64] for x in found.values())
    (flops,) = found["curvature"].flops.values()
    assert flops == pytest.approx(2 * curvature_products(), rel=1e-3)
    stated = assert_as_planned(job, run)
    for stage, tolerance in STATED.items():
        needed = stated.on_device_in(Stage(stage))
        assert needed == pytest.approx(found[stage].peaks["GPU"], rel=tolerance), stage


@pytest.mark.parametrize(("recomputes", "counted"), [("off", 10.16), ("on", 5.53)])
def test_scores_in_the_graph_of_a_training_are_planned(recomputes, counted):
    """Counted as above: peak GB on the GPU with four blocks."""
    config, job = llama_2_7b(4), counted_job(windows=8)
    config._attn_implementation = "eager"
    recomputed = GradientCheckpointing(recomputes)
    recovery = replace(job.recovery, gradient_checkpointing=recomputed)
    job = replace(job, recovery=recovery)
    planned = Footprint(Job.of(job, summary_of(config, job)))
    needed = planned.on_device_in(Stage.DISTILLATION)
    assert needed == pytest.approx(counted * GIGABYTE, rel=0.05)


# Stages of a mixture in files: number of reads of all blocks, and peak GB on the GPU.
# Baseline runs two windows first, gates forwards and back.
MIXTURE = {
    "baseline": (3, 1.85),
    "curvature": (2, 2.45),
    "selection": (0, 1.3),
    "update": (1, 1.4),
    "evaluation": (2, 2.0),
    "reference": (7.4, 2.55),  # and the original's weights beside its blocks
    "refit": (3, 2.0),
}


def test_mixture_is_read_as_often_as_its_stages_need():
    """Two blocks of Qwen3-30B-A3B with some of its experts, in mapped files."""
    config = Qwen3MoeConfig(
        hidden_size=2048,
        num_attention_heads=32,
        num_key_value_heads=4,
        head_dim=128,
        num_experts=8,
        num_experts_per_tok=4,
        moe_intermediate_size=768,
        num_hidden_layers=2,
        vocab_size=151936,
        tie_word_embeddings=False,
    )
    job = counted_job(Structure.EXPERTS, 8, Offload.ON)
    recovery = replace(job.recovery, level=Recovery.REFIT, general_windows=0)
    job = replace(job, recovery=recovery)
    run = count(config, job, in_files=True)
    planned = Footprint(replace(Job.of(job, run.model), free_on_host=0.0))
    blocks = 2 * run.model.prunable
    for stage, (reads, peak) in MIXTURE.items():
        counts = run.gpu.counts[stage]
        assert counts.copied["files to GPU"] <= (reads + 0.01) * blocks, stage
        assert counts.peaks["GPU"] <= peak * GIGABYTE, stage
        stated = planned.on_device_in(Stage(stage))
        assert 0.95 < stated / counts.peaks["GPU"] < 1.4, stage
    # A copy of the weights before recovery, and hidden states.
    own = max(x.peaks["host and stored"] for x in run.gpu.counts.values())
    assert own < 0.5 * GIGABYTE


def curvature_products() -> int:
    """Return two forwards, and a backward to the activations for each label."""
    windows, draws, length, hidden, inner = 8 + 2, 2 * 8 + 2, 2048, 4096, 11008
    block = 4 * hidden**2 + 3 * hidden * inner
    gates = hidden**2 + hidden * inner
    products = 2 * length * (2 * windows * block + draws * (block + gates))
    products += (length - 1) * hidden * 32000 * (windows + draws)
    attention = 2 * length**2 * hidden * (2 * 2 * windows + 5 * draws)
    return products + attention


def assert_as_planned(job, found) -> Footprint:
    planned, counts = Footprint(Job.of(job, found.model)), found.gpu.counts.values()
    gpu = max(x.peaks["GPU"] for x in counts)
    host = max(x.peaks["host and stored"] for x in counts)
    assert planned.on_device == pytest.approx(gpu, rel=0.1)
    assert planned.on_host == pytest.approx(host, rel=0.1)
    return planned


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
