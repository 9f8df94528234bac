"""The benchmark of quantised files writes a row for each way to round."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks import quantised
from surgeon_engine.api.config.export import FileDtype


@pytest.mark.runtimes
@pytest.mark.skipif(not find_spec("xllamacpp"), reason="not installed")
def test_table_has_a_row_for_each_way(monkeypatch, capsys):
    ways = ("plain", "importances", "A fed forward")
    monkeypatch.setattr(quantised, "_FORMATS", {FileDtype.Q4_0: ways})
    assert quantised.main(["--windows", "2", "--judging", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if "q4_0" in line]
    assert tuple(row[1] for row in rows) == ways
    assert {row[2] for row in rows} == {"5.08"}
    plain, weighted, _ = (float(row[3]) for row in rows)
    assert 0 < weighted != plain > 0
