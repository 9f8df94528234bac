"""Run folders of the previous version can be listed, opened and exported again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from surgeon_engine.api.config.export import ExportConfig, Format
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
from surgeon_engine.export.export import export_again
from surgeon_engine.runtime.run_context import RunContext
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


def tensors(folder: Path) -> dict:
    """Return all weights and indices in `folder`, with their bytes."""
    found = {}
    for path in (*folder.rglob("*.safetensors"), *folder.rglob("*.indices")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                x = file.get_tensor(name)
                data = x.contiguous().view(-1).numpy().tobytes()
                found[name] = (x.dtype, tuple(x.shape), data)
    return found


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
    state, report = read_state(runs / "run"), RunFolder(runs / "run").read_report()
    expected = json.loads((runs / "run" / "report.json").read_text())["corrected"]
    for shots in (state.history, report.shots):
        perplexities = [shot.evaluation.perplexity for shot in shots]
        assert perplexities[-1] == expected["evaluation"]["perplexity"]
        assert perplexities[0] > perplexities[-1]
    assert {time.stage for time in state.times} == {
        Stage(name) for name in report.seconds_of_stages if name != "correction"
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
        folder.read_report().config,
        read_state(folder.path).config,
    ):
        assert config.pruning == PRUNING[name]
        assert config.calibration.window_length == 32
        assert config.model.source == "/home/user/tiny/model"


@pytest.mark.parametrize("format", ["masked", "compact"])
def test_run_is_exported_again_with_the_same_tensors(
    runs, quick_runs, tmp_path, format
):
    destination = tmp_path / format
    config = ExportConfig(folder=str(destination), format=Format(format))
    export_again(str(runs / "run"), config, RunContext("again", lambda _: None))
    assert tensors(destination) == tensors(FIXTURE / "expected" / format)
