"""Answers of both models are compared item by item."""

import pytest

from surgeon_engine.api.messages.judgment import Outcome, Probe
from surgeon_engine.judging.conversation import (
    Question,
    Replies,
    cut_to,
    in_both,
    probe_judged,
    prompt_judged,
    questions_of,
    rights_of,
    worst_first,
)
from surgeon_engine.judging.items import Item, all_items
from surgeon_engine.judging.llama_process import Answered
from tests.helpers.smaller_vocabularies import demo, demo_with, kept_of_demo, windows_of

REFUSAL, HELP = "I'm sorry, but I can't help with that.", "Sure! First, take a bag."


def questions(probe=None):
    items = all_items("", 4096, quick=False)
    return [Question(x, (1, 2)) for x in items if probe is None or x.probe is probe]


def judged(probe, originals, files):
    asked = questions(probe)
    sides = [
        Replies("", tuple(Answered(x, is_complete=True) for x in texts))
        for texts in (originals, files)
    ]
    rights = list(rights_of(asked, *sides))
    assert {x for x, _ in rights} == {probe}
    return probe_judged(probe, [x for _, x in rights])


def test_damaged_refusals_are_told_apart():
    count = len(questions(Probe.REFUSES_HARM))
    original = [REFUSAL] * count
    found = judged(Probe.REFUSES_HARM, original, [HELP] * 8 + original[8:])
    assert (found.original, found.file) == (count, count - 8)
    assert (found.only_original, found.only_file) == (8, 0)
    assert found.difference.value == pytest.approx(-8 / count)
    assert found.difference.high < 0
    assert found.p == pytest.approx(2 / 2**8)
    assert found.outcome is Outcome.WORSE
    assert len(found.changed) == 8
    assert (found.changed[0].original, found.changed[0].file) == (REFUSAL, HELP)
    assert found.changed[0].original_is_right


def test_refusing_everything_is_worse_on_harmless_requests_alone():
    harmful, harmless = Probe.REFUSES_HARM, Probe.ANSWERS_HARMLESS
    count = len(questions(harmless))
    found = judged(harmless, [HELP] * count, [REFUSAL] * count)
    assert found.outcome is Outcome.WORSE
    assert judged(harmful, [HELP] * 24, [REFUSAL] * 24).outcome is Outcome.BETTER


def test_answers_that_are_no_language_are_not_right():
    asked = questions(Probe.ANSWERS_HARMLESS)
    loop = "the way of the way of the way of the way"
    answers = [Replies("", (Answered(x, True),) * 24) for x in (HELP, loop)]
    assert not any(x.file_is_right for _, x in rights_of(asked, *answers))
    helpful = [answers[0], answers[0]]
    found = [x for _, x in rights_of(asked, *helpful, unlikely={0, 2})]
    assert [x.file_is_right for x in found[:4]] == [False, True, False, True]
    assert all(x.original_is_right for x in found)


def test_few_changes_cannot_be_told_apart():
    original = [REFUSAL] * 24
    found = judged(Probe.REFUSES_HARM, original, [HELP] * 3 + original[3:])
    assert found.p == 0.25
    assert found.outcome is Outcome.SAME
    same = judged(Probe.REFUSES_HARM, original, original)
    assert (same.p, same.outcome, same.changed) == (1.0, Outcome.SAME, ())
    assert same.difference.value == 0


@pytest.mark.parametrize(
    ("before", "after", "fails"),
    [(11, 10, True), (12, 11, False), (3, 0, True), (11, 0, False), (3, 24, False)],
)
def test_probe_that_the_original_fails_too_shows_nothing(before, after, fails):
    first, second = (
        [REFUSAL] * right + [HELP] * (24 - right) for right in (before, after)
    )
    found = judged(Probe.REFUSES_HARM, first, second)
    assert (found.items, found.original_fails) == (24, fails)


def prompt(texts, tokens, losses=(8.0, 12.0)):
    answers = tuple(Answered(x, is_complete=False) for x in texts)
    return prompt_judged(Question(Item("Why?", 8), (1,)), answers, tokens, losses)


def test_prompt_has_the_first_token_that_differs_and_the_loss_of_a_byte():
    found = prompt(("abcd", "abxy"), ([1, 2, 3], [1, 2, 4, 5]))
    assert found.parts_at == 2
    assert (found.original.nats_per_byte, found.file.nats_per_byte) == (2.0, 3.0)
    assert found.loss == 1.0
    assert (found.original.tokens, found.file.tokens) == (3, 4)
    assert prompt(("abc", "abcd"), ([1, 2], [1, 2, 3])).parts_at == 2
    assert prompt(("abc", "abc"), ([1, 2], [1, 2])).parts_at is None
    accents = prompt(("é", "é"), ([1], [1]))
    assert accents.original.nats_per_byte == 4.0


def test_empty_answer_has_no_likelihood():
    found = prompt(("abc", ""), ([1, 2], []), (8.0, 0.0))
    assert found.file.nats_per_byte is None
    assert found.loss is None
    assert found.parts_at == 0


def test_worst_prompt_is_first_and_equal_ones_are_last():
    equal = prompt(("a", "a"), ([1], [1]), (9.0, 9.0))
    better = prompt(("ab", "cd"), ([1], [2]), (4.0, 2.0))
    worst = prompt(("ab", "cd"), ([1], [2]), (4.0, 9.0))
    empty = prompt(("abc", ""), ([1, 2], []), (8.0, 0.0))
    ordered = worst_first([equal, better, empty, worst])
    assert ordered == (empty, worst, better, equal)


@pytest.mark.slow
def test_questions_for_fewer_tokens_fit_in_both_and_have_longer_answers():
    original = demo()
    smaller = demo_with(kept_of_demo(original)).tokenizer
    text = original.tokenizer.decode(windows_of(original, 1, 80, end=False)[0])
    items = [Item("Hi", 10), Item(text, 10)]
    questions = questions_of(items, original.tokenizer, 512)
    ours, theirs = in_both(questions, smaller, 512)
    assert [x.item.tokens for x in theirs] == [15, 15]
    assert ours == questions
    assert smaller.decode(theirs[1].tokens) == original.tokenizer.decode(ours[1].tokens)
    longest = len(theirs[1].tokens)
    assert longest > len(ours[1].tokens)
    ours, theirs = in_both(questions, smaller, longest + 14)
    assert [x.item.prompt for x in ours] == ["Hi"]
    assert len(theirs) == 1


def test_longer_answers_of_fewer_tokens_are_cut_to_those_of_the_original():
    tokenizer = demo().tokenizer
    text = " The function returns a list of all the names in the module."
    count = len(tokenizer(text, add_special_tokens=False).input_ids)
    for limit, is_cut in ((count, False), (count - 3, True)):
        questions = [Question(Item("", limit), (1,))]
        replies = Replies("program", (Answered(text, is_complete=True),))
        (found,) = cut_to(questions, replies, tokenizer).answers
        assert found.is_complete is not is_cut
        assert text.startswith(found.text)
        assert (len(found.text) < len(text)) is is_cut
