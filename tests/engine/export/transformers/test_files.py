"""Files for transformers: writing them and restoring models from them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    FalconH1Config,
    FalconH1ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from surgeon_engine.api.config.export import ExportConfig, FileDtype
from surgeon_engine.api.config.pruning import COUPLED, Structure
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig
from surgeon_engine.base.errors import ModelError
from surgeon_engine.compaction.plan import CompactionPlan, KeptPart, PrunedModel
from surgeon_engine.compaction.restore import restore
from surgeon_engine.compaction.slices import whole_slices
from surgeon_engine.export.transformers import files as transformers_files
from surgeon_engine.export.transformers.files import (
    CompactWriter,
    MaskedWriter,
    StockWriter,
)
from surgeon_engine.export.transformers.weight_files import named_dtype, write_weights
from surgeon_engine.model.layers import prunable_layers
from surgeon_engine.model.load import LoadedModel, load_model
from surgeon_engine.model.source import ModelSource, locate
from tests.helpers.pairs import pairs
from tests.helpers.pruned_models import (
    assert_close,
    loaded,
    logits,
    masked,
    tokens,
    without,
)
from tests.helpers.tiny_models import (
    FAMILIES,
    MORE_FAMILIES,
    byte_tokenizer,
    save_tiny_model,
)

WEIGHTS = "model.safetensors"
PLAN = "kept.indices"


def llama(**settings) -> LlamaForCausalLM:
    """Return a Llama with about two million weights."""
    torch.manual_seed(0)
    common = {
        "vocab_size": 512,
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "architectures": ["LlamaForCausalLM"],
    }
    model = LlamaForCausalLM(LlamaConfig(**common | settings))
    return model.eval().requires_grad_(False)


def without_neurons(model) -> CompactionPlan:
    """Remove half of the neurons of the first block, and two thirds of the second."""

    def choose(unit) -> torch.Tensor:
        count = unit.candidates
        return torch.arange(count) >= count // (2 + unit.measured.block)

    return without(model, choose, Structure.NEURONS)


def without_rows_and_columns(model) -> CompactionPlan:
    layers = prunable_layers(model)
    return CompactionPlan(
        layers=tuple(
            KeptPart(
                each, torch.arange(0, each.rows, 2), torch.arange(0, each.columns, 3)
            )
            for each in layers[:4]
        )
    )


@pytest.mark.parametrize("dtype", [FileDtype.FLOAT32, FileDtype.FLOAT16])
@pytest.mark.parametrize("writer", [MaskedWriter(), CompactWriter()])
@pytest.mark.parametrize("plan", [without_neurons, without_rows_and_columns])
def test_forecast_matches_file_size(plan, writer, dtype, tmp_path):
    model = llama()
    pruned = PrunedModel(loaded(model), plan(model))
    forecast = writer.forecast(pruned, dtype)
    writer.write(pruned, ExportConfig(dtype=dtype), tmp_path)
    taken = (tmp_path / WEIGHTS).stat().st_size
    assert taken > 2e6
    assert taken == pytest.approx(forecast, rel=0.01)


def test_shards_are_loaded_as_one_model(tmp_path):
    model = llama()
    model.save_pretrained(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    slices = whole_slices(model)
    write_weights(slices, dict.fromkeys(slices, torch.float32), 0.002, tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) >= 4
    assert shards[0].name == f"model-00001-of-{len(shards):05}.safetensors"
    assert all(path.stat().st_size <= 2.01e6 for path in shards)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    torch.testing.assert_close(
        restore(tmp_path, "Tiny").loaded.model.lm_head.weight, model.lm_head.weight
    )


def test_dtype_of_file_depends_on_format():
    model = loaded(llama().bfloat16())
    same = FileDtype.SAME
    assert named_dtype(same, model) is FileDtype.BFLOAT16
    assert named_dtype(FileDtype.Q8_0, model) is FileDtype.Q8_0
    wide = replace(loaded(llama()), stored=torch.float16)
    assert named_dtype(same, wide) is FileDtype.FLOAT16


@pytest.mark.parametrize("writer", [MaskedWriter(), CompactWriter()])
def test_tensors_outside_the_blocks_keep_their_own_dtype(writer, tmp_path):
    """In the files, the head is longer and the last norm shorter than the blocks."""
    torch.manual_seed(0)
    before = {name: torch.rand_like(x) for name, x in llama().state_dict().items()}
    own = {"lm_head.weight": torch.float32, "model.norm.weight": torch.float16}
    # Norms in blocks follow their block.
    stored = own | {"model.layers.0.input_layernorm.weight": torch.float32}
    before = {x: y.to(stored.get(x, torch.bfloat16)) for x, y in before.items()}
    original = tmp_path / "original"
    llama().save_pretrained(original)
    save_file(before, original / WEIGHTS)
    source = load_model(ModelConfig(str(original)))
    pruned = PrunedModel(source, without_neurons(source.model))
    forecast = writer.forecast(pruned, FileDtype.SAME)
    writer.write(pruned, ExportConfig(), tmp_path)
    after = load_file(tmp_path / WEIGHTS)
    found = {name: x.dtype for name, x in after.items()}
    assert found == dict.fromkeys(before, torch.bfloat16) | own
    assert all(torch.equal(after[name], before[name]) for name in own)
    assert (tmp_path / WEIGHTS).stat().st_size == pytest.approx(forecast, rel=0.01)
    writer.write(pruned, ExportConfig(dtype=FileDtype.FLOAT16), tmp_path)
    assert {x.dtype for x in load_file(tmp_path / WEIGHTS).values()} == {torch.float16}


def test_rounded_tensors_do_not_become_longer(tmp_path):
    """What was rounded when it was loaded is not in its own dtype anymore."""
    llama(initializer_range=0.2).save_pretrained(tmp_path)
    config = ModelConfig(str(tmp_path), dtype=Dtype.BFLOAT16)
    source = load_model(config)
    MaskedWriter().write(
        PrunedModel(source, CompactionPlan()), ExportConfig(), tmp_path
    )
    assert {x.dtype for x in load_file(tmp_path / WEIGHTS).values()} == {torch.bfloat16}


def test_unsupported_widths_have_a_reason():
    model = llama()
    plan = without(model, lambda x: torch.arange(x.candidates) > 2, Structure.HEADS)
    unsupported_reason = StockWriter().unsupported_reason(
        PrunedModel(loaded(model), plan)
    )
    assert unsupported_reason.startswith("No plain model has these widths: ")
    assert "hidden size (256) is not a multiple" in unsupported_reason
    assert "validator" not in unsupported_reason


def test_blocks_that_differ_in_the_original_are_supported_masked_only(monkeypatch):
    model = llama()

    def differ(*_) -> None:
        raise ModelError("The blocks differ.", "Choose another form.")

    monkeypatch.setattr(transformers_files, "compact", differ)
    pruned = PrunedModel(loaded(model), without_neurons(model))
    assert CompactWriter().unsupported_reason(pruned) == "The blocks differ."
    assert StockWriter().unsupported_reason(pruned).endswith(": The blocks differ.")
    assert MaskedWriter().unsupported_reason(pruned) == ""


TOKENIZER_FILES = {
    "special_tokens_map.json": '{"eos_token": "</s>"}',
    "tokenizer.model": "pieces",
    "chat_template.jinja": "{{ messages }}",
    "additional_chat_templates/tools.jinja": "{{ tools }}",
}


@pytest.fixture
def model_with_tokenizer(tmp_path) -> LoadedModel:
    folder = save_tiny_model(tmp_path / "original", "llama")
    for name, text in TOKENIZER_FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "notes.txt").write_text("no part of it")
    return load_model(ModelConfig(str(folder), device=Device.CPU))


def copied(model: LoadedModel, parent: Path) -> Path:
    """Export a model from which nothing is removed."""
    (parent / "copy").mkdir()
    whole = PrunedModel(model, CompactionPlan())
    MaskedWriter().write(whole, ExportConfig(), parent / "copy")
    return parent / "copy"


def test_tokenizer_files_are_copied_unchanged(model_with_tokenizer, tmp_path):
    original = model_with_tokenizer.source.folder
    folder = copied(model_with_tokenizer, tmp_path)
    for name in (*TOKENIZER_FILES, "tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (original / name).read_bytes()
    assert not (folder / "notes.txt").exists()


def test_links_among_templates_are_not_followed(model_with_tokenizer, tmp_path):
    original = model_with_tokenizer.source.folder
    templates = original / "additional_chat_templates"
    for name in ("a", "b"):
        (templates / name).symlink_to(".")  # each folder has both again
    (templates / "c.jinja").symlink_to("nowhere")
    copies = copied(model_with_tokenizer, tmp_path) / "additional_chat_templates"
    assert [path.name for path in copies.iterdir()] == ["tools.jinja"]


def test_tokenizer_of_gguf_file_is_saved_without_loading_keys(tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer.init_kwargs |= {"is_local": True, "local_files_only": True}
    source = ModelSource("Tiny", tmp_path, "tiny.gguf")
    model = loaded(llama(), tokenizer, source)
    folder = copied(model, tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"]
    assert not config.keys() & {"is_local", "local_files_only"}
    assert (folder / "tokenizer.json").is_file()


@pytest.fixture(params=[MaskedWriter(), CompactWriter()], ids=["masked", "compact"])
def checkpoint(request, tmp_path) -> Path:
    model = llama(intermediate_size=64, hidden_size=64)
    pruned = PrunedModel(loaded(model), without_neurons(model))
    request.param.write(pruned, ExportConfig(), tmp_path)
    return tmp_path


def cut(name: str):
    return lambda x: (x / name).write_bytes((x / name).read_bytes()[:-10])


def with_tensors(change):
    def write(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})

    return write


def plain_without_norm(folder: Path) -> None:
    shutil.rmtree(folder)
    llama().save_pretrained(folder)
    with_tensors(lambda x: x.pop("model.norm.weight"))(folder)


LAYER = "model.layers.{}.mlp.{}.weight".format
DAMAGES = [
    *((cut(name), f"FOLDER/{name} is damaged (") for name in (WEIGHTS, PLAN)),
    (
        with_tensors(lambda x: x.pop(LAYER(1, "up_proj"))),
        f"The weights in FOLDER lack {LAYER(1, 'up_proj')}.",
    ),
    (
        with_tensors(lambda x: x.update({LAYER(0, "down_proj"): torch.zeros(64, 5)})),
        "but the plan requires",
    ),
    (
        lambda x: save_file({"h.0.weight": torch.zeros(3)}, x / WEIGHTS),
        "lack model.embed_tokens.weight",
    ),
    (lambda x: (x / WEIGHTS).unlink(), "FOLDER holds no weights."),
    (plain_without_norm, "lack model.norm.weight"),
]


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES)
def test_restore_of_damaged_files_raises(checkpoint, damage, sentence):
    damage(checkpoint)
    with pytest.raises(ModelError) as error:
        restore(checkpoint, "Tiny")
    assert sentence.replace("FOLDER", str(checkpoint)) in error.value.message
    assert "xport the run again" in error.value.hint


def test_restored_model_has_given_name(checkpoint):
    pruned = restore(checkpoint, "Llama 3.2 1B")
    assert pruned.loaded.source == ModelSource("Llama 3.2 1B", checkpoint)
    assert not pruned.plan.is_empty


@pytest.mark.parametrize("writer", [CompactWriter(), MaskedWriter()])
def test_model_without_class_in_config_is_restored(tmp_path, writer):
    """Models that were loaded from GGUF files have no class in their config."""
    model, plan = masked("llama", Structure.NEURONS)
    model.config.architectures = None
    writer.write(PrunedModel(loaded(model), plan), ExportConfig(), tmp_path)
    again = restore(tmp_path, "Tiny")
    assert type(again.loaded.model) is LlamaForCausalLM
    ids = tokens(2)
    assert_close(logits(again.loaded.model, ids), logits(model, ids))


def test_only_weights_look_like_weights(checkpoint):
    """Programs such as vLLM load every file with the suffix of the weights."""
    assert [path.name for path in checkpoint.glob("*.safetensors")] == [WEIGHTS]
    assert (checkpoint / PLAN).is_file()
    assert ModelSource("Tiny", checkpoint).weight_files == (checkpoint / WEIGHTS,)
    (checkpoint / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"no \.safetensors file"):
        locate(str(checkpoint))


def compact_checkpoint(parent: Path, family: str, structure: Structure, name: str = ""):
    """Write a compact checkpoint, by whose name its code is cached."""
    model, plan = masked(family, structure)
    folder = parent / (name or f"{family}_{structure}")
    folder.mkdir()
    pruned = PrunedModel(loaded(model), plan)
    CompactWriter().write(pruned, ExportConfig(), folder)
    return model, folder


@pytest.mark.parametrize(
    ("family", "structure"),
    pairs([*FAMILIES, *MORE_FAMILIES], [*COUPLED, Structure.ROWS_AND_COLUMNS]),
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
    """A body sets those of its mixers, which transformers leaves out in other code."""
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
    folder = tmp_path / "falcon_h1"
    folder.mkdir()
    plan = without_neurons(model)
    CompactWriter().write(PrunedModel(loaded(model), plan), ExportConfig(), folder)
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
