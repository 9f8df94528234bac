"""A tokenizer with the kept tokens alone encodes texts of them as the original."""

import json

import numpy as np
import pytest
from transformers import AutoTokenizer, GemmaTokenizer, LlamaTokenizer, Qwen2Tokenizer

from surgeon_engine.model.gguf_tokenizer import tokenizer_entries
from surgeon_engine.model.vocabulary.tokens import token_table
from surgeon_engine.model.vocabulary.trimmed import trimmed_entries, trimmed_tokenizer
from tests.helpers.gguf_files import (
    llama_cpp_tokens,
    needs_llama,
    pruned,
    tiny_llama,
    written,
)
from tests.helpers.vocabularies import (
    KINDS,
    byte_level,
    ids_of,
    kept_ids,
    lines,
    pieces,
    tokenizer_of,
    trimmed_of,
)


@pytest.fixture(scope="module", params=KINDS)
def example(request):
    """Return a tokenizer, the kept ids, and the trimmed tokenizer."""
    original = tokenizer_of(request.param)
    kept = kept_ids(original)
    assert len(kept) < 0.8 * len(original)
    return original, kept, trimmed_of(request.param)


def test_all_tokens_kept_give_the_same_tokenizer(example):
    original, *_ = example
    same = trimmed_tokenizer(original, range(len(original)))
    assert same.backend_tokenizer.to_str() == original.backend_tokenizer.to_str()


def test_kept_tokens_have_new_numbers_in_order(example):
    original, kept, trimmed = example
    names = original.convert_ids_to_tokens(kept)
    assert trimmed.convert_ids_to_tokens(range(len(kept))) == names
    assert len(trimmed) == len(kept)
    for name in ("bos_token", "eos_token", "unk_token"):
        token = getattr(original, name)
        assert getattr(trimmed, name) == token
        if token is not None:
            assert kept[getattr(trimmed, f"{name}_id")] == original.vocab[token]
    assert trimmed("a")["input_ids"] == [
        kept.index(i) for i in original("a")["input_ids"]
    ]


def test_kept_tokens_are_found_in_their_own_texts(example):
    original, kept, trimmed = example
    table = token_table(original)
    texts = {}
    for new, old in enumerate(kept):
        try:
            texts[new, old] = (table.pieces[old] or b"").decode()
        except UnicodeDecodeError:
            continue
    before, after = ids_of(original, texts.values()), ids_of(trimmed, texts.values())
    found = [new for (new, old), ids in zip(texts, before, strict=True) if ids == [old]]
    again = [new for (new, _), ids in zip(texts, after, strict=True) if ids == [new]]
    assert len(found) > 0.5 * len(texts) or original.unk_token
    assert set(found) <= set(again)


@pytest.mark.slow
def test_texts_of_kept_tokens_are_encoded_alike(example):
    original, kept, trimmed = example
    new = {old: i for i, old in enumerate(kept)}
    count = 0
    words = [word for line in lines(500) for word in line.split(" ")]
    before, after = ids_of(original, words), ids_of(trimmed, words)
    for old_ids, new_ids in zip(before, after, strict=True):
        if all(old in new for old in old_ids):
            assert new_ids == [new[old] for old in old_ids]
            count += 1
    assert count > 500


@pytest.mark.slow
def test_texts_survive_a_round_trip_as_in_the_original(example):
    original, _, trimmed = example
    every_byte = bytes(range(256)).decode("latin-1")
    texts = [*lines(500), every_byte, "\ufeff\x00\r\n"]
    texts += ["👩\u200d👩\u200d👧 👍🏽", "漢字かな 한국어"]
    before, after = ids_of(original, texts), ids_of(trimmed, texts)
    assert original.batch_decode(before) == trimmed.batch_decode(after)
    if original.unk_token is None:
        assert trimmed.batch_decode(after) == texts
    assert sum(map(len, after)) > sum(map(len, before))


def test_saved_tokenizer_is_read_alike(example, tmp_path):
    _, _, trimmed = example
    trimmed.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == trimmed.get_vocab()
    assert ids_of(again, lines(200)) == ids_of(trimmed, lines(200))
    assert again("a")["input_ids"] == trimmed("a")["input_ids"]
    assert again.chat_template == trimmed.chat_template


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (LlamaTokenizer, lambda: pieces()),
        (GemmaTokenizer, lambda: pieces(prefixes=False)),
        (Qwen2Tokenizer, lambda: byte_level()),
    ],
)
def test_classes_that_build_themselves_anew_read_it_alike(kind, made, tmp_path):
    content = json.loads(made().backend_tokenizer.to_str())
    merges = [tuple(pair) for pair in content["model"]["merges"]]
    options = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    original = kind(vocab=content["model"]["vocab"], merges=merges, **options)
    trimmed = trimmed_tokenizer(original, kept_ids(original))
    trimmed.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())[
        "tokenizer_class"
    ] == kind.__name__.removesuffix("Fast")
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is kind
    assert again.get_vocab() == trimmed.get_vocab()
    assert ids_of(again, lines(500)) == ids_of(trimmed, lines(500))


@pytest.fixture(params=["demo", "whole words", "pieces"])
def headers(request, tmp_path):
    """Return the entries of an original and of its trimmed tokenizer's file."""
    original, trimmed = tokenizer_of(request.param), trimmed_of(request.param)
    kept = kept_ids(original)
    entries = []
    for name, tokenizer in (("original", original), ("trimmed", trimmed)):
        folder = tmp_path / name
        folder.mkdir()
        model = tiny_llama(vocab_size=len(tokenizer))
        written(pruned(model, tokenizer=tokenizer), folder)
        entries.append(tokenizer_entries(folder / "model.gguf"))
    return *entries, kept, trimmed, tmp_path / "trimmed" / "model.gguf"


@pytest.mark.slow
def test_header_of_a_gguf_file_is_trimmed_like_the_tokenizer(headers):
    before, after, kept, *_ = headers
    found = {entry.name: entry.value for entry in trimmed_entries(before, kept)}
    expected = {entry.name: entry.value for entry in after}
    assert found.keys() == expected.keys()
    scores = "tokenizer.ggml.scores"
    if scores in found:  # the exporter counts the merges that are left
        numbers = [values.pop(scores) for values in (found, expected)]
        orders = [np.argsort(x, kind="stable").tolist() for x in numbers]
        assert orders[0] == orders[1]
    assert found == expected


@pytest.mark.runtimes
@needs_llama
def test_llama_cpp_encodes_texts_alike(headers):
    *_, trimmed, path = headers
    texts = [line for line in lines() if "\x00" not in line]
    found = llama_cpp_tokens(path, texts)
    assert found == trimmed(texts, verbose=False)["input_ids"]
