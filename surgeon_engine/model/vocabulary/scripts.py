"""The scripts of tokens, and the scripts and letters of languages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

import regex

COMMON = "Common"  # punctuation, digits, symbols; characters without a script
EMOJI = "Emoji"
# fmt: off
_SCRIPTS = (
    "Latin", "Greek", "Cyrillic", "Armenian", "Hebrew", "Arabic", "Syriac",
    "Thaana", "Nko", "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Oriya",
    "Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Thai", "Lao", "Tibetan",
    "Myanmar", "Georgian", "Hangul", "Ethiopic", "Cherokee", "Canadian_Aboriginal",
    "Ogham", "Runic", "Khmer", "Mongolian", "Hiragana", "Katakana", "Bopomofo",
    "Han", "Yi", "Gothic", "Tifinagh", "Coptic", "Glagolitic", "Balinese",
    "Javanese", "Sundanese", "Braille", "Vai", "Ol_Chiki", "Samaritan", "Lisu",
    "Bamum", "Tai_Viet", "Meetei_Mayek", "Cuneiform", "Egyptian_Hieroglyphs",
    "Linear_B", "Phoenician", "Brahmi", "Adlam",
)
# fmt: on
_LAST = 0x1FFFF  # last character with a script here; the planes after it are Han
_LATIN = "abcdefghijklmnopqrstuvwxyz"


class Language(NamedTuple):
    """The scripts and letters of a language."""

    scripts: tuple[str, ...] = ()
    letters: str = ""  # all of its alphabet, in lower case; empty: all of the scripts


def _latin(more: str = "") -> Language:
    return Language(("Latin",), _LATIN + more)


def _cyrillic(more: str) -> Language:
    return Language(("Cyrillic",), "абвгдежзийклмнопрстуфхцчшщ" + more)


LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {
        "Arabic": Language(("Arabic",)),
        "Armenian": Language(("Armenian",)),
        "Bengali": Language(("Bengali",)),
        "Bulgarian": _cyrillic("ъьюя"),
        "Catalan": _latin("àçèéíïòóúü·"),
        "Chinese": Language(("Han", "Bopomofo")),
        "Croatian": _latin("čćđšž"),
        "Czech": _latin("áčďéěíňóřšťúůýž"),
        "Danish": _latin("æøåé"),
        "Dutch": _latin("áäéëèíïóöúü"),
        "English": _latin(),
        "Estonian": _latin("äõöüšž"),
        "Finnish": _latin("åäöšž"),
        "French": _latin("àâæçéèêëîïôœùûüÿ"),
        "Georgian": Language(("Georgian",)),
        "German": _latin("äöüßẞ"),
        "Greek": Language(("Greek",)),
        "Hebrew": Language(("Hebrew",)),
        "Hindi": Language(("Devanagari",)),
        "Hungarian": _latin("áéíóöőúüű"),
        "Icelandic": _latin("áðéíóúýþæö"),
        "Indonesian": _latin("é"),
        "Italian": _latin("àèéìíîòóùú"),
        "Japanese": Language(("Han", "Hiragana", "Katakana")),
        "Korean": Language(("Hangul",)),
        "Latvian": _latin("āčēģīķļņšūž"),
        "Lithuanian": _latin("ąčęėįšųūž"),
        "Malay": _latin("é"),
        "Norwegian": _latin("æøåéèêóòô"),
        "Persian": Language(("Arabic",)),
        "Polish": _latin("ąćęłńóśźż"),
        "Portuguese": _latin("áâãàçéêíóôõúü"),
        "Romanian": _latin("ăâîșşțţ"),
        "Russian": _cyrillic("ъыьэюяё"),
        "Serbian": Language(
            ("Latin", "Cyrillic"), _LATIN + "čćđšž" + "абвгдђежзијклљмнњопрстћуфхцчџш"
        ),
        "Slovak": _latin("áäčďéíĺľňóôŕšťúýž"),
        "Slovenian": _latin("čšž"),
        "Spanish": _latin("áéíñóúü"),
        "Swedish": _latin("åäöé"),
        "Tamil": Language(("Tamil",)),
        "Telugu": Language(("Telugu",)),
        "Thai": Language(("Thai",)),
        "Turkish": _latin("çğıöşüâîû\u0307"),
        "Ukrainian": _cyrillic("ьюяґєії"),
        "Urdu": Language(("Arabic",)),
        "Vietnamese": _latin(
            "àáảãạăằắẳẵặâầấẩẫậđèéẻẽẹêềếểễệìíỉĩịòóỏõọôồốổỗộơờớởỡợùúủũụưừứửữựỳýỷỹỵ"
        ),
    }
)


def script_names() -> tuple[str, ...]:
    """Return the names of all known scripts, emoji included."""
    return (*_SCRIPTS, EMOJI)


def script_of(piece: bytes) -> str:
    """Return the first script of a piece.

    A piece that ends within a character has the script of all characters that begin so,
    if these have a script in common.
    """
    if len(piece) == 1 and not piece.isascii():
        return COMMON  # a byte begins characters of many scripts
    text = piece.decode("utf-8", "surrogateescape")
    for character in text:
        if (script := _script(character)) != COMMON:
            return script
    start = len(text.rstrip("".join(map(chr, range(0xDC80, 0xDD00)))))
    if start == len(text):
        return COMMON
    ending = text[start:].encode("utf-8", "surrogateescape")
    found = {_script(character) for character in _completions(ending)} - {COMMON}
    return found.pop() if len(found) == 1 else COMMON


def is_of(piece: bytes, language: Language) -> bool:
    """Return whether a piece has letters, and all can occur in words of a language."""
    if not language.letters:
        return script_of(piece) in language.scripts
    letters = [x for x in piece.decode(errors="replace").lower() if x.isalpha()]
    return bool(letters) and all(x in language.letters for x in letters)


@cache
def _completions(beginning: bytes) -> tuple[str, ...]:
    """Return the characters that begin with these bytes of UTF-8."""
    length = 2 + (beginning[0] >= 0xE0) + (beginning[0] >= 0xF0)
    missing = length - len(beginning)
    if beginning[0] < 0xC2 or not 0 < missing < 3:
        return ()

    def characters() -> Iterator[str]:
        for rest in product(range(0x80, 0xC0), repeat=missing):
            try:
                yield (beginning + bytes(rest)).decode()
            except UnicodeDecodeError:
                continue

    return tuple(characters())


def _script(character: str) -> str:
    code = ord(character)
    if code > _LAST:
        return "Han" if code < 0x40000 else COMMON
    return _table()[code]


@cache
def _table() -> list[str]:
    """Return the scripts of the characters up to `_LAST`."""
    table = [COMMON] * (_LAST + 1)
    # A surrogate is no character.
    every = "".join(
        chr(code) if not 0xD800 <= code < 0xE000 else "\0" for code in range(_LAST + 1)
    )
    patterns = {name: rf"\p{{Script={name}}}+" for name in _SCRIPTS}
    for name, pattern in (patterns | {EMOJI: r"\p{Emoji_Presentation}+"}).items():
        for found in regex.finditer(pattern, every):
            table[found.start() : found.end()] = [name] * (found.end() - found.start())
    return table
