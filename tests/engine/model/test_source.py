"""Models that cannot be pruned raise before any weight is read."""

import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.model_info.header import check_model_kind, model_facts
from surgeon_engine.base.errors import ModelError
from surgeon_engine.model import load
from surgeon_engine.model.inspect import describe, inspect_model
from surgeon_engine.model.load import load_model
from tests.helpers.gguf_headers import gguf_header, packed
from tests.helpers.pairs import others_later
from tests.helpers.quantized import change_config
from tests.helpers.tiny_models import (
    EVERY_FAMILY,
    REPRESENTATIVES,
    save_tiny_model,
    tiny_model,
)


def error_of(source) -> str:
    """Return the message for `source`, and check that loading gives the same."""
    config = ModelConfig(source=str(source))
    with pytest.raises(ModelError) as first:
        inspect_model(config)
    with pytest.raises(ModelError) as second:
        load_model(config)
    assert first.value.message == second.value.message
    assert first.value.hint
    return first.value.message


@pytest.fixture
def folder(tmp_path):
    return save_tiny_model(tmp_path / "tiny")


@pytest.mark.parametrize("source", ["/none", "~nobody-of-that-name/model"])
def test_missing_source_raises(source):
    assert "There is no model at" in error_of(source)


def test_positions_without_a_limit_are_no_error(folder):
    change_config(folder, max_position_embeddings=-1)  # as in XLNet
    assert inspect_model(ModelConfig(str(folder))).model.longest_window == 0
    facts = model_facts(str(folder))
    assert not facts.problem
    assert facts.longest_window == 0


@pytest.mark.parametrize(
    "name", ["IdeficsForVisionText2Text", "NemotronH_Omni_Reasoning_V3"]
)
def test_language_model_among_parts_may_have_an_unusual_name(name):
    check_model_kind("Tiny", [name], {"text_config": {"hidden_size": 8}})


LLAMA = ("general.architecture", 8, packed("llama"))
HUGE = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
# Problems that `model_facts` reports, too.
HEADERS = [
    (b"", "an empty file"),
    (b"\x89PNG\r\n\x1a\n", "model.gguf is not a GGUF file."),  # without its bytes
    *(
        (data, "model.gguf is damaged: its header cannot be read.")
        for data in (
            gguf_header()[:4],
            gguf_header()[:16],
            gguf_header(LLAMA, count=2),
            gguf_header(("a", 8, b"")),
            gguf_header(("a", 99, b"")),
            *(HUGE + struct.pack("<Q", x) + b"a" for x in (2**63, 2**64 - 1, 10**9)),
        )
    ),
]
CONTENTS = [
    (gguf_header(), "cannot be used: its header names no architecture."),
    (
        gguf_header(LLAMA, ("tokenizer.ggml.model", 8, packed("gpt2")))[:-6],
        "model.gguf is damaged: its header cannot be read.",
    ),
    (
        gguf_header(("general.architecture", 8, packed("nonsense"))),
        "architecture nonsense is not supported",
    ),
    (
        gguf_header(("general.architecture", 8, packed("deci"))),
        "model.gguf cannot be used: its header has no deci.block_count.",
    ),
]


@pytest.mark.parametrize(("data", "sentence"), HEADERS + CONTENTS)
def test_unusable_gguf_file_raises(tmp_path, data, sentence):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    assert sentence in error_of(path)
    if (data, sentence) in HEADERS:
        assert sentence in model_facts(str(path)).problem


def test_missing_weights_raise(folder, tmp_path):
    other = save_tiny_model(tmp_path / "other", "opt")
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"21 tensors are missing, such as lm_head"):
        load_model(ModelConfig(source=str(folder)))


@pytest.mark.parametrize("is_short", [False, True])
def test_error_of_the_library_is_a_sentence_unless_memory_is_short(
    folder, monkeypatch, is_short
):
    kind = torch.OutOfMemoryError if is_short else KeyError

    def fail(*_):
        raise kind("rotary")

    monkeypatch.setattr(load, "_read", fail)
    expected = kind if is_short else ModelError
    with pytest.raises(expected, match="rotary"):
        load_model(ModelConfig(source=str(folder)))


