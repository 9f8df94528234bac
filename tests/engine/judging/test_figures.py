"""The distance of a file by text, class of token and position."""

from dataclasses import replace

import pytest
import torch

from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.judgment import Outcome, TokenClass
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.evaluation.bits import OriginalTokens
from surgeon_engine.evaluation.fidelity import Comparison, Reference
from surgeon_engine.judging.figures import (
    Compared,
    judge_classes,
    judge_positions,
    judge_texts,
)
from surgeon_engine.judging.token_classes import CLASSES, classes_of
from surgeon_engine.model.source import locate
from surgeon_engine.model.tokenizer import read_tokenizer

WINDOWS, TOKENS = 16, 40
NUMBERS = CLASSES.index(TokenClass.NUMBERS)


def comparison(nats, loss):
    return Comparison(
        nats, torch.exp(-nats), loss, torch.exp(-nats / 2), original_loss=loss - nats
    )


def compared(nats, name="text", classes=None):
    """Return a file with some KL for each token, which adds as much to its loss."""
    draw = torch.Generator().manual_seed(1)
    loss = torch.rand(nats.shape, generator=draw) + 1
    if classes is None:
        classes = torch.zeros(nats.shape, dtype=torch.int64)
        classes[:, ::4] = NUMBERS + 1
    windows = torch.zeros((len(nats), nats.shape[1] + 1), dtype=torch.int64)
    reference = Reference(windows, [])
    return Compared(name, comparison(nats, loss + nats), classes, reference)


def random(seed, shape=(WINDOWS, TOKENS)):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=draw) + 0.1


def test_original_against_itself_has_no_difference():
    texts = [compared(torch.zeros(WINDOWS, TOKENS))]
    parts = [x.figures for x in (*judge_classes(texts), *judge_positions(texts))]
    (text,) = judge_texts(texts)
    assert text.outcome is Outcome.SAME
    assert text.fidelity == text.baseline
    for each in parts:
        assert each.outcome is Outcome.SAME
        assert each.divergence.high == each.loss.high == 0
        assert each.agreement.low == each.overlap.low == 1


def test_figures_are_means_over_the_tokens_of_all_texts():
    one, other = random(1), random(2, (4, 20))
    texts = [compared(one), compared(other, "other")]
    of_class = {x.kind: x.figures for x in judge_classes(texts)}
    assert of_class.keys() == {CLASSES[0], CLASSES[NUMBERS + 1]}
    found = of_class[CLASSES[NUMBERS + 1]]
    chosen = torch.cat([one[:, ::4].flatten(), other[:, ::4].flatten()])
    assert found.tokens == len(chosen)
    assert found.divergence.value == pytest.approx(float(chosen.mean()), rel=1e-5)
    assert found.loss.value == pytest.approx(float(chosen.mean()), rel=1e-4)
    assert found.overlap.value == pytest.approx(float((-chosen / 2).exp().mean()))
    positions = judge_positions(texts)
    assert [(x.first, x.last) for x in positions] == [
        *((1, 10), (11, 20), (21, 30), (31, 40))
    ]
    assert [x.figures.tokens for x in positions] == [200, 200, 160, 160]
    late = positions[2].figures.divergence.value
    assert late == pytest.approx(float(one[:, 20:30].mean()), rel=1e-5)


def test_files_of_equal_divergence_with_damaged_numbers_are_told_apart():
    even = random(3)
    classes = torch.ones_like(even, dtype=torch.int64)
    classes[:, ::5] = NUMBERS
    weights = torch.where(classes == NUMBERS, 3.0, 0.5)
    damaged = even * weights
    damaged *= even.sum() / damaged.sum()
    files = [[compared(x, classes=classes)] for x in (even, damaged)]
    one, other = (judge_texts(x)[0].fidelity.divergence for x in files)
    assert one.value == pytest.approx(other.value, rel=1e-5)
    first, second = (
        {x.kind: x.figures.divergence for x in judge_classes(file)} for file in files
    )
    assert second[TokenClass.NUMBERS].low > first[TokenClass.NUMBERS].high
    assert second[TokenClass.CODE].high < first[TokenClass.CODE].low


def test_figures_of_fewer_tokens_are_those_of_the_original_tokens_there():
    nats = torch.tensor([[0.1, torch.nan, 0.2, 0.4, 0.8, 1.6]])
    # The last token ends with the window: the text after it is unknown.
    positions = torch.tensor([[0, -1, 1, 3, 4, 6, -1]])
    own = OriginalTokens(torch.ones(1, 6), torch.full((1, 6), 2), positions)
    code, others = map(CLASSES.index, (TokenClass.CODE, TokenClass.OTHERS))
    classes = torch.tensor([[others, code, others, code, others, others]])
    windows = torch.zeros((1, 7), dtype=torch.int64)
    lengths = torch.full((1, 6), 2)
    reference = Reference(windows, [], bytes=lengths, original=own)
    text = compared(nats, classes=classes)
    loss = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    file = replace(text.file, loss=loss)
    text = replace(text, file=file, reference=reference)
    found = {x.kind: x.figures for x in judge_classes([text])}
    assert found[TokenClass.CODE].tokens == 2
    assert found[TokenClass.CODE].divergence.value == pytest.approx(0.3)
    assert found[TokenClass.OTHERS].tokens == 2
    assert found[TokenClass.OTHERS].divergence.value == pytest.approx(0.45)
    quarters = {(x.first, x.last): x.figures.tokens for x in judge_positions([text])}
    assert quarters == {(1, 1): 1, (2, 3): 1, (4, 4): 1, (5, 6): 1}
    assert text.loss.value == pytest.approx((21 - 6) / 6)  # per token of the original


def test_tokens_have_the_class_of_their_text():
    tokenizer = read_tokenizer(locate(ModelConfig(DEMO).source))
    text = "In 1984 the method append() of Guido added an incomprehensibility."
    ids = tokenizer(text, add_special_tokens=False).input_ids
    (found,) = classes_of(torch.tensor([ids]), tokenizer)
    texts = [tokenizer.decode([x]) for x in ids][1:]
    kinds = [CLASSES[x] for x in found]
    assert len(kinds) == len(ids) - 1
    by_kind = {
        kind: "".join(t for t, k in zip(texts, kinds, strict=True) if k is kind)
        for kind in CLASSES
    }
    assert "".join(by_kind[TokenClass.NUMBERS].split()) == "1984"
    assert by_kind[TokenClass.CODE].strip() in ("()", "(")
    assert "method" in by_kind[TokenClass.OTHERS]
    assert by_kind[TokenClass.NAMES].strip() == "Guido"
    assert by_kind[TokenClass.RARE_WORDS].strip() == "incomprehensibility"
