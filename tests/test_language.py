"""Names and docstrings follow the project's language rules (CONTRIBUTING.md, Style)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path
    for folder in ("surgeon_engine", "surgeon_gui", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "fixtures" not in path.parts
]
# A docstring is a sentence or a noun phrase that stands alone.
FRAGMENT = re.compile(r"(Of|Those|That of|The same)\b")
REFERENCE = re.compile(r"See `[^`]*`\.?")
# Words for which the project has a standard term.
IDENTIFIER = re.compile(r"_?refuse_\w+|gone|is_gone|in_words|_?(MOST|LEAST)_\w+")
DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


def read(path: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the docstrings and the identifiers of a file with their places."""
    docstrings, identifiers = [], []
    file = path.relative_to(ROOT)
    for node in ast.walk(ast.parse(path.read_text())):
        place = f"{file}:{getattr(node, 'lineno', 1)}"
        if isinstance(node, DOCUMENTED):
            docstrings.append((place, ast.get_docstring(node) or ""))
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                identifiers.append((place, name))
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                identifiers.append((place, name))
    return docstrings, identifiers


@pytest.mark.slow
def test_docstrings_and_identifiers_follow_the_language_rules():
    found = []
    for path in FILES:
        docstrings, identifiers = read(path)
        found += [
            f"{place}: {text.splitlines()[0]}"
            for place, text in docstrings
            if FRAGMENT.match(text) or REFERENCE.fullmatch(text)
        ]
        found += [
            f"{place}: {name}"
            for place, name in identifiers
            if IDENTIFIER.fullmatch(name)
        ]
    assert found == []
