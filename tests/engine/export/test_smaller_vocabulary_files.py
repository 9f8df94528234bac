"""The files of a model with fewer tokens, written, read and written again."""

import json
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.run import Device, ModelConfig
from surgeon_engine.api.model_info.header import PLAN_FILE
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel
from surgeon_engine.compaction.restore import restore
from surgeon_engine.export.formats import WRITERS
from surgeon_engine.export.transformers.files import MaskedWriter
from surgeon_engine.model.gguf_tokenizer import HEADER_FILE, tokenizer_entries
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.load import LoadedModel, load_model
from surgeon_engine.model.vocabulary.smaller import required_tokens, with_vocabulary
from surgeon_engine.model.vocabulary.tokens import token_table
from surgeon_engine.planning.fewer_tokens import with_fewer_tokens
from surgeon_engine.planning.planned_file import FileForm, planned_file
from tests.helpers.configs import pruning_config
from tests.helpers.gguf_files import (
    INSTALLED,
    TEXT,
    byte_pairs,
    llama_cpp_tokens,
    probe_of,
    tiny_llama,
    value_of,
    written,
)
from tests.helpers.pruned_models import save_checkpoint, without

REMOVED = ("Ġsmall", "une", "uned", "Ġ123", "ock", "ck", "clock", "cl")
NOTHING = pruning_config(sparsity=0.0)


