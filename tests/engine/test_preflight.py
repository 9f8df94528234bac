"""A run that cannot succeed raises before any work and changes no files."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.errors import (
    ExportError,
    InsufficientResourcesError,
    PruningError,
    RunFolderError,
)
from tests.helpers.runs import job, preflight_error

pytestmark = pytest.mark.usefixtures("quick_runs")


def test_existing_output_folder_raises_and_is_left_unchanged(tmp_path):
    config, source = job(tmp_path), tmp_path / "llama"
    config = dataclasses.replace(config, export=ExportConfig(str(source)))
    before = sorted(path.name for path in source.iterdir())
    error = preflight_error(config, tmp_path / "run", ExportError)
    assert "exists already (folder is not empty)" in error.message
    assert sorted(path.name for path in source.iterdir()) == before
    assert not (tmp_path / "run").exists()


def test_unwritable_output_folder_raises(tmp_path):
    (tmp_path / "file").touch()
    inside_a_file = str(tmp_path / "file" / "export")
    config = dataclasses.replace(job(tmp_path), export=ExportConfig(inside_a_file))
    error = preflight_error(config, tmp_path / "run", ExportError)
    assert "cannot be written" in error.message
    assert not (tmp_path / "run").exists()


def test_existing_run_folder_raises_and_is_left_unchanged(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    error = preflight_error(job(tmp_path), tmp_path / "run", RunFolderError)
    assert "exists already" in error.message
    assert (tmp_path / "run" / "precious.txt").read_text() == "mine"


def test_structure_that_the_model_lacks_raises(tmp_path):
    error = preflight_error(job(tmp_path, "olmo2"), tmp_path / "run", PruningError)
    assert "self_attn.q_norm normalizes 16 features" in error.message
    assert not (tmp_path / "run").exists()


def test_blocks_that_cannot_be_removed_leave_no_run_folder(tmp_path):
    config = job(tmp_path, dropped_blocks=2, sparsity=0.6)
    error = preflight_error(config, tmp_path / "run", PruningError)
    assert "at most 1 of 2 can be" in error.message
    assert not (tmp_path / "run").exists()


def test_refusals_of_the_loaded_model_leave_no_run_folder(tmp_path):
    config = job(tmp_path, dropped_sublayers=1, sparsity=0.6)
    config = dataclasses.replace(config, export=ExportConfig(format=Format.STOCK))
    error = preflight_error(config, tmp_path / "run", ExportError)
    assert "hold no blocks without an attention" in error.message
    assert not (tmp_path / "run").exists()


def test_full_disk_raises_with_the_numbers(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    error = preflight_error(job(tmp_path), tmp_path / "run", InsufficientResourcesError)
    assert "of disk, and 0.0 MB are free" in error.message


@pytest.mark.parametrize("destination", ["run", "."])
def test_destination_inside_the_run_folder_raises(tmp_path, destination):
    runs = tmp_path / "runs"
    config = dataclasses.replace(
        job(tmp_path), export=ExportConfig(str(runs / destination))
    )
    error = preflight_error(config, runs / "run", ExportError)
    assert "is where the run itself keeps its files" in error.message
