"""Facts are read from headers by the standard library alone."""

import json
import struct
from shutil import copyfile

import pytest
from gguf import LlamaFileType

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.model_info.header import (
    FILE_TYPES,
    DecoderSizes,
    MixtureSizes,
    ModelFacts,
    decoder_sizes,
    has_chat_template,
    model_facts,
)
from surgeon_engine.api.model_info.source_names import (
    DEMO,
    HubName,
    cached_models,
    hub_name,
    parse_hub_source,
    without_number_format,
)
from surgeon_engine.model.fenced import inspect_model
from tests.helpers.gguf_headers import gguf_header, packed
from tests.helpers.quantized import change_config
from tests.helpers.tiny_models import save_tiny_model

COMMIT = "c0ffee" * 6
DECODER = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
}


@pytest.fixture
def tiny(tmp_path):
    return save_tiny_model(tmp_path / "tiny")


def test_facts_match_those_of_the_engine():
    facts, model = model_facts(DEMO), inspect_model(ModelConfig(DEMO)).model
    assert facts == ModelFacts(
        name=model.name,
        architecture=model.architecture,
        parameters=model.parameters,
        blocks=model.blocks,
        hidden_size=model.hidden_size,
        vocabulary=model.vocabulary,
        longest_window=model.longest_window,
        dtype=model.dtype,
        file_bytes=model.file_bytes,
    )


def test_pruned_model_has_a_problem(tiny):
    change_config(tiny, pruned={"layers": 3})
    facts = model_facts(str(tiny))
    assert "has been pruned already" in facts.problem
    assert facts.hint
    assert facts.hidden_size  # known facts are still returned


def test_same_weights_under_another_name_are_counted_once(tiny):
    before = model_facts(str(tiny))
    copyfile(tiny / "model.safetensors", tiny / "consolidated.safetensors")
    assert model_facts(str(tiny)) == before


def test_missing_source_has_no_facts(tmp_path):
    assert model_facts(str(tmp_path / "none")) is None
    assert model_facts("hf://someone/never-downloaded") is None
    assert model_facts("hf://no name at all") is None


def test_gguf_facts_are_read(tmp_path):
    path = tmp_path / "some.gguf"
    path.write_bytes(
        gguf_header(
            ("general.architecture", 8, packed("llama")),
            ("general.tags", 9, struct.pack("<IQ", 8, 1) + packed("chat")),
            ("llama.block_count", 4, struct.pack("<I", 30)),
            ("general.file_type", 4, struct.pack("<I", 3)),
            ("llama.embedding_length", 4, struct.pack("<I", 576)),
            ("tokenizer.ggml.tokens", 9, b"nobody reads on"),
        )
    )
    facts = model_facts(str(path))
    assert (facts.architecture, facts.blocks) == ("llama (GGUF)", 30)
    assert (facts.hidden_size, facts.dtype) == (576, "Q4_1")
    assert not facts.problem


@pytest.mark.parametrize(
    ("number", "dtype"), [(1, "float16"), (4, ""), (15, "Q4_K_M"), (99, ""), (None, "")]
)
def test_gguf_file_states_its_number_format(tmp_path, number, dtype):
    path = tmp_path / "some.gguf"
    entry = ("general.file_type", 4, struct.pack("<I", number or 0))
    path.write_bytes(gguf_header(*(() if number is None else (entry,))))
    assert model_facts(str(path)).dtype == dtype


def test_number_formats_of_gguf_files_are_those_of_llama_cpp():
    for each in LlamaFileType:
        if 0 < each.value < len(FILE_TYPES):
            assert FILE_TYPES[each.value] == each.name.partition("_")[2], each


def test_model_in_hub_cache_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--someone--tiny"
    snapshot = save_tiny_model(folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    assert model_facts("hf://someone/tiny").name == "tiny"
    assert hub_name(f"hf://someone/tiny@{COMMIT}").snapshot == snapshot
    assert hub_name("hf://someone/tiny@v2").snapshot is None
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    assert hub_name("hf://someone/tiny").snapshot is None  # a part is missing


def test_complete_models_of_the_cache_are_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    assert cached_models() == ()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("models--b--x", "models--a--y", "models--old", "datasets--a--z"):
        (tmp_path / name / "snapshots" / "main").mkdir(parents=True)
        (tmp_path / name / "snapshots" / "main" / "config.json").touch()
    for name in ("models--b--x", "models--old", "datasets--a--z"):
        (tmp_path / name / "snapshots" / "main" / "model.safetensors").touch()
    for name in ("models--", "models--a--b--c", "models--..--..", "models--<b>--x"):
        (tmp_path / name).mkdir()
    assert cached_models() == ("hf://b/x", "hf://old")


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_size": 0},
        {"hidden_size": "64"},
        {"num_hidden_layers": 10**6},
        {"vocab_size": -1},
        {"num_attention_heads": None},
        {"head_dim": 10**9},
    ],
)
def test_decoder_sizes_that_are_missing_or_absurd_are_none(changed):
    assert decoder_sizes(DECODER) == DecoderSizes(2, 64, 256, 4, 4, 16, 100)
    assert decoder_sizes({"text_config": DECODER}) == decoder_sizes(DECODER)
    assert decoder_sizes(DECODER | changed) is None


