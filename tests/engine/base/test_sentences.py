"""Sentences: formats of values, languages, JSON, length, templates of strangers."""

import copy
import gettext
import pickle
from pathlib import Path

import msgspec
import pytest

from surgeon_engine.api.messages.events import Envelope, Failed, Level, Logged
from surgeon_engine.base import sentences
from surgeon_engine.base.decoding import (
    clean_json,
    decode_json,
    encode_json,
    to_builtins,
)
from surgeon_engine.base.errors import ConfigError, UnreadableFileError
from surgeon_engine.base.formatting import (
    format_count,
    format_duration,
    format_percent,
    format_rate,
    format_size,
)
from surgeon_engine.base.sentences import (
    Sentence,
    fields,
    reworded,
    say,
    say_all,
    say_list,
)

GERMAN = {
    "{path} is damaged: {reason:clause}.": "{path} ist beschädigt: {reason:clause}.",
    "It needs {needed:size} ({share:percent}).": (
        "Es braucht {needed:size} ({share:percent})."
    ),
    "The disk is full.": "Der Datenträger ist voll.",
    "Try again.": "Versuchen Sie es noch einmal.",
    "{n} GPUs": "{n} Grafikkarten",
    "“{prompt}”": "„{prompt}“",
}


class Catalog(gettext.NullTranslations):
    """German of a few sentences."""

    def gettext(self, message: str) -> str:
        return GERMAN.get(message, message)


@pytest.fixture
def german():
    sentences.use("de", Catalog())
    yield
    sentences.use("en", gettext.NullTranslations())


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (say("It needs {size:size}.", size=1.5e12), "It needs 1,500.00 GB."),
        (say("{share:percent} of {n:,}", share=0.5, n=12_345), "50 % of 12,345"),
        (say("{share:percent2}, {share:percent0}", share=0.1234), "12.34 %, 12 %"),
        (say("{time:duration}, {x:.3g}", time=7200, x=0.12345), "2.0 h, 0.123"),
        (say("--gpus is {given:shown}.", given="a\nb"), "--gpus is “a\\nb”."),
        (say("No: {why:clause}.", why="It is full."), "No: It is full."),
        (say("{path}: {error}", path=Path("a"), error=ValueError("b")), "a: b"),
        (say("{{n}} is {n}", n=1), "{n} is 1"),
        (say("{x:,d} {y} {z:.1f}", x=1e3, y=True, z=float("nan")), "1,000 true nan"),
        (say("{x:.2e}", x=10**5000), "1e+308"),
    ],
)
def test_values_are_formatted_in_english(sentence, expected):
    assert sentence == expected


def test_error_with_a_sentence_is_a_value_of_another_one():
    inner = UnreadableFileError(say("{path} is empty.", path="a.json"))
    outer = ConfigError(say("No report: {reason:clause}.", reason=inner))
    assert str(outer) == "No report: a.json is empty."
    assert outer.message.values["reason"].template == "{path} is empty."


def test_error_shares_its_values_between_message_and_hint():
    error = ConfigError("{path} has {n} words.", "Shorten {path}.", path="a", n=3)
    assert (str(error), error.hint) == ("a has 3 words.", "Shorten a.")
    assert error.hint.values == {"path": "a"}


def test_error_of_a_text_without_values_keeps_its_braces():
    assert ConfigError('{"a": {b}} {n}').message == '{"a": {b}} {n}'


@pytest.mark.usefixtures("german")
def test_sentence_is_in_the_language_of_the_process():
    reason = say("It needs {needed:size} ({share:percent}).", needed=2e12, share=0.125)
    damaged = "{path} is damaged: {reason:clause}."
    assert say(damaged, path="x", reason=reason) == (
        "x ist beschädigt: Es braucht 2.000,00 GB (12,5 %)."
    )
    assert say("Unknown: {x:.1f}", x=1.5) == "Unknown: 1,5"
    assert say("Unknown: {x:shown}", x="y") == "Unknown: „y“"
    assert say("") == ""


