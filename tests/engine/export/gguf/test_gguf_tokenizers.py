"""llama.cpp splits texts like the original tokenizer."""

import json
import re
from dataclasses import replace

import gguf
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers
from tokenizers import pre_tokenizers as pre
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from surgeon_engine.api.config.export import ExportConfig, FileDtype
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel
from surgeon_engine.compaction.restore import restore
from surgeon_engine.export.gguf.file import GgufWriter
from surgeon_engine.export.transformers.files import MaskedWriter
from surgeon_engine.model.gguf_tokenizer import HEADER_FILE, SPLITS, tokenizer_entries
from surgeon_engine.model.source import ModelSource
from surgeon_engine.model.tokenizer import load_tokenizer
from tests.helpers.gguf_files import (
    END,
    GPT_2,
    INSTALLED,
    byte_pairs,
    llama_cpp_tokens,
    pruned,
    split_by,
    tiny_llama,
    value_of,
    written,
)
from tests.helpers.pruned_models import loaded, save_checkpoint
from tests.helpers.tiny_models import byte_tokenizer
from tests.helpers.vocabularies import tokenizer_of

MERGES = (("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc"))
ADDS = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "a", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"a": {"id": "a", "ids": [40], "tokens": ["a"]}},
}
_LLAMA_3, _QWEN_2, _TEKKEN, _QWEN_35, _GPT_4O, _BLOOM = (
    SPLITS[name].steps[0]
    for name in ("llama-bpe", "qwen2", "tekken", "qwen35", "gpt-4o", "bloom")
)
CUTS = {
    "gpt-2": byte_pairs(GPT_2),
    "smollm": byte_pairs(pre.Sequence([pre.Digits(individual_digits=True), GPT_2])),
    "llama-bpe": byte_pairs(split_by(_LLAMA_3), whole=True),
    "dbrx": byte_pairs(split_by(_LLAMA_3)),
    "qwen2": byte_pairs(split_by(_QWEN_2)),
    "tekken": byte_pairs(split_by(_TEKKEN), whole=True),
    "qwen35": byte_pairs(split_by(_QWEN_35)),
    "gpt-4o": byte_pairs(split_by(_GPT_4O)),
    "bloom": byte_pairs(split_by(_BLOOM)),
    "falcon": byte_pairs(
        pre.Sequence(
            [
                pre.Punctuation("contiguous"),
                GPT_2,
                pre.Digits(individual_digits=False),
                pre.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
            ]
        )
    ),
}
SENTENCES = (
    "Hello world",
    "It's 12345 o'clock, isn't it? WE'LL see; I'M here.",
    "  leading and  double   spaces ",
    "lines\n\n\nbreak \n \t tabs\r\n end\n",
    "Éclair naïve 東京タワー 🙂👍 ąę ٣٤٥ ½ ²",
    "x+=1; print(f'{a}') // 3.14159 1000000",
    "CamelCaseHTTPServer isn't <|endoftext|>stop<|endoftext|> x",
    "",
)


