"""The built-in text is deterministic, and its parts share nothing."""

import sys

import pytest

from surgeon_engine.base.errors import CalibrationError
from surgeon_engine.calibration.builtin import (
    VALIDATION_TOPICS,
    builtin_documents,
    paragraph_key,
    paragraphs,
)


def _keys(part):
    return [
        paragraph_key(paragraph)
        for document in builtin_documents(part)
        for paragraph in paragraphs(document)
    ]


@pytest.mark.parametrize("part", ["calibration", "validation"])
def test_documents_are_deterministic(part):
    assert builtin_documents(part) == builtin_documents(part)


def test_parts_share_no_paragraph():
    assert not set(_keys("calibration")) & set(_keys("validation"))


@pytest.mark.parametrize("part", ["calibration", "validation"])
def test_no_paragraph_occurs_twice(part):
    keys = _keys(part)
    assert keys
    assert len(keys) == len(set(keys))


def test_validation_is_about_an_eighth_of_the_characters():
    calibration = sum(map(len, builtin_documents("calibration")))
    validation = sum(map(len, builtin_documents("validation")))
    assert 0.08 < validation / (calibration + validation) < 0.20
    assert calibration > 250_000


def test_validation_topic_inside_another_is_held_out():
    handlers = "specifies exception handlers and/or cleanup code"
    assert any(handlers in document for document in builtin_documents("validation"))
    assert not any(handlers in text for text in builtin_documents("calibration"))


def test_repeated_topic_is_kept_once(monkeypatch):
    topics = {
        "calls": "Calls\n*****\n\nA call calls.\n",
        "two": "Calls\n=====\n\nShared\nwords.\n\nTwo alone.\n",
        "one": "One\n***\n\nShared words.\n\n   code = 1\n",
        "zero": "Shared words.\n",
    }
    monkeypatch.setattr("pydoc_data.topics.topics", topics)
    assert builtin_documents("validation") == ["Calls\n*****\n\nA call calls.\n"]
    assert builtin_documents("calibration") == [
        "One\n***\n\nShared words.\n\n   code = 1\n",
        "Two alone.\n",
    ]


def test_heading_key_ignores_underline():
    assert paragraph_key("Title\n*****") == paragraph_key("Title\n=====")
    assert paragraph_key("***") != paragraph_key("===")


def test_every_validation_topic_exists_in_this_python():
    topics = pytest.importorskip("pydoc_data.topics").topics
    assert set(VALIDATION_TOPICS) <= set(topics)


def test_python_without_topics_raises_with_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(CalibrationError) as caught:
        builtin_documents("calibration")
    assert "pydoc_data" in str(caught.value)
    assert caught.value.hint