def test_error_says_its_constants_in_the_language_of_now():
    hint, message = say("Try again."), say("The disk is full.")
    sentences.use("de", Catalog())
    try:
        error = ConfigError(message, hint)
        outer = reworded(
            say("{path} is damaged: {reason:clause}.", path=1, reason=hint)
        )
    finally:
        sentences.use("en", gettext.NullTranslations())
    assert str(error) == error.message == "Der Datenträger ist voll."
    assert error.hint == "Versuchen Sie es noch einmal."
    assert outer == "1 ist beschädigt: Versuchen Sie es noch einmal."


def test_event_carries_template_and_values():
    inner = say("It needs {needed:size} ({share:percent}).", needed=2e9, share=0.5)
    message = say("{path} is damaged: {reason:clause}.", path="x", reason=inner)
    line = encode_json(Envelope("r", 1.0, Failed(message, "Plain.", "details")))
    assert msgspec.json.decode(line)["event"]["message"] == {
        "template": "{path} is damaged: {reason:clause}.",
        "values": {
            "path": "x",
            "reason": {
                "template": "It needs {needed:size} ({share:percent}).",
                "values": {"needed": 2e9, "share": 0.5},
            },
        },
    }
    event = decode_json(clean_json(line), Envelope).event
    assert event == Failed(message, "Plain.", "details")
    assert event.message.values["reason"].values == {"needed": 2e9, "share": 0.5}
    assert event.hint.template == ""
    assert encode_json(event) == encode_json(Failed(message, "Plain.", "details"))


@pytest.mark.parametrize(
    "message",
    [
        b'{"template":"{n} GPUs","values":{"n":2}}',
        b'{"template":"{n} GPU","plural":"{n} GPUs","values":{"n":2}}',  # earlier
    ],
)
def test_event_is_read_in_the_language_of_the_reader(german, message):
    line = b'{"type":"Logged","level":"info","message":%s}' % message
    event = decode_json(line, Logged)
    assert event == Logged(Level.INFO, "2 Grafikkarten")
    assert to_builtins(event)["message"] == {
        "template": "{n} GPUs",
        "values": {"n": 2},
    }


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_sentence_can_be_pickled_and_copied(protocol):
    for sentence in (
        say("{n} GPUs of {name}", n=2, name="x"),
        decode_json(
            b'{"type":"Logged","level":"info","message":"{x}"}', Logged
        ).message,
    ):
        found = pickle.loads(pickle.dumps(sentence, protocol))
        assert found == copy.deepcopy(sentence) == sentence
        assert type(found) is Sentence


@pytest.mark.parametrize(
    "template",
    [
        "{x.__class__}",
        "{x[0]}",
        "{x!r}",
        "{x:>1000000000}",
        "{x:{x}}",
        "{}",
        "{0}",
        "{missing}",
        "{x",
        "}",
        "{x}" * 41,
        "{x}" * 3_000,
    ],
)
def test_template_of_a_stranger_is_shown_as_it_is(template):
    line = msgspec.json.encode(
        {"type": "Failed", "message": {"template": template, "values": {"x": "y"}}}
    )
    message = decode_json(clean_json(line), Failed).message
    assert message[:100] == template[:100]
    assert len(message) <= 5_001


@pytest.mark.parametrize(
    "message",
    [
        {"values": {}},
        {"template": 1},
        {"template": "", "values": []},
        [],
        None,
        1,
    ],
)
def test_what_is_no_sentence_is_refused(message):
    with pytest.raises(msgspec.MsgspecError):
        decode_json(msgspec.json.encode({"type": "Failed", "message": message}), Failed)