def save_source(folder: Path) -> Path:
    """Write a model with rows beyond its tokens, and files that number tokens."""
    tokenizer = byte_pairs()
    tokenizer.add_tokens(["<image>", "<think>"])
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    model = tiny_llama(vocab_size=310, head_dim=32, num_hidden_layers=3)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.normal_(std=0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image = tokenizer.convert_tokens_to_ids("<image>")
    values = {"size": {"height": 8}, "image_token_id": image}
    (folder / "processor_config.json").write_text(json.dumps(values))
    added = {name: 300 + i for i, name in enumerate(("<image>", "<think>"))}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {
        str(number): {"content": name, "special": False, "normalized": False}
        for name, number in added.items()
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    GenerationConfig(eos_token_id=[0, 301]).save_pretrained(folder)
    for name in ("tokenizer.model", "vocab.json", "merges.txt"):
        (folder / name).write_text("old")
    return folder


def smaller(config: ModelConfig) -> LoadedModel:
    """Load a model and remove tokens from it."""
    full = load_model(config)
    table = token_table(full.tokenizer)
    tokens = full.tokenizer.convert_tokens_to_ids(list(REMOVED))
    assert not {*tokens} & {*table.fixed, *required_tokens(full)}
    kept = [x for x in range(len(full.tokenizer)) if x not in tokens]
    return with_vocabulary(full, torch.tensor(kept))


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    """Return the same model as a folder and as a GGUF file."""
    folder = save_source(tmp_path_factory.mktemp("source"))
    source = load_model(ModelConfig(str(folder), device=Device.CPU))
    target = tmp_path_factory.mktemp("gguf")
    written(PrunedModel(source, CompactionPlan()), target)
    return {"folder": folder, "gguf": target / "model.gguf"}


@pytest.fixture
def from_folder(sources) -> LoadedModel:
    return smaller(ModelConfig(str(sources["folder"]), device=Device.CPU))


@pytest.fixture
def from_gguf(sources) -> LoadedModel:
    return smaller(ModelConfig(str(sources["gguf"]), device=Device.CPU))


@pytest.fixture(params=["from_folder", "from_gguf"])
def small(request) -> LoadedModel:
    """Return a model without some tokens, of each kind of files."""
    return request.getfixturevalue(request.param)


def logits(model, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits


def uneven(loaded: LoadedModel) -> CompactionPlan:
    """Remove more neurons from each block than from the one before."""

    def choose(unit) -> torch.Tensor:
        return torch.arange(unit.candidates) < 1 + unit.measured.block

    return without(loaded.model, choose)


PLANS = {
    Format.PLAIN: lambda _: CompactionPlan(),
    Format.MASKED: uneven,
    Format.COMPACT: uneven,
}


@pytest.mark.slow
@pytest.mark.parametrize("format", PLANS)
def test_written_files_are_those_of_the_model(small, format, tmp_path):
    pruned = PrunedModel(small, PLANS[format](small))
    folder = tmp_path / "export"
    folder.mkdir()
    forecast = WRITERS[format].forecast(pruned, FileDtype.SAME)
    WRITERS[format].write(pruned, ExportConfig(format=format), folder)
    ids = small.tokenizer(TEXT).input_ids
    expected = logits(small.model, ids)

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.get_vocab() == small.tokenizer.get_vocab()
    assert tokenizer(TEXT).input_ids == ids
    assert not set(REMOVED) & set(tokenizer.get_vocab())
    assert tokenizer.decode(ids) == TEXT
    assert tokenizer.chat_template == small.tokenizer.chat_template
    assert not any((folder / x).exists() for x in ("tokenizer.model", "merges.txt"))
    size = (folder / "model.safetensors").stat().st_size
    assert size == pytest.approx(forecast, rel=0.05)

    again = restore(folder, "again")
    assert torch.allclose(logits(again.loaded.model, ids), expected, atol=1e-4)
    assert again.tokens.tolist() == small.kept_tokens.tolist()
    assert again.loaded.kept_tokens is None  # its files have no others
    if format is not Format.COMPACT:
        plain = AutoModelForCausalLM.from_pretrained(folder)
        assert torch.allclose(logits(plain, ids), expected, atol=1e-4)
        assert plain.config.vocab_size == len(tokenizer)


def test_numbers_of_tokens_in_files_follow(from_folder, tmp_path):
    folder = save_checkpoint(from_folder, tmp_path / "export")
    new = from_folder.tokenizer.convert_tokens_to_ids(["<image>", "<think>"])
    assert new == [300 - len(REMOVED), 301 - len(REMOVED)]
    processor = json.loads((folder / "processor_config.json").read_text())
    assert processor == {"size": {"height": 8}, "image_token_id": new[0]}
    added = json.loads((folder / "added_tokens.json").read_text())
    assert added == {"<image>": new[0], "<think>": new[1]}
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert list(config["added_tokens_decoder"]) == [str(x) for x in new]
    assert GenerationConfig.from_pretrained(folder).eos_token_id == [0, new[1]]


@pytest.mark.slow
def test_export_of_an_export_is_the_same(small, tmp_path):
    first, second = tmp_path / "one", tmp_path / "two"
    save_checkpoint(small, first, uneven(small))
    second.mkdir()
    MaskedWriter().write(restore(first, "Tiny"), ExportConfig(), second)
    names = {path.name for path in first.iterdir()}
    assert names == {path.name for path in second.iterdir()}
    assert (HEADER_FILE in names) == bool(small.source.gguf_file)
    assert PLAN_FILE in names
    for name in names - {PLAN_FILE}:  # its config may have more defaults
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    plans = [load_file(folder / PLAN_FILE) for folder in (first, second)]
    assert plans[0].keys() == plans[1].keys() > {"tokens"}
    assert all(torch.equal(plans[1][name], x) for name, x in plans[0].items())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [FileDtype.FLOAT32, FileDtype.Q8_0])
def test_gguf_file_has_the_kept_tokens(small, dtype, tmp_path):
    folder, again = tmp_path / "export", tmp_path / "again"
    pruned = PrunedModel(small, CompactionPlan())
    reader = written(pruned, folder, dtype)
    tokens = value_of(reader, "tokenizer.ggml.tokens")
    assert len(tokens) == value_of(reader, "llama.vocab_size") == len(small.kept_tokens)
    vocabulary = small.tokenizer.get_vocab()
    assert {name: tokens.index(name) for name in vocabulary} == vocabulary
    kinds = value_of(reader, "tokenizer.ggml.token_type")
    assert kinds[0] == gguf.TokenType.CONTROL
    merges = value_of(reader, "tokenizer.ggml.merges")
    assert not any("".join(x.split(" ")) in REMOVED for x in merges)
    assert len(merges) == 43 - len(REMOVED)
    assert value_of(reader, "tokenizer.ggml.eos_token_id") == 0
    # A finished run is exported again from its checkpoint.
    checkpoint = save_checkpoint(small, tmp_path / "checkpoint")
    second = written(restore(checkpoint, "Tiny"), again, dtype)
    for name in reader.fields:
        if name.startswith("tokenizer."):
            assert value_of(second, name) == value_of(reader, name)


def test_header_beside_a_checkpoint_has_the_kept_tokens(from_gguf, tmp_path):
    original = tokenizer_entries(from_gguf.source.weight_files[0])
    folder = save_checkpoint(from_gguf, tmp_path / "export")
    entries = {x.name: x.value for x in tokenizer_entries(folder / HEADER_FILE)}
    before = {x.name: x.value for x in original}
    name, kept = "tokenizer.ggml.tokens", from_gguf.kept_tokens.tolist()
    assert entries[name] == [before[name][x] for x in kept]
    assert entries.keys() == before.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "dtype", "is_tied"),
    [
        (Format.PLAIN, FileDtype.FLOAT32, False),
        (Format.GGUF, FileDtype.FLOAT16, True),
        (Format.GGUF, FileDtype.Q8_0, True),
        (Format.GGUF, FileDtype.Q8_0, False),
    ],
)
def test_forecast_of_fewer_tokens(format, dtype, is_tied, tmp_path):
    """With more tokens than weights in the blocks."""
    folder = tmp_path / "source"
    model = tiny_llama(vocab_size=300, tie_word_embeddings=is_tied)
    model.save_pretrained(folder)
    byte_pairs().save_pretrained(folder)
    full = load_model(ModelConfig(str(folder), device=Device.CPU))
    before = describe(full.model, full.source, full.stored)
    kept = torch.tensor([x for x in range(300) if x < 257 or x % 2])
    fewer = with_fewer_tokens(before, len(kept))
    small = with_vocabulary(full, kept)
    after = describe(small.model, small.source, small.stored)
    assert fewer.parameters == after.parameters
    assert fewer.vocabulary == after.vocabulary == len(kept)
    assert before.token_parameters == (1 if is_tied else 2) * 96
    forms = [planned_file(x, FileForm(format, dtype), NOTHING) for x in (before, fewer)]
    sizes = []
    for number, each in enumerate((load_model(ModelConfig(str(folder))), small)):
        writer = WRITERS[Format.MASKED if format is Format.PLAIN else format]
        target = tmp_path / str(number)
        save_checkpoint(each, target, None, writer, format=format, dtype=dtype)
        files = [*target.glob("model.*")]
        assert len(files) == 1
        sizes.append(files[0].stat().st_size)
    saved, expected = sizes[0] - sizes[1], forms[0].bytes(0) - forms[1].bytes(0)
    assert saved == pytest.approx(expected, rel=0.02, abs=250)


@pytest.mark.runtimes
def test_llama_cpp_computes_the_same(small, tmp_path):
    """By the first of its packages that is installed."""
    if not INSTALLED:
        pytest.skip("no package with llama.cpp is installed")
    folder = tmp_path / "export"
    pruned = PrunedModel(small, CompactionPlan())
    written(pruned, folder, FileDtype.FLOAT32)
    result = WRITERS[Format.GGUF].verify(
        folder, probe_of(pruned, tmp_path / "probe.safetensors"), lambda: None
    )
    assert result.tokens >= 23
    assert result.largest_difference < 1e-3
    assert result.agreement == 1
    if "xllamacpp" in INSTALLED:
        texts = (TEXT, "It's one clock <image> <think> prune", "漢字 🙂\x00\x7f")
        found = llama_cpp_tokens(folder / "model.gguf", texts)
        assert found == [small.tokenizer(text).input_ids for text in texts]
