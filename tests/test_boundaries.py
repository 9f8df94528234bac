"""No Qt in the engine, no torch in the window or the contract; files stay small.

The import contracts in pyproject.toml follow imports from module to module; here
every file is looked at by itself, imports inside functions included.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
QT = {"PySide6", "shiboken6", "pyqtgraph", "surgeon_gui"}
HEAVY = {"torch", "transformers", "datasets", "safetensors"}
CONTRACT = {
    "bounds",
    "calibration_config",
    "config",
    "couplings",
    "commands",
    "diagnoses",
    "events",
    "errors",
    "estimate",
    "fitting",
    "footprint",
    "formats",
    "gguf_header",
    "hub_names",
    "job_file",
    "layer_patterns",
    "live",
    "machine",
    "measurements",
    "model_facts",
    "options",
    "playground",
    "presets",
    "process_mark",
    "run_folder",
    "run_time",
    "sizes",
    "sources",
    "whole_numbers",
    "worker",
}
MAX_LINES = 400

ENGINE = sorted((ROOT / "surgeon_engine").rglob("*.py"))
GUI = sorted((ROOT / "surgeon_gui").rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def imported_packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_modules(path)}


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_the_engine_does_not_import_qt(path):
    assert not imported_packages(path) & QT


@pytest.mark.parametrize(
    "path",
    [ROOT / "surgeon_engine" / f"{name}.py" for name in sorted(CONTRACT)],
    ids=name_of,
)
def test_the_contract_is_free_of_torch(path):
    assert not imported_packages(path) & (HEAVY | {"numpy"})


@pytest.mark.parametrize("path", GUI, ids=name_of)
def test_the_window_reaches_the_engine_by_its_contract_alone(path):
    assert not imported_packages(path) & HEAVY
    allowed = {f"surgeon_engine.{name}" for name in CONTRACT}
    used = {
        name for name in imported_modules(path) if name.startswith("surgeon_engine")
    }
    assert used <= allowed


@pytest.mark.parametrize("path", ENGINE + GUI, ids=name_of)
def test_a_file_fits_in_the_head(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_every_package_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in ENGINE + GUI
        if path.name == "__init__.py"
    }
    assert set(project["tool"]["setuptools"]["packages"]) == found | {
        "surgeon_resources"
    }


def test_resources_hold_no_code_that_is_installed():
    code = "import surgeon_resources as r; print(list(r.__path__)[0])"
    where = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert (Path(where.stdout.strip()) / "demo" / "model.safetensors").is_file()
    source = (ROOT / "resources" / "__init__.py").read_text()
    assert len(ast.parse(source).body) == 1  # its docstring
