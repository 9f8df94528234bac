"""Words in the user's language: `tr` wherever the window says something.

    tr("Nothing has been measured yet.")
    tr("{done} of {total} shots").format(done=2, total=5)
    ntr("{n} layer", "{n} layers", n).format(n=n)

The English words are the keys, so that nothing is looked up for English and what has
no translation is said in English. The language is chosen once, by `use`, before the
modules are imported that hold words: what they say is fixed when they are imported.
Catalogues lie in resources/translations. Knows nothing of Qt, so that sentences can be
made and tested without it.
"""

from __future__ import annotations

import gettext
from importlib import resources

DOMAIN = "surgeon"
ENGLISH = "en"

_catalogue: gettext.NullTranslations = gettext.NullTranslations()


def use(language: str) -> None:
    """Say everything that is imported from now on in `language`, such as "de"."""
    global _catalogue
    folder = resources.files("surgeon_resources") / "translations"
    with resources.as_file(folder) as path:
        languages = [] if language == ENGLISH else [language]
        _catalogue = gettext.translation(DOMAIN, path, languages, fallback=True)


def tr(words: str) -> str:
    """`words` in the user's language."""
    return _catalogue.gettext(words)


def ntr(one: str, many: str, n: int) -> str:
    """`one` or `many` in the user's language, as the number `n` asks for."""
    return _catalogue.ngettext(one, many, n)
