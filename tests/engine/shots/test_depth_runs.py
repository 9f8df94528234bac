"""Runs that remove blocks, attentions and MLPs: recovery, resume, limits, files."""

from __future__ import annotations

import dataclasses
import json

import pytest

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.messages.run import (
    Recovered,
    ShotFinished,
    Stage,
    StageStarted,
)
from surgeon_engine.base.errors import ExportError, PruningError
from tests.engine.test_resume import (  # noqa: F401 (a fixture)
    assert_same_result,
    at_step,
    cut_at,
    resumed,
    save_everywhere,
)
from tests.helpers.runs import Recorder, job

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_runs")]


def config_of(folder, form=Format.AUTOMATIC, level=Recovery.REFIT, **pruning):
    settings = {"sparsity": 0.6, "method": "first_order", "dropped_blocks": 1}
    config = job(folder, windows=8, **settings | pruning)
    return dataclasses.replace(
        config,
        export=ExportConfig(format=form),
        recovery=RecoveryConfig(level, own_windows=0, epochs=2),
    )


def whole_blocks(shot: ShotFinished) -> set[int]:
    left = {layer.block for layer in shot.layers if layer.removed < layer.weights}
    return {layer.block for layer in shot.layers} - left


@pytest.mark.parametrize(
    "level",
    [Recovery.BOTH],
)
def test_run_recovers_and_goes_on_after_an_interruption(tmp_path, level):
    config = config_of(tmp_path, level=level, shots=2)
    run = Recorder().run(config, tmp_path / "whole")
    shots = run.of(ShotFinished)
    assert [len(whole_blocks(shot)) for shot in shots] == [0, 1]
    stages = [x.stage for x in run.of(StageStarted)]
    assert stages.index(Stage.DEPTH) < stages.index(Stage.SELECTION, 9)
    (recovered,) = run.of(Recovered)
    assert recovered.nats_after <= recovered.nats_before
    saved = json.loads((tmp_path / "whole/export/config.json").read_text())
    assert saved["num_hidden_layers"] == 1
    when = at_step(Stage.REFIT, 1)
    if level is Recovery.BOTH:
        when = at_step(Stage.RECONSTRUCTION, 1)
    cut_at(when, config, tmp_path / "cut")
    resumed(tmp_path / "cut")
    assert_same_result(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_quality_limit_takes_blocks_back(tmp_path):
    config = config_of(tmp_path, Format.MASKED, Recovery.OFF, max_divergence=1e-3)
    with pytest.raises(PruningError, match="smallest step takes the KL"):
        Recorder().run(config, tmp_path / "run")
    config = config_of(tmp_path, Format.MASKED, Recovery.OFF, max_divergence=50.0)
    run = Recorder().run(config, tmp_path / "far")
    assert len(whole_blocks(run.of(ShotFinished)[-1])) == 1


def test_plain_files_are_refused_without_sublayers(tmp_path):
    settings = {"dropped_sublayers": 1, "dropped_blocks": 0, "widths": "same"}
    with pytest.raises(ExportError, match="Plain files hold no blocks without"):
        Recorder().run(config_of(tmp_path, Format.STOCK, **settings), tmp_path / "run")
