"""The boundaries that import contracts cannot see, and the packages that are installed.

The contracts in pyproject.toml follow imports between modules. These tests look at the
imports inside functions too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QT = {"PySide6", "shiboken6", "pyqtgraph", "superqt"}
HEAVY = {"torch", "transformers", "datasets", "safetensors"}

ENGINE = sorted((ROOT / "surgeon_engine").rglob("*.py"))
API = sorted((ROOT / "surgeon_engine" / "api").rglob("*.py"))
GUI = sorted((ROOT / "surgeon_gui").rglob("*.py"))
CONTROLLERS = sorted((ROOT / "surgeon_gui" / "controllers").rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_modules(path)}


def files_that_import(paths: Iterable[Path], forbidden: set[str]) -> list[str]:
    return [
        str(path.relative_to(ROOT))
        for path in paths
        if imported_packages(path) & forbidden
    ]


@pytest.mark.slow
def test_engine_imports_no_qt():
    assert files_that_import(ENGINE, QT | {"surgeon_gui"}) == []


def test_api_imports_no_heavy_library():
    assert API
    assert files_that_import(API, HEAVY | {"numpy"}) == []


@pytest.mark.slow
def test_window_imports_no_heavy_library():
    assert files_that_import(GUI, HEAVY) == []


@pytest.mark.slow
def test_window_imports_the_engine_through_its_api_alone():
    beside_api = {
        (str(path.relative_to(ROOT)), name)
        for path in GUI
        for name in imported_modules(path)
        if name.startswith("surgeon_engine.")
        and not name.startswith("surgeon_engine.api")
    }
    assert beside_api == set()


def test_controllers_import_of_qt_the_core_alone():
    found = {
        name
        for path in CONTROLLERS
        for name in imported_modules(path)
        if name.split(".")[0] in QT
    }
    assert {".".join(name.split(".")[:2]) for name in found} == {"PySide6.QtCore"}


def test_every_folder_with_code_is_a_package():
    folders = {path.parent for path in ENGINE + GUI}
    assert [x for x in folders if not (x / "__init__.py").is_file()] == []


def test_resources_hold_no_code_that_is_installed():
    code = "import surgeon_resources as r; print(list(r.__path__)[0])"
    where = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert (Path(where.stdout.strip()) / "demo" / "model.safetensors").is_file()
    source = (ROOT / "resources" / "__init__.py").read_text()
    assert len(ast.parse(source).body) == 1  # its docstring
