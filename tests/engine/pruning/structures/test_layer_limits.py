"""Layers with a limit keep its share in a whole run; others do not."""

import pytest

from surgeon_engine.api.config.pruning import Damping, PruningConfig, Structure
from surgeon_engine.base.errors import ConfigError, PruningError
from surgeon_engine.pruning.structures.units import units_of
from tests.helpers.configs import DENSE, pruning_config
from tests.helpers.pruning_states import make_state
from tests.helpers.runs import job, preflight_error, run
from tests.helpers.tiny_models import tiny_model
from tests.helpers.units import removable

SPARSITIES = {
    Structure.HEADS: 0.1,
    Structure.HEADS_AND_NEURONS: 0.2,
    Structure.NEURONS: 0.2,
    Structure.ROWS_AND_COLUMNS: 0.2,
}
QUICK = {"damping": Damping.FIXED, "cost_damping": 0.1, "shots": 2}


def settings(structure, **more):
    sparsity = SPARSITIES.get(structure, 0.3)
    return {"structure": structure, "sparsity": sparsity, **QUICK, **more}


@pytest.mark.slow
@pytest.mark.usefixtures("quick_runs")
@pytest.mark.parametrize(
    ("family", "structure"),
    [
        ("llama", Structure.HEADS_AND_NEURONS),
        ("opt", Structure.ROWS_AND_COLUMNS),
        ("llama", Structure.ELEMENTS),
    ],
)
def test_only_layers_with_a_limit_keep_its_share(tmp_path, family, structure):
    free = run(tmp_path / "free", family, **settings(structure))
    lost = {n: free.reported[n] / W.numel() for n, W in free.before.items()}
    worst = max(lost, key=lost.__getitem__)
    share = 1 - lost[worst] / 2
    limits = (f"{worst}={share}",)
    found = run(
        tmp_path / "limited", family, **settings(structure, layer_min_density=limits)
    )
    W = found.before[worst]
    assert W.numel() - found.reported[worst] >= share * W.numel()
    assert found.zeros == found.reported
    others = {name for name in lost if name != worst}
    assert any(found.reported[name] > free.reported[name] for name in others)


@pytest.mark.parametrize("structure", DENSE)
def test_limit_of_all_layers_equals_the_minimum_share(structure):
    """The minimum share itself is tested against the weights."""
    one, other = (
        make_state(structure=structure, sparsity=0.05, **more)
        for more in ({"min_density": 0.6}, {"layer_min_density": ("*=0.6",)})
    )
    promised = [
        [removable(unit, p.config.pruning) for unit in p.units] for p in (one, other)
    ]
    assert promised[0] == promised[1]


@pytest.mark.parametrize("limited", ["mlp.down_proj", "mlp.gate_proj"])
def test_neurons_keep_the_largest_share_of_their_layers(limited):
    pruning = pruning_config(
        Structure.NEURONS, layer_min_density=(f"{limited}=0.75", "block 1=0.5")
    )
    first, second = units_of(pruning, tiny_model("llama"))
    for unit in (first, second):
        each = unit.coupled.weights_per_group
        kept = unit.candidates - removable(unit, pruning) // each
        assert kept == -(-unit.candidates * 3 // 4)


def test_largest_of_several_limits_holds():
    (layer,) = (x for x in make_state().original.layers[:1])
    limits = ("block 0=0.5", f"{layer.kind}=0.25", "block 1=0.9")

    def share(least, limits):
        pruning = PruningConfig(min_density=least, layer_min_density=limits)
        return pruning.share_to_keep((layer,))

    assert share(0.1, limits) == 0.5
    assert share(0.6, limits) == 0.6
    assert share(0.1, ()) == 0.1


@pytest.mark.parametrize("limit", ["block 0", "=0.5", "a=1.5", "a=x", ""])
def test_invalid_limit_raises(limit):
    with pytest.raises(ConfigError, match="not the minimum density of a layer"):
        pruning_config(layer_min_density=(limit,))


def test_limit_that_matches_no_layer_raises(tmp_path):
    config = job(tmp_path, layer_min_density=("block 9=0.5",))
    error = preflight_error(config, tmp_path / "run", PruningError)
    assert "“block 9” sets a minimum density for no layer" in error.message
