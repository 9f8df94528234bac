"""Which tokens can be removed, and in which order."""

import json
import random

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from tokenizers import pre_tokenizers as pre
from transformers import PreTrainedTokenizerFast

from surgeon_engine.base.errors import ConfigError
from surgeon_engine.model.vocabulary.tokens import (
    check_rows,
    closed_costs,
    lost,
    protected,
    token_table,
)
from surgeon_engine.model.vocabulary.trimmed import trimmed_tokenizer
from tests.helpers.tiny_models import byte_tokenizer
from tests.helpers.vocabularies import KINDS, ids_of, kept_ids, tokenizer_of

_WORD_PIECE = {
    "type": "WordPiece",
    "vocab": {"a": 0},
    "unk_token": "a",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 9,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return tokenizer_of(request.param)


def test_pieces_are_what_tokens_stand_for(tokenizer):
    table = token_table(tokenizer)
    assert table.size == len(tokenizer)
    for text in ("Grüße, 漢字 x+=1;  12 🙂", "isn't"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        if tokenizer.unk_token_id in ids:
            continue
        written = b"".join(table.pieces[i] for i in ids).decode()
        assert written.removeprefix(" ") == text
    for i in tokenizer.all_special_ids:
        assert table.pieces[i] is None
        assert i in table.fixed


def test_parts_are_the_pair_that_the_encoding_merges_last():
    vocabulary = {name: i for i, name in enumerate(["a", "b", "c", "ab", "bc", "abc"])}
    for merges, expected in (
        ([("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")], (0, 4)),
        ([("a", "b"), ("b", "c"), ("a", "bc"), ("ab", "c")], (3, 2)),
    ):
        inner = Tokenizer(models.BPE(vocabulary, merges))
        inner.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
        table = token_table(PreTrainedTokenizerFast(tokenizer_object=inner))
        assert table.parts == {3: (0, 1), 4: (1, 2), 5: expected}


def test_token_that_the_merges_never_make_has_no_parts():
    vocabulary = {name: i for i, name in enumerate(["a", "b", "c", "ab", "bc", "abc"])}
    inner = Tokenizer(models.BPE(vocabulary, [("b", "c"), ("a", "b"), ("ab", "c")]))
    inner.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
    table = token_table(PreTrainedTokenizerFast(tokenizer_object=inner))
    assert 5 not in table.parts  # a and bc remain


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_closed_vocabularies_encode_texts_of_their_tokens_alike(seed, whole):
    """Whatever the merges are, and in whatever order."""
    draw = random.Random(seed)
    vocabulary, merges = {"a": 0, "b": 1, "c": 2}, []
    while len(vocabulary) < 40:
        pair = draw.choice(list(vocabulary)), draw.choice(list(vocabulary))
        merges.append(pair)
        vocabulary.setdefault("".join(pair), len(vocabulary))
    draw.shuffle(merges)
    inner = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=whole))
    inner.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
    original = PreTrainedTokenizerFast(tokenizer_object=inner)
    table = token_table(original)
    texts = ["".join(draw.choices("abc", k=draw.randrange(1, 12))) for _ in range(300)]
    encoded = ids_of(original, texts)
    if not whole:
        found = {token for ids in encoded for token in ids}
        assert found <= table.parts.keys() | table.fixed
    for _ in range(3):
        kept = kept_ids(original, draw.random())
        trimmed = trimmed_tokenizer(original, kept)
        for before, after in zip(encoded, ids_of(trimmed, texts), strict=True):
            if set(before) <= set(kept):
                assert [kept[i] for i in after] == before


def test_bytes_digits_and_texts_of_the_template_are_fixed():
    tokenizer = tokenizer_of("bytes")
    table = token_table(tokenizer)
    for text in ("assistant", "<|turn|>", "\n", "0", "<think>"):
        for i in tokenizer(text, add_special_tokens=False).input_ids:
            assert i in table.fixed, text
    single = {i for i, x in enumerate(table.pieces) if x is not None and len(x) == 1}
    assert len(single) == 256
    assert single <= table.fixed
    assert len(table.fixed) < 300


def test_characters_are_fixed_where_no_bytes_replace_them():
    with_bytes, without = (
        token_table(tokenizer_of(kind)) for kind in ("unigram", "unigram of characters")
    )
    han = {
        kind: {i for i, x in enumerate(table.pieces) if x == "一".encode()}
        for kind, table in (("with", with_bytes), ("without", without))
    }
    assert han["with"] and not han["with"] & with_bytes.fixed
    assert han["without"] and han["without"] <= without.fixed


