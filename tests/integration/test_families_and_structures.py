"""Every family in every structure reaches its target or raises with a reason."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from surgeon_engine.api.config.pruning import (
    SPARSE,
    AutomaticDamping,
    Method,
    PruningConfig,
    Structure,
)
from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.messages.run import Recovered
from surgeon_engine.base.errors import PruningError
from surgeon_engine.model.coupling import coupled_groups, structure_support
from surgeon_engine.model.layers import prunable_layers
from tests.conftest import REPRESENTATIVE
from tests.helpers.runs import job, outcome, preflight_error
from tests.helpers.tiny_models import (
    FAMILIES,
    MORE_FAMILIES,
    save_tiny_model,
    tiny_model,
)

pytestmark = pytest.mark.usefixtures("quick_runs")
each_family = pytest.mark.parametrize("family", FAMILIES | MORE_FAMILIES)
# One family for each kind of attention and of MLP is tried in every structure and by
# every method, the others in two structures.
different_family = pytest.mark.parametrize("family", sorted(REPRESENTATIVE))
# Not thorough: every family in two structures, and one family in every structure.
_COMMON_STRUCTURES = (Structure.HEADS_AND_NEURONS, Structure.ROWS_AND_COLUMNS)
_EVERY_STRUCTURE = "llama"
each_pair = pytest.mark.parametrize(
    ("family", "structure"),
    [
        pytest.param(
            family,
            structure,
            marks=()
            if structure in _COMMON_STRUCTURES or family == _EVERY_STRUCTURE
            else pytest.mark.thorough,
        )
        for family in FAMILIES | MORE_FAMILIES
        for structure in Structure
        if family in REPRESENTATIVE or structure in _COMMON_STRUCTURES
    ],
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Write all models once."""
    folder = tmp_path_factory.mktemp("models")
    for family in FAMILIES | MORE_FAMILIES:
        save_tiny_model(folder / family, family)
    return folder


@pytest.mark.slow
@each_pair
def test_removed_weights_match_the_target_and_the_report(
    models, tmp_path, family, structure
):
    support = {item.structure: item for item in structure_support(tiny_model(family))}
    sparsity = 0.3
    if structure is Structure.HEADS and support[structure].supported:
        sparsity = one_head(tiny_model(family))
    config = job(models, family, structure=structure, sparsity=sparsity)
    if not support[structure].supported:
        error = preflight_error(config, tmp_path / "run", PruningError)
        assert error.message == support[structure].reason
        return
    found = outcome(config, tmp_path / "run")
    (shot,) = found.shots
    assert math.isfinite(shot.evaluation.loss)
    assert found.zeros == found.reported
    removed = sum(found.reported.values())
    largest = max_removal(found, structure, tiny_model(family))
    goal = int(config.pruning.target.sparsity * prunable(found, structure))
    assert goal - largest < removed <= goal
    assert shot.sparsity == removed / prunable(found, structure)
    assert shot.parameters == found.started.model.parameters - removed
    assert shot.damping.tried == 0


@pytest.mark.thorough
@different_family
def test_defaults_prune_and_recover_every_family(models, tmp_path, family, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = job(models, family, windows=8, structure=either(family), sparsity=0.25)
    given = config.pruning
    pruning = PruningConfig(given.structure, target=given.target)
    recovery = replace(RecoveryConfig(), own_windows=8)
    config = replace(config, pruning=pruning, recovery=recovery)
    found = outcome(config, tmp_path / "run")
    assert found.zeros == found.reported
    (recovered,) = found.recorder.of(Recovered)
    assert recovered.nats_after <= recovered.nats_before
    assert math.isfinite(recovered.evaluation.loss)
    assert recovered.steps > 0


@pytest.mark.thorough
@different_family
def test_damping_is_searched_for_every_family(models, tmp_path, family):
    config = job(
        models,
        family,
        windows=8,
        structure=either(family),
        sparsity=0.25,
        shots=2,
        damping=AutomaticDamping(),
    )
    found = outcome(config, tmp_path / "run")
    assert found.zeros == found.reported
    assert all(shot.damping.tried > 1 for shot in found.shots)


def either(family) -> Structure:
    """Return heads and neurons, or neurons where a family cannot lose heads."""
    both = Structure.HEADS_AND_NEURONS
    support = structure_support(tiny_model(family))
    supported = {each.structure for each in support if each.supported}
    return both if both in supported else Structure.NEURONS


@pytest.mark.thorough
@different_family
@pytest.mark.parametrize("method", Method)
def test_every_method_keeps_half_of_every_group_of_four(
    models, tmp_path, family, method
):
    config = job(models, family, structure=Structure.N_M, method=method, sparsity=0.5)
    found = outcome(config, tmp_path / "run")
    assert found.zeros == found.reported
    for layer in found.exported:
        W = layer.weight()[:, : layer.columns // 4 * 4]
        assert ((W.unflatten(1, (-1, 4)) != 0).sum(dim=2) == 2).all()


@pytest.mark.thorough
@each_family
@pytest.mark.parametrize("method", [Method.K_OBD, Method.L_OBD, Method.MAGNITUDE])
@pytest.mark.parametrize("structure", [Structure.ROWS_AND_COLUMNS, Structure.NEURONS])
def test_every_method_reaches_the_target(models, tmp_path, family, method, structure):
    config = job(models, family, structure=structure, method=method, sparsity=0.3)
    found = outcome(config, tmp_path / "run")
    assert found.zeros == found.reported
    removed, goal = sum(found.reported.values()), int(0.3 * prunable(found, structure))
    assert goal - max_removal(found, structure, tiny_model(family)) < removed <= goal


def one_head(model) -> float:
    """Return slightly more than the share of weights of one group of heads."""
    first = coupled_groups(Structure.HEADS, model)[0]
    weights = sum(layer.weights for layer in prunable_layers(model))
    return 1.05 * first.weights_per_group / weights


def prunable(found, structure) -> int:
    if structure in SPARSE:
        widths = 4 if structure is Structure.N_M else 1
        return sum(
            layer.rows * (layer.columns // widths * widths)
            for layer in found.started.model.layers
        )
    return found.started.model.prunable


def max_removal(found, structure, model) -> int:
    """Return an upper limit of the number of weights of one removal."""
    layers = found.started.model.layers
    match structure:
        case Structure.ELEMENTS:
            return 1
        case Structure.N_M:
            return 2
        case Structure.ROWS_AND_COLUMNS | Structure.ROWS | Structure.COLUMNS:
            return 1 + max(max(layer.rows, layer.columns + 1) for layer in layers)
    return 1 + max(x.weights_per_group for x in coupled_groups(structure, model))
