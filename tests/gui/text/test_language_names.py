"""Names of languages, as a user types and reads them."""

import pytest

from surgeon_engine.model.vocabulary.scripts import LANGUAGES
from surgeon_gui.base import translation
from surgeon_gui.base.translation import ENGLISH
from surgeon_gui.text.language_names import english_name, shown_name


@pytest.fixture
def german():
    translation.use("de")
    yield
    translation.use(ENGLISH)


@pytest.mark.usefixtures("german")
def test_languages_are_read_and_shown_in_german():
    assert english_name("deutsch") == english_name("German") == "German"
    assert shown_name("Greek") == "Griechisch"
    assert all(english_name(shown_name(name)) == name for name in LANGUAGES)
    for other in ("Cyrillic", "~/words.txt"):
        assert english_name(other) == shown_name(other) == other


def test_english_names_stay():
    assert all(english_name(name) == shown_name(name) == name for name in LANGUAGES)
