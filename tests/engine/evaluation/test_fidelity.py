"""KL from kept hidden states equals KL from the logits of two whole models."""

from __future__ import annotations

import pytest
import torch

from surgeon_engine.api.messages.run import Estimate
from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.evaluation.fidelity import (
    compare,
    compare_unchecked,
    estimate,
    reference_of,
)
from surgeon_engine.model import head
from surgeon_engine.model.head import head_logits, last_hidden
from tests.helpers.tiny_models import (
    FAMILIES,
    HYBRIDS,
    MORE_FAMILIES,
    VOCABULARY,
    tiny_model,
)

WINDOWS = torch.randint(
    1, VOCABULARY, (5, 14), generator=torch.Generator().manual_seed(1)
)
each_family = pytest.mark.parametrize("family", FAMILIES | MORE_FAMILIES)


def changed(family):
    """Return a model that differs from the tiny one in all blocks, not in the head."""
    model = tiny_model(family)
    head = model.get_output_embeddings().weight.data_ptr()
    with torch.no_grad():
        for parameter in model.base_model.parameters():
            if parameter.data_ptr() != head and parameter.ndim == 2:
                parameter.mul_(1.1)
    return model


@each_family
def test_figures_equal_those_of_the_logits_of_both_models(family, monkeypatch):
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", 3 * 2 * VOCABULARY)
    original, model = tiny_model(family), changed(family)
    steps = []
    reference = reference_of(original, WINDOWS, 2, lambda: steps.append(0))
    found = compare(model, reference, lambda: steps.append(0))
    assert len(steps) == 6
    with torch.no_grad():
        p = original(WINDOWS).logits[:, :-1].double().log_softmax(dim=-1)
        q = model(WINDOWS).logits[:, :-1].double().log_softmax(dim=-1)
    nats = (p.exp() * (p - q)).sum(dim=-1)
    torch.testing.assert_close(found.nats, nats.float(), rtol=1e-3, atol=1e-5)
    same = (p.argmax(dim=-1) == q.argmax(dim=-1)).float()
    torch.testing.assert_close(found.agreement, same)
    loss = -q.gather(2, WINDOWS[:, 1:].unsqueeze(2)).squeeze(2).float()
    torch.testing.assert_close(found.loss, loss, rtol=1e-4, atol=1e-5)
    assert found.divergence == pytest.approx(float(nats.mean()), rel=1e-3)


@pytest.mark.parametrize("family", FAMILIES | MORE_FAMILIES | HYBRIDS)
def test_head_turns_hidden_states_into_the_logits_of_the_model(family):
    model = tiny_model(family)
    with torch.no_grad():
        logits = head_logits(model, last_hidden(model, WINDOWS))
        torch.testing.assert_close(logits, model(WINDOWS).logits)
        assert torch.equal(model(WINDOWS).logits, logits)  # the body runs again


def test_model_equals_itself():
    model = tiny_model("llama")
    found = compare(model, reference_of(model, WINDOWS, 2, int), int)
    assert found.divergence == 0
    assert found.agreement.eq(1).all()


@pytest.mark.parametrize("at_once", [0, 1, 2])
def test_known_hidden_states_give_the_figures_of_the_model(at_once):
    original, model = tiny_model("llama"), changed("llama")
    reference = reference_of(original, WINDOWS, 3, int)
    known = reference_of(model, WINDOWS, 3, int).hidden
    found = compare_unchecked(
        original, reference, int, hidden=iter(known), at_once=at_once
    )
    expected = compare(model, reference, int)
    for name in ("nats", "agreement", "loss"):
        figures = getattr(found, name)
        torch.testing.assert_close(figures, getattr(expected, name))
    assert found.divergence > 0


def test_interval_contains_the_mean_and_widens_with_the_spread():
    one, other = (
        estimate(torch.tensor(nats)[:, None])
        for nats in ([1.0, 1.1, 0.9, 1.0], [1.0, 2.0, 0.0, 1.0])
    )
    assert one.value == other.value == 1
    assert other.low < one.low < 1 < one.high < other.high
    assert estimate(torch.tensor([[2.0, 4.0]])) == Estimate(3, 3, 3)


def test_interval_covers_the_true_mean_of_nineteen_in_twenty_texts():
    draw = torch.Generator().manual_seed(2)
    found = [estimate(torch.randn(40, 3, generator=draw)) for _ in range(200)]
    covered = sum(x.low <= 0 <= x.high for x in found)
    assert 180 <= covered <= 198


def test_divergence_that_is_not_finite_raises():
    reference = reference_of(tiny_model("llama"), WINDOWS, 2, int)
    broken = tiny_model("llama")
    with torch.no_grad():
        broken.model.norm.weight[0] = torch.nan
    with pytest.raises(EvaluationError, match="divergence from the original"):
        compare(broken, reference, int)
