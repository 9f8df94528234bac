"""Files for transformers: writing them and restoring models from them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from surgeon_engine.api.config.export import ExportConfig, FileDtype
from surgeon_engine.api.config.pruning import Coupling, Structure
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig
from surgeon_engine.base.errors import ModelError
from surgeon_engine.compaction.plan import CompactionPlan, KeptPart, PrunedModel
from surgeon_engine.compaction.restore import restore
from surgeon_engine.compaction.slices import whole_slices
from surgeon_engine.export.transformers import files as transformers_files
from surgeon_engine.export.transformers.files import (
    CompactWriter,
    MaskedWriter,
    PlainWriter,
)
from surgeon_engine.export.transformers.weight_files import (
    file_parts,
    named_dtype,
    write_weights,
)
from surgeon_engine.model.layers import prunable_layers
from surgeon_engine.model.load import LoadedModel, load_model
from surgeon_engine.model.source import ModelSource, locate
from tests.helpers.pruned_models import (
    assert_close,
    loaded,
    logits,
    masked,
    save_checkpoint,
    tokens,
    without,
)
from tests.helpers.tiny_models import byte_tokenizer, model_with, save_tiny_model

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
    parts = file_parts(whole_slices(model), FileDtype.SAME, loaded(model))
    write_weights(parts, 0.002, tmp_path)
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


@pytest.mark.slow
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
    again = restore(tmp_path, "Tiny").loaded  # to export it in another format
    assert named_dtype(FileDtype.SAME, again) is FileDtype.BFLOAT16
    writer.write(pruned, ExportConfig(dtype=FileDtype.FLOAT16), tmp_path)
    assert {x.dtype for x in load_file(tmp_path / WEIGHTS).values()} == {torch.float16}


def test_rounded_tensors_do_not_become_longer(tmp_path):
    """Tensors that were rounded at loading keep the shorter dtype."""
    llama(initializer_range=0.2).save_pretrained(tmp_path)
    config = ModelConfig(str(tmp_path), dtype=Dtype.BFLOAT16)
    source = load_model(config)
    save_checkpoint(source, tmp_path)
    assert {x.dtype for x in load_file(tmp_path / WEIGHTS).values()} == {torch.bfloat16}


def test_plain_files_state_the_width_of_shared_experts(tmp_path):
    """The MLP without experts is as wide, and stays so."""
    shared = "shared_expert_intermediate_size"
    sizes = dict.fromkeys(("moe_intermediate_size", "intermediate_size", shared), 24)
    model = model_with("Qwen2Moe", num_experts=8, mlp_only_layers=[0], **sizes)

    def choose(unit) -> torch.Tensor:
        return torch.arange(unit.candidates) >= (12 if unit.measured.block else 24)

    plan = without(model, choose, Structure.NEURONS)
    pruned = PrunedModel(loaded(model), plan)
    assert PlainWriter().unsupported_reason(pruned) == ""
    PlainWriter().write(pruned, ExportConfig(), tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (again.config.intermediate_size, getattr(again.config, shared)) == (24, 12)
    assert_close(logits(again, tokens(2)), logits(model, tokens(2)))


def test_unsupported_widths_have_a_reason():
    model = llama()
    plan = without(model, lambda x: torch.arange(x.candidates) > 2, Structure.HEADS)
    unsupported_reason = PlainWriter().unsupported_reason(
        PrunedModel(loaded(model), plan)
    )
    assert unsupported_reason.startswith("No plain model has these widths: ")
    assert "hidden size (256) is not a multiple" in unsupported_reason
    assert "validator" not in unsupported_reason


def test_one_width_of_experts_and_of_a_shared_one_is_the_reason():
    """In every block they lose as many as in the others."""
    model = model_with("HunYuanMoEV1", num_experts=4, moe_topk=2, head_dim=4)

    def choose(unit) -> torch.Tensor:
        of_experts = unit.coupled.kind is Coupling.EXPERTS
        return torch.arange(unit.candidates) >= (20 if of_experts else 8)

    plan = without(model, choose, Structure.EXPERTS_AND_NEURONS)
    reason = PlainWriter().unsupported_reason(PrunedModel(loaded(model), plan))
    assert reason.endswith(
        "intermediate_size must be one number for neurons of experts and neurons, but "
        "different numbers of them are left."
    )


def test_blocks_that_differ_in_the_original_are_supported_masked_only(monkeypatch):
    model = llama()

    def differ(*_) -> None:
        raise ModelError("The blocks differ.", "Choose another form.")

    monkeypatch.setattr(transformers_files, "compact", differ)
    pruned = PrunedModel(loaded(model), without_neurons(model))
    assert CompactWriter().unsupported_reason(pruned) == "The blocks differ."
    assert PlainWriter().unsupported_reason(pruned).endswith(": The blocks differ.")
    assert MaskedWriter().unsupported_reason(pruned) == ""


TOKENIZER_FILES = {
    "special_tokens_map.json": '{"eos_token": "</s>"}',
    "tokenizer.model": "pieces",
    "tekken.json": "{}",
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


def test_tokenizer_files_are_copied_unchanged(model_with_tokenizer, tmp_path):
    original = model_with_tokenizer.source.folder
    folder = save_checkpoint(model_with_tokenizer, tmp_path / "copy")
    for name in (*TOKENIZER_FILES, "tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (original / name).read_bytes()
    assert not (folder / "notes.txt").exists()


def test_links_among_templates_are_not_followed(model_with_tokenizer, tmp_path):
    original = model_with_tokenizer.source.folder
    templates = original / "additional_chat_templates"
    for name in ("a", "b"):
        (templates / name).symlink_to(".")  # each folder has both again
    (templates / "c.jinja").symlink_to("nowhere")
    copy = save_checkpoint(model_with_tokenizer, tmp_path / "copy")
    copies = (copy / "additional_chat_templates").iterdir()
    assert [path.name for path in copies] == ["tools.jinja"]


def test_tokenizer_of_gguf_file_is_saved_without_loading_keys(tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer.init_kwargs |= {"is_local": True, "local_files_only": True}
    source = ModelSource("Tiny", tmp_path, "tiny.gguf")
    model = loaded(llama(), tokenizer, source)
    folder = save_checkpoint(model, tmp_path / "copy")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"]
    assert not config.keys() & {"is_local", "local_files_only"}
    assert (folder / "tokenizer.json").is_file()


@pytest.fixture(params=[MaskedWriter(), CompactWriter()], ids=["masked", "compact"])
def checkpoint(request, tmp_path) -> Path:
    model = llama(intermediate_size=64, hidden_size=64)
    plan = without_neurons(model)
    return save_checkpoint(loaded(model), tmp_path, plan, request.param)


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
    save_checkpoint(loaded(model), tmp_path, plan, writer)
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
