"""Names of human languages, in the language of the window."""

from __future__ import annotations

from functools import cache

from surgeon_gui.base.translation import language


def shown_name(name: str) -> str:
    """Return the name of a language in that of the window; others stay as they are."""
    return _names(language()).get(name, name)


def english_name(typed: str) -> str:
    """Return the English name of a language; other texts stay as they are."""
    names = {shown.casefold(): name for name, shown in _names(language()).items()}
    return names.get(typed.casefold(), typed)


@cache
def _names(of: str) -> dict[str, str]:
    """Return the names of all languages in one of them, by their English names."""
    from babel import Locale  # when it is needed: the window starts without it

    shown = Locale(of).languages
    english = Locale("en").languages.items()
    return {name: shown[code] for code, name in english if code in shown}
