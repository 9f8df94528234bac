"""How likely a model finds answers and continuations."""

import pytest
import torch

from surgeon_engine.judging.likelihood import continuations_of, losses_of_answers
from tests.helpers.tiny_models import VOCABULARY, tiny_model

WINDOWS = torch.randint(
    1, VOCABULARY, (3, 130), generator=torch.Generator().manual_seed(1)
)


def test_continuations_are_true_or_of_another_place():
    found = continuations_of(WINDOWS, 5)
    assert found.rows.shape == (5, 4, 64)
    places = WINDOWS[:, :128].reshape(-1, 64)
    for item in range(5):
        assert torch.equal(found.rows[item, 0], places[item])
        for choice in range(1, 4):
            row = found.rows[item, choice]
            assert torch.equal(row[:48], places[item, :48])
            assert torch.equal(row[48:], places[(item + choice) % 5, 48:])


def test_short_texts_have_no_continuations():
    assert len(continuations_of(WINDOWS[:1], 9)) == 0
    assert len(continuations_of(WINDOWS[:, :30], 9)) == 0
    assert continuations_of(WINDOWS[:1], 9).chosen(tiny_model("llama"), int) == []


def test_likeliest_continuation_is_chosen():
    found, steps = continuations_of(WINDOWS, 6), []
    model = tiny_model("llama")
    chosen = found.chosen(model, lambda: steps.append(0))
    assert len(steps) == 6
    with torch.no_grad():
        for rows, choice in zip(found.rows, chosen, strict=True):
            logs = model(rows).logits[:, 47:-1].double().log_softmax(-1)
            sums = logs.gather(2, rows[:, 48:, None]).sum(dim=(1, 2))
            assert int(sums.argmax()) == choice


def test_loss_of_an_answer_is_that_of_its_tokens_alone():
    model, tokens = tiny_model("llama"), WINDOWS[:1, :20]
    with torch.no_grad():
        logs = model(tokens).logits[0].double().log_softmax(-1)
    expected = -sum(float(logs[i - 1, tokens[0, i]]) for i in range(12, 20))
    row = tokens[0].tolist()
    pairs = [(row[:12], row[12:]), (row[:12], []), (row[:12], row[12:])]
    found = losses_of_answers(model, pairs)
    assert found == pytest.approx([expected, 0.0, expected], rel=1e-5)
