"""Recovery in a run: the model ends closer to the original, and the report says so."""

from dataclasses import replace

import pytest
import torch

from surgeon_engine.api.config.pruning import Fisher, Method, Structure
from surgeon_engine.api.config.recovery import (
    GradientCheckpointing,
    Recovery,
    RecoveryConfig,
    TrainedWeights,
)
from surgeon_engine.api.config.run import Offload
from surgeon_engine.api.config.toml import read_config
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import (
    Estimate,
    Recovered,
    RecoveryUndone,
    RunStarted,
    Stage,
    StageStarted,
    UndoReason,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.recovery import recover as module
from surgeon_engine.recovery.recover import recovery_text
from tests.helpers.pruning_states import make_state
from tests.helpers.runs import Recorder, assert_same_tensors, exported_tensors, job

pytestmark = pytest.mark.usefixtures("quick_runs")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def job_with(folder, level=Recovery.REFIT, windows=24, family="llama", **pruning):
    plain = {
        "structure": Structure.NEURONS,
        "method": Method.MAGNITUDE,
        "sparsity": 0.1,
    }
    return job(
        folder,
        family,
        windows,
        **plain | pruning,
        recovery=RecoveryConfig(level, general_windows=32, epochs=1.0),
    )


def stages(recorder):
    return [event.stage for event in recorder.of(StageStarted)]


@pytest.mark.slow
@pytest.mark.parametrize("level", [Recovery.REFIT, Recovery.BOTH])
def test_run_ends_with_a_recovery(tmp_path, level):
    config = job_with(tmp_path, level, sparsity=0.3)  # enough for a training to gain
    recorder = Recorder().run(config, tmp_path / "run")
    (recovered,) = recorder.of(Recovered)
    assert recovered.nats_after < recovered.nats_before
    assert recovered.layers > 0
    trains = level is Recovery.BOTH
    assert (recovered.steps > 0) == (recovered.blocks > 0) == trains
    after_shots = [Stage.REFERENCE, Stage.REFIT]
    if trains:
        after_shots[1:] = [Stage.RECONSTRUCTION, Stage.DISTILLATION]
    found = stages(recorder)
    start = found.index(Stage.REFERENCE)
    assert found[start : start + len(after_shots)] == after_shots
    assert Stage.SAMPLING in stages(recorder)
    report = RunFolder(tmp_path / "run").read_report()
    assert report.recovered == recovered
    card = (tmp_path / "run" / "export" / "README.md").read_text()
    assert "after recovery" in card
    assert f"{recovered.nats_after:.3f} nats" in card


@pytest.mark.slow
def test_automatic_level_is_settled_before_the_run_and_logged(tmp_path):
    config = job_with(tmp_path, Recovery.AUTOMATIC)
    recorder = Recorder()
    recorder.context.expected = Estimate(0.2, 0.1, 0.4)
    recorder.context.planned = {Stage.CURVATURE: 3.0}
    recorder.run(config, tmp_path / "run")
    (chosen,) = [
        event.message
        for event in recorder.of(Logged)
        if event.message.startswith("Recovery: ")
    ]
    assert "distillation, all weights" in chosen
    settled = replace(
        config.recovery,
        level=Recovery.DISTILLATION,
        trained_weights=TrainedWeights.FULL,
        gradient_checkpointing=GradientCheckpointing.OFF,
    )
    (started,) = recorder.of(RunStarted)
    assert started.recovery == settled
    assert started.expected == Estimate(0.2, 0.1, 0.4)
    assert started.planned == {Stage.CURVATURE: 3.0}
    (recovered,) = recorder.of(Recovered)
    assert recovered.steps > 0
    folder = RunFolder(tmp_path / "run")
    model = replace(config.model, offload=Offload.OFF)
    written = folder.read_report().config
    pruning = replace(config.pruning, width_multiple=1)  # automatic before
    expected = replace(config, model=model, pruning=pruning, recovery=settled)
    assert written == expected
    assert read_config(folder.config_path) == config
    card = (tmp_path / "run" / "export" / "README.md").read_text()
    assert 'level = "distillation"' in card


@pytest.mark.slow
def test_recovery_changes_the_export_and_keeps_what_was_removed(tmp_path):
    for level in (Recovery.OFF, Recovery.REFIT):
        Recorder().run(job_with(tmp_path, level), tmp_path / level)
    plain, recovered = (
        exported_tensors(tmp_path / level) for level in (Recovery.OFF, Recovery.REFIT)
    )
    changed = [name for name in plain if not torch.equal(plain[name], recovered[name])]
    assert changed
    assert all("down_proj" in name for name in changed)
    for name in changed:
        removed = (plain[name] == 0).all(dim=0)
        assert not recovered[name][:, removed].any()


@pytest.mark.slow
def test_first_order_run_measures_gates_on_general_text_too(tmp_path):
    settings = {"method": Method.FIRST_ORDER, "fisher": Fisher.SAMPLED}
    recorder = Recorder().run(job_with(tmp_path, **settings), tmp_path / "run")
    assert stages(recorder).count(Stage.CURVATURE) == 1
    assert recorder.of(Recovered)


@pytest.mark.slow
def test_refit_that_makes_it_worse_is_undone(tmp_path, monkeypatch):
    real = module.recover_blocks

    def spoiled(state, *arguments):
        results = real(state, *arguments)
        layer = state.units[0].measured
        layer.write(-20 * layer.weight())
        return results

    plain = job_with(tmp_path, Recovery.OFF)
    Recorder().run(plain, tmp_path / "plain")
    monkeypatch.setattr(module, "recover_blocks", spoiled)
    recorder = Recorder().run(job_with(tmp_path), tmp_path / "run")
    (recovered,) = recorder.of(Recovered)
    assert recovered.nats_after == recovered.nats_before
    assert recovered.layers == 0
    assert not recorder.warnings()
    undone = RecoveryUndone(UndoReason.WORSE, Stage.REFIT)
    assert recorder.of(RecoveryUndone) == [undone]
    assert_same_tensors(
        exported_tensors(tmp_path / "plain"), exported_tensors(tmp_path / "run")
    )


def test_one_in_eight_windows_of_each_kind_is_held_out_but_at_most_eight():
    state = make_state("llama", 16)
    own = torch.arange(100 * 16).view(100, 16) % 90
    object.__setattr__(state.windows, "own", own)
    text = recovery_text(state)
    held_out = text.held_out.windows
    assert torch.equal(held_out[:2], state.windows.calibration[[7, 15]])
    places = [11, 24, 36, 49, 61, 74, 86, 99]
    assert torch.equal(held_out[2:], own[places])
    assert len(text.fitted.windows) == 14 + 92


def test_training_never_reads_the_windows_in_the_place_of_those_held_out():
    state = make_state("llama", 16)
    windows = state.windows.calibration
    later = tuple(torch.stack([windows + 1, windows + 2], dim=1))
    for name, value in (("own", windows + 2), ("later", later)):
        object.__setattr__(state.windows, name, value)
    recovery = RecoveryConfig(Recovery.DISTILLATION, general_windows=16, epochs=3.0)
    state.config = replace(state.config, recovery=recovery)
    found = module._training_text(state, None, recovery_text(state), None, None)
    places = [n for n in range(16) if n not in (7, 15)]
    expected = torch.stack([windows, windows + 1, windows + 2], dim=1)[places]
    assert torch.equal(torch.stack(list(found.users)), expected)
