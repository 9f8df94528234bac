"""Run folders of the previous version can be listed and opened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from surgeon_engine.api.config.pruning import (
    NM,
    Fisher,
    FixedDamping,
    HeadsAndNeurons,
    Method,
    PrunableShare,
    PruningConfig,
)
from surgeon_engine.api.config.toml import read_config
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.state.run import Status
from surgeon_gui.state.runs.reading import UnreadableRunError, read_record, read_state

FIXTURE = Path(__file__).parents[1] / "fixtures" / "previous_version"
RUNS = ("run", "run_n_m")


@pytest.fixture
def runs(tmp_path):
    """Copy both run folders to another place."""
    for name in RUNS:
        shutil.copytree(FIXTURE / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", RUNS)
def test_run_is_listed_with_its_figures(runs, name):
    expected = json.loads((FIXTURE / "expected" / "history.json").read_text())[name]
    record = read_record(runs / name)
    found = {key: getattr(record, key) for key in expected if key != "standing"}
    found["standing"] = record.outcome.value
    assert found == expected


@pytest.mark.parametrize("name", RUNS)
def test_moved_run_is_opened_with_its_moved_export(runs, name):
    state = read_state(runs / name)
    assert state.status is Status.FINISHED
    assert state.exported is not None
    assert Path(state.exported.folder) == runs / name / "export"


def test_last_shot_has_the_evaluation_after_the_correction(runs):
    state = read_state(runs / "run")
    report = json.loads((runs / "run" / "report.json").read_text())
    perplexities = [shot.evaluation.perplexity for shot in state.history]
    assert perplexities[-1] == report["corrected"]["evaluation"]["perplexity"]
    assert perplexities[0] > perplexities[-1]
    assert {time.stage for time in state.times} == {
        Stage(name) for name in report["seconds_of_stages"] if name != "correction"
    }


def test_log_with_an_unknown_event_is_unreadable(runs):
    path = RunFolder(runs / "run").events_path
    path.write_text(path.read_text().replace("Corrected", "Improved"))
    with pytest.raises(UnreadableRunError, match="cannot be read"):
        read_state(runs / "run")


PRUNING = {
    "run": PruningConfig(
        HeadsAndNeurons(width_multiple=1),
        Method.LLM_SURGEON,
        fisher=Fisher.EMPIRICAL,
        target=PrunableShare(0.5),
        max_perplexity_increase=40.0,
        shots=2,
        min_density=0.2,
        layer_min_density=("block 1=0.5", "self_attn.o_proj=0.5"),
        damping=FixedDamping(cost=0.02, update=0.3),
    ),
    "run_n_m": PruningConfig(
        NM("2:4"),
        Method.LLM_SURGEON,
        fisher=Fisher.EMPIRICAL,
        target=PrunableShare(0.5),
        shots=1,
        damping=FixedDamping(cost=0.03, update=0.05),
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_config_of_a_run_has_the_old_values_under_the_new_names(runs, name):
    folder = RunFolder(runs / name)
    for config in (
        read_config(folder.config_path),
        read_state(folder.path).config,
    ):
        assert config.pruning == PRUNING[name]
        assert config.calibration.window_length == 32
        assert config.model.source == "/home/user/tiny/model"
