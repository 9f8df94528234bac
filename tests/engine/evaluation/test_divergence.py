"""The divergence of two sets of logits."""

from __future__ import annotations

import math

import torch

from surgeon_engine.evaluation.fidelity import divergences


def test_token_of_probability_zero_adds_nothing_to_the_divergence():
    p = torch.tensor([[1.0, 2.0, -math.inf]])
    q = torch.tensor([[1.0, 1.0, -math.inf]])
    without = divergences(p[:, :2], q[:, :2])
    assert without > 0
    assert torch.equal(divergences(p, q), without)
    assert divergences(q[:, :2], torch.tensor([[1.0, -math.inf]])) == math.inf


def test_divergence_of_equal_logits_is_zero():
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(divergences(logits, logits), torch.zeros(3).double())
