"""Pruning states without a run, and a run context that drops its events."""

import functools
from collections.abc import Callable, Mapping

import torch
from transformers import PreTrainedModel

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.calibration.windows import TokenWindows
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.load import LoadedModel
from surgeon_engine.model.source import ModelSource, locate
from surgeon_engine.planning.planned_file import FileForm
from surgeon_engine.planning.target_size import goal_of
from surgeon_engine.pruning.state import PruningState
from surgeon_engine.pruning.structures.units import units_of
from surgeon_engine.runtime.run_context import RunContext
from surgeon_engine.shots.shot import evaluate_original
from tests.helpers.configs import pruning_config
from tests.helpers.tiny_models import VOCABULARY, tiny_model


def random_windows(count: int, length: int = 16, seed: int = 0) -> torch.Tensor:
    """Return token ids, windows x length, of few kinds so that they can be learned."""
    g = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY // 8, (count, length), generator=g)


@functools.cache
def _described(
    make: Callable[[str], PreTrainedModel], family: str, source: ModelSource
):
    """Describe a new model; to do so takes as long as all else of a state."""
    return describe(make(family), source)


def make_state(
    family: str = "llama",
    windows: int = 8,
    recovery: RecoveryConfig = RecoveryConfig(Recovery.REFIT),  # noqa: B008
    **pruning,
) -> PruningState:
    """Return the state of a tiny model with random windows and no removals."""
    # The files belong to another model; only their size is used.
    source = ModelSource(family, locate(DEMO).folder)
    original = _described(tiny_model, family, source)
    model = tiny_model(family)
    loaded = LoadedModel(source, model, None, model.dtype)
    config = RunConfig(
        ModelConfig(family),
        CalibrationConfig(windows=windows, batch=3),
        pruning_config(**pruning),
        recovery=recovery,
    )
    texts = TokenWindows(
        random_windows(windows), random_windows(3, seed=1), "random", 0
    )
    units = units_of(config.pruning, model)
    goal = goal_of(config.pruning, original, FileForm(dtype=config.model.dtype))
    state = PruningState(config, loaded, texts, units, goal, original)
    evaluate_original(state, silent_context())
    return state


def silent_context() -> RunContext:
    """Return a run context that drops its events."""
    return RunContext("test", lambda envelope: None)


def weights(state: PruningState) -> dict[str, torch.Tensor]:
    """Return a copy of every parameter."""
    parameters = state.loaded.model.named_parameters()
    return {name: parameter.detach().clone() for name, parameter in parameters}


def assert_unchanged(state: PruningState, before: Mapping[str, torch.Tensor]) -> None:
    """Check that every parameter is as it was."""
    for name, parameter in weights(state).items():
        assert torch.equal(parameter, before[name]), name


def assert_zeros_kept(state: PruningState) -> None:
    """Check that removed weights are zero, and that nothing is trained any more."""
    for unit in state.units:
        for layer, zeros in unit.zeros(state.removed[unit.measured.name]):
            assert not layer.weight()[zeros].any()
    assert not any(p.requires_grad for p in state.loaded.model.parameters())
