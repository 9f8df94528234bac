"""Compact checkpoints are loaded, saved and trained by their own code."""

import json
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    FalconH1Config,
    FalconH1ForCausalLM,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.export.transformers.files import CompactWriter
from surgeon_engine.model.layers import prunable_layers
from tests.engine.export.transformers.test_files import without_neurons
from tests.helpers.configs import DENSE_COUPLED
from tests.helpers.pairs import others_later, pairs
from tests.helpers.pruned_models import (
    assert_close,
    loaded,
    logits,
    masked,
    save_checkpoint,
    tokens,
)
from tests.helpers.tiny_models import EVERY_FAMILY, REPRESENTATIVES


def compact_checkpoint(parent: Path, family: str, structure: Structure, name: str = ""):
    """Write a compact checkpoint, by whose name its code is cached."""
    model, plan = masked(family, structure)
    folder = parent / (name or f"{family}_{structure}")
    return model, save_checkpoint(loaded(model), folder, plan, CompactWriter())


@pytest.mark.parametrize(
    ("family", "structure"),
    others_later(
        pairs(EVERY_FAMILY, [*DENSE_COUPLED, Structure.ROWS_AND_COLUMNS]),
        REPRESENTATIVES,
    ),
)
def test_checkpoint_is_loaded_by_its_own_code(tmp_path, family, structure):
    model, folder = compact_checkpoint(tmp_path, family, structure)
    read, found = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True
    )
    assert type(read).__module__.startswith("transformers_modules.")
    assert not any(found.values())
    ids = tokens(2)
    assert_close(logits(read, ids), logits(model, ids))


def test_buffers_that_no_file_holds_are_those_of_the_stock_class(tmp_path):
    """The body sets its mixers' buffers; transformers does not in other code."""
    config = FalconH1Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        mamba_d_ssm=32,
        mamba_n_heads=4,
        mamba_d_state=4,
        ssm_multipliers=[1.0, 2.0, 3.0, 4.0, 5.0],
        architectures=["FalconH1ForCausalLM"],
    )
    model = FalconH1ForCausalLM(config)
    folder, plan = tmp_path / "falcon_h1", without_neurons(model)
    save_checkpoint(loaded(model), folder, plan, CompactWriter())
    read = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    for name, buffer in model.named_buffers():
        assert torch.equal(read.get_buffer(name), buffer)


@pytest.fixture(params=[Structure.HEADS_AND_NEURONS, Structure.ROWS_AND_COLUMNS])
def compact_opt(request, tmp_path) -> Path:
    return compact_checkpoint(tmp_path, "opt", request.param)[1]


def built(folder: Path):
    """Return the model of a checkpoint as its code builds it, without its weights."""
    config = AutoConfig.from_pretrained(folder)
    return AutoModelForCausalLM.from_config(config, trust_remote_code=True)


def test_all_weights_of_a_compact_model_are_trained(compact_opt):
    parameters = dict(built(compact_opt).named_parameters())
    assert [name for name, x in parameters.items() if not x.requires_grad] == []


def test_saved_compact_model_has_its_code(compact_opt, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(compact_opt, trust_remote_code=True)
    copy = tmp_path / f"copy_of_{compact_opt.name}"
    model.save_pretrained(copy)
    again = AutoModelForCausalLM.from_pretrained(copy, trust_remote_code=True)
    ids = tokens(2)
    assert torch.equal(logits(again, ids), logits(model, ids))


def test_classes_of_a_compact_model_are_registered(compact_opt):
    """Some versions of transformers save the code of registered classes alone."""
    for name, auto_class in (
        ("PrunedOPTForCausalLM", "AutoModelForCausalLM"),
        ("PrunedOPTModel", "AutoModel"),
    ):
        found = get_class_from_dynamic_module(f"modeling_pruned.{name}", compact_opt)
        assert found._auto_class == auto_class


def test_index_lists_exist_where_parameters_alone_are_on_the_meta_device(tmp_path):
    """So does vLLM build a model."""
    structure = Structure.ROWS_AND_COLUMNS
    _, folder = compact_checkpoint(tmp_path, "llama", structure, "llama_indices")
    with init_empty_weights(include_buffers=False):
        small = built(folder)
    kept = {n: x for n, x in small.named_buffers() if "kept_" in n}
    assert kept
    assert all(x.device.type == "cpu" for x in kept.values())
    assert all(x.device.type == "meta" for x in small.parameters())


@pytest.mark.parametrize(("family", "size"), [("opt", 4), ("llama", 4), ("qwen3", 6)])
def test_config_states_the_size_of_a_head(family, size, tmp_path):
    """Programs would divide the hidden size by the remaining number of heads."""
    _, folder = compact_checkpoint(tmp_path, family, Structure.HEADS)
    assert json.loads((folder / "config.json").read_text())["head_dim"] == size


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*layers_to_transform:UserWarning")
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft
def test_adapters_train_all_layers_of_rows_and_columns(tmp_path):
    structure = Structure.ROWS_AND_COLUMNS
    model, folder = compact_checkpoint(tmp_path, "llama", structure, "llama_adapters")
    small = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    linears = [x for x in small.model.modules() if isinstance(x, torch.nn.Linear)]
    assert len(linears) == len(prunable_layers(model))
    adapted = get_peft_model(small, LoraConfig(r=2, target_modules="all-linear"))
    layers = [x for x in adapted.modules() if isinstance(x, LoraLayer)]
    assert len(layers) == len(linears)
    ids = tokens(2)
    before = adapted(ids).logits
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    trained = adapted(ids).logits.detach()
    assert not torch.allclose(trained, before)
    assert_close(adapted.merge_and_unload()(ids).logits, trained)
