"""The built-in text: the language documentation that comes with Python itself.

`pydoc_data.topics` holds the texts of `help("topic")`, about 80 topics and half a
million characters of English mixed with code. It needs no network and no download, so a
first run works on any machine.

The text is split by topic, so that the validation part covers other subjects than the
calibration part. Some topics contain whole other topics (`compound` contains `try`,
`specialnames` contains `numeric-types`), therefore paragraphs of validation topics are
removed from all calibration topics.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from surgeon_engine.base.errors import CalibrationError

# About 12 % of the characters: statements, expressions, a class of built-in types and
# the data model, none of them among the very long topics.
VALIDATION_TOPICS = (
    "binary",
    "calls",
    "import",
    "objects",
    "raise",
    "subscriptions",
    "try",
    "typesmapping",
)

Part = Literal["calibration", "validation"]

_BLANK_LINES = re.compile(r"\n\s*\n")
# A heading is underlined with another character where its topic is part of another.
_UNDERLINE = re.compile(r"^\s*([*=\-~^\"])\1{2,}\s*$", re.MULTILINE)


def builtin_documents(part: Part) -> list[str]:
    """Return the documents of one part, one for each topic, sorted by its name.

    A paragraph occurs at most once, and never in both parts. Empty topics are omitted.

    Raises:
        CalibrationError: This Python has no documentation topics.
    """
    topics = _topics()
    held_out = [topics[name] for name in VALIDATION_TOPICS if name in topics]
    if part == "validation":
        return _without_repeats(held_out, seen=set())
    kept = [topics[name] for name in sorted(topics) if name not in VALIDATION_TOPICS]
    seen = {paragraph_key(text) for topic in held_out for text in paragraphs(topic)}
    return _without_repeats(kept, seen)


def paragraphs(text: str) -> list[str]:
    """Split a text at blank lines; indentation is kept."""
    parts = (part.strip("\n").rstrip() for part in _BLANK_LINES.split(text))
    return [part for part in parts if part]


def paragraph_key(paragraph: str) -> str:
    """Return a key that ignores spacing and underlines."""
    words = _UNDERLINE.sub("", paragraph).split()
    return " ".join(words or paragraph.split())


def _topics() -> Mapping[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise CalibrationError(
            "The built-in text is missing: this Python installation has no "
            "documentation topics (module pydoc_data).",
            "Choose a text file or a dataset as calibration text, or install the "
            "full standard library of Python.",
        ) from error
    return topics


def _without_repeats(documents: Iterable[str], seen: set[str]) -> list[str]:
    """Remove paragraphs whose key is in `seen`, and add the others' keys to it."""
    kept_documents = []
    for document in documents:
        kept = []
        for paragraph in paragraphs(document):
            key = paragraph_key(paragraph)
            if key not in seen:
                seen.add(key)
                kept.append(paragraph)
        if kept:
            kept_documents.append("\n\n".join(kept) + "\n")
    return kept_documents
