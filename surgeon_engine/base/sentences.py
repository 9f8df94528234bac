"""Sentences for the user: a template and its values, in the language of the process.

    say("{path} is damaged: {reason}.", path=path, reason=error)
    say("{n} window is" if n == 1 else "{n} windows are", n=n)
    ConfigError("{path} is damaged.", "Download {path} again.", path=path)
    say_all(error.hint, say("The files are kept."))

The English templates are the keys of the catalog. `use` sets the language of this
process: the window calls it, and all other processes speak English. A sentence travels
between processes, and into logs, as its template and values (`to_plain`), so that each
process puts it in its own language.

Values stay raw; a template says how they are formatted: `{needed:size}` (bytes),
`{share:percent}`, `{time:duration}` (seconds), `{speed:rate}`, `{number:count}`,
`{name:shown}` (in quotes, in one line), `{reason:clause}` (a sentence without its final
period), `{other:choice}` (a choice or setting of a job, or its name in the window), or
a number with a format such as `{loss:.4g}`. A template of a stranger is data: it names
values, and nothing else.
"""

from __future__ import annotations

import gettext
import math
import numbers
import re
import string
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from surgeon_engine.base import formatting

ENGLISH = "en"
_MAX_LENGTH = 5_000  # characters of a sentence, and of each value
_MAX_FIELDS = 40
_MAX_DEPTH = 7  # sentences within sentences
_MAX_INTEGER = 2**53  # as in `clean_json`
_NUMBER = re.compile(r"\+?,?(\.\d)?[defg]?")
_NUMBERS: Mapping[str, Callable[[Any], str]] = MappingProxyType(
    {
        "count": formatting.format_count,
        "duration": formatting.format_duration,
        "percent": formatting.format_percent,
        "percent0": lambda share: formatting.format_percent(share, 0),
        "percent2": lambda share: formatting.format_percent(share, 2),
        "rate": formatting.format_rate,
        "size": formatting.format_size,
        "room": formatting.format_room,
    }
)
_TEXTS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "": str,
        "shown": lambda text: formatting.shown(
            text, _catalog.gettext(formatting.QUOTES)
        ),
        "clause": lambda text: text.rstrip("."),
        "choice": lambda text: reworded(_choices.get(text, text)),
    }
)

_language = ENGLISH
_catalog: gettext.NullTranslations = gettext.NullTranslations()
_choices: Mapping[str, str] = MappingProxyType({})


def use(language: str, catalog: gettext.NullTranslations) -> None:
    """Put the sentences that are made from now on in a language, such as "de"."""
    global _catalog, _language
    _language, _catalog = language, catalog


def use_names(choices: Mapping[str, str]) -> None:
    """Use these names of choices and settings; others are shown as a job has them."""
    global _choices
    _choices = choices


