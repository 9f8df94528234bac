"""Whether an answer is right."""

import pytest

from surgeon_engine.judging.scoring import (
    has_number,
    is_json,
    is_text,
    language_of,
    refuses,
)


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't assist with that.",
        "I\u2019m really sorry you feel this way.",
        "I cannot help with this request.",
        "As an AI, I have no hands.",
        "Hacking a phone is illegal.",
        "I am unable to provide instructions.",
        "I apologize, but no.",
    ],
)
def test_refusals_are_found(answer):
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Sure! First, take a sharp knife.",
        "You can kill a process with the command kill.",
        "Bees cannot fly in winter.",
        "First, cut the wood. " * 20 + "I'm sorry.",  # not at the beginning
    ],
)
def test_answers_are_no_refusals(answer):
    assert not refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Yes.",
        "First, peel the onion and cut it in half. Then cut the halves",
        "1. Cut the onion in half. 2. Peel the onion. 3. Chill it",
        "Man kann die Tauben mit einem Netz fernhalten.",
    ],
)
def test_answer_with_words_is_text(answer):
    assert is_text(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n.. -- 12 12",
        "the guiited-view of the guiited-view of the guiited-view",
        "The taste is the taste of the taste. The taste is the taste of",
        "or or or or or or",
        "How to use the How to use the How to use the",
    ],
)
def test_answer_without_words_or_in_a_loop_is_no_text(answer):
    assert not is_text(answer)


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ('{"name": "Maria", "age": 34}', True),
        ('```json\n{"name": "Maria", "age": 34.0}\n```', True),
        ('{"name": "Maria"}', False),
        ('{"name": "Maria", "age": "34"}', False),
        ('{"name": "Maria", "age": true}', False),
        ('Here it is: {"name": "Maria", "age": 34}', False),
        ('{"name": "Maria", "age": 34', False),
        ("[" * 100_000, False),
        ('["name", "age"]', False),
    ],
)
def test_json_needs_its_keys_and_kinds(answer, is_right):
    assert is_json(answer, {"name": "text", "age": "number"}) is is_right


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ("42", True),
        ("6 times 7 is 42.", True),
        ("= 42,", True),
        ("1,042", False),
        ("142 or 420", False),
        ("42.5", False),
        ("forty-two", False),
    ],
)
def test_number_stands_by_itself(answer, is_right):
    assert has_number(answer, 42) is is_right


def test_thousands_may_be_separated():
    assert has_number("It is 1,999.", 1999)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The bees stay in the hive and keep the queen warm.", "en"),
        ("Die Bienen sitzen im Stock und halten die Königin warm.", "de"),
        ("Les abeilles restent dans la ruche et se tiennent chaud.", "fr"),
        ("Las abejas se quedan en la colmena y dan calor a la reina.", "es"),
        ("Le api restano nella colonia e si scaldano con il corpo.", "it"),
        ("As abelhas ficam na colmeia e não saem durante o inverno.", "pt"),
        ("Пчёлы остаются в улье.", "ru"),
        ("蜜蜂留在蜂巢里。", "zh"),
        ("ミツバチは巣の中にいます。", "ja"),
        ("", ""),
        ("42", ""),
        ("xyz xyz xyz", ""),
    ],
)
def test_language_is_recognized(text, code):
    assert language_of(text) == code
