"""Tokens are drawn as likely as they should be, and text comes in whole letters."""

from __future__ import annotations

import pytest
import torch

from surgeon_engine.api.messages.generation import GenerationSettings
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.generation.detokenizer import StreamingDetokenizer, next_text
from surgeon_engine.generation.sampling import Sampler, nucleus
from surgeon_engine.model.load import load_tokenizer
from surgeon_engine.model.source import locate

TEXT = (
    "naïve “日本語” \N{SLIGHTLY SMILING FACE}\n  e\N{COMBINING ACUTE ACCENT}t\tcetera"
)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(locate(DEMO))


def test_tokens_are_drawn_with_their_probabilities():
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0])
    sampler = Sampler(GenerationSettings(temperature=0.7, seed=1))
    count = 20_000
    drawn = torch.tensor([sampler.draw(logits) for _ in range(count)])
    shares = drawn.bincount(minlength=4) / count
    assert torch.allclose(shares, (logits / 0.7).softmax(-1), atol=0.01)


def test_top_p_leaves_the_fewest_tokens_that_have_that_much():
    shares = torch.tensor([0.1, 0.5, 0.15, 0.25], dtype=torch.float64)
    for top_p, kept in ((0.4, [1]), (0.5, [1]), (0.51, [1, 3]), (0.75, [1, 3])):
        assert nucleus(shares, top_p).nonzero()[:, 0].tolist() == kept
    assert torch.equal(nucleus(shares, 1.0), shares)
    assert nucleus(shares, 1e-9).nonzero()[:, 0].tolist() == [1]


def test_top_p_keeps_unlikely_tokens_from_being_drawn():
    sampler = Sampler(GenerationSettings(temperature=1.0, top_p=0.6))
    logits = torch.tensor([0.0, 1.0, 0.5])
    assert {sampler.draw(logits) for _ in range(300)} == {1, 2}


def test_models_that_expect_nearly_the_same_draw_the_same():
    draws = []
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 50, generator=generator)
    for bias in (0.0, 0.01):
        sampler = Sampler(GenerationSettings(temperature=1.0, seed=5))
        shifted = logits + bias * torch.arange(50)[None, :].remainder(2)
        draws.append([sampler.draw(row) for row in shifted])
    same = sum(a == b for a, b in zip(*draws, strict=True))
    assert same >= 195
    assert len(set(draws[0])) > 20


@pytest.mark.parametrize("before", ["", "The word 日"])
def test_pieces_are_whole_characters_and_make_up_the_text(tokenizer, before):
    given = tokenizer.encode(before, add_special_tokens=False)
    tokens = tokenizer.encode(before + TEXT, add_special_tokens=False)[len(given) :]
    pieces = StreamingDetokenizer(tokenizer, given)
    told = [pieces.add(token) for token in tokens]
    assert "".join(told) == TEXT
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in told)
    assert "" in told  # some characters take several tokens
    assert pieces.rest() == ""


def test_half_a_character_at_the_end_is_told_as_the_rest(tokenizer):
    tokens = tokenizer.encode("a\N{SLIGHTLY SMILING FACE}", add_special_tokens=False)
    pieces = StreamingDetokenizer(tokenizer, [])
    assert "".join(pieces.add(token) for token in tokens[:-1]) == "a"
    assert set(pieces.rest()) == {"\N{REPLACEMENT CHARACTER}"}


def test_a_token_by_itself_keeps_the_space_before_it(tokenizer):
    before = tokenizer.encode("the import", add_special_tokens=False)
    (token,) = tokenizer.encode(" function", add_special_tokens=False)
    assert next_text(tokenizer, before, token) == " function"
    assert next_text(tokenizer, [], token) == " function"
