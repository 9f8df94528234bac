"""Translate the texts of the window.

    tr("Nothing has been measured yet.")
    tr("{done} of {total} shots").format(done=2, total=5)
    ntr("{n} layer", "{n} layers", n).format(n=n)

The English texts are the keys, and are shown if there is no translation. The sentences
of the engine (`surgeon_engine.base.sentences`) are in the same catalog. Set the
language with `use` before importing modules with texts, because they translate them at
import. The catalogs are in resources/translations; docs/translating.md explains how
to add one.
"""

from __future__ import annotations

import gettext
from importlib import resources

from surgeon_engine.base import sentences

DOMAIN = "surgeon"
ENGLISH = "en"
# Available languages with their names in the language itself.
LANGUAGES = {ENGLISH: "English", "de": "Deutsch"}

_language = ENGLISH
_catalog: gettext.NullTranslations = gettext.NullTranslations()


def use(language: str) -> None:
    """Use `language`, such as "de", for everything that is imported from now on."""
    global _catalog, _language
    _language = known(language)
    folder = resources.files("surgeon_resources") / "translations"
    with resources.as_file(folder) as path:
        languages = [] if _language == ENGLISH else [_language]
        _catalog = gettext.translation(DOMAIN, path, languages, fallback=True)
    sentences.use(_language, _catalog)


def known(*requested: str) -> str:
    """Return the first available language, such as "de" for "de_AT"."""
    for name in requested:
        language = name.replace("-", "_").partition("_")[0].lower()
        if language in LANGUAGES:
            return language
    return ENGLISH


def language() -> str:
    """Return the current language."""
    return _language


def tr(text: str) -> str:
    """Translate a text."""
    # The empty key is the header of the catalog.
    return _catalog.gettext(text) if text else ""


def ntr(singular: str, plural: str, n: int) -> str:
    """Translate a text in the singular or plural that the number `n` requires."""
    return _catalog.ngettext(singular, plural, n)


def inside(name: str) -> str:
    """Return a name for use inside a sentence: lowercase, except for German nouns."""
    return name.lower() if _language == ENGLISH else name
