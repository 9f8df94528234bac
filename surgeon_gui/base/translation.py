"""Words in the user's language: `tr` wherever the window says something.

    tr("Nothing has been measured yet.")
    tr("{done} of {total} shots").format(done=2, total=5)
    ntr("{n} layer", "{n} layers", n).format(n=n)

The English words are the keys, so that nothing is looked up for English and what has
no translation is said in English. The language is chosen once, by `use`, before the
modules are imported that hold words: what they say is fixed when they are imported.
Catalogues lie in resources/translations; docs/translating.md says how one is made.
Knows nothing of Qt, so that sentences can be made and tested without it.
"""

from __future__ import annotations

import gettext
from importlib import resources

DOMAIN = "surgeon"
ENGLISH = "en"
# The languages there are, each by the name that those have for it who speak it.
LANGUAGES = {ENGLISH: "English", "de": "Deutsch"}

_language = ENGLISH
_catalogue: gettext.NullTranslations = gettext.NullTranslations()


def use(language: str) -> None:
    """Say everything that is imported from now on in `language`, such as "de"."""
    global _catalogue, _language
    _language = known(language)
    folder = resources.files("surgeon_resources") / "translations"
    with resources.as_file(folder) as path:
        languages = [] if _language == ENGLISH else [_language]
        _catalogue = gettext.translation(DOMAIN, path, languages, fallback=True)


def known(*wished: str) -> str:
    """The first of the wished languages that there is, such as "de" for "de_AT"."""
    for wish in wished:
        language = wish.replace("-", "_").partition("_")[0].lower()
        if language in LANGUAGES:
            return language
    return ENGLISH


def language() -> str:
    """In which language everything is said."""
    return _language


def tr(words: str) -> str:
    """`words` in the user's language."""
    # The empty key holds the description of the catalogue.
    return _catalogue.gettext(words) if words else ""


def ntr(one: str, many: str, n: int) -> str:
    """`one` or `many` in the user's language, as the number `n` asks for."""
    return _catalogue.ngettext(one, many, n)


def inside(words: str) -> str:
    """A name as it stands inside of a sentence: German nouns keep their capitals."""
    return words.lower() if _language == ENGLISH else words
