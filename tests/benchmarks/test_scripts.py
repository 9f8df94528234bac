"""Benchmarks follow the names of the program; most run by hand alone."""

from importlib import import_module
from pathlib import Path

import pytest

import benchmarks

SCRIPTS = sorted(file.stem for file in Path(benchmarks.__path__[0]).glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_names_that_a_benchmark_imports_exist(name, monkeypatch):
    monkeypatch.syspath_prepend(benchmarks.__path__[0])  # as if it were run by its path
    assert import_module(f"benchmarks.{name}").__doc__
