"""A model is recognized by the content of all files that are read."""

import json
import os

import pytest

from surgeon_engine.api.model_info.files import INDEX
from surgeon_engine.base.errors import ModelError
from surgeon_engine.model.identity import check_same, identity_of, stamps_of
from surgeon_engine.model.source import ModelSource

FILES = (
    "config.json",
    "generation_config.json",
    "model-00001-of-00001.safetensors",
    "model.safetensors.index.json",
    "mtp.safetensors",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "qwen.tiktoken",
    "tekken.json",
    "vocab.bpe",
    "chat_template.jinja",
    "additional_chat_templates/tools.jinja",
)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "model"
    (folder / "additional_chat_templates").mkdir(parents=True)
    for name in (*FILES, "README.md", "notes.json"):
        (folder / name).write_text(name)
    shards = {"a": "model-00001-of-00001.safetensors", "b": "mtp.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": shards}))
    return ModelSource("Model", folder)


def found(source):
    return identity_of(stamps_of(source))


def test_identity_names_all_files_that_are_read(source):
    assert set(found(source)) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_change_of_a_file_with_the_same_size_and_time_is_noticed(source, name):
    before, path = found(source), source.folder / name
    facts = path.stat()
    path.write_text(path.read_text().swapcase())
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    with pytest.raises(ModelError, match=name):
        check_same(before, found(source))


def test_index_of_a_large_mixture_is_read(source):
    shards = {f"experts.{n:09}.weight": "mtp.safetensors" for n in range(250_000)}
    (source.folder / INDEX).write_text(json.dumps({"weight_map": shards}))
    assert (source.folder / INDEX).stat().st_size > 10_000_000
    assert "mtp.safetensors" in found(source)


def test_added_and_removed_files_are_noticed(source):
    before = found(source)
    (source.folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        check_same(before, found(source))
    (source.folder / "tokenizer.json").write_text("tokenizer.json")
    (source.folder / "vocab.txt").touch()
    with pytest.raises(ModelError, match=r"vocab\.txt"):
        check_same(before, found(source))


def test_files_that_were_only_touched_are_the_same(source):
    before = found(source)
    for name in FILES:
        os.utime(source.folder / name, (1, 1))
    check_same(before, found(source))


def test_file_is_not_read_twice_unless_it_was_touched(source, monkeypatch):
    before = found(source)
    monkeypatch.setattr("surgeon_engine.model.identity.Content", None)
    assert found(source) == before


def test_file_that_changes_before_it_is_read_is_noticed(source):
    stamps = stamps_of(source)
    (source.folder / "config.json").write_text("another")
    with pytest.raises(ModelError, match="has changed"):
        identity_of(stamps)


def test_missing_and_irregular_files_are_sentences(source):
    stamps = stamps_of(source)
    (source.folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        identity_of(stamps)
