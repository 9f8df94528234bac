"""How the calibration text uses experts is known from the first shot on."""

from dataclasses import replace

import pytest
import torch

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Method, Structure
from surgeon_engine.api.messages.run import ShotFinished
from surgeon_engine.model.layers import ExpertsLayer
from surgeon_engine.shots.compaction_step import compact_state
from surgeon_engine.shots.shot import run_shot
from surgeon_engine.shots.steps import ShotPlan
from tests.helpers.interrupted_runs import after_shot, cut_at, resumed
from tests.helpers.pruning_states import make_state, silent_context
from tests.helpers.runs import Recorder, job

EXPERTS, CHOSEN = 8, 2  # experts in the tiny mixture, and per token


def routings(shot):
    return [layer.routing for layer in shot.layers if layer.routing is not None]


def state_of(method=Method.FIRST_ORDER, **settings):
    return make_state(
        "qwen3_moe",
        structure=Structure.EXPERTS,
        method=method,
        sparsity=0.3,
        shots=2,
        **settings,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [Method.FIRST_ORDER, Method.REAP, Method.ROUTING_FREQUENCY]
)
def test_shots_report_tokens_and_costs_of_the_original_experts(method):
    state = state_of(method)
    first = run_shot(state, ShotPlan(1, 0.5, None), silent_context())
    compact_state(state)
    second = run_shot(state, ShotPlan(2, 1.0, None), silent_context())
    tokens = state.windows.calibration.numel()
    removed = 0
    for before, after in zip(routings(first), routings(second), strict=True):
        assert sum(before.tokens) == CHOSEN * tokens
        assert (after.tokens, after.costs) == (before.tokens, before.costs)
        assert set(after.kept) <= set(before.kept) <= set(range(EXPERTS))
        removed += EXPERTS - len(after.kept)
        # A shot removes the cheapest of the original.
        cheapest = torch.tensor(before.costs).argsort()[: EXPERTS - len(before.kept)]
        assert set(before.kept).isdisjoint(cheapest.tolist())
        if method is Method.ROUTING_FREQUENCY:
            assert before.costs == before.tokens
    assert removed > 0


def test_experts_without_tokens_are_counted_in_a_warning():
    state, recorder = state_of(windows=2), Recorder()
    few = replace(state.windows, calibration=state.windows.calibration[:1, :3])
    state.windows = few
    shot = run_shot(state, ShotPlan(1, 0.5, None), recorder.context)
    unused = sum(routing.tokens.count(0) for routing in routings(shot))
    assert unused >= 4  # three tokens choose at most six of eight
    (warning,) = recorder.warnings()
    blocks = len([x for x in state.loaded.layers if isinstance(x, ExpertsLayer)])
    assert warning.message.values == {"unused": unused, "experts": EXPERTS * blocks}
    for routing in routings(shot):
        removed = set(range(EXPERTS)) - set(routing.kept)
        assert all(routing.tokens[expert] == 0 for expert in removed)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_runs", "save_everywhere")
def test_resumed_run_reports_the_same_routing(tmp_path):
    config = job(
        tmp_path,
        "qwen3_moe",
        export=ExportConfig(format=Format.COMPACT),
        structure=Structure.EXPERTS_AND_NEURONS,
        shots=2,
    )
    (before,) = cut_at(after_shot(1), config, tmp_path / "cut").of(ShotFinished)
    (after,) = resumed(tmp_path / "cut").of(ShotFinished)
    for one, two in zip(routings(before), routings(after), strict=True):
        assert (two.tokens, two.costs) == (one.tokens, one.costs)
        assert set(two.kept) <= set(one.kept)
    assert any(x.neurons and x.neurons.kept < x.neurons.of for x in after.layers)
