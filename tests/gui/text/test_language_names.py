"""Names of languages and scripts, as a user types and reads them."""

import pytest

from surgeon_engine.model.vocabulary.scripts import LANGUAGES, script_names
from surgeon_gui.base import translation
from surgeon_gui.base.translation import ENGLISH
from surgeon_gui.text.language_names import english_name, script_name, shown_name


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


@pytest.mark.usefixtures("german")
def test_scripts_are_shown_in_german():
    assert script_name("Cyrillic") == "Kyrillisch"
    assert script_name("Old_Italic") == "Altitalisch"
    assert script_name("Thai") == "Thai"  # has no name of its own


def test_english_scripts_have_their_names_in_unicode():
    other = {"Common": "Signs and digits", "Myanmar": "Burmese"}
    other["Han"] = "Han (Chinese characters)"
    names = {name: name.replace("_", " ") for name in script_names()} | other
    assert {name: script_name(name) for name in names} == names
