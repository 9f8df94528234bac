"""Names of the scripts of tokens."""

from __future__ import annotations

from surgeon_gui.base.translation import tr

_NAMES = {
    "Common": tr("Signs and digits"),
    "Emoji": tr("Emoji"),
    "Latin": tr("Latin"),
    "Greek": tr("Greek"),
    "Cyrillic": tr("Cyrillic"),
    "Armenian": tr("Armenian"),
    "Hebrew": tr("Hebrew"),
    "Arabic": tr("Arabic"),
    "Devanagari": tr("Devanagari"),
    "Bengali": tr("Bengali"),
    "Gurmukhi": tr("Gurmukhi"),
    "Gujarati": tr("Gujarati"),
    "Tamil": tr("Tamil"),
    "Telugu": tr("Telugu"),
    "Kannada": tr("Kannada"),
    "Malayalam": tr("Malayalam"),
    "Sinhala": tr("Sinhala"),
    "Thai": tr("Thai"),
    "Lao": tr("Lao"),
    "Myanmar": tr("Burmese"),
    "Georgian": tr("Georgian"),
    "Hangul": tr("Hangul"),
    "Ethiopic": tr("Ethiopic"),
    "Khmer": tr("Khmer"),
    "Hiragana": tr("Hiragana"),
    "Katakana": tr("Katakana"),
    "Han": tr("Han (Chinese characters)"),
}


def script_name(script: str) -> str:
    """Return the display name of a script; a rare one keeps its name in Unicode."""
    return _NAMES.get(script, script.replace("_", " "))