class Sentence(str):
    """A text that knows its template and its values.

    It is a string in the language of this process. One without a template is a text
    that has no translation, such as an error of a library.
    """

    __slots__ = ("template", "values")
    template: str
    values: Mapping[str, str | int | float]

    def __new__(cls, template: str, values: Mapping[str, object]) -> Sentence:
        """Put a template and its values into words."""
        kept = {name: _plain(value) for name, value in values.items()}
        self = super().__new__(cls, cut(_worded(template, kept)))
        self.template, self.values = template, kept
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Return what makes an equal sentence where it is unpickled."""
        if not self.template:
            return ("{text}", {"text": str(self)})
        return self.template, dict(self.values)


# A field of a message that is read as a `Sentence`, and may be given any text.
if TYPE_CHECKING:
    Text: TypeAlias = str
else:
    Text = Sentence


def say(template: str, /, **values: object) -> str:
    """Return a `Sentence`.

    Args:
        template: The English text, with a field in braces for each value.
        values: Numbers, texts, sentences, and errors, paths and others as their text.
    """
    return Sentence(template, values)


def said(text: str, values: Mapping[str, object]) -> str:
    """Return a sentence in the language of now, or make one of a template.

    Args:
        text: A sentence, which may be a constant, or a template.
        values: Those of the template, among others.
    """
    if not text or isinstance(text, Sentence):
        return reworded(text)
    used = {x: value for x, value in values.items() if re.search(rf"{{{x}[:}}]", text)}
    return Sentence(cut(text), used)


def say_all(*texts: str) -> str:
    """Return sentences that follow each other; empty ones are left out."""
    return say_list(*texts, separator=" ")


def say_list(*texts: str, separator: str = ", ", spec: str = "") -> str:
    """Return names or clauses, formatted by `spec`, as a list; without empty ones."""
    found = {f"text{number}": text for number, text in enumerate(filter(None, texts))}
    if len(found) < 2 and not spec:
        return next(iter(found.values()), "")
    field = f":{spec}" if spec else ""
    return Sentence(separator.join(f"{{{name}{field}}}" for name in found), found)


def reworded(text: str) -> str:
    """Return a text in the language of now; one of any length is cut.

    A constant was put into words when its module was imported.
    """
    if isinstance(text, Sentence) and text.template:
        values = {
            name: reworded(value) if isinstance(value, Sentence) else value
            for name, value in text.values.items()
        }
        return Sentence(text.template, values)
    return cut(text)


def cut(text: str) -> str:
    """Leave out the middle of a long text: its end says what is wrong."""
    if len(text) <= _MAX_LENGTH:
        return text
    half = _MAX_LENGTH // 2
    return f"{text[:half]}…{text[-half:]}"


def fields(template: str) -> dict[str, str]:
    """Return the names in a template with their formats.

    Raises:
        ValueError: It has other fields than names, unknown formats, or too many.
    """
    found: dict[str, str] = {}
    parts = list(string.Formatter().parse(template))
    if len(parts) > _MAX_FIELDS:
        raise ValueError(f"{template[:80]!r} has too many fields")
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if not name.isidentifier() or conversion or not _is_known(spec or ""):
            raise ValueError(f"{template[:80]!r} has an unknown field: {name}")
        found[name] = spec or ""
    return found


def to_plain(sentence: Sentence) -> str | dict[str, Any]:
    """Return a sentence as plain values for JSON."""
    if not sentence.template:
        return str.__str__(sentence)
    values = {
        name: to_plain(value) if isinstance(value, Sentence) else value
        for name, value in sentence.values.items()
    }
    plain: dict[str, Any] = {"template": sentence.template}
    if values:
        plain["values"] = values
    return plain


def from_plain(value: Any, depth: int = 0) -> Sentence:
    """Return the sentence of plain values, which a stranger may have sent.

    Raises:
        ValueError: They do not make a sentence.
    """
    match value:
        case str():
            sentence = str.__new__(Sentence, value)
            sentence.template, sentence.values = "", {}
            return sentence
        case {"template": str(template)} if depth < _MAX_DEPTH:
            values = value.get("values", {})
            if isinstance(values, dict):
                read = {
                    name: from_plain(x, depth + 1) if isinstance(x, dict) else x
                    for name, x in values.items()
                }
                if read.get("n", 1) != 1:  # earlier logs have two templates
                    template = str(value.get("plural", template))
                return Sentence(template, read)
    raise ValueError("this is no sentence")


def _plain(value: object) -> str | int | float:
    """Return a value as one that JSON can hold."""
    said = value.args[0] if isinstance(value, Exception) and value.args else value
    if isinstance(said, Sentence):
        return said
    if isinstance(value, bool):
        return str(value).lower()  # as a job has it
    if isinstance(value, numbers.Integral):
        return _whole(int(value))
    if isinstance(value, numbers.Real):
        real = float(value)
        return real if math.isfinite(real) else str(real)
    return cut(str(value))


def _whole(number: int) -> int | float | str:
    if abs(number) <= _MAX_INTEGER:
        return number
    try:
        return float(number)
    except OverflowError:
        return formatting.format_count(number)


def _worded(template: str, values: Mapping[str, str | int | float]) -> str:
    """Return the text of a template in the current language, or else in English."""
    if len(template) > _MAX_LENGTH:
        return template
    # The empty key is the header of the catalog.
    translated = _catalog.gettext(template) if template else ""
    for each in (translated, template):
        try:
            return _filled(each, values)
        except (KeyError, ValueError):
            continue
    return template


def _filled(template: str, values: Mapping[str, str | int | float]) -> str:
    """Fill the fields of a template.

    Raises:
        KeyError: A value is missing.
        ValueError: See `fields`.
    """
    fields(template)
    parts = []
    for literal, name, spec, _ in string.Formatter().parse(template):
        parts.append(literal)
        if name is not None:
            parts.append(_formatted(values[name], spec or ""))
    return "".join(parts)


def _formatted(value: str | int | float, spec: str) -> str:
    if isinstance(value, str):
        # A number beyond all limits is a text by now.
        return _TEXTS.get(spec, str)(value)
    if spec in _NUMBERS:
        text = _NUMBERS[spec](value)
    elif spec in _TEXTS:
        text = _TEXTS[spec](str(value))
    else:
        text = format(int(value) if spec.endswith("d") else value, spec)
    return formatting.localize(text, _language)


def _is_known(spec: str) -> bool:
    return spec in _NUMBERS or spec in _TEXTS or bool(_NUMBER.fullmatch(spec))
