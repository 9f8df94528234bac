"""Windows of the original's tokens become windows of kept tokens."""

import numpy as np
import pytest

from surgeon_engine.model.vocabulary.recoding import Recoding
from surgeon_engine.model.vocabulary.tokens import token_table
from surgeon_engine.model.vocabulary.trimmed import trimmed_tokenizer
from tests.helpers.vocabularies import (
    KINDS,
    ids_of,
    kept_ids,
    lines,
    tokenizer_of,
    trimmed_of,
)

LENGTH = 40


@pytest.fixture(scope="module", params=KINDS)
def example(request):
    """Return a tokenizer, its trimmed one, and windows with special tokens."""
    original, trimmed = tokenizer_of(request.param), trimmed_of(request.param)
    stream = []
    texts = [f"{line}<think>ab" for line in lines(200)]
    for ids in ids_of(original, texts):
        stream += [*ids, original.eos_token_id]
    count = len(stream) // LENGTH
    windows = np.array(stream[: count * LENGTH]).reshape(count, LENGTH)
    return original, trimmed, windows, Recoding(original, trimmed)


def text_of(tokens, pieces) -> bytes:
    """Return the bytes of tokens; special ones are a byte that no text has."""
    return b"".join(pieces[i] or b"\xff" for i in tokens)


def test_rows_without_a_token_are_special(example):
    original, trimmed, windows, recoding = example
    strange = windows[:20].copy()
    strange[:, 3] = len(original) + np.arange(20)
    window = strange.copy()
    window[:, 3] = len(original)
    found, positions = recoding.windows(strange)
    assert np.array_equal(found, recoding.windows(window)[0])
    for new, at in zip(found, positions, strict=True):
        assert new[at == 3] == trimmed.eos_token_id


@pytest.mark.slow
def test_windows_stand_for_the_same_bytes(example):
    original, trimmed, windows, recoding = example
    found, positions = recoding.windows(windows)
    assert found.shape == positions.shape == windows.shape
    before, after = token_table(original).pieces, token_table(trimmed).pieces
    for row, new in zip(windows, found, strict=True):
        whole, begun = text_of(row, before), text_of(new, after)
        assert whole[: len(begun)] == begun[: len(whole)]
    assert (found != windows).any()


def test_positions_are_those_of_tokens_that_end_at_the_same_byte(example):
    original, trimmed, windows, recoding = example
    found, positions = recoding.windows(windows)
    before, after = token_table(original).pieces, token_table(trimmed).pieces
    for row, new, at in zip(windows[:60], found, positions, strict=False):
        ends = {len(text_of(row[: n + 1], before)): n for n in range(LENGTH)}
        expected = [
            ends.get(len(text_of(new[: n + 1], after)), -1) for n in range(LENGTH)
        ]
        assert at.tolist() == expected
    assert 0.5 < (positions >= 0).mean() < 1


def test_windows_of_kept_tokens_keep_them(example):
    original, trimmed, windows, recoding = example
    kept = np.flatnonzero(recoding.new_ids >= 0)
    draw = np.random.default_rng(0)
    for tokens in (draw.choice(kept, (20, LENGTH)), windows):
        rows = tokens[(recoding.new_ids[tokens] >= 0).all(axis=1)]
        found, positions = recoding.windows(rows)
        assert np.array_equal(found, recoding.new_ids[rows])
        assert np.array_equal(positions, np.tile(np.arange(LENGTH), (len(rows), 1)))
    names = original.convert_ids_to_tokens(kept)
    assert trimmed.convert_ids_to_tokens(recoding.new_ids[kept]) == names


def test_kept_tokens_stay_beside_removed_ones(example):
    """Whatever a window holds, a kept token whose neighbors are kept remains."""
    recoding = example[-1]
    draw = np.random.default_rng(1)
    any_tokens = draw.integers(0, len(recoding.new_ids), (200, LENGTH))
    found, positions = recoding.windows(any_tokens)
    for row, new, at in zip(any_tokens, found, positions, strict=True):
        joins = (at[:-1] >= 0) & (at[1:] == at[:-1] + 1)
        for n in np.flatnonzero(joins) + 1:
            if (kept := recoding.new_ids[row[at[n]]]) >= 0:
                assert new[n] == kept


def test_whole_texts_are_encoded_as_by_the_trimmed_tokenizer(example):
    original, trimmed, _, recoding = example
    if original.unk_token is not None:  # characters without tokens are lost
        return
    for before, after in zip(
        ids_of(original, lines(300)), ids_of(trimmed, lines(300)), strict=True
    ):
        window = np.full((1, len(after) + 1), original.eos_token_id)
        window[0, : len(before)] = before
        found, _ = recoding.windows(window)
        assert found[0, : len(after)].tolist() == after


def test_first_piece_begins_the_encoding_of_each_token(example):
    original, trimmed, _, recoding = example
    before, after = token_table(original).pieces, token_table(trimmed).pieces
    assert recoding.first_piece.shape == (len(original),)
    for token, first in enumerate(recoding.first_piece.tolist()):
        if recoding.new_ids[token] >= 0:
            assert first == recoding.new_ids[token]
        else:
            piece = before[token]
            assert piece.startswith(after[first])
            assert len(after[first]) < len(piece)


def test_cut_characters_are_encoded_by_bytes():
    original = tokenizer_of("bytes")
    pieces = token_table(original).pieces
    kept = [i for i in kept_ids(original) if not (pieces[i] or b"").startswith(b"\xe4")]
    kept = sorted({*kept, pieces.index(b"\xe4")})
    trimmed = trimmed_tokenizer(original, kept)
    cut = next(i for i, x in enumerate(pieces) if x and x[0] == 0xE4 and len(x) == 2)
    for place in (0, 1, 2):
        row = [pieces.index(byte) for byte in (b"!", b"?", b".")]
        row[place] = cut
        window = np.array([[*row, original.eos_token_id]])
        found, positions = Recoding(original, trimmed).windows(window)
        expected = [*range(place), -1, *range(place, 3)]
        assert positions[0].tolist() == expected
        written = text_of(found[0], token_table(trimmed).pieces)
        assert written == text_of(row, pieces)


def test_shorter_windows_go_on_with_the_end_of_text():
    original, trimmed = tokenizer_of("bytes"), trimmed_of("bytes")
    recoding = Recoding(original, trimmed)
    pieces = token_table(original).pieces
    removed = next(
        i
        for i, x in enumerate(pieces)
        if recoding.new_ids[i] < 0 and x and x.isalpha() and x.isascii()
    )
    letters = [pieces.index(bytes([byte])) for byte in b" the the"]
    window = np.array([[*letters, original.eos_token_id, removed]])
    found, positions = recoding.windows(window)
    assert (recoding.new_ids[window[0]] >= 0).sum() == len(letters) + 1
    assert found[0, : len(letters)].tolist() == recoding.new_ids[letters].tolist()
    assert positions[0, : len(letters) + 1].tolist() == list(range(len(letters) + 1))
