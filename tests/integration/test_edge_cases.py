"""Degenerate models are pruned or raise an error with a message."""

import dataclasses
import math

import pytest
import torch
from transformers import LlamaForCausalLM

from surgeon_engine.api.config.pruning import Damping, Method, Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import Dtype, ModelConfig, RunConfig
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import Stage, StageStarted
from surgeon_engine.model.not_finite import hint_for
from surgeon_engine.run.pipeline import prune
from tests.helpers.pruning_states import silent_context
from tests.helpers.runs import job, outcome, run
from tests.helpers.tiny_models import byte_tokenizer, llama_with, tiny_model

pytestmark = [pytest.mark.usefixtures("quick_runs"), pytest.mark.slow]


def job_on(model, folder, **settings) -> RunConfig:
    """Write a model and return a job on it."""
    model.save_pretrained(folder / "llama")
    byte_tokenizer().save_pretrained(folder / "llama")
    return job(folder, **settings)


def finite(found) -> bool:
    return all(math.isfinite(shot.evaluation.loss) for shot in found.shots)


def test_model_with_one_block_is_pruned(tmp_path):
    config = job_on(
        llama_with(num_hidden_layers=1),
        tmp_path,
        structure=Structure.HEADS_AND_NEURONS,
        shots=2,
    )
    found = outcome(config, tmp_path / "run")
    assert finite(found)
    assert found.zeros == found.reported
    assert sum(found.reported.values()) > 0


@pytest.mark.parametrize(
    ("structure", "level"),
    [
        (Structure.HEADS_AND_NEURONS, Recovery.DISTILLATION),
        (Structure.ELEMENTS, Recovery.RECONSTRUCTION),
    ],
)
def test_tied_embeddings_and_head_are_unchanged(tmp_path, structure, level):
    model = llama_with(tie_word_embeddings=True)
    before = model.lm_head.weight.clone()
    plain = job_on(model, tmp_path, windows=8, structure=structure)
    config = dataclasses.replace(
        plain, recovery=RecoveryConfig(level, general_windows=0)
    )
    outcome(config, tmp_path / "run")
    pruned = LlamaForCausalLM.from_pretrained(tmp_path / "run" / "export")
    assert pruned.lm_head.weight is pruned.model.embed_tokens.weight
    assert torch.equal(pruned.lm_head.weight, before)


@pytest.mark.parametrize(
    ("structure", "damping"),
    [
        (Structure.HEADS_AND_NEURONS, Damping.AUTOMATIC),
        (Structure.ELEMENTS, Damping.FIXED),
    ],
)
def test_model_without_gradients_is_pruned(tmp_path, structure, damping):
    model = tiny_model("llama")
    model.lm_head.weight.zero_()
    found = outcome(
        job_on(model, tmp_path, windows=8, structure=structure, damping=damping),
        tmp_path / "run",
    )
    assert found.shots[-1].evaluation.loss == pytest.approx(math.log(96))
    assert found.zeros == found.reported
    assert sum(found.zeros.values()) > 0.25 * found.started.model.prunable


@pytest.mark.parametrize(
    ("structure", "damping"),
    [
        (Structure.HEADS_AND_NEURONS, Damping.AUTOMATIC),
        (Structure.ROWS_AND_COLUMNS, Damping.FIXED),
    ],
)
def test_model_with_constant_and_zero_inputs_is_pruned(tmp_path, structure, damping):
    """One input of each layer behind a norm cannot be distinguished from its bias."""
    model = tiny_model("opt")
    norm_outputs = []
    for block in model.model.decoder.layers:
        for norm in (block.self_attn_layer_norm, block.final_layer_norm):
            norm.weight[[3, 4]] = 0
            norm.bias[[3, 4]] = torch.tensor([1.0, 0.0])
            norm.register_forward_hook(
                lambda module, args, y: norm_outputs.append(y[..., 3:5])
            )
    model(torch.arange(20).view(1, -1))
    assert norm_outputs
    for inputs in norm_outputs:
        assert torch.equal(inputs, torch.tensor([1.0, 0.0]).expand_as(inputs))
    settings = {"structure": structure, "damping": damping, "windows": 8}
    found = outcome(job_on(model, tmp_path, **settings), tmp_path / "run")
    assert finite(found)
    assert found.zeros == found.reported
    assert sum(found.zeros.values()) > 0.2 * found.started.model.prunable


def test_hint_of_non_finite_numbers_depends_on_the_dtype():
    model = tiny_model("llama")
    assert "files of the model may be damaged" in hint_for(model)
    assert "compute in float32" in hint_for(model.to(torch.bfloat16))


def test_too_few_windows_for_a_search_warn_and_use_the_default_damping(tmp_path):
    config = job(tmp_path, windows=3, damping=Damping.AUTOMATIC, shots=2)
    found = outcome(config, tmp_path / "run")
    (warning,) = [x for x in found.recorder.of(Logged) if "too few" in x.message]
    assert "3 windows are too few to hold any out" in warning.message
    assert "0.01 and 0.1" in warning.message
    for shot in found.shots:
        assert (shot.damping.cost, shot.damping.update) == (0.01, 0.1)
        assert (shot.damping.tried, shot.damping.held_out_nats) == (0, None)
    assert StageStarted(Stage.DAMPING, 1) not in found.recorder.events


@pytest.mark.parametrize("method", [Method.K_OBD, Method.FIRST_ORDER])
def test_settings_that_a_method_does_not_use_change_nothing(tmp_path, method):
    exports = []
    for name, settings in (
        ("plain", {}),
        (
            "more",
            {
                "damping": Damping.AUTOMATIC,
                "update_damping": 7.0,
                "max_correlated": 3,
            },
        ),
    ):
        found = run(
            tmp_path,
            name=name,
            windows=3,
            structure=Structure.ELEMENTS,
            method=method,
            **settings,
        )
        assert not found.recorder.warnings()
        assert found.shots[-1].damping is None
        exports.append(found.after)
    for name, W in exports[0].items():
        assert torch.equal(W, exports[1][name])


@pytest.mark.parametrize(
    ("structure", "method"),
    [
        (Structure.HEADS, Method.K_OBD),
        (Structure.ROWS_AND_COLUMNS, Method.L_OBD),
        (Structure.N_M, Method.MAGNITUDE),
    ],
)
def test_methods_without_an_update_keep_weights_bit_for_bit(
    tmp_path, structure, method
):
    sparsity = 0.1 if structure is Structure.HEADS else 0.3
    found = run(
        tmp_path, "opt", structure=structure, method=method, sparsity=sparsity, shots=2
    )
    assert found.zeros == found.reported
    for name, W in found.after.items():
        assert torch.equal(W, torch.where(W == 0, 0, found.before[name]))


def test_bfloat16_model_keeps_the_pattern(tmp_path):
    config = job(tmp_path, structure=Structure.N_M, sparsity=0.5)
    model = ModelConfig(config.model.source, dtype=Dtype.BFLOAT16)
    prune(dataclasses.replace(config, model=model), tmp_path / "run", silent_context())
    pruned = LlamaForCausalLM.from_pretrained(tmp_path / "run" / "export")
    for block in pruned.model.layers:
        W = block.mlp.up_proj.weight
        assert W.dtype is torch.bfloat16
        assert ((W.unflatten(1, (-1, 4)) != 0).sum(dim=2) == 2).all()