def test_order_of_removal_leaves_closed_vocabularies(tokenizer):
    table = token_table(tokenizer)
    costs = np.random.default_rng(0).integers(0, 4, table.size).astype(float)
    closed, order = closed_costs(costs, table)
    assert set(order.tolist()) == set(range(table.size)) - table.fixed
    assert np.isinf(closed[list(table.fixed)]).all()
    assert (np.diff(closed[order]) >= 0).all()
    place = {int(token): n for n, token in enumerate(order)}
    for token, parts in table.parts.items():
        for part in parts:
            assert place.get(part, table.size) > place.get(token, table.size - 1)


def test_closed_costs_are_the_least_that_are_closed(tokenizer):
    table = token_table(tokenizer)
    costs = np.random.default_rng(0).random(table.size)
    closed, _ = closed_costs(costs, table)
    expected = costs.copy()
    expected[list(table.fixed)] = np.inf
    for token in sorted(table.parts, key=lambda x: -len(table.pieces[x] or b"")):
        for part in table.parts[token]:
            expected[part] = max(expected[part], expected[token])
    assert np.array_equal(closed, expected)


def test_scripts_languages_and_words_are_protected(tmp_path):
    tokenizer = tokenizer_of("pieces")
    table = token_table(tokenizer)

    def texts(keep):
        found = protected(table, keep, tokenizer)
        return {(table.pieces[i] or b"").decode(errors="replace") for i in found}

    assert "一" in texts(["Han"])
    assert "い" not in texts(["Han"])
    assert {"一", "い"} <= texts(["japanese"])
    assert "ü" in texts(["German"])
    assert "ü" not in texts(["English"])
    assert " the" in texts(["English"])
    assert texts([]) == set()
    (tmp_path / "words.txt").write_text("Überflutung\n")
    kept = protected(table, [str(tmp_path / "words.txt")], tokenizer)
    ids = tokenizer("Überflutung", add_special_tokens=False).input_ids
    assert set(ids) <= kept
    assert {part for i in kept for part in table.parts.get(i, ())} <= kept
    with pytest.raises(ConfigError, match=r"Klingon. is no script"):
        protected(table, ["Klingon"], tokenizer)


def test_loss_is_counted_by_script(tokenizer):
    table = token_table(tokenizer)
    removed = {i for i, x in enumerate(table.pieces) if x and x[:1] in b"\xe4\xe5"}
    removed = {i for i in removed if len(table.pieces[i] or b"") > 1}
    losses = lost(table, removed)
    by_script = {loss.script: loss for loss in losses}
    assert sum(loss.tokens for loss in losses) == sum(
        piece is not None for piece in table.pieces
    )
    assert by_script["Latin"].removed == 0
    assert by_script["Latin"].tokens > 100
    if removed:
        assert losses[0].script == "Han"
        assert losses[0].removed == len(removed)
        assert all("一" <= x[0] < "仠" for x in losses[0].examples)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_WORD_PIECE, "WordPiece"),
        ({"type": "BPE", "vocab": {"a": 0}, "merges": []}, "BPE"),
        (
            {"type": "BPE", "vocab": {"a": 0}, "merges": [], "end_of_word_suffix": "w"},
            "suffixes",
        ),
    ],
)
def test_other_tokenizers_are_refused(change, reason):
    content = json.loads(byte_tokenizer().backend_tokenizer.to_str())
    content["model"] = change
    inner = Tokenizer.from_str(json.dumps(content))
    with pytest.raises(ConfigError, match=f"No tokens can be removed.*{reason}"):
        token_table(PreTrainedTokenizerFast(tokenizer_object=inner))


def test_tokens_without_embeddings_are_refused():
    table = token_table(tokenizer_of(next(iter(KINDS))))
    check_rows(table, table.size)
    with pytest.raises(ConfigError, match=f"config states {table.size - 1:,}"):
        check_rows(table, table.size - 1)


def test_models_without_tokenizer_are_refused():
    with pytest.raises(ConfigError, match="there is no tokenizer"):
        token_table(None)
    with pytest.raises(ConfigError, match="WordLevel"):
        token_table(byte_tokenizer())