def pieces(merges=MERGES) -> PreTrainedTokenizerFast:
    """Return a tokenizer of characters with byte fallback, as in Llama 2."""
    special = ["<unk>", "<s>", "</s>"]
    tokens = [*special, *gguf_bytes(), "▁", "a", "b", "c", "bc", "ab", "abc"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    model = models.BPE(
        vocabulary, list(merges), unk_token="<unk>", byte_fallback=True, fuse_unk=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )


def gemma(merges=MERGES) -> PreTrainedTokenizerFast:
    """Return a tokenizer of characters without a space in front, as in Gemma."""
    tokenizer = pieces(merges)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.backend_tokenizer.pre_tokenizer = pre.Split(" ", "merged_with_previous")
    return tokenizer


def gguf_bytes() -> list[str]:
    return [f"<0x{byte:02X}>" for byte in range(256)]


def changed(change) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with a changed tokenizer.json."""
    definition = json.loads(byte_pairs().backend_tokenizer.to_str())
    change(definition)
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


@pytest.mark.parametrize(
    ("tokenizer", "reason"),
    [
        (byte_tokenizer(), "this is WordLevel"),
        (
            byte_pairs(split_by(r"\s+")),
            r"not support this pre-tokenizer \(\\s\+, bytes\)",
        ),
        (
            byte_pairs(pre.ByteLevel(add_prefix_space=True)),
            "ByteLevel with other settings",
        ),
        (byte_pairs(split_by(_QWEN_2), whole=True), "not support this pre-tokenizer"),
        (
            changed(lambda x: x.update(normalizer={"type": "Lowercase"})),
            "does not support the normalizer Lowercase",
        ),
        (
            changed(lambda x: x["model"].update(end_of_word_suffix="</w>")),
            "not support dropout, prefixes or suffixes of tokens",
        ),
        (
            changed(lambda x: x.update(post_processor=ADDS)),
            "adds special tokens other than BOS and EOS",
        ),
        (pieces(merges=MERGES[:-1]), "merges all pieces whose union"),
    ],
)
def test_tokenizers_unknown_to_llama_cpp_are_unsupported(tokenizer, reason):
    example = pruned(tiny_llama(), tokenizer=tokenizer)
    unsupported_reason = GgufWriter().unsupported_reason(example)
    assert re.search(reason, unsupported_reason), unsupported_reason
    with pytest.raises(ValueError, match=re.escape(unsupported_reason)):
        GgufWriter().forecast(example, FileDtype.SAME)


@pytest.mark.parametrize("name", CUTS)
def test_pre_tokenizers_have_names(name, tmp_path):
    reader = written(pruned(tiny_llama(), tokenizer=CUTS[name]), tmp_path)
    assert value_of(reader, "tokenizer.ggml.model") == "gpt2"
    assert value_of(reader, "tokenizer.ggml.pre") == name


@pytest.mark.parametrize(
    ("merges", "model"), [(MERGES, "llama"), (MERGES[:-1], "gemma4")]
)
def test_merges_of_pieces_are_listed_where_scores_do_not_tell_them(
    merges, model, tmp_path
):
    reader = written(pruned(tiny_llama(), tokenizer=gemma(merges)), tmp_path)
    assert value_of(reader, "tokenizer.ggml.model") == model
    listed = value_of(reader, "tokenizer.ggml.merges")
    assert listed == (None if model == "llama" else ["a b", "b c", "ab c"])
    types = value_of(reader, "tokenizer.ggml.token_type")
    assert types[3] == gguf.TokenType.BYTE


def test_file_holds_whole_vocabulary(tmp_path):
    tokenizer = byte_pairs()
    tokenizer.add_tokens(["<think>"])
    tokenizer.chat_template = {"default": "{{ messages }}", "tools": "{{ tools }}"}
    ids = tokenizer.get_vocab()
    size = len(ids) + 3
    model = tiny_llama(vocab_size=size)
    reader = written(pruned(model, tokenizer=tokenizer), tmp_path)
    tokens = value_of(reader, "tokenizer.ggml.tokens")
    types = value_of(reader, "tokenizer.ggml.token_type")
    assert [tokens[i] for i in ids.values()] == list(ids)
    assert tokens[-3:] == [f"[PAD{i}]" for i in range(size - 3, size)]
    assert types[-3:] == [gguf.TokenType.UNUSED] * 3
    assert types[ids[END]] == gguf.TokenType.CONTROL
    assert types[ids["<think>"]] == gguf.TokenType.USER_DEFINED
    assert types[ids["a"]] == gguf.TokenType.NORMAL
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    assert value_of(reader, "tokenizer.ggml.merges") == list(map(" ".join, merges))
    assert value_of(reader, "tokenizer.ggml.eos_token_id") == ids[END]
    assert value_of(reader, "tokenizer.ggml.bos_token_id") is None
    assert value_of(reader, "tokenizer.ggml.add_bos_token") is False
    assert value_of(reader, "tokenizer.chat_template") == "{{ messages }}"


def test_tokens_without_embedding_are_omitted(tmp_path):
    tokenizer = byte_pairs()
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    model = tiny_llama(vocab_size=tokenizer.pad_token_id)
    reader = written(pruned(model, tokenizer=tokenizer), tmp_path)
    assert len(value_of(reader, "tokenizer.ggml.tokens")) == tokenizer.pad_token_id
    assert value_of(reader, "tokenizer.ggml.padding_token_id") is None


@pytest.mark.parametrize(
    ("before", "prefixes"),
    [
        (None, True),
        (pre.Metaspace(prepend_scheme="first", split=False), True),
        (pre.Metaspace(prepend_scheme="never", split=False), False),
        (pre.Metaspace(prepend_scheme="first", split=True), None),
    ],
)
def test_pieces_have_scores(before, prefixes, tmp_path):
    tokenizer = pieces()
    if before is not None:
        tokenizer.backend_tokenizer.normalizer = None
        tokenizer.backend_tokenizer.pre_tokenizer = before
    example = pruned(tiny_llama(), tokenizer=tokenizer)
    if prefixes is None:
        assert "as SentencePiece does" in GgufWriter().unsupported_reason(example)
        return
    reader = written(example, tmp_path)
    tokens = value_of(reader, "tokenizer.ggml.tokens")
    scores = dict(zip(tokens, value_of(reader, "tokenizer.ggml.scores"), strict=True))
    types = dict(
        zip(tokens, value_of(reader, "tokenizer.ggml.token_type"), strict=True)
    )
    assert value_of(reader, "tokenizer.ggml.model") == "llama"
    assert value_of(reader, "tokenizer.ggml.add_space_prefix") is prefixes
    assert value_of(reader, "tokenizer.ggml.add_bos_token") is True
    assert value_of(reader, "tokenizer.ggml.bos_token_id") == 1
    assert value_of(reader, "tokenizer.ggml.unknown_token_id") == 0
    assert scores["ab"] > scores["abc"]
    assert types["<unk>"] == gguf.TokenType.UNKNOWN
    assert types["<s>"] == gguf.TokenType.CONTROL
    assert types["<0x0A>"] == gguf.TokenType.BYTE
    assert types["ab"] == gguf.TokenType.NORMAL


def test_model_from_gguf_file_keeps_its_tokenizer(tmp_path):
    original, copy = tmp_path / "original", tmp_path / "copy"
    tokenizer = CUTS["smollm"]
    first = written(pruned(tiny_llama(), tokenizer=tokenizer), original)
    source = ModelSource("Tiny", original, "model.gguf")
    # transformers gives it another way of cutting, or none at all.
    example = PrunedModel(
        replace(loaded(tiny_llama(), None), source=source), CompactionPlan()
    )
    second = written(example, copy)
    names = [name for name in first.fields if name.startswith("tokenizer.")]
    assert len(names) >= 6
    for name in names:
        assert value_of(first, name) == value_of(second, name)
        assert first.get_field(name).types == second.get_field(name).types


@pytest.fixture(params=CUTS)
def from_gguf(request, tmp_path):
    """Return a tokenizer, and a model that was loaded from a GGUF file with it."""
    folder = tmp_path / "original"
    folder.mkdir()
    tokenizer = CUTS[request.param]
    written(pruned(tiny_llama(), tokenizer=tokenizer), folder)
    source = ModelSource("Tiny", folder, "model.gguf")
    model = replace(loaded(tiny_llama(), load_tokenizer(source)), source=source)
    return tokenizer, model


@pytest.mark.slow
def test_tokenizer_of_gguf_file_splits_as_the_original(from_gguf):
    original, model = from_gguf
    for sentence in SENTENCES:
        assert model.tokenizer(sentence).input_ids == original(sentence).input_ids
    definitions = [
        json.loads(each.backend_tokenizer.to_str())
        for each in (original, model.tokenizer)
    ]
    for part in ("pre_tokenizer", "ignore_merges"):
        ours, theirs = (each.get(part, each["model"].get(part)) for each in definitions)
        assert ours == theirs


@pytest.mark.parametrize(
    "original", [pieces(), gemma(), gemma(MERGES[:-1])], ids=["pieces", "gemma", "4"]
)
def test_pieces_of_gguf_file_have_the_spaces_of_the_original(original, tmp_path):
    written(pruned(tiny_llama(vocab_size=310), tokenizer=original), tmp_path)
    read = load_tokenizer(ModelSource("Tiny", tmp_path, "model.gguf"))
    for text in ("abc", " abc", "  a  bc ", "ab<s>abc", "ab</s> \n abc", " ", ""):
        assert read(text).input_ids == original(text).input_ids
        if "<" not in text:
            bare = read(text, add_special_tokens=False).input_ids
            assert read.decode(bare) == text


def test_tokenizer_of_gguf_file_has_the_tokens_of_the_file_alone(tmp_path):
    """The class that transformers makes it of has an end of texts of its own."""
    original, text = tokenizer_of("bytes"), "a<|endoftext|>b</s><think>"
    model = pruned(tiny_llama(vocab_size=len(original)), tokenizer=original)
    written(model, tmp_path)
    read = load_tokenizer(ModelSource("Tiny", tmp_path, "model.gguf"))
    read.save_pretrained(tmp_path / "saved")
    for each in (read, AutoTokenizer.from_pretrained(tmp_path / "saved")):
        assert each.get_vocab() == original.get_vocab()
        assert each(text).input_ids == original(text).input_ids


# One that merges pieces of words alone, and one with whole words.
@pytest.mark.slow
@pytest.mark.parametrize("from_gguf", ["smollm", "tekken"], indirect=True)
def test_checkpoint_keeps_the_tokenizer_of_its_gguf_file(from_gguf, tmp_path):
    original, model = from_gguf
    first, second = tmp_path / "first", tmp_path / "second"
    save_checkpoint(model, first)
    config = json.loads((first / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["model_max_length"] == model.model.config.max_position_embeddings
    read = AutoTokenizer.from_pretrained(first)
    assert read(SENTENCES[1]).input_ids == original(SENTENCES[1]).input_ids
    model.source.weight_files[0].unlink()
    reader = written(restore(first, "Tiny"), second)
    for entry in tokenizer_entries(first / HEADER_FILE):
        assert value_of(reader, entry.name) == entry.value
    assert value_of(reader, "tokenizer.ggml.pre")
    # So does an export of an export.
    MaskedWriter().write(restore(first, "Tiny"), ExportConfig(), second)
    assert (second / HEADER_FILE).read_bytes() == (first / HEADER_FILE).read_bytes()


ALL_CUTS = CUTS | {
    "llama": pieces(),
    "gemma": gemma(),
    "gemma4": gemma(MERGES[:-1]),
}


@pytest.mark.runtimes
@pytest.mark.parametrize("name", ALL_CUTS)
def test_texts_are_split_alike(name, tmp_path):
    if "xllamacpp" not in INSTALLED:
        pytest.skip("only xllamacpp's server gives the tokens of a text")
    tokenizer = ALL_CUTS[name]
    written(pruned(tiny_llama(vocab_size=310), tokenizer=tokenizer), tmp_path)
    found = llama_cpp_tokens(tmp_path / "model.gguf", SENTENCES)
    assert found == [tokenizer(sentence)["input_ids"] for sentence in SENTENCES]
