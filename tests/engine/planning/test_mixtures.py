"""Plans of mixtures: time counts the weights that a token uses, files count all."""

import re
from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.config.pruning import Method, PruningConfig, Structure
from surgeon_engine.api.config.run import Dtype, ModelConfig, RunConfig
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.base.errors import PruningError
from surgeon_engine.planning.constants import BYTES
from surgeon_engine.planning.estimate import Footprint, estimate
from surgeon_engine.planning.job import Job
from surgeon_engine.planning.job_check import job_errors
from surgeon_engine.planning.limits import max_removable
from surgeon_engine.planning.planned_file import FileForm, planned_file
from surgeon_engine.planning.running_memory import memory_beside_weights
from surgeon_engine.planning.target_check import check_target_in_limits
from surgeon_engine.planning.target_size import goal_of, prunable_weights
from tests.helpers.configs import pruning_config
from tests.helpers.fake_machine import machine
from tests.helpers.fake_results import model_summary
from tests.helpers.mixtures import CHOSEN, EXPERTS, SIZES, mixture_summary

MODEL = mixture_summary()
JOB = RunConfig(ModelConfig(MODEL.source), pruning=PruningConfig(Structure.EXPERTS))


def with_chosen(chosen: int):
    return mixture_summary(
        replace(SIZES, mixture=replace(SIZES.mixture, chosen=chosen))
    )


def test_time_counts_the_experts_that_a_token_uses():
    few, many = (estimate(JOB, with_chosen(n), machine()) for n in (1, EXPERTS))
    for stage in (Stage.BASELINE, Stage.CURVATURE, Stage.DISTILLATION):
        assert few.seconds_of_stages[stage] < many.seconds_of_stages[stage]
    assert few.disk == many.disk


@pytest.mark.parametrize("structure", [Structure.ROWS_AND_COLUMNS, Structure.N_M])
def test_experts_have_no_factors(structure):
    pruning = pruning_config(structure=structure, method=Method.K_OBD)
    job = Job.of(replace(JOB, pruning=pruning), MODEL)
    largest = max(max(x.rows, x.columns) for x in MODEL.linear_layers)
    assert 0 < job.factors <= 2 * 4 * largest**2 * len(MODEL.linear_layers)
    assert job.kept == 4 * sum(x.weights for x in MODEL.linear_layers)


# Bytes per score: itself, and in float32 before and after the softmax.
@pytest.mark.parametrize(("dtype", "each"), [(Dtype.FLOAT32, 12), (Dtype.BFLOAT16, 10)])
def test_memory_counts_the_scores_that_an_attention_holds(dtype, each):
    heads = 64
    config = replace(
        JOB,
        model=replace(JOB.model, dtype=dtype),
        calibration=CalibrationConfig(batch=1, window_length=512),
    )
    plain, held = (
        Footprint(Job.of(config, msgspec.structs.replace(MODEL, score_heads=n)))
        for n in (0, heads)
    )
    scores = each * heads * 512**2
    before, after = (x.on_device_in(Stage.REFIT) for x in (plain, held))
    assert after - before == scores
    for stage in (Stage.BASELINE, Stage.CURVATURE, Stage.EVALUATION):
        assert held.on_device_in(stage) >= scores + MODEL.parameters * BYTES[dtype]
        assert plain.on_device_in(stage) < scores


def test_idle_parameters_are_those_of_the_other_experts():
    experts = sum(layer.weights for layer in MODEL.layers if layer.is_experts)
    share = 1 - CHOSEN / EXPERTS
    assert MODEL.idle_parameters == pytest.approx(share * experts)
    assert with_chosen(EXPERTS).idle_parameters == 0
    assert model_summary().idle_parameters == 0


def test_file_holds_all_experts():
    form = FileForm(Format.AUTOMATIC, FileDtype.BFLOAT16)
    file = planned_file(MODEL, form, JOB.pruning)
    assert file.bytes(0) == pytest.approx(2 * MODEL.parameters, rel=0.05)
    sizes = replace(SIZES, mixture=replace(SIZES.mixture, intermediate_size=64))
    model = mixture_summary(sizes)  # whose rows have whole blocks
    quantized = planned_file(model, FileForm(Format.GGUF, FileDtype.Q8_0), JOB.pruning)
    assert quantized.bytes(0) == pytest.approx(34 / 32 * model.parameters, rel=0.05)


def test_buffers_hold_the_outputs_of_the_experts_of_a_token():
    context = 1024
    difference = memory_beside_weights(context, with_chosen(EXPERTS))
    difference -= memory_beside_weights(context, MODEL)
    # 512 tokens, 4 buffers at once, in float32, as wide as the hidden states.
    assert difference == 512 * 4 * 4 * (EXPERTS - CHOSEN) * SIZES.hidden_size


@pytest.mark.parametrize(
    "structure", [Structure.ROWS_AND_COLUMNS, Structure.ELEMENTS, Structure.N_M]
)
def test_other_structures_leave_experts_whole(structure):
    pruning = pruning_config(structure, method=Method.MAGNITUDE)
    others = sum(layer.weights for layer in MODEL.linear_layers)
    assert max_removable(pruning, MODEL) <= others
    if structure is Structure.ELEMENTS:
        assert prunable_weights(pruning, MODEL) == others


def test_target_beyond_the_experts_of_a_token_says_so():
    pruning = PruningConfig(Structure.EXPERTS, sparsity=0.9)
    goal = goal_of(pruning, MODEL, FileForm())
    with pytest.raises(PruningError, match="as many experts as a token uses"):
        check_target_in_limits(goal, pruning, MODEL)


def test_multiple_leaves_experts_a_width_that_is_also_one_of_8():
    experts = replace(SIZES.mixture, intermediate_size=24, shared_size=0)
    sizes = replace(SIZES, mixture=experts)
    model = mixture_summary(sizes)

    def error_of(multiple: int) -> object:
        kind = Structure.EXPERTS_AND_NEURONS
        pruning = PruningConfig(kind, width_multiple=multiple)
        errors = dict(job_errors(RunConfig(pruning=pruning), model))
        return errors.get("pruning.width_multiple")

    for multiple in (0, 1, 4, 16):  # all leave 8 or 16 of the 24 neurons
        assert error_of(multiple) is None
    for multiple, smallest in ((9, 72), (24, 24)):
        found = re.search(
            f"multiples of {smallest}, .* most 24", str(error_of(multiple))
        )
        assert found


def test_dense_model_is_refused():
    dense = model_summary()
    goal = goal_of(JOB.pruning, dense, FileForm())
    with pytest.raises(PruningError, match="has no experts") as refused:
        check_target_in_limits(goal, JOB.pruning, dense)
    assert "heads_and_neurons" in refused.value.hint
