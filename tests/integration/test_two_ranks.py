"""Two processes that share a run give the result of one."""

from __future__ import annotations

import dataclasses
import sys

import pytest
import torch
from safetensors.torch import load_file

from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.pruning import (
    SPARSE,
    Damping,
    Fisher,
    HeadsAndNeurons,
    Method,
    Structure,
)
from surgeon_engine.api.config.recovery import (
    Recovery,
    RecoveryConfig,
    TrainedWeights,
)
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.run import Progressed, ShotFinished, Stage
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.pruning import measure_curvature
from surgeon_engine.run import pipeline
from surgeon_engine.runtime import run_context, saver
from tests.helpers.forked_ranks import run_ranks
from tests.helpers.runs import Recorder, job, skip_verification

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="it cannot fork"),
    pytest.mark.slow,
]
WINDOWS = 13  # the shares are of different sizes
FIRST_ORDER = {"method": Method.FIRST_ORDER, "fisher": Fisher.SAMPLED, "shots": 2}
PAPER = {"method": Method.LLM_SURGEON, "damping": Damping.AUTOMATIC, "shots": 2}


class Cut(Exception):
    """Raised to interrupt a run."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    skip_verification(monkeypatch)


def config_of(
    folder,
    level=Recovery.OFF,
    trained=TrainedWeights.FULL,
    family="llama",
    **pruning,
):
    found = job(folder, family, windows=WINDOWS, **pruning)
    recovery = RecoveryConfig(level, epochs=2, own_windows=5, trained_weights=trained)
    return dataclasses.replace(
        found,
        calibration=dataclasses.replace(found.calibration, batch=4),
        recovery=recovery,
        evaluation=EvaluationConfig(windows=2),
    )


def assert_same_result(one, two, tolerance=2e-4):
    """Check that two runs have the same masks, and weights and figures to rounding."""
    found, others = (load_file(x / "export" / "model.safetensors") for x in (one, two))
    for name, W in found.items():
        assert torch.equal(W == 0, others[name] == 0), name
        torch.testing.assert_close(others[name], W, atol=tolerance, rtol=2e-3, msg=name)
    shots = [RunFolder(folder).read_report().shots for folder in (one, two)]
    for of_one, of_two in zip(*shots, strict=True):
        nats = of_one.evaluation.divergence
        assert of_two.evaluation.divergence == pytest.approx(nats, rel=5 * tolerance)


def go_on(event, context):
    """React to no event."""


def in_two_ranks(configs, folder, react=go_on, work=Recorder.run, size=2):
    """Run jobs in several processes; return the events of the first one."""

    def do(rank):
        events = []
        for name, config in configs.items():
            recorder = Recorder()
            recorder.react = lambda event, it=recorder: react(event, it.context)
            try:
                work(recorder, config, folder / name)
            finally:
                events += recorder.events
        return events

    first, *others = run_ranks(do, size)
    if isinstance(first, Exception):
        return first
    assert all(events == [] for events in others)
    return first


def in_one(configs, folder, react=go_on):
    for name, config in configs.items():
        recorder = Recorder()
        recorder.react = lambda event, it=recorder: react(event, it.context)
        recorder.run(config, folder / name)


def compare(configs, folder, size=2, tolerance=2e-4):
    """Do jobs in several processes and in one, and compare the results."""
    events = in_two_ranks(configs, folder / "two", size=size)
    in_one(configs, folder / "one")
    for name in configs:
        assert_same_result(folder / "one" / name, folder / "two" / name, tolerance)
    return events


def test_two_ranks_give_the_result_of_one(tmp_path):
    rows = {"structure": Structure.ROWS_AND_COLUMNS, **PAPER}
    configs = {
        "gates": config_of(tmp_path, Recovery.BOTH, **FIRST_ORDER),
        "factors": config_of(tmp_path, **rows),
    }
    events = compare(configs, tmp_path)
    stages = {x.stage: x for x in events if isinstance(x, Progressed)}
    del stages[Stage.DAMPING]  # the number of trials is a guess
    assert {x.done for x in stages.values()} == {x.total for x in stages.values()}


@pytest.mark.thorough
def test_whole_blocks_are_refused(tmp_path):
    config = config_of(tmp_path, **FIRST_ORDER)
    structure = HeadsAndNeurons(dropped_blocks=1)
    pruning = dataclasses.replace(config.pruning, structure=structure)
    config = dataclasses.replace(config, pruning=pruning)
    error = in_two_ranks({"run": config}, tmp_path)
    assert str(error).startswith("Whole blocks and sub-layers cannot be removed on 2")
    assert not (tmp_path / "run").exists()


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "falcon"])
@pytest.mark.parametrize(
    ("structure", "method"),
    [
        (Structure.HEADS_AND_NEURONS, Method.LLM_SURGEON),
        (Structure.HEADS_AND_NEURONS, Method.L_OBD),
        (Structure.ELEMENTS, Method.LLM_SURGEON),
        (Structure.ELEMENTS, Method.FIRST_ORDER),
        (Structure.N_M, Method.SPARSEGPT),
        (Structure.ROWS, Method.MAGNITUDE),
    ],
)
def test_two_ranks_remove_what_one_removes(tmp_path, family, structure, method):
    config = config_of(
        tmp_path, Recovery.REFIT, family=family, structure=structure, method=method
    )
    # Conjugate gradients, which update and refit single weights, end at a tolerance.
    compare({"run": config}, tmp_path, tolerance=3e-2 if structure in SPARSE else 2e-4)


@pytest.mark.thorough
def test_four_ranks_of_which_some_have_no_window(tmp_path):
    config = config_of(tmp_path, Recovery.BOTH, **FIRST_ORDER)
    paper = config_of(tmp_path, structure=Structure.ROWS_AND_COLUMNS, **PAPER)
    compare({"gates": config, "factors": paper}, tmp_path, size=4)


@pytest.mark.thorough
def test_two_ranks_train_the_adapters_of_one(tmp_path):
    config = config_of(
        tmp_path, Recovery.DISTILLATION, TrainedWeights.LORA, **FIRST_ORDER
    )
    compare({"run": config}, tmp_path)


@pytest.mark.thorough
def test_quality_limit_is_that_of_one(tmp_path):
    config = config_of(
        tmp_path, Recovery.DISTILLATION, max_divergence=0.02, **FIRST_ORDER
    )
    compare({"run": config}, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("stage", [None, Stage.REFIT, Stage.DISTILLATION])
def test_stop_reaches_both(tmp_path, stage):
    def stop(event, context):
        is_shot = isinstance(event, ShotFinished) and stage is None
        is_step = isinstance(event, Progressed) and event.stage is stage
        if is_shot or is_step:
            context.handle(StopAndKeep(run="test"))

    config = config_of(tmp_path, Recovery.DISTILLATION, **FIRST_ORDER)
    in_two_ranks({"run": config}, tmp_path, stop)
    report = RunFolder(tmp_path / "run").read_report()
    assert report.stopped_early == (stage is None)
    assert len(report.shots) == (1 if stage is None else 2)


@pytest.mark.thorough
def test_lack_of_memory_on_one_halves_the_batch_of_both(tmp_path, monkeypatch):
    config = config_of(tmp_path, **FIRST_ORDER)
    in_one({"run": config}, tmp_path / "one")
    gates, failures = measure_curvature.block_gates, []

    def short(request, kinds, step):
        from surgeon_engine.runtime import ranks

        if not ranks.is_first() and not failures:
            failures.append(1)
            raise MemoryError
        return gates(request, kinds, step)

    monkeypatch.setattr(measure_curvature, "block_gates", short)
    events = in_two_ranks({"run": config}, tmp_path / "two")
    messages = [event.message for event in events if hasattr(event, "message")]
    assert any("4 windows at a time: the run goes on with 2" in x for x in messages)
    assert_same_result(tmp_path / "one" / "run", tmp_path / "two" / "run")


@pytest.mark.thorough
@pytest.mark.parametrize("stage", [None, Stage.REFIT, Stage.DISTILLATION])
def test_interrupted_run_goes_on_in_any_number(tmp_path, monkeypatch, stage):
    monkeypatch.setattr(run_context, "_SECONDS_BETWEEN_PROGRESS", 0.0)
    monkeypatch.setattr(saver, "_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(saver, "_SHARE_OF_TIME", 1e9)

    def cut(event, _):
        is_step = isinstance(event, Progressed) and event.stage is stage
        if (is_step and event.done == 2) or (
            isinstance(event, ShotFinished) and event.shot == 2 and stage is None
        ):
            raise Cut

    config = config_of(tmp_path, Recovery.DISTILLATION, **FIRST_ORDER)
    in_one({"run": config}, tmp_path / "whole")
    assert "Cut" in repr(in_two_ranks({"run": config}, tmp_path / "two", cut))
    with pytest.raises(Cut):
        in_one({"run": config}, tmp_path / "one", cut)
    pipeline.resume(tmp_path / "two" / "run", Recorder().context)

    def resumed(recorder, config, folder):
        pipeline.resume(folder, recorder.context)

    in_two_ranks({"run": config}, tmp_path / "one", work=resumed)
    for begun in ("two", "one"):
        assert_same_result(tmp_path / "whole" / "run", tmp_path / begun / "run")
