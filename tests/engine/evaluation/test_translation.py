"""Predictions of the original in the tokens of a smaller vocabulary."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional

from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.evaluation import evaluate as evaluate_module
from surgeon_engine.evaluation.evaluate import References, evaluate
from surgeon_engine.evaluation.fidelity import Reference, compare, reference_of
from surgeon_engine.evaluation.translation import Translation, aligned_hidden
from surgeon_engine.model.head import head_weight, last_hidden
from surgeon_engine.recovery.distillation import add_gradients
from tests.helpers.tiny_models import VOCABULARY, tiny_model

KEPT = torch.arange(0, VOCABULARY, 2)
TOKENS = torch.randint(len(KEPT), (3, 9), generator=torch.Generator().manual_seed(0))
POSITIONS = torch.tensor([[0, 1, -1, 2, 3, 4, 5, 6, 7], [*range(9)], [*range(9)]])


def first_pieces():
    """Return the new number that begins each token; the last one has none."""
    first = torch.arange(VOCABULARY) * 7 % len(KEPT)
    first[KEPT] = torch.arange(len(KEPT))
    first[-1] = -1
    return first


def translation_of(model):
    weight = head_weight(model).detach().clone()
    return Translation.of(weight, None, KEPT, first_pieces())


def with_fewer_tokens(model):
    """Keep some rows of a head that is not tied, and of the embedding."""
    for parameter in (model.lm_head.weight, model.model.embed_tokens.weight):
        parameter.data = parameter.data[KEPT].clone()
    model.config.vocab_size = len(KEPT)
    return model


def expected_probabilities(logits):
    """Return the definition: the mass of each token goes to its first piece."""
    p, first = logits.double().softmax(dim=-1), first_pieces()
    found = torch.zeros(*p.shape[:-1], len(KEPT), dtype=torch.float64)
    for token in range(VOCABULARY):
        if first[token] >= 0:
            found[..., first[token]] += p[..., token]
    return found / found.sum(dim=-1, keepdim=True)


@pytest.fixture
def original():
    model = tiny_model("llama")
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    return model


@pytest.fixture
def reference(original):
    whole = reference_of(original, KEPT[TOKENS], 3, lambda: None)
    hidden = [aligned_hidden(whole.hidden[0], POSITIONS)]
    return Reference(TOKENS, hidden, translation_of(original))


def test_mass_of_a_removed_token_goes_to_its_first_piece(original):
    logits = torch.randn(2, 5, VOCABULARY, generator=torch.Generator().manual_seed(1))
    found = translation_of(original).probabilities(logits.clone())
    torch.testing.assert_close(found.double(), expected_probabilities(logits))


def test_hidden_states_are_those_of_the_token_that_ends_at_the_same_byte():
    hidden = torch.randn(3, 9, 4)
    found = aligned_hidden(hidden, POSITIONS)
    assert bool(found[0, 2].isnan().all())
    assert int(found.isnan().sum()) == 4
    assert torch.equal(found[0, 3:], hidden[0, 2:8])
    assert torch.equal(found[1:], hidden[1:])


def test_figures_are_those_of_the_translated_predictions(original, reference):
    hidden = reference.hidden[0]
    wanted = expected_probabilities(hidden @ head_weight(original).T)
    model = with_fewer_tokens(tiny_model("llama", seed=3))
    found = compare(model, reference, lambda: None)
    q = model(TOKENS).logits.double().log_softmax(dim=-1)[:, :-1]
    p = wanted[:, :-1]
    is_known = (POSITIONS >= 0)[:, :-1]
    assert torch.equal(~found.nats.isnan(), is_known)
    nats = (p * (p.log() - q)).sum(dim=-1)
    overlap = torch.minimum(p, q.exp()).sum(dim=-1)
    same = (p.argmax(dim=-1) == q.argmax(dim=-1)).double()
    for values, definition in (
        (found.nats, nats),
        (found.overlap, overlap),
        (found.agreement, same),
    ):
        torch.testing.assert_close(
            values.double()[is_known], definition[is_known], rtol=1e-4, atol=1e-5
        )
    loss = functional.nll_loss(
        q.flatten(0, 1), TOKENS[:, 1:].flatten(), reduction="none"
    )
    torch.testing.assert_close(
        found.loss.double().flatten(), loss, rtol=1e-4, atol=1e-5
    )
    assert found.divergence == pytest.approx(float(nats[is_known].mean()), rel=1e-4)


def test_figures_are_finite_where_the_original_gives_a_token_no_probability(
    original, reference
):
    """Its logits are further apart than float32 has probabilities."""
    translation = replace(reference.translation, weight=1e4 * head_weight(original))
    certain = replace(reference, translation=translation)
    model = with_fewer_tokens(tiny_model("llama", seed=3))
    found = compare(model, certain, lambda: None)
    losses = found.original_loss[~found.original_loss.isnan()]
    assert float(losses.max()) > 80
    assert bool(losses.isfinite().all())


def test_products_of_16_bits_are_used_with_fewer_tokens_too(reference, monkeypatch):
    model = with_fewer_tokens(tiny_model("llama", seed=3))
    judged = References((("story", reference),), None)
    fast = partial(torch.autocast, "cpu", torch.bfloat16)
    monkeypatch.setattr(evaluate_module, "fast_products", lambda _: fast())
    found = evaluate(model, judged, int)
    assert found.rounding is not None
    assert 0 < found.rounding < 0.01 * found.divergence


def test_logits_of_the_original_exist_for_a_few_tokens_at_a_time(
    original, reference, monkeypatch
):
    whole = compare(with_fewer_tokens(tiny_model("llama", seed=3)), reference, int)
    limit = 2 * len(TOKENS) * VOCABULARY
    monkeypatch.setattr("surgeon_engine.model.head.LOGITS_AT_ONCE", limit)
    sizes = []

    def noted(self, logits):
        sizes.append(logits.numel())
        return probabilities(self, logits)

    probabilities = Translation.probabilities
    monkeypatch.setattr(Translation, "probabilities", noted)
    found = compare(with_fewer_tokens(tiny_model("llama", seed=3)), reference, int)
    torch.testing.assert_close(found.nats, whole.nats, equal_nan=True)
    assert max(sizes) == limit


def test_broken_model_is_noticed(reference):
    model = with_fewer_tokens(tiny_model("llama", seed=3))
    model.model.norm.weight.data.fill_(torch.nan)
    with pytest.raises(EvaluationError, match="inf"):
        compare(model, reference, lambda: None)


def test_training_follows_predictions_and_between_them_the_text(original, reference):
    model = with_fewer_tokens(tiny_model("llama", seed=3)).requires_grad_(True)
    hidden = reference.hidden[0]
    p = expected_probabilities(hidden @ head_weight(original).T)[:, :-1]
    is_known = (POSITIONS >= 0)[:, :-1]
    labels = functional.one_hot(TOKENS[:, 1:], len(KEPT)).double()
    p = torch.where(is_known.unsqueeze(2), p, labels)
    q = model(TOKENS).logits.double().log_softmax(dim=-1)[:, :-1]
    weight = model.model.layers[0].mlp.up_proj.weight
    (wanted,) = torch.autograd.grad(-(p * q).sum(dim=-1).mean(), weight)
    add_gradients(model, reference, torch.float32)
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, wanted.float(), rtol=0.03, atol=1e-5)


def test_without_mass_on_removed_tokens_predictions_are_those_of_the_original(
    original, reference
):
    translation = reference.translation
    removed = torch.ones(VOCABULARY, dtype=torch.bool)
    removed[KEPT] = False
    hidden = last_hidden(original, KEPT[TOKENS])
    logits = hidden @ translation.weight.T
    logits[..., removed] = -1e4
    found = translation.probabilities(logits.clone())
    torch.testing.assert_close(found, logits[..., KEPT].softmax(dim=-1))
