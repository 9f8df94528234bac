"""Brings the catalogues up to date with the words of the window: `make translations`.

    words in surgeon_gui, and of formats and presets  ->  messages
    messages into de/LC_MESSAGES/surgeon.po, where they are translated by hand
    surgeon.po  ->  surgeon.mo, which the window reads

What is no longer said is dropped. docs/translating.md says how a language is added.
"""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from surgeon_engine.api.config.export import DESCRIPTIONS
from surgeon_engine.api.config.presets import presets
from surgeon_gui.base.translation import DOMAIN, ENGLISH, LANGUAGES

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
_NO_DATE = datetime(2026, 1, 1, tzinfo=UTC)  # or each update would change the file
KEYWORDS = {"tr": None, "ntr": (1, 2)}


def said() -> Catalog:
    """Everything that the window says, in English."""
    catalogue = Catalog(project=DOMAIN, charset="utf-8")
    package = ROOT / "surgeon_gui"
    found = extract_from_dir(
        str(package), method_map=[("**.py", "python")], keywords=KEYWORDS
    )
    for file, _, message, comments, _ in sorted(found, key=lambda each: each[:2]):
        # Without line numbers: they would change with every edit of the code.
        place = [(f"surgeon_gui/{file}", None)]
        catalogue.add(message, locations=place, auto_comments=comments)
    for place, words in _of_the_engine():
        catalogue.add(words, locations=[(place, None)])
    return catalogue


def path_of(language: str, ending: str) -> Path:
    """Where the catalogue of a language lies, as .po or as .mo."""
    return HERE / language / "LC_MESSAGES" / f"{DOMAIN}{ending}"


def translated(language: str) -> Catalog:
    """The catalogue of a language as it was written by hand."""
    with path_of(language, ".po").open("rb") as file:
        return read_po(file, locale=language, domain=DOMAIN)


def compiled(catalogue: Catalog) -> bytes:
    """The catalogue as the window reads it."""
    file = io.BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def main() -> int:
    """Update and compile all catalogues; 1 if words are without a translation."""
    missing = 0
    for language in LANGUAGES:
        if language == ENGLISH:
            continue
        catalogue = Catalog(locale=language, domain=DOMAIN)
        if path_of(language, ".po").exists():
            catalogue = translated(language)
        catalogue.update(said(), no_fuzzy_matching=True)
        catalogue.header_comment = f"# {LANGUAGES[language]}: what the window says."
        catalogue.project, catalogue.version = DOMAIN, "1"
        catalogue.msgid_bugs_address = catalogue.last_translator = ""
        catalogue.language_team = LANGUAGES[language]
        catalogue.fuzzy = False
        catalogue.creation_date = catalogue.revision_date = _NO_DATE
        catalogue.obsolete.clear()
        with path_of(language, ".po").open("wb") as file:
            write_po(file, catalogue, width=88, omit_header=False, sort_output=False)
        path_of(language, ".mo").write_bytes(compiled(catalogue))
        without = [m for m in catalogue if m.id and not _is_complete(m.string)]
        missing += len(without)
        sys.stdout.write(f"{language}: {len(without)} of {len(catalogue)} missing\n")
    return 1 if missing else 0


def _is_complete(string: str | tuple[str, ...]) -> bool:
    return all(string) if isinstance(string, tuple) else bool(string)


def _of_the_engine() -> list[tuple[str, str]]:
    """Words that the window takes from the engine, each with where they stand."""
    found = []
    for description in DESCRIPTIONS.values():
        for name in ("label", "can", "cannot"):
            found.append(
                ("surgeon_engine/api/config/formats.py", getattr(description, name))
            )
    for preset in presets():
        for name in ("title", "about"):
            found.append(
                (f"resources/presets/{preset.name}.toml", getattr(preset, name))
            )
    return [(place, words) for place, words in found if words]


if __name__ == "__main__":
    sys.exit(main())
