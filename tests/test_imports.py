"""Boundaries that import contracts do not see, and the packages that are installed."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = sorted((ROOT / "surgeon_engine").rglob("*.py"))
GUI = sorted((ROOT / "surgeon_gui").rglob("*.py"))
# What has to begin soon or in little memory, and the libraries that it must not load.
# One process does all of this, in an order in which that is no looser.
LIGHT = [
    ("import surgeon_engine.base.formatting", {"babel"}),
    (
        "from surgeon_engine.api.model_info import header; header.model_facts('demo')",
        {"torch", "numpy", "safetensors", "huggingface_hub"},
    ),
    ("from surgeon_engine.cli.main import main; main(['--version'])", {"torch"}),
    ("main(['--help'])", {"torch"}),
    ("import surgeon_engine.runtime.json_streams", {"torch", "transformers"}),
    ("import surgeon_engine.hub.search_process", {"torch"}),
    ("import surgeon_engine.measurement.measure", {"torch"}),
]


@pytest.mark.slow
def test_slow_libraries_are_not_loaded():
    lines = ["import sys"]
    for code, libraries in LIGHT:
        lines += [code, f"print('loaded:', *{libraries} & {{*sys.modules}})"]
    code = "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    found = [x for x in done.stdout.splitlines() if x.startswith("loaded:")]
    assert found == ["loaded:"] * len(LIGHT), done.stderr


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(nodes):
    """Return the modules that statements among these import."""
    nodes = list(nodes)
    found = {
        x.name for node in nodes if isinstance(node, ast.Import) for x in node.names
    }
    return found | {x.module or "" for x in nodes if isinstance(x, ast.ImportFrom)}


def test_engine_starts_without_peft():
    """It takes a second, and only adapters need it."""
    at_once = re.compile(r"^(import|from) peft\b", re.MULTILINE)
    for path in ENGINE:
        assert not at_once.search(path.read_text(encoding="utf-8")), path


def test_controllers_import_of_qt_the_core_alone():
    paths = (ROOT / "surgeon_gui" / "controllers").rglob("*.py")
    found = imported(node for path in paths for node in ast.walk(tree(path)))
    qt = ("PySide6", "shiboken6", "pyqtgraph", "superqt")
    assert {name for name in found if name.startswith(qt)} == {"PySide6.QtCore"}


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


def may_have_a_long_function(text):
    """Return False if each function ends soon: before what is beside or outside it."""
    lines = text.splitlines()
    starts = [
        (number, len(line) - len(line.lstrip()), "def " in line)
        for number, line in enumerate(lines)
        if line.lstrip().startswith(("def ", "async def ", "class ", "@"))
    ]
    for place, (start, indent, is_function) in enumerate(starts):
        ends = (n for n, other, _ in starts[place + 1 :] if other <= indent)
        if is_function and next(ends, len(lines)) - start > 69:
            return True
    return False


def test_no_module_has_more_than_450_lines_and_no_function_more_than_69():
    long = []
    for path in ENGINE + GUI:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 450:
            long.append(path.name)
        if not may_have_a_long_function(text):
            continue
        long += [
            f"{path.name}: {node.name}"
            for node in ast.walk(tree(path))
            if isinstance(node, ast.FunctionDef)
            and node.end_lineno - node.lineno + 1 > 69
        ]
    assert long == []
