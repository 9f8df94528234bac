"""Two processes that share a run remove what one removes, and write the same weights."""

from __future__ import annotations

import dataclasses
import sys

import pytest
import torch
from safetensors.torch import load_file

from surgeon_engine import pipeline
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.pruning import Damping, Fisher, Method, Structure
from surgeon_engine.api.config.recovery import (
    Recovery,
    RecoveryConfig,
    TrainedWeights,
)
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import ShotFinished
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.pruning import measure_curvature
from surgeon_engine.runtime import saver
from tests.helpers.forked_ranks import run_ranks
from tests.helpers.runs import Recorder, job, skip_verification

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="it cannot fork"),
    pytest.mark.slow,
]
WINDOWS = 13  # the shares are of different sizes
FIRST_ORDER = {"method": Method.FIRST_ORDER, "fisher": Fisher.SAMPLED, "shots": 2}
PAPER = {"method": Method.LLM_SURGEON, "damping": Damping.AUTOMATIC, "shots": 2}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    skip_verification(monkeypatch)


def config_of(folder, level, trained=TrainedWeights.FULL, **pruning):
    found = job(folder, windows=WINDOWS, **pruning)
    recovery = RecoveryConfig(level, epochs=2, own_windows=5, trained_weights=trained)
    calibration = dataclasses.replace(found.calibration, batch=4)
    return dataclasses.replace(
        found,
        calibration=calibration,
        recovery=recovery,
        evaluation=EvaluationConfig(windows=2),
    )


def weights_in(folder):
    return load_file(folder / "export" / "model.safetensors")


def assert_same_result(one, two):
    """Check the masks and weights of two runs, and that both have their figures."""
    for name, W in weights_in(one).items():
        other = weights_in(two)[name]
        assert torch.equal(W == 0, other == 0), name
        assert torch.allclose(W, other, atol=2e-4, rtol=2e-3), name
    reports = [RunFolder(folder).read_report() for folder in (one, two)]
    for of_one, of_two in zip(*(report.shots for report in reports), strict=True):
        nats = of_one.evaluation.divergence, of_two.evaluation.divergence
        assert nats[0] == pytest.approx(nats[1], rel=1e-3)
    assert reports[1].device == f"2 x {reports[0].device}" or "CPU" in reports[1].device


def in_two_ranks(configs, folder, react=lambda event, context: None):
    """Run jobs in two processes; return the events of the first one."""

    def work(rank):
        events = []
        for name, config in configs.items():
            recorder = Recorder()
            recorder.react = lambda event, it=recorder: react(event, it.context)
            recorder.run(config, folder / name)
            events += recorder.events
        return events

    first, second = run_ranks(work)
    assert second == []
    return first


def test_two_ranks_give_the_result_of_one(tmp_path):
    configs = {
        "gates": config_of(tmp_path, Recovery.BOTH, **FIRST_ORDER),
        "factors": config_of(
            tmp_path, Recovery.OFF, structure=Structure.ROWS_AND_COLUMNS, **PAPER
        ),
    }
    in_two_ranks(configs, tmp_path / "two")
    for name, config in configs.items():
        Recorder().run(config, tmp_path / "one" / name)
        assert_same_result(tmp_path / "one" / name, tmp_path / "two" / name)
