"""Two processes that share a run give the result of one."""

import dataclasses
import sys

import pytest
import torch
from safetensors.torch import load_file

from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.pruning import Fisher, Method, Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig, TrainedWeights
from surgeon_engine.api.messages.commands import StopAndKeep
from surgeon_engine.api.messages.run import Progressed, ShotFinished, Stage
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.curvature.collect import (
    CurvatureRequest,
    block_factors,
    block_gates,
    input_covariances,
    routed_outputs,
)
from surgeon_engine.curvature.measured import Gate
from surgeon_engine.model.layers import ExpertsLayer, find_blocks, prunable_layers
from surgeon_engine.pruning import measure_curvature
from surgeon_engine.run import pipeline
from tests.helpers.forked_ranks import run_ranks
from tests.helpers.runs import Recorder, job, skip_verification
from tests.helpers.tiny_models import VOCABULARY, tiny_model

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="it cannot fork"),
    pytest.mark.slow,
    pytest.mark.waits,
]
WINDOWS = 7  # the shares are of different sizes
FIRST_ORDER = {"method": Method.FIRST_ORDER, "fisher": Fisher.SAMPLED}


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
    recovery = RecoveryConfig(level, general_windows=3, trained_weights=trained)
    return dataclasses.replace(
        found,
        calibration=dataclasses.replace(found.calibration, batch=4),
        recovery=recovery,
        evaluation=EvaluationConfig(windows=0),
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


def in_two_ranks(configs, folder, react=go_on, work=Recorder.run):
    """Run jobs in two processes; return the events of the first one."""

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

    first, *others = run_ranks(do)
    if isinstance(first, Exception):
        return first
    assert all(events == [] for events in others)
    return first


def in_one(configs, folder, react=go_on):
    for name, config in configs.items():
        recorder = Recorder()
        recorder.react = lambda event, it=recorder: react(event, it.context)
        recorder.run(config, folder / name)


def compare(configs, folder, tolerance=2e-4):
    """Do jobs in two processes and in one, and compare the results."""
    in_one(configs, folder / "one")  # first: the others are forked with its imports
    events = in_two_ranks(configs, folder / "two")
    for name in configs:
        assert_same_result(folder / "one" / name, folder / "two" / name, tolerance)
    return events


def test_two_ranks_give_the_result_of_one(tmp_path):
    gates = config_of(tmp_path, Recovery.BOTH, **FIRST_ORDER)
    configs = {
        "gates": dataclasses.replace(gates, evaluation=EvaluationConfig(windows=2)),
        "inputs": config_of(
            tmp_path,
            Recovery.DISTILLATION,
            TrainedWeights.LORA,
            family="gpt2",
            method=Method.L_OBD,
        ),
    }
    events = compare(configs, tmp_path)
    stages = {x.stage: x for x in events if isinstance(x, Progressed)}
    assert {x.done for x in stages.values()} == {x.total for x in stages.values()}


def test_two_ranks_count_the_tokens_of_experts_together():
    model = tiny_model("qwen3_moe")
    windows = torch.arange(60).view(5, 12) % VOCABULARY
    layers = [x for x in prunable_layers(model) if isinstance(x, ExpertsLayer)]
    request = CurvatureRequest(model, find_blocks(model), layers, windows, 2)

    def measure(rank):
        found = routed_outputs(request, int)
        (name, *_) = found
        gates = {
            k: x
            for part in block_gates(request, (Gate.COLUMNS, Gate.NEURONS), int)
            for k, x in part.items()
        }
        one = gates[name]
        return found[name].routed, found[name].norms, one.routed, one.neurons

    expected = measure(0)
    assert int(expected[0].sum()) == 2 * windows.numel()
    for found in run_ranks(measure):
        assert torch.equal(found[0], expected[0])
        torch.testing.assert_close(found[1], expected[1])
        assert torch.equal(found[2], expected[0])
        torch.testing.assert_close(found[3], expected[3])


def test_ranks_without_windows_measure_what_one_measures():
    model = tiny_model("llama")
    windows = torch.arange(24).view(2, 12) % VOCABULARY
    layers = prunable_layers(model)
    request = CurvatureRequest(
        model, find_blocks(model), layers, windows, 2, Fisher.SAMPLED, draws=2
    )

    def measure(rank):
        found = {"inputs": input_covariances(request, int)}
        for name, blocks in (
            ("factors", block_factors(request, int)),
            ("gates", block_gates(request, tuple(Gate), int)),
        ):
            found[name] = {layer: x for block in blocks for layer, x in block.items()}
        return {
            (kind, layer, field.name): getattr(x, field.name)
            for kind, by_layer in found.items()
            for layer, x in by_layer.items()
            for field in dataclasses.fields(x)
        }

    expected = measure(0)
    for found in run_ranks(measure, 3):
        assert found.keys() == expected.keys()
        for key, x in found.items():
            torch.testing.assert_close(x, expected[key], msg=str(key))


@pytest.mark.runtimes
def test_single_weights_differ_by_rounding(tmp_path):
    """Conjugate gradients, which update and refit them, end at a tolerance."""
    settings = {"structure": Structure.ELEMENTS, "method": Method.LLM_SURGEON}
    config = config_of(tmp_path, Recovery.REFIT, family="opt", **settings)
    compare({"run": config}, tmp_path, tolerance=3e-2)


def test_whole_blocks_are_refused(tmp_path):
    config = config_of(tmp_path, **FIRST_ORDER)
    pruning = dataclasses.replace(config.pruning, dropped_blocks=1)
    config = dataclasses.replace(config, pruning=pruning)
    error = in_two_ranks({"run": config}, tmp_path)
    assert str(error).startswith("Whole blocks and sub-layers cannot be removed on 2")
    assert not (tmp_path / "run").exists()


def test_stop_reaches_both(tmp_path):
    def stop(event, context):
        if isinstance(event, ShotFinished):
            context.handle(StopAndKeep(run="test"))

    config = config_of(tmp_path, Recovery.DISTILLATION, **FIRST_ORDER, shots=2)
    in_two_ranks({"run": config}, tmp_path, stop)
    report = RunFolder(tmp_path / "run").read_report()
    assert report.stopped_early
    assert len(report.shots) == 1


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


def test_interrupted_run_goes_on_in_two(tmp_path, save_everywhere):
    def cut(event, _):
        is_step = isinstance(event, Progressed)
        if is_step and event.stage is Stage.DISTILLATION and event.done == 2:
            raise Cut

    config = config_of(tmp_path, Recovery.DISTILLATION, **FIRST_ORDER)
    in_one({"run": config}, tmp_path / "whole")
    with pytest.raises(Cut):
        in_one({"run": config}, tmp_path / "begun", cut)

    def resumed(recorder, config, folder):
        pipeline.resume(folder, recorder.context)

    in_two_ranks({"run": config}, tmp_path / "begun", work=resumed)
    assert_same_result(tmp_path / "whole" / "run", tmp_path / "begun" / "run")