def test_weights_of_another_size_raise(folder):
    change_config(folder, intermediate_size=16)
    with pytest.raises(
        ModelError, match=r"6 tensors are of another shape, such as model\.layers\.0"
    ):
        load_model(ModelConfig(source=str(folder)))


def test_folder_without_tokenizer_is_loaded(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert load_model(ModelConfig(source=str(folder))).tokenizer is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    others_later(
        EVERY_FAMILY, ["llama", "opt", "gpt2", "falcon_multi_query", "qwen3_5", "youtu"]
    ),
)
def test_inspect_model_matches_load_model(tmp_path, family):
    folder = save_tiny_model(tmp_path / family, family)
    summary = inspect_model(ModelConfig(source=str(folder))).model
    loaded = load_model(ModelConfig(source=str(folder)))
    assert summary == describe(loaded.model, loaded.source, loaded.stored)
    assert summary.parameters == sum(p.numel() for p in tiny_model(family).parameters())
    assert summary.prunable == sum(layer.weights for layer in summary.layers)
    assert summary.blocks == 2


# transformers repeats Falcon's keys for every head, and pads a tiny StableLM's keys.
OTHER_WIDTHS = {"falcon", "stablelm", "stablelm_head_norms"}
HYBRID = ("nemotron_h", "olmo_hybrid")


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    others_later(
        [x for x in (*EVERY_FAMILY, *HYBRID) if x not in OTHER_WIDTHS],
        (*REPRESENTATIVES, *HYBRID),
    ),
)
def test_cache_width_is_that_of_the_models_cache(tmp_path, family):
    folder = save_tiny_model(tmp_path / family, family)
    loaded = load_model(ModelConfig(source=str(folder)))
    tokens = torch.zeros((1, 3), dtype=torch.long)
    cache = loaded.model(tokens, use_cache=True).past_key_values
    layers = [each for each in cache.layers if getattr(each, "keys", None) is not None]
    numbers = sum(each.keys.numel() + each.values.numel() for each in layers)
    summary = describe(loaded.model, loaded.source, loaded.stored)
    assert summary.cache_width * 3 == numbers


def test_blocks_with_a_sliding_window_are_those_of_the_models_cache(tmp_path):
    folder = save_tiny_model(tmp_path / "gemma3", "gemma3")
    loaded = load_model(ModelConfig(source=str(folder)))
    tokens = torch.zeros((1, 3), dtype=torch.long)
    cache = loaded.model(tokens, use_cache=True).past_key_values
    sliding = tuple(n for n, each in enumerate(cache.layers) if each.is_sliding)
    summary = describe(loaded.model, loaded.source, loaded.stored)
    assert summary.window_blocks == sliding != ()
    assert summary.attention_window == loaded.model.config.sliding_window


@pytest.mark.parametrize(
    ("family", "names", "parts"),
    [
        ("qwen3_5", ("mtp.fc.weight", "mtp.layers.0.mlp.up_proj.weight"), ("mtp",)),
        ("qwen3_5", (), None),
        ("llama", ("model.layers.2.mlp.up_proj.weight",), ("model.layers.2",)),
        ("gpt2", ("h.0.attn.bias",), None),  # a mask
    ],
)
def test_weights_that_transformers_does_not_load_are_named(
    tmp_path, family, names, parts
):
    path = save_tiny_model(tmp_path, family) / "model.safetensors"
    more = {name: torch.zeros(4, 6) for name in names}
    save_file(load_file(path) | more, path, {"format": "pt"})
    found = inspect_model(ModelConfig(str(tmp_path))).model.not_loaded
    if parts is None:
        assert found is None
    else:
        assert (found.parts, found.parameters) == (parts, 24 * len(names))
        assert parts[0] in str(found.sentence)


def test_unsupported_structures_have_a_reason(tmp_path):
    folder = save_tiny_model(tmp_path / "olmo2", "olmo2")
    support = {
        item.structure: item
        for item in inspect_model(ModelConfig(source=str(folder))).model.structures
    }
    assert support[Structure.ROWS_AND_COLUMNS].supported
    assert "self_attn.q_norm" in support[Structure.HEADS].reason
