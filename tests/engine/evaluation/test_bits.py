"""Bits per byte equal the nats of a text divided by its bytes, in any tokens."""

import math
from dataclasses import replace

import pytest
import torch

from surgeon_engine.calibration.windows import JudgingText
from surgeon_engine.evaluation.bits import bits_per_byte, bytes_of, common_bytes
from surgeon_engine.evaluation.evaluate import (
    evaluate,
    fidelity_of_original,
    references_of,
)
from surgeon_engine.evaluation.fidelity import compare_unchecked
from surgeon_engine.evaluation.perplexity import token_losses
from surgeon_engine.pruning.smaller_vocabulary import SmallerVocabulary
from tests.helpers.smaller_vocabularies import demo, demo_with, kept_of_demo, windows_of


@pytest.fixture(scope="module")
def original():
    return demo()


def references(original, windows):
    texts = [JudgingText("story", windows)]
    return references_of(original.model, texts, None, 2, int, original.tokenizer)


def direct_bits(model, tokenizer, rows):
    """Return the bits per byte of tokens, without special ones, row by row."""
    nats, size = 0.0, 0
    for row in rows:
        losses = token_losses(model, row[None])[0]
        is_text = row[1:] != tokenizer.eos_token_id
        nats += float(losses[is_text].sum())
        # One by one: bytes of characters that are cut are no text.
        names = tokenizer.convert_ids_to_tokens(row[1:][is_text].tolist())
        size += sum(map(len, names))  # a character of a name is a byte
    return nats / math.log(2) / size


def test_bits_are_nats_of_the_tokens_that_have_bytes():
    nats = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    lengths = torch.tensor([[2, 0, 3], [1, 1, 1]])
    found = bits_per_byte(nats, lengths)
    assert found.value == pytest.approx((1 + 3 + 4 + 5 + 6) / 8 / math.log(2))
    assert found.low < found.value < found.high
    assert bits_per_byte(nats, 0 * lengths) is None


def test_tokens_beyond_the_tokenizer_have_no_bytes():
    found = bytes_of(torch.tensor([[0, 1, 2, 7]]), torch.tensor([3, 4, 0]))
    assert found.tolist() == [[4, 0, 0]]


def test_common_bytes_begin_after_the_first_common_end_and_end_with_the_last():
    original = torch.tensor([[2, 3, 4, 5, 6]])  # bytes of tokens 1 to 5
    model = torch.tensor([[1, 1, 3, 4, 2]])
    positions = torch.tensor([[-1, 0, -1, 2, 3, -1]])
    ours, theirs = common_bytes(original, model, positions)
    assert ours.tolist() == [[2, 3, 4, 0, 0]]
    assert theirs.tolist() == [[0, 1, 3, 4, 0]]
    nothing = common_bytes(original, model, torch.full((1, 6), -1))
    assert not any(bool(x.any()) for x in nothing)


@pytest.mark.slow
def test_evaluation_has_the_bits_of_the_text(original):
    windows = windows_of(original)
    changed = demo()
    with torch.no_grad():
        changed.model.model.layers[1].mlp.down_proj.weight.mul_(0.5)
    (found,) = evaluate(changed.model, references(original, windows), int).fidelity
    expected = direct_bits(changed.model, original.tokenizer, windows)
    before = direct_bits(original.model, original.tokenizer, windows)
    assert found.bits_per_byte.value == pytest.approx(expected, rel=1e-4)
    assert found.original_bits.value == pytest.approx(before, rel=1e-4)
    assert expected > before + 0.01
    text = [JudgingText("story", windows)]
    unknown = references_of(original.model, text, None, 2, int)
    (without,) = evaluate(changed.model, unknown, int).fidelity
    assert without.bits_per_byte is without.original_bits is None


@pytest.mark.slow
def test_models_with_different_tokens_have_bits_of_the_same_bytes(original):
    windows = windows_of(original)
    kept = kept_of_demo(original)
    vocabulary, smaller = SmallerVocabulary.of(original, kept), demo_with(kept)
    found = vocabulary.references(references(original, windows), smaller.model)
    ((_, reference),) = found.texts
    own = reference.original
    assert torch.equal(reference.bytes.sum(dim=1), own.bytes.sum(dim=1))
    rows, original_rows = [], []
    for row, at in enumerate(own.positions):
        ends = (at >= 0).nonzero().squeeze(1)
        assert int(ends[0]) == 0  # the first tokens are kept
        rows.append(reference.windows[row, : ends[-1] + 1])
        original_rows.append(windows[row, : at[ends[-1]] + 1])
    assert any(len(x) < windows.shape[1] for x in original_rows)  # texts are longer
    (figures,) = evaluate(smaller.model, found, int).fidelity
    expected = direct_bits(smaller.model, smaller.tokenizer, rows)
    before = direct_bits(original.model, original.tokenizer, original_rows)
    assert figures.bits_per_byte.value == pytest.approx(expected, rel=1e-4)
    assert figures.original_bits.value == pytest.approx(before, rel=1e-4)
    assert 0 < figures.compared < 1
    compared = compare_unchecked(smaller.model, reference, int)
    itself = fidelity_of_original(compared, "story", reference)
    assert itself.bits_per_byte == figures.original_bits
    nats = float(token_losses(original.model, windows).mean())
    assert itself.perplexity.value == pytest.approx(math.exp(nats), rel=1e-4)
    assert itself.divergence.value == 0


@pytest.mark.slow
def test_removal_of_tokens_that_never_occur_changes_no_bits(original):
    windows = windows_of(original)
    occurring = torch.zeros(len(original.tokenizer), dtype=torch.bool)
    occurring[windows] = True
    occurring[kept_of_demo(original)] = True
    kept = occurring.nonzero().squeeze(1)
    vocabulary = SmallerVocabulary.of(original, kept)
    found = vocabulary.references(references(original, windows), original.model)
    ((_, reference),) = found.texts
    smaller = demo_with(kept)
    (figures,) = evaluate(smaller.model, found, int).fidelity
    whole = references(original, windows)
    (before,) = evaluate(original.model, whole, int, is_original=True).fidelity
    assert figures.original_bits == before.bits_per_byte
    assert figures.bits_per_byte.value < before.bits_per_byte.value  # fewer rivals
    own = reference.own()
    assert torch.equal(own.bytes, reference.bytes)
    assert torch.equal(own.original.nats, reference.original.nats)
    assert torch.equal(replace(reference, bytes=None).own().windows, own.windows)
