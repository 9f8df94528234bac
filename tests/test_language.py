"""Names and docstrings follow the project's language rules (CONTRIBUTING.md, Style)."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

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


@cache  # parsed once for all tests
def nodes() -> tuple[tuple[str, ast.AST], ...]:
    return tuple(
        (f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", node)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_docstrings_stand_alone():
    found = []
    for place, node in nodes():
        text = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
        if text and (FRAGMENT.match(text) or REFERENCE.fullmatch(text)):
            found.append(f"{place}: {text.splitlines()[0]}")
    assert found == []


def test_identifiers_are_standard_terms():
    found = []
    for place, node in nodes():
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                pass
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                pass
            case _:
                continue
        if IDENTIFIER.fullmatch(name):
            found.append(f"{place}: {name}")
    assert found == []