@pytest.mark.parametrize("architectures", [7, "LlamaForCausalLM", {"a": 1}, [[]], []])
def test_odd_architectures_of_a_config_are_no_error(tmp_path, architectures):
    options = {"architectures": architectures}
    (tmp_path / "config.json").write_text(json.dumps(options))
    assert model_facts(str(tmp_path)).problem


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("someone/tiny", "hf://someone/tiny"),
        (" someone/tiny@v1.0 ", "hf://someone/tiny@v1.0"),
        ("https://huggingface.co/someone/tiny", "hf://someone/tiny"),
        ("https://huggingface.co/someone/tiny/tree/v2", "hf://someone/tiny@v2"),
        ("hf://gpt2", "hf://gpt2"),
        ("https://huggingface.co/datasets/a/b", "hf://datasets/a/b"),
        ("/models/tiny", ""),
        ("tiny", ""),
        ("some one/tiny", ""),
        ("a/b/c", ""),
    ],
)
def test_typed_names_are_parsed(typed, expected):
    assert parse_hub_source(typed) == expected


@pytest.mark.parametrize(
    "name",
    ["hf://", "hf://a/b/c", "hf://a b/c", "hf://../c"]
    + [f"hf://a/b@{revision}" for revision in ("..", "../x", "x/../y", "/x", "x/")],
)
def test_invalid_names_are_rejected(name):
    assert hub_name(name) is None


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Some-Model.Q4_1", "Some-Model"),
        ("Some-Model-Q4_K_M", "Some-Model"),
        ("Some-Model-UD-q3_k_xl", "Some-Model"),
        ("Some-Model.IQ4_NL", "Some-Model"),
        ("some-model-fp16", "some-model"),
        ("gpt-oss-20b-MXFP4", "gpt-oss-20b"),
        ("Q4_0", "Q4_0"),
        ("Some-Model-Q4", "Some-Model-Q4"),
        ("Qwen2.5-1.5B-F1", "Qwen2.5-1.5B-F1"),
    ],
)
def test_name_of_a_model_has_no_number_format(name, model):
    assert without_number_format(name) == model


def test_names_round_trip():
    for name in (HubName("a/b"), HubName("a/b", "v1"), HubName("a/b", "", True)):
        assert hub_name(str(name)) == name


def test_chat_template_is_found_in_the_files_of_a_model(tmp_path):
    folder, gguf = tmp_path / "model", tmp_path / "model.gguf"
    folder.mkdir()
    assert has_chat_template(str(folder)) is None
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    assert has_chat_template(str(folder)) is False
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ x }}"}')
    assert has_chat_template(str(folder))
    (folder / "tokenizer_config.json").unlink()
    (folder / "chat_template.jinja").write_text("{{ x }}")
    assert has_chat_template(str(folder))
    assert has_chat_template(str(gguf)) is None  # it is missing
    gguf.write_bytes(b"GGUF" + bytes(100))
    assert has_chat_template(str(gguf)) is False
    gguf.write_bytes(b"GGUF" + bytes(100) + b"tokenizer.chat_template" + bytes(9))
    assert has_chat_template(str(gguf))


@pytest.mark.parametrize(
    ("stated", "sizes"),
    [
        (  # Qwen 3
            {
                "num_experts": 8,
                "num_experts_per_tok": 2,
                "moe_intermediate_size": 24,
                "decoder_sparse_step": 2,
            },
            MixtureSizes(8, 2, 24, interval=2),
        ),
        (  # DeepSeek V3
            {
                "n_routed_experts": 16,
                "num_experts_per_tok": 4,
                "moe_intermediate_size": 24,
                "n_shared_experts": 2,
                "first_k_dense_replace": 1,
            },
            MixtureSizes(16, 4, 24, shared_size=48, dense_blocks=1),
        ),
        (  # gpt-oss
            {"num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size": 96},
            MixtureSizes(4, 1, 96),
        ),
        ({"num_experts": 1, "num_experts_per_tok": 1}, None),
        ({"num_experts": 4, "num_experts_per_tok": 9}, None),
        ({"num_experts": 10**9, "num_experts_per_tok": 1}, None),
    ],
)
def test_sizes_of_experts_are_read_by_the_names_of_several_families(stated, sizes):
    options = DECODER | {"intermediate_size": 128} | stated
    assert decoder_sizes(options).mixture == sizes
