"""Perplexity and KL on each text, with intervals, equal their definitions."""

import math
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest
import torch

from surgeon_engine.api.messages.run import Estimate
from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.calibration.windows import JudgingText
from surgeon_engine.evaluation import evaluate as evaluate_module
from surgeon_engine.evaluation.evaluate import evaluate, fidelity_of, references_of
from surgeon_engine.evaluation.fidelity import (
    Comparison,
    Reference,
    compare,
    compare_unchecked,
    divergences,
    reference_of,
)
from surgeon_engine.evaluation.intervals import estimate
from surgeon_engine.evaluation.perplexity import perplexity
from surgeon_engine.model import head
from surgeon_engine.model.head import head_logits, last_hidden
from surgeon_engine.runtime import devices
from tests.helpers.pairs import others_later
from tests.helpers.pruning_states import random_windows
from tests.helpers.tiny_models import (
    EVERY_FAMILY,
    FAMILIES,
    HYBRIDS,
    MORE_FAMILIES,
    REPRESENTATIVES,
    VOCABULARY,
    tiny_model,
)

WINDOWS = torch.randint(
    1, VOCABULARY, (5, 14), generator=torch.Generator().manual_seed(1)
)


def changed(family):
    """Return a model that differs from the tiny one in all blocks, not in the head."""
    model = tiny_model(family)
    head = model.get_output_embeddings().weight.data_ptr()
    with torch.no_grad():
        for parameter in model.base_model.parameters():
            if parameter.data_ptr() != head and parameter.ndim == 2:
                parameter.mul_(1.1)
    return model


@pytest.mark.parametrize("family", others_later(EVERY_FAMILY, REPRESENTATIVES))
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


@pytest.mark.slow
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


def test_token_of_probability_zero_adds_nothing_to_the_divergence():
    p = torch.tensor([[1.0, 2.0, -math.inf]])
    q = torch.tensor([[1.0, 1.0, -math.inf]])
    without = divergences(p[:, :2], q[:, :2])
    assert without > 0
    assert torch.equal(divergences(p, q), without)
    assert divergences(q[:, :2], torch.tensor([[1.0, -math.inf]])) == math.inf


TEXTS = (
    JudgingText("novels", random_windows(5, 14)),
    JudgingText("code", random_windows(3, 14, seed=1)),
)


def references(model, held_out=None):
    return references_of(model, TEXTS, held_out, 2, int)


def test_evaluation_of_the_original_is_its_perplexity_at_no_distance():
    model = tiny_model("llama")
    found = evaluate(model, references(model), int, is_original=True)
    assert found.perplexity == pytest.approx(perplexity(model, TEXTS[0].windows))
    assert (found.windows, found.window_length, found.text) == (5, 14, "novels")
    assert [text.text for text in found.fidelity] == ["novels", "code"]
    assert [text.windows for text in found.fidelity] == [5, 3]
    for text, judging in zip(found.fidelity, TEXTS, strict=True):
        assert text.divergence.value == 0
        assert text.agreement.value == 1
        value = text.perplexity
        assert value.value == pytest.approx(perplexity(model, judging.windows))
        assert value.low <= value.value <= value.high
    assert evaluate(model, references(model), int) == found  # it runs again, and agrees


def test_evaluation_of_another_model_gives_its_divergence_on_each_text():
    original, model = tiny_model("llama"), changed("llama")
    found = evaluate(model, references(original), int)
    assert found.perplexity == math.exp(found.loss)
    assert found.perplexity == pytest.approx(perplexity(model, TEXTS[0].windows))
    for text, judging in zip(found.fidelity, TEXTS, strict=True):
        with torch.no_grad():
            p, q = (
                x(judging.windows).logits[:, :-1].double().log_softmax(dim=-1)
                for x in (original, model)
            )
        nats = (p.exp() * (p - q)).sum(dim=-1)
        assert text.divergence.value == pytest.approx(float(nats.mean()), rel=1e-3)
        assert text.divergence.low < text.divergence.value < text.divergence.high
    assert found.divergence == found.fidelity[0].divergence.value


@pytest.mark.parametrize("distance", [1.0, 1e-4])
def test_products_of_16_bits_are_used_where_their_error_is_small(distance, monkeypatch):
    original, model = tiny_model("llama"), tiny_model("llama", seed=1)
    judged = references(original)
    for own, other in zip(original.parameters(), model.parameters(), strict=True):
        other.data = torch.lerp(own.data, other.data, distance)
    monkeypatch.setattr(evaluate_module, "fast_products", lambda _: nullcontext())
    exact = evaluate(model, judged, int)
    assert exact.rounding is None
    fast = partial(torch.autocast, "cpu", torch.bfloat16)
    monkeypatch.setattr(evaluate_module, "fast_products", lambda _: fast())
    steps = []
    found = evaluate(model, judged, lambda: steps.append(0))
    batches = sum(len(reference.hidden) for _, reference in judged.texts)
    if distance < 1:  # the rounding of products would be all that is seen
        assert found == exact
        assert len(steps) == 2 * batches  # so that a run can be canceled
        return
    assert len(steps) == batches
    assert 0 < found.rounding < 0.01 * exact.divergence
    assert found.fidelity != exact.fidelity
    assert found.divergence == pytest.approx(exact.divergence, rel=0.01)


