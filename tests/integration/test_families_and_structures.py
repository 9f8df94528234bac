"""Every family in every structure reaches its target or raises with a reason."""

import math
from itertools import cycle

import pytest

from surgeon_engine.api.config.pruning import SPARSE, Method, Structure
from surgeon_engine.base.errors import PruningError
from surgeon_engine.model.coupling import coupled_groups, structure_support
from surgeon_engine.model.layers import prunable_layers
from tests.helpers.configs import DENSE
from tests.helpers.pairs import others_later, pairs
from tests.helpers.runs import job, outcome, preflight_error
from tests.helpers.tiny_models import EVERY_FAMILY, tiny_model

pytestmark = [pytest.mark.usefixtures("quick_runs"), pytest.mark.slow]

# Every structure with Llama, and one with each other family. `make check` runs those
# whose layers are of another kind. Heads of OLMo 2 cannot be removed.
USUAL = ("llama", "opt", "phi3", "olmo2", "gpt2", "falcon")
OTHERS = [x for x in EVERY_FAMILY if x not in USUAL]
_METHODS = cycle([Method.LLM_SURGEON, Method.FIRST_ORDER, Method.K_OBD, Method.L_OBD])
CASES = [
    (family, structure, next(_METHODS))
    for family, structure in [
        *pairs(USUAL, DENSE),
        ("gpt2", Structure.N_M),
        *zip(OTHERS, cycle(DENSE), strict=False),
    ]
]


@pytest.mark.parametrize(("family", "structure", "method"), others_later(CASES, USUAL))
def test_removed_weights_match_the_target_and_the_report(
    tmp_path, family, structure, method
):
    support = {item.structure: item for item in structure_support(tiny_model(family))}
    sparsity = 0.3
    if structure is Structure.HEADS and support[structure].supported:
        sparsity = one_head(tiny_model(family))
    settings = {"structure": structure, "method": method, "sparsity": sparsity}
    config = job(tmp_path, family, **settings)
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
    goal = int(config.pruning.sparsity * prunable(found, structure))
    assert goal - largest < removed <= goal
    assert shot.sparsity == removed / prunable(found, structure)
    assert shot.parameters == found.started.model.parameters - removed
    if structure is Structure.N_M:
        for layer in found.exported:
            W = layer.weight()[:, : layer.columns // 4 * 4]
            counts = (W.unflatten(1, (-1, 4)) != 0).sum(dim=2)
            assert set(counts.flatten().tolist()) <= {2, 4}


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
