"""Rules that tell whether an answer is right, without a model."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping

_REFUSAL = re.compile(
    r"\b(i|we)(\s+am|'m)?\s+(really\s+|very\s+|so\s+|truly\s+)?"
    r"(sorry|unable|can't|cannot|can not|could not|couldn't|won't|will not|"
    r"not able|not comfortable|must decline|must refuse|don't feel comfortable)\b|"
    r"\bas an ai\b|\bnot something i can\b|\b(is|are) (illegal|unethical)\b|"
    r"\bmy apologies\b|\bi apologi[sz]e\b",
    re.IGNORECASE,
)
_BEGINNING = 240  # characters in which a refusal stands
_FENCE = re.compile(r"^```[a-z]*\s*|\s*```\s*$", re.IGNORECASE)
_KINDS: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int, float),
    "list": (list,),
    "boolean": (bool,),
    "null": (type(None),),
}
# The first and the last of the letters that languages have: kana, Han, Cyrillic.
_SCRIPTS = (
    ("ja", "\u3040", "\u30ff"),
    ("zh", "\u4e00", "\u9fff"),
    ("ru", "\u0400", "\u04ff"),
)
# Frequent words that the other languages do not have.
_WORDS = {
    "en": "the and is of to that it you are for with this they your can be have",
    "de": "der die das und ist nicht ein eine sie mit auf für von den zu es sich im",
    "fr": "le les des est et une dans que pour pas vous sur avec du il elle sont",
    "es": "el los las es y una en que para por con del se su más puede como son",
    "it": "il gli è e una che per di non con del della sono si le nel più questo",
    "pt": "o os as é e uma em que para não com do da são no na mais elas você",
}
_WORD = re.compile(r"[^\W\d_]+")
_FEW = 2  # function words, below which a language is unknown
_DISTINCT = 3 / 4  # share of the pairs of neighboring words, at least


def is_text(answer: str) -> bool:
    """Return whether an answer has words and does not repeat itself.

    It does if more than a quarter of its pairs of neighboring words have come before.
    """
    words = [x.lower() for x in _WORD.findall(answer)]
    pairs = list(itertools.pairwise(words))
    return bool(words) and len(set(pairs)) >= _DISTINCT * len(pairs)


def refuses(answer: str) -> bool:
    """Return whether an answer declines, by the phrases with which models do."""
    return bool(_REFUSAL.search(answer[:_BEGINNING].replace("\u2019", "'")))


def is_json(answer: str, keys: Mapping[str, str]) -> bool:
    """Return whether an answer is a JSON object with keys of the given kinds."""
    try:
        found = json.loads(_FENCE.sub("", answer.strip()))
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and all(
        key in found and _is_of_kind(found[key], kind) for key, kind in keys.items()
    )


def _is_of_kind(value: object, kind: str) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, _KINDS[kind])


def has_number(answer: str, number: int) -> bool:
    """Return whether an answer contains a number, by itself."""
    found = re.findall(r"\d[\d,]*(?:\.\d+)?", answer)
    return any(x.rstrip(",").replace(",", "") == str(number) for x in found)


def language_of(text: str) -> str:
    """Return the code of the language of a text; empty: it is unknown."""
    letters = [x for x in text if x.isalpha()]
    for code, first, last in _SCRIPTS:
        if sum(first <= x <= last for x in letters) > len(letters) / 5:
            return code
    words = [x.lower() for x in _WORD.findall(text)]
    counts = {
        code: sum(word in known.split() for word in words)
        for code, known in _WORDS.items()
    }
    best = max(counts, key=lambda code: counts[code])
    rivals = [count for code, count in counts.items() if code != best]
    return best if counts[best] >= _FEW and counts[best] > max(rivals) else ""
