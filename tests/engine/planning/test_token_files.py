"""Estimates of token files use their real windows."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.planning.estimate import estimate
from surgeon_engine.planning.resource_check import settings_that_fit
from surgeon_engine.planning.token_files import with_token_file_shape
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_machine import machine

MODEL = model_summary()


@pytest.fixture
def files(tmp_path):
    """Return a calibration file of 6 windows of 40 tokens, and a validation file."""
    paths = []
    for name, count in (("calibration", 6), ("validation", 2)):
        paths.append(str(tmp_path / f"{name}.npy"))
        np.save(paths[-1], np.zeros((count, 40), dtype=np.int32))
    return paths


def test_counts_and_lengths_come_from_the_files(files):
    own, other = files
    read = with_token_file_shape(CalibrationConfig(text=own, validation_text=other))
    assert (read.windows, read.validation_windows, read.window_length) == (6, 2, 40)


def test_unreadable_files_change_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    names = ("none.npy", "pipe.npy", "pipe.npy/a.npy")
    for text in ("builtin", "~nobody/a.npy", *(str(tmp_path / x) for x in names)):
        calibration = CalibrationConfig(text=text)
        assert with_token_file_shape(calibration) == calibration
    (tmp_path / "broken.npy").write_bytes(b"no numbers")
    broken = CalibrationConfig(text=str(tmp_path / "broken.npy"))
    assert with_token_file_shape(broken) == broken


@pytest.mark.parametrize(
    "header", [b"-" * 9_000 + b"1", b"(" * 9_000, b"{'shape': (1, 2), 'shape': (2e9"]
)
def test_strange_headers_are_not_evaluated(tmp_path, header):
    path = tmp_path / "strange.npy"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    path.write_bytes(start + header)
    with_token_file_shape(CalibrationConfig(text=str(path)))


def test_estimate_uses_the_windows_of_the_file(files):
    own, other = files
    of_files = CalibrationConfig(text=own, validation_text=other)
    same = replace(of_files, windows=6, validation_windows=2, window_length=40)
    ours, theirs = (
        estimate(RunConfig(calibration=each), MODEL, machine())
        for each in (of_files, same)
    )
    assert ours == theirs


def test_windows_of_a_file_are_not_reduced(files):
    own, other = files
    job = RunConfig(calibration=CalibrationConfig(text=own, validation_text=other))
    fitted = settings_that_fit(job, MODEL, machine(free=10**6), 10**12)
    fields = [change.field for change in fitted.changes] if fitted else []
    assert not {"calibration.windows", "calibration.window_length"} & set(fields)
