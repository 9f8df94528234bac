"""Sampling and streaming detokenization."""

import pytest
import torch

from surgeon_engine.api.messages.generation import GenerationSettings
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.generation.generated_text import (
    Sampler,
    StreamingDetokenizer,
    nucleus,
    token_text,
)
from surgeon_engine.model.source import locate
from surgeon_engine.model.tokenizer import load_tokenizer

TEXT = (
    "naïve “日本語” \N{SLIGHTLY SMILING FACE}\n  e\N{COMBINING ACUTE ACCENT}t\tcetera"
)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(locate(DEMO))


@pytest.mark.slow
def test_tokens_are_sampled_with_their_probabilities():
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0])
    sampler = Sampler(GenerationSettings(temperature=0.7, seed=1))
    count = 20_000
    drawn = torch.tensor([sampler.draw(logits) for _ in range(count)])
    shares = drawn.bincount(minlength=4) / count
    assert torch.allclose(shares, (logits / 0.7).softmax(-1), atol=0.01)


def test_nucleus_is_the_smallest_set_with_top_p():
    shares = torch.tensor([0.1, 0.5, 0.15, 0.25], dtype=torch.float64)
    for top_p, kept in ((0.4, [1]), (0.5, [1]), (0.51, [1, 3]), (0.75, [1, 3])):
        assert nucleus(shares, top_p).nonzero()[:, 0].tolist() == kept
    assert torch.equal(nucleus(shares, 1.0), shares)
    assert nucleus(shares, 1e-9).nonzero()[:, 0].tolist() == [1]


def test_tokens_outside_nucleus_are_not_sampled():
    sampler = Sampler(GenerationSettings(temperature=1.0, top_p=0.6))
    logits = torch.tensor([0.0, 1.0, 0.5])
    assert {sampler.draw(logits) for _ in range(300)} == {1, 2}


def test_similar_models_sample_the_same_tokens():
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
def test_streamed_text_has_whole_characters(tokenizer, before):
    given = tokenizer.encode(before, add_special_tokens=False)
    tokens = tokenizer.encode(before + TEXT, add_special_tokens=False)[len(given) :]
    detokenizer = StreamingDetokenizer(tokenizer, given)
    texts = [detokenizer.add(token) for token in tokens]
    assert "".join(texts) == TEXT
    assert not any("\N{REPLACEMENT CHARACTER}" in text for text in texts)
    assert "" in texts  # some characters take several tokens
    assert detokenizer.rest() == ""


def test_incomplete_last_character_is_returned_as_rest(tokenizer):
    tokens = tokenizer.encode("a\N{SLIGHTLY SMILING FACE}", add_special_tokens=False)
    detokenizer = StreamingDetokenizer(tokenizer, [])
    assert "".join(detokenizer.add(token) for token in tokens[:-1]) == "a"
    assert set(detokenizer.rest()) == {"\N{REPLACEMENT CHARACTER}"}


def test_token_text_keeps_preceding_space(tokenizer):
    before = tokenizer.encode("the import", add_special_tokens=False)
    (token,) = tokenizer.encode(" function", add_special_tokens=False)
    assert token_text(tokenizer, before, token) == " function"
    assert token_text(tokenizer, [], token) == " function"