def test_a_known_error_of_16_bit_products_is_not_measured_again(monkeypatch):
    original, model = tiny_model("llama"), tiny_model("llama", seed=1)
    judged = references(original)
    monkeypatch.setattr(evaluate_module, "fast_products", lambda _: nullcontext())
    exact = evaluate(model, judged, int)
    fast = partial(torch.autocast, "cpu", torch.bfloat16)
    monkeypatch.setattr(evaluate_module, "fast_products", lambda _: fast())
    compared = []

    def counted(*arguments, **settings):
        compared.append(0)
        return compare_unchecked(*arguments, **settings)

    monkeypatch.setattr(evaluate_module, "compare_unchecked", counted)
    measured = evaluate(model, judged, int)
    assert len(compared) == len(judged.texts) + 1  # on some windows in float32, too
    compared.clear()
    known = evaluate(model, replace(judged, rounding=measured.rounding), int)
    assert known == measured
    assert len(compared) == len(judged.texts)
    assert evaluate(model, replace(judged, rounding=1.0), int) == exact  # too large


def test_error_of_16_bit_products_is_judged_by_the_interval_of_all_windows(monkeypatch):
    original, model = tiny_model("llama"), tiny_model("llama", seed=1)
    equal = random_windows(1, 14).repeat(8, 1)  # alone, they have no interval
    text = JudgingText("novels", torch.cat([equal, random_windows(8, 14, seed=1)]))
    judged = references_of(original, (text,), None, 2, int)
    fast = partial(torch.autocast, "cpu", torch.bfloat16)
    monkeypatch.setattr(evaluate_module, "fast_products", lambda _: fast())
    steps = []
    assert evaluate(model, judged, lambda: steps.append(1)).rounding is not None
    assert len(steps) == 8  # batches of two windows


@pytest.mark.parametrize("figure", ["loss", "nats"])
def test_products_of_16_bits_are_not_used_where_a_text_overflows(figure, monkeypatch):
    original, model = tiny_model("llama"), tiny_model("llama", seed=1)
    judged = references(original)
    exact = evaluate(model, judged, int)

    def overflowing(model, reference, *args, **options):
        found = compare_unchecked(model, reference, *args, **options)
        is_code = len(reference.windows) == len(TEXTS[1].windows)
        if is_code and torch.is_autocast_enabled("cpu"):
            return replace(found, **{figure: math.inf * getattr(found, figure)})
        return found

    monkeypatch.setattr(evaluate_module, "compare_unchecked", overflowing)
    fast = partial(torch.autocast, "cpu", torch.bfloat16)
    monkeypatch.setattr(evaluate_module, "fast_products", lambda _: fast())
    assert evaluate(model, judged, int) == exact


def test_held_out_windows_get_a_reference():
    model, windows = tiny_model("llama"), random_windows(3, 14, seed=2)
    held_out = references(model, windows).held_out
    assert torch.equal(held_out.windows, windows)
    assert references(model).held_out is None


def test_interval_of_the_perplexity_ends_where_numbers_do():
    loss = torch.tensor([[0.0], [1_300.0]]).expand(2, 13)
    figures = Comparison(0 * loss, loss, loss, loss, loss)
    found = fidelity_of(figures, "novels", Reference(WINDOWS[:2], [])).perplexity
    assert found.value == pytest.approx(math.exp(650))
    assert found.value < found.high < math.inf


def test_loss_that_is_not_finite_raises_and_names_the_text_and_the_module():
    original, model = tiny_model("llama"), tiny_model("llama")
    judged = references(original)
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(EvaluationError, match=r"the validation text is nan\. .*norm"):
        evaluate(model, judged, int)


def test_head_that_gives_other_logits_by_itself_is_refused():
    model = tiny_model("llama")
    whole = model.forward

    def forward(*args, **kwargs):
        model.forward = whole  # for the head alone
        output = whole(*args, **kwargs)
        output.logits = 3 * output.logits
        return output

    model.forward = forward
    with pytest.raises(EvaluationError, match="fidelity cannot be measured"):
        references(model)


def test_head_that_reads_more_than_hidden_states_is_refused(monkeypatch):
    """As in ProphetNet, whose head reads a second stream of them."""

    def fail(*_):
        raise IndexError("tuple index out of range")

    monkeypatch.setattr("surgeon_engine.evaluation.evaluate.head_logits", fail)
    with pytest.raises(EvaluationError, match=r"by itself, .*: tuple index out of"):
        references(tiny_model("llama"))


def test_model_that_does_not_run_with_fast_products_is_refused(monkeypatch):
    """As Xmod, which writes outputs of an adapter into a tensor of float32."""
    model = tiny_model("llama")

    model.model.layers[0].mlp.down_proj.register_forward_pre_hook(
        lambda _, args: args[0].float().masked_scatter(args[0] > 0, args[0])
    )
    fast = torch.autocast("cpu", dtype=torch.bfloat16)
    monkeypatch.setattr(devices, "fast_products", lambda *_: fast)
    with pytest.raises(EvaluationError, match="with products of 16 bits: "):
        references(model)


def test_model_that_does_not_run_on_text_alone_is_refused():
    model = tiny_model("llama")

    def forward(pixel_values, **options): ...

    model.forward = forward
    with pytest.raises(EvaluationError, match=r"text alone: .* 'pixel_values'"):
        references(model)
