"""The command for the paper's tables measures them and prints the paper's figures."""

import csv

import numpy as np
import pytest

from benchmarks.quality_table import job, measuring, paper
from benchmarks.quality_table.plan import Base, expand_runs, read_plan
from surgeon_engine.api.config.presets import presets
from surgeon_engine.api.config.run import ModelConfig
from tests.helpers.tiny_models import byte_tokenizer, save_tiny_model

SENTENCE = "The quick brown fox jumps over the lazy dog. "
LENGTH = 16


@pytest.fixture
def texts(tmp_path):
    """Write a training and a test text."""
    paths = tmp_path / "train.txt", tmp_path / "test.txt"
    for path, count in zip(paths, (12, 2), strict=True):
        path.write_text(SENTENCE * count)
    return paths


def test_plan_has_the_settings_of_the_presets():
    runs = expand_runs(read_plan(paper.PLAN), Base(ModelConfig(), {}, (0,)))
    of_paper = [preset for preset in presets() if preset.name.startswith("paper_")]
    assert [run.config.pruning for run in runs] == [x.pruning for x in of_paper]
    assert [run.config.recovery for run in runs] == [x.recovery for x in of_paper]
    structured, semi_structured, unstructured = runs
    assert structured.sparsities == unstructured.sparsities == (0.2, 0.3, 0.4, 0.5)
    assert semi_structured.sparsities == (0.5,)
    places = {s.sparsity: number for number, s in enumerate(structured.shots, 1)}
    assert [places[x] for x in structured.sparsities] == [16, 24, 32, 40]


def test_windows_are_those_of_the_text():
    tokenizer = byte_tokenizer()
    tokens = tokenizer(SENTENCE * 4).input_ids
    found = paper.consecutive_windows(tokenizer, SENTENCE * 4, LENGTH)
    assert found.flatten().tolist() == tokens[: found.size]
    assert found.shape == (len(tokens) // LENGTH, LENGTH)
    drawn = paper.random_windows(tokenizer, SENTENCE * 4, 5, LENGTH)
    again = paper.random_windows(tokenizer, SENTENCE * 4, 5, LENGTH)
    assert np.array_equal(drawn, again)
    everywhere = [
        tokens[start : start + LENGTH] for start in range(len(tokens) - LENGTH)
    ]
    assert all(window in everywhere for window in drawn.tolist())
    assert len({tuple(window) for window in drawn.tolist()}) > 1


@pytest.mark.slow
@pytest.mark.usefixtures("quick_runs")
def test_command_prints_both_figures_of_a_tiny_model(
    tmp_path, texts, monkeypatch, capsys
):
    source = save_tiny_model(tmp_path / "tiny", "opt")
    monkeypatch.setattr(
        measuring, "run_in_process", lambda task: job.run_task(task, print)
    )
    monkeypatch.setitem(paper.FIGURES, ("tiny", "2:4"), {0.0: 12.34, 0.5: 56.78})
    arguments = [
        f"--models={source}",
        "--structures=2:4",
        f"--out={tmp_path / 'out'}",
        "--texts",
        *map(str, texts),
        "--windows=4",
        f"--window-length={LENGTH}",
    ]
    assert paper.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    (theirs,) = [line.split() for line in lines if line.startswith("tiny, the paper")]
    assert theirs[3:] == ["12.34", "-", "-", "-", "56.78"]
    (ours,) = [line.split() for line in lines if line.startswith("tiny, Surgeon")]
    with (tmp_path / "out" / "tiny" / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    dense, pruned = float(row["dense_perplexity"]), float(row["perplexity"])
    assert ours[2:] == [f"{dense:.2f}", "-", "-", "-", f"{pruned:.2f}"]


def test_model_that_fails_is_reported(tmp_path, texts, capsys):
    arguments = ["--models", str(tmp_path / "none"), "--texts", *map(str, texts)]
    assert paper.main([*arguments, f"--out={tmp_path / 'out'}"]) == 1
    captured = capsys.readouterr()
    assert "none: There is no model at" in captured.err
    assert "none, Surgeon" in captured.out
