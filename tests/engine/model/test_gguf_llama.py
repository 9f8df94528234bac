"""Pruned GGUF files that transformers does not read are opened as models again."""

import shutil

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFValueType

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.model_info.header import has_chat_template, model_facts
from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.gguf_llama import llama_file
from surgeon_engine.model.inspect import inspect_source
from surgeon_engine.model.load import load_model
from surgeon_engine.model.source import locate, vocabulary_size
from tests.engine.export.gguf.test_gguf_runtime import (
    qwen2_with_large_weights,
    ragged,
    with_large_weights,
)
from tests.helpers.gguf_files import (
    LLAMA_3_ROPE,
    TEXT,
    byte_pairs,
    pruned,
    tiny_llama,
    uniform,
    value_of,
    written,
)
from tests.helpers.gguf_models import LLAMA_VARIANTS
from tests.helpers.pruned_models import without_depth

IDS = torch.arange(100).view(2, 50)


def config_of(folder):
    return ModelConfig(source=str(folder / "model.gguf"))


def assert_same_logits(example, folder, architecture):
    """Check the file of a model that was pruned in memory."""
    reader = written(example, folder)
    assert value_of(reader, "general.architecture") == architecture
    assert llama_file(folder / "model.gguf") is not None
    found = load_model(config_of(folder)).model(IDS).logits
    expected = example.loaded.model(IDS).logits
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("settings", LLAMA_VARIANTS)
def test_ragged_file_computes_what_its_model_does(settings, tmp_path):
    assert_same_logits(ragged(with_large_weights(**settings)), tmp_path, "deci")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"attention_bias": True}, {"rope_parameters": LLAMA_3_ROPE}]
)
def test_plain_file_keeps_what_transformers_leaves_out(settings, tmp_path):
    assert_same_logits(uniform(with_large_weights(**settings)), tmp_path, "llama")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "architecture"), [(uniform, "llama"), (ragged, "deci")]
)
def test_biases_of_qwen2_are_read(shape, architecture, tmp_path):
    assert_same_logits(shape(qwen2_with_large_weights()), tmp_path, architecture)


@pytest.mark.slow
def test_heads_that_do_not_divide_the_embedding_are_read(tmp_path):
    model = with_large_weights(num_attention_heads=16, num_key_value_heads=16)
    assert_same_logits(uniform(model), tmp_path, "llama")
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    assert value_of(reader, "llama.attention.head_count") == 11
    config = llama_file(tmp_path / "model.gguf").config
    assert config.num_attention_heads == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts", [{0: "heads", 1: "neurons"}, {0: "block", 2: "heads"}]
)
def test_missing_parts_of_blocks_are_zeros(parts, tmp_path):
    model = with_large_weights()
    assert_same_logits(pruned(model, without_depth(model, parts)), tmp_path, "deci")


def test_file_that_transformers_reads_is_left_to_it(tmp_path):
    written(pruned(tiny_llama()), tmp_path)
    assert llama_file(tmp_path / "model.gguf") is None


@pytest.mark.slow
def test_tokenizer_of_a_ragged_file_is_that_of_its_header(tmp_path):
    written(ragged(with_large_weights()), tmp_path)
    tokenizer = load_model(config_of(tmp_path)).tokenizer
    assert tokenizer(TEXT).input_ids == byte_pairs()(TEXT).input_ids


@pytest.mark.slow
def test_rounded_file_has_no_number_format_of_its_own(tmp_path):
    written(ragged(with_large_weights()), tmp_path, FileDtype.Q8_0)
    found = inspect_source(config_of(tmp_path))
    assert found.stored is None
    assert found.summary.parameters == llama_file(tmp_path / "model.gguf").numbers


def test_folder_of_an_export_is_opened_by_its_file(tmp_path):
    folder = tmp_path / "export"
    written(ragged(with_large_weights()), folder)
    shutil.copy(folder / "model.gguf", folder / "imatrix.gguf")
    source = locate(str(folder))
    assert (source.name, source.gguf_file) == ("export", "model.gguf")
    assert vocabulary_size(source) == 300
    facts = model_facts(str(folder))
    assert (facts.name, facts.architecture, facts.blocks) == (
        "export",
        "deci (GGUF)",
        3,
    )
    assert has_chat_template(str(folder)) is False


def changed(folder, change) -> str:
    """Write a GGUF file with other entries and tensors; return the error of it."""
    reader = written(ragged(with_large_weights()), folder)
    entries = {
        name: (field.contents(), field.types)
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.")
    }
    tensors = {each.name: np.array(each.data) for each in reader.tensors}
    change(entries, tensors)
    other = folder / "changed"
    other.mkdir()
    writer = gguf.GGUFWriter(other / "model.gguf", "deci")
    for name, (value, (kind, *inner)) in entries.items():
        if name != "general.architecture":
            writer.add_key_value(name, value, kind, *inner)
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError) as caught:
        load_model(config_of(other))
    return caught.value.message


def drop(kind, name):
    return lambda entries, tensors: (entries, tensors)[kind].pop(name)


def halve_keys(_, tensors):
    name = "blk.0.attn_k.weight"
    tensors[name] = tensors[name][:32]


def scale_otherwise(entries, _):
    entries["deci.rope.scaling.type"] = ("longrope", [GGUFValueType.STRING])
    entries["deci.rope.scaling.factor"] = (2.0, [GGUFValueType.FLOAT32])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (drop(0, "deci.block_count"), "its header has no deci.block_count"),
        (drop(1, "blk.0.ffn_up.weight"), "1 tensors are missing, such as model.layers"),
        (
            lambda _, tensors: tensors.update({"blk.0.odd.weight": np.ones(4, "f")}),
            "it has the tensor blk.0.odd.weight",
        ),
        (halve_keys, "the heads of its attentions share their keys in several ways"),
        (scale_otherwise, "it scales positions by longrope"),
        (
            lambda _, tensors: tensors.update(
                {"rope_freqs.weight": np.linspace(1, 9, 16, dtype="f")}
            ),
            "it scales positions otherwise than Llama 3",
        ),
        (
            lambda entries, _: entries.update(
                {"deci.rope.dimension_count": (8, [GGUFValueType.UINT32])}
            ),
            "its heads have 32 features, but rope.dimension_count is 8",
        ),
    ],
)
def test_other_models_are_refused(change, sentence, tmp_path):
    assert sentence in changed(tmp_path, change)