def test_size_and_depth_of_a_strangers_sentence_are_limited():
    long = {"template": "{x}{x}{y}", "values": {"x": "z" * 90_000, "y": [[1]]}}
    line = msgspec.json.encode({"type": "Failed", "message": long})
    assert len(decode_json(line, Failed).message) == 5_001
    deep = {"template": "{x}", "values": {"x": "end"}}
    for _ in range(10):
        deep = {"template": "{x}", "values": {"x": deep}}
    with pytest.raises(msgspec.MsgspecError):
        decode_json(msgspec.json.encode({"type": "Failed", "message": deep}), Failed)


def test_control_characters_of_another_computer_are_escaped():
    value = {"template": "\x1b[31m{x}", "values": {"x": "\x1b[0m"}}
    line = clean_json(msgspec.json.encode({"type": "Failed", "message": value}))
    assert decode_json(line, Failed).message == "\\x1b[31m\\x1b[0m"


def test_fields_returns_names_and_formats():
    assert fields("{a}, {b:size}: {c:,.1f}{{}}") == {"a": "", "b": "size", "c": ",.1f"}


def test_choices_have_their_names_where_there_are_any(german):
    one, two = say("{x:choice}", x="n_m"), say_list("n_m", "rows", spec="choice")
    assert (one, two) == ("n_m", "n_m, rows")
    sentences.use_names({"n_m": say("Try again.")})
    try:
        assert reworded(one) == "Versuchen Sie es noch einmal."
        assert reworded(two) == "Versuchen Sie es noch einmal., rows"
    finally:
        sentences.use_names({})


def test_say_all_joins_sentences_and_leaves_out_empty_ones(german):
    joined = say_all(say("Try again."), "", say("The disk is full."))
    assert joined == "Versuchen Sie es noch einmal. Der Datenträger ist voll."
    assert say_all("", "x") == "x"
    assert say_all("", "") == ""


def test_only_one_module_writes_json():
    """Another one would not know how to write sentences."""
    engine = Path(sentences.__file__).parents[1]
    found = [
        str(path.relative_to(engine))
        for path in engine.rglob("*.py")
        if "msgspec.json.encode(" in path.read_text()
    ]
    assert found == ["base/decoding.py"]


def test_long_message_keeps_its_beginning_and_its_reason():
    error = ConfigError(f"{'x' * 9_000} cannot be read: name too long.", "y" * 9_000)
    assert len(error.message) == len(error.hint) == len(str(error)) == 5_001
    assert error.message.startswith("xxx")
    assert error.message.endswith("cannot be read: name too long.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (format_count(1_234_567), "1,234,567"),
        (format_percent(0.1234), "12.3 %"),
        (format_percent(0.5, 0), "50 %"),
        (format_percent(0.30004, 2), "30 %"),
        (format_percent(0.95), "95 %"),
        (format_rate(12.34), "12.3"),
        (format_rate(1234.5), "1,234"),
        (format_size(0), "0.0 MB"),
        (format_size(1e308), "1e+299 GB"),
        (format_percent(-1e308), "-inf %"),
        (format_duration(1e30), "2.78e+26 h"),
        (format_size(99_900_000), "99.9 MB"),
        (format_size(91_720_000), "91.8 MB"),
        (format_size(2_341_000_000), "2.35 GB"),
        (format_size(120_000_000), "120.0 MB"),
        (format_size(1.5e12), "1,500.00 GB"),
        (format_duration(119.4), "119 s"),
        (format_duration(120), "2 min"),
        (format_duration(7200), "2.0 h"),
        (format_duration(-1e308), "-1e+308 s"),
        (format_size(1e300), "1e+291 GB"),
        (format_count(10**4000), "1e+308"),
        (format_count(float(2**54)), "18,014,398,509,481,984"),
        (format_percent(1e300), "1e+302 %"),
        (format_percent(1.5e18), "1.5e+20 %"),
        (format_rate(float("nan")), "nan"),
    ],
)
def test_numbers_are_formatted_in_english(text, expected):
    assert text == expected
