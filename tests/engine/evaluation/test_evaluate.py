"""An evaluation gives perplexity and fidelity on each text, with intervals."""

from __future__ import annotations

import math

import pytest
import torch

from surgeon_engine.base.errors import EvaluationError
from surgeon_engine.calibration.windows import JudgingText
from surgeon_engine.evaluation.evaluate import evaluate, references_of
from surgeon_engine.evaluation.perplexity import perplexity
from tests.engine.evaluation.test_fidelity import changed
from tests.helpers.pruning_states import random_windows
from tests.helpers.tiny_models import tiny_model

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


def test_held_out_windows_get_a_reference():
    model, windows = tiny_model("llama"), random_windows(3, 14, seed=2)
    held_out = references(model, windows).held_out
    assert torch.equal(held_out.windows, windows)
    assert references(model).held_out is None


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
        output = whole(*args, **kwargs)
        if "input_ids" not in kwargs:  # not the call of the head alone
            output.logits = 3 * output.logits
        return output

    model.forward = forward
    with pytest.raises(EvaluationError, match="fidelity cannot be measured"):
        references(model)
