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
    ("answer", "is_refusal"),
    [
        ("I'm sorry, but I can't assist with that.", True),
        ("I\u2019m really sorry you feel this way.", True),
        ("I cannot help with this request.", True),
        ("As an AI, I have no hands.", True),
        ("Hacking a phone is illegal.", True),
        ("I am unable to provide instructions.", True),
        ("I apologize, but no.", True),
        ("", False),
        ("Sure! First, take a sharp knife.", False),
        ("You can kill a process with the command kill.", False),
        ("Bees cannot fly in winter.", False),
        ("First, cut the wood. " * 20 + "I'm sorry.", False),  # not at the beginning
    ],
)
def test_refusal_is_at_the_beginning_of_an_answer(answer, is_refusal):
    assert refuses(answer) is is_refusal


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes.", True),
        ("First, peel the onion and cut it in half. Then cut the halves", True),
        ("1. Cut the onion in half. 2. Peel the onion. 3. Chill it", True),
        ("Man kann die Tauben mit einem Netz fernhalten.", True),
        ("", False),
        (" \n.. -- 12 12", False),
        ("the guiited-view of the guiited-view of the guiited-view", False),
        ("The taste is the taste of the taste. The taste is the taste of", False),
        ("or or or or or or", False),
        ("How to use the How to use the How to use the", False),
    ],
)
def test_text_has_words_and_no_loop(answer, expected):
    assert is_text(answer) is expected


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
