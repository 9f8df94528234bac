"""Protected layers pass through a whole run bit for bit."""

import pytest
import torch

from surgeon_engine.api.config.pruning import SPARSE, Method, Structure, Target
from surgeon_engine.base.errors import ConfigError, PruningError
from surgeon_engine.run.pipeline import prune
from tests.helpers.pruning_states import make_state, silent_context
from tests.helpers.runs import STRUCTURES, job, outcome, preflight_error, run
from tests.helpers.units import removable

pytestmark = [pytest.mark.usefixtures("quick_runs"), pytest.mark.slow]

# Pattern -> the part that is common to the names of the layers that it covers.
PATTERNS = {
    "block 0": "layers.0.",
    "mlp.*": ".mlp.",
    "model.layers.1.self_attn.q_proj": "layers.1.self_attn.q_proj",
    "*.v_proj": ".v_proj",
}


@pytest.mark.parametrize(
    ("pattern", "structure"), [*zip(PATTERNS, STRUCTURES, strict=True)]
)
def test_protected_layer_does_not_change(tmp_path, structure, pattern):
    found = run(
        tmp_path,
        windows=8,
        structure=structure,
        sparsity=0.12,
        protect=(pattern,),
        method=Method.FIRST_ORDER if structure in SPARSE else Method.LLM_SURGEON,
        shots=2,
    )
    after = found.after
    for name, W in found.before.items():
        if PATTERNS[pattern] in name:
            assert torch.equal(after[name], W)
            assert found.reported[name] == 0
    assert sum(found.zeros.values()) == sum(found.reported.values()) > 0
    changed = {n for n, W in found.before.items() if not torch.equal(after[n], W)}
    assert changed


@pytest.mark.parametrize(
    ("structure", "min_density"),
    [
        (Structure.HEADS, 0.5),
        (Structure.ROWS_AND_COLUMNS, 0.75),
        (Structure.N_M, 0.75),
    ],
)
def test_every_layer_keeps_its_minimum_share(tmp_path, structure, min_density):
    sparsity = {
        Structure.HEADS: 0.08,
        Structure.ROWS_AND_COLUMNS: 0.12,
    }
    found = run(
        tmp_path,
        "opt",
        structure=structure,
        method=Method.MAGNITUDE,
        sparsity=sparsity.get(structure, 0.2),
        min_density=min_density,
        shots=2,
    )
    reported = found.reported
    assert found.zeros == reported
    for name, W in found.before.items():
        assert W.numel() - reported[name] >= min_density * W.numel()


@pytest.mark.parametrize(
    "settings",
    [
        {"structure": Structure.HEADS, "sparsity": 0.3},
        {"structure": Structure.NEURONS, "sparsity": 0.3, "protect": ("block 0",)},
        {"structure": Structure.ROWS, "sparsity": 0.3, "min_density": 0.8},
        {"structure": Structure.ELEMENTS, "sparsity": 0.6, "protect": ("block 1",)},
        {"structure": Structure.N_M, "sparsity": 0.5, "min_density": 0.6},
        {"structure": Structure.NEURONS, "sparsity": 0.4, "width_multiple": 16},
    ],
)
def test_unreachable_target_raises_before_any_work_with_the_numbers(tmp_path, settings):
    error = preflight_error(job(tmp_path, **settings), tmp_path / "run", PruningError)
    share = f"{settings['sparsity'] * 100:g} % of the prunable ones"
    assert f"({share}), but at most" in error.message
    assert "can be removed as" in error.message
    assert "protect less" in error.hint


@pytest.mark.parametrize(
    ("family", "structure"),
    [("llama", Structure.HEADS_AND_NEURONS), ("opt", Structure.ROWS_AND_COLUMNS)],
)
def test_maximum_removal_is_possible_and_more_is_not(tmp_path, family, structure):
    """A run can remove the maximum in the error message, to the last weight."""
    state = make_state(family, structure=structure, sparsity=0.1)
    maximum = sum(removable(unit, state.config.pruning) for unit in state.units)
    parameters = state.goal.parameters + state.goal.removed

    def leaving(count):
        target = {"target": Target.PARAMETERS, "million_parameters": count / 1e6}
        return job(tmp_path, family, structure=structure, **target)

    found = outcome(leaving(parameters - maximum), tmp_path / "run")
    assert found.zeros == found.reported
    assert sum(found.reported.values()) == maximum
    with pytest.raises((PruningError, ConfigError)) as error:
        prune(leaving(parameters - maximum - 1), tmp_path / "next", silent_context())
    assert f"{maximum:,}" in error.value.message
    assert f"{maximum + 1:,}" in error.value.message
