"""Names of human languages and of scripts, in the language of the window."""

from __future__ import annotations

from functools import cache

from surgeon_gui.base.translation import language, tr

_SCRIPTS = {  # scripts with other names than in Unicode
    "Common": tr("Signs and digits"),
    "Bengali": tr("Bengali"),
    "Myanmar": tr("Burmese"),
    "Han": tr("Han (Chinese characters)"),
}


def script_name(script: str) -> str:
    """Translate the name of a script; without a translation, use its Unicode name."""
    name = script.replace("_", " ")
    return _SCRIPTS.get(script) or _names(language(), "scripts").get(name, name)


def shown_name(name: str) -> str:
    """Translate the name of a language for the window; others stay as they are."""
    return _names(language(), "languages").get(name, name)


def english_name(typed: str) -> str:
    """Return the English name of a language; other texts stay as they are."""
    names = _names(language(), "languages").items()
    return {shown.casefold(): x for x, shown in names}.get(typed.casefold(), typed)


@cache
def _names(of: str, kind: str) -> dict[str, str]:
    """Return the names of all languages or scripts by their English names."""
    from babel import Locale  # when it is needed: the window starts without it

    shown = getattr(Locale(of), kind)
    english = getattr(Locale("en"), kind).items()
    return {name: shown[code] for code, name in english if code in shown}
