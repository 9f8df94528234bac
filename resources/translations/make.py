"""Update the translation catalogs from the texts of the window: `make translations`.

1. Extract the messages of surgeon_gui, the sentences of surgeon_engine, and the texts
   of formats and presets.
2. Merge them into de/LC_MESSAGES/surgeon.po, where they are translated by hand.
3. Compile surgeon.po to surgeon.mo, which the window reads.

Obsolete messages are dropped. docs/translating.md explains how to add a language.
"""

from __future__ import annotations

import ast
import io
import itertools
import sys
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from surgeon_engine.api.config.export import DESCRIPTIONS
from surgeon_engine.api.config.presets import presets
from surgeon_engine.api.messages.run import ACTIVITIES
from surgeon_engine.api.verdict import Verdict
from surgeon_engine.base import errors
from surgeon_gui.base.translation import DOMAIN, ENGLISH, LANGUAGES

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
_NO_DATE = datetime(
    2026, 1, 1, tzinfo=UTC
)  # otherwise each update would change the file
# Calls of the window with texts; a call that is named twice has two of them.
KEYWORDS = (
    {"tr": None, "ntr": (1, 2), "caption": (1,), "FieldText": (1,)},
    {"caption": (2,), "FieldText": (2,)},
)
# Their message and hint are templates. A class of another module is named here.
ERRORS = {name for name, each in vars(errors).items() if isinstance(each, type)}
ERRORS |= {"OtherVersionError", "ConnectionFailed", "FinalFailure"}


def extract_messages() -> Catalog:
    """Return a catalog of all texts of the window and sentences of the engine."""
    catalog = Catalog(project=DOMAIN, charset="utf-8")
    found = [
        message
        for keywords in KEYWORDS
        for message in extract_from_dir(
            str(ROOT / "surgeon_gui"),
            method_map=[("**.py", "python")],
            keywords=keywords,
        )
    ]
    for file, _, message, comments, _ in sorted(found, key=lambda each: each[:2]):
        # No line numbers: they would change with every edit of the code.
        locations = [(f"surgeon_gui/{file}", None)]
        catalog.add(message, locations=locations, auto_comments=comments)
    for path in sorted((ROOT / "surgeon_engine").rglob("*.py"), key=str):
        file = path.relative_to(ROOT).as_posix()
        for call in calls_of_sentences(path.read_text(encoding="utf-8")):
            for text in templates_of(call):
                catalog.add(text, locations=[(file, None)])
    for file, text in _engine_texts():
        catalog.add(text, locations=[(file, None)])
    return catalog


def calls_of_sentences(code: str) -> list[ast.Call]:
    """Return the calls that make sentences, in the order of their lines."""
    calls = [x for x in ast.walk(ast.parse(code)) if isinstance(x, ast.Call)]
    names = {"say", ".warn", ".inform", *ERRORS}
    found = [call for call in calls if _name_of(call) in names]
    return sorted(found, key=lambda call: call.lineno)


def templates_of(call: ast.Call) -> list[str]:
    """Return the templates in a call."""
    arguments = [_branches(each) for each in call.args]
    if _name_of(call) in ("say", ".warn", ".inform"):
        return arguments[0]
    return list(itertools.chain(*arguments[:2]))


def _name_of(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return f".{call.func.attr}"
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _branches(node: ast.expr) -> list[str]:
    """Return the text of an argument, or both of a condition."""
    if isinstance(node, ast.IfExp):
        return _branches(node.body) + _branches(node.orelse)
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return [node.value] if is_text and node.value else []


def path_of(language: str, ending: str) -> Path:
    """Return the path of the .po or .mo file of a language."""
    return HERE / language / "LC_MESSAGES" / f"{DOMAIN}{ending}"


def read_catalog(language: str) -> Catalog:
    """Read the .po file of a language."""
    with path_of(language, ".po").open("rb") as file:
        return read_po(file, locale=language, domain=DOMAIN)


def compile_catalog(catalog: Catalog) -> bytes:
    """Return the contents of the .mo file of a catalog."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def main() -> int:
    """Update and compile all catalogs; return 1 if translations are missing."""
    total = 0
    for language in LANGUAGES:
        if language == ENGLISH:
            continue
        catalog = Catalog(locale=language, domain=DOMAIN)
        if path_of(language, ".po").exists():
            catalog = read_catalog(language)
        catalog.update(extract_messages(), no_fuzzy_matching=True)
        catalog.header_comment = f"# {LANGUAGES[language]}: what the window says."
        catalog.project, catalog.version = DOMAIN, "1"
        catalog.msgid_bugs_address = catalog.last_translator = ""
        catalog.language_team = LANGUAGES[language]
        catalog.fuzzy = False
        catalog.creation_date = catalog.revision_date = _NO_DATE
        catalog.obsolete.clear()
        with path_of(language, ".po").open("wb") as file:
            write_po(file, catalog, width=88, omit_header=False, sort_output=False)
        path_of(language, ".mo").write_bytes(compile_catalog(catalog))
        incomplete = [m for m in catalog if m.id and not _is_complete(m.string)]
        total += len(incomplete)
        sys.stdout.write(f"{language}: {len(incomplete)} of {len(catalog)} missing\n")
    return 1 if total else 0


def _is_complete(string: str | tuple[str, ...]) -> bool:
    return all(string) if isinstance(string, tuple) else bool(string)


def _engine_texts() -> list[tuple[str, str]]:
    """Return the texts of the engine that the window shows, with their files."""
    found = []
    for description in DESCRIPTIONS.values():
        for name in ("label", "can", "cannot"):
            found.append(
                ("surgeon_engine/api/config/export.py", getattr(description, name))
            )
    for preset in presets():
        for name in ("title", "about"):
            found.append(
                (f"resources/presets/{preset.name}.toml", getattr(preset, name))
            )
    found += [("surgeon_engine/api/verdict.py", each.value) for each in Verdict]
    activities = ACTIVITIES.values()
    found += [("surgeon_engine/api/messages/run.py", each) for each in activities]
    return [(file, text) for file, text in found if text]


if __name__ == "__main__":
    sys.exit(main())
