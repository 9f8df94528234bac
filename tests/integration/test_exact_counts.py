"""Runs remove exact numbers of weights, also in the exported file."""

from __future__ import annotations

import pytest
import torch

from surgeon_engine.api.config.pruning import Coupling, Method, Structure
from surgeon_engine.api.messages.run import RunStarted, ShotFinished
from surgeon_engine.base.errors import PruningError
from surgeon_engine.base.formatting import format_percent
from surgeon_engine.model.coupling import coupled_groups
from surgeon_engine.model.layers import prunable_layers
from tests.helpers.runs import Recorder, job, outcome, run
from tests.helpers.tiny_models import tiny_model

pytestmark = [pytest.mark.usefixtures("quick_runs"), pytest.mark.slow]

WAYS = [
    ("opt", {"method": Method.LLM_SURGEON, "max_correlated": 50}),
    ("gpt2", {"method": Method.SPARSEGPT}),
    ("falcon", {"method": Method.WANDA}),
    ("llama", {"method": Method.MAGNITUDE}),
]


def without_bias(found) -> dict[str, torch.Tensor]:
    """Return the exported weights, R x C, by layer."""
    return {layer.name: layer.weight()[:, : layer.columns] for layer in found.exported}


@pytest.mark.parametrize(("family", "way"), WAYS)
def test_number_of_removed_elements_is_exact(tmp_path, family, way):
    settings = {"structure": Structure.ELEMENTS, "sparsity": 0.37, "shots": 2}
    found = run(tmp_path, family, **settings | way)
    matrices = without_bias(found)
    zeros = {name: int((W == 0).sum()) for name, W in matrices.items()}
    assert zeros == found.zeros == found.reported  # no bias is zero
    assert sum(zeros.values()) == int(0.37 * sum(W.numel() for W in matrices.values()))


@pytest.mark.parametrize(
    ("family", "method", "kept", "group", "max_share", "share"),
    [
        ("llama", Method.LLM_SURGEON, 1, 3, 0.667, 0.4),
        ("opt", Method.SPARSEGPT, 2, 5, 3 / 5, 1.0),
        ("gpt2", Method.WANDA, 4, 8, 1 / 2, 1.0),
        ("opt", Method.K_OBD, 5, 8, 3 / 8, 0.4),
    ],
)
def test_groups_keep_the_number_of_weights_in_the_pattern(
    tmp_path, family, method, kept, group, max_share, share
):
    """The widths are 16 and 24 (gpt2: 64), which 3 and 5 do not divide."""
    found = run(
        tmp_path,
        family,
        structure=Structure.N_M,
        method=method,
        pattern=f"{kept}:{group}",
        sparsity=share * max_share,
        shots=2,
    )
    assert found.zeros == found.reported
    left_over = 0
    for W in without_bias(found).values():
        whole = W.shape[1] // group * group
        counts = (W[:, :whole].unflatten(1, (-1, group)) != 0).sum(dim=2)
        if share == 1.0:
            assert (counts == kept).all()
        assert set(counts.flatten().tolist()) <= {kept, group}
        assert (W[:, whole:] != 0).all()
        left_over += W.shape[1] - whole
    assert (left_over > 0) == (group in (3, 5))
    layers = found.started.model.layers
    whole = sum(x.rows * (x.columns // group * group) for x in layers)
    atom = group - kept
    expected = min(int(share * max_share * whole), whole // group * atom) // atom * atom
    assert sum(found.reported.values()) == expected


def widths(found, family) -> dict[Coupling, list[int]]:
    """Return the number of remaining heads and neurons of each block.

    Checks that every group is removed as a whole or not at all.
    """
    after, remaining = found.after, {Coupling.HEADS: [], Coupling.NEURONS: []}
    for coupled in coupled_groups(Structure.HEADS_AND_NEURONS, tiny_model(family)):
        name = coupled.consumer.name
        W = after[name][:, : coupled.consumer.columns]
        parts = (W == 0).unflatten(1, (coupled.groups, -1)).transpose(0, 1)
        removed = parts.flatten(1).all(dim=1)
        assert torch.equal(removed, parts.flatten(1).any(dim=1))
        for producer in coupled.producers:
            removed_rows = removed[producer.group_of_row]
            V = after[producer.layer.name] == 0
            assert torch.equal(V, removed_rows.unsqueeze(1).expand_as(V))
        remaining[coupled.kind].append(int((~removed).sum()))
        for layer in (coupled.consumer, *(p.layer for p in coupled.producers)):
            bias = layer.rows if layer.has_bias and layer is coupled.consumer else 0
            each = (layer.weights - bias) // coupled.groups
            assert found.reported[layer.name] == int(removed.sum()) * each
    return remaining


@pytest.mark.parametrize("family", ["opt", "falcon"])
def test_heads_and_neurons_are_removed_as_a_whole_and_counted_exactly(tmp_path, family):
    found = run(tmp_path, family, shots=3, sparsity=0.45)
    assert found.zeros == found.reported
    left = widths(found, family)
    assert min(left[Coupling.HEADS] + left[Coupling.NEURONS]) >= 1
    removed = sum(found.reported.values())
    last = found.shots[-1]
    assert last.parameters == found.started.model.parameters - removed
    assert last.sparsity == removed / found.started.model.prunable <= 0.45


@pytest.mark.parametrize(
    ("family", "structure", "shots"),
    [
        ("llama", Structure.HEADS_AND_NEURONS, 3),
        ("gpt2", Structure.NEURONS, 1),
    ],
)
def test_widths_are_multiples_and_heads_are_not_bundled(
    tmp_path, family, structure, shots
):
    found = run(
        tmp_path,
        family,
        structure=structure,
        width_multiple=8,
        sparsity=0.25,
        shots=shots,
    )
    left = widths(found, family)
    assert all(width % 8 == 0 and width > 0 for width in left[Coupling.NEURONS])
    assert min(left[Coupling.NEURONS]) < (64 if family == "gpt2" else 24)
    heads = {2 if family in ("llama", "falcon") else 4}
    if structure is Structure.NEURONS:
        assert set(left[Coupling.HEADS]) == heads


@pytest.mark.parametrize(
    "structure", [Structure.HEADS, Structure.ROWS_AND_COLUMNS, Structure.N_M]
)
def test_every_shot_is_within_its_target(tmp_path, structure):
    sparsity = 0.2 if structure is Structure.HEADS else 0.4
    config = job(tmp_path, "opt", structure=structure, sparsity=sparsity, shots=4)
    found = outcome(config, tmp_path / "run")
    assert len(found.shots) == 4
    removed = dict.fromkeys(found.reported, 0)
    for number, shot in enumerate(found.shots, start=1):
        assert shot.target == pytest.approx(number / 4 * sparsity, rel=1e-2)
        assert shot.sparsity <= shot.target
        for layer in shot.layers:
            assert layer.removed >= removed[layer.name]
            removed[layer.name] = layer.removed


def heads_job(folder, groups: float):
    """Return a job that removes a number of KV groups from a tiny Llama."""
    model = tiny_model("llama")
    first = coupled_groups(Structure.HEADS, model)[0]
    weights = sum(layer.weights for layer in prunable_layers(model))
    share = groups * first.weights_per_group / weights
    return job(folder, structure=Structure.HEADS, sparsity=share)


def test_target_of_less_than_one_head_raises_before_any_work(tmp_path):
    recorder = Recorder()
    with pytest.raises(PruningError, match=r"345 weights .* at least 384 .* as heads"):
        recorder.run(heads_job(tmp_path, 0.9), tmp_path / "run")
    assert not recorder.of(RunStarted)


def test_target_below_the_smallest_removal_raises_and_exports_nothing(tmp_path):
    less_than_a_row = job(tmp_path, structure=Structure.ROWS, sparsity=0.002)
    with pytest.raises(PruningError, match="Nothing was removed") as error:
        Recorder().run(less_than_a_row, tmp_path / "run")
    assert error.value.hint == "Raise the target, or choose a finer structure."
    assert not (tmp_path / "run" / "export").exists()


def test_missed_target_is_logged(tmp_path):
    exact = Recorder().run(heads_job(tmp_path, 1), tmp_path / "exact")
    assert not exact.warnings()
    found = Recorder().run(heads_job(tmp_path, 1.9), tmp_path / "run")
    (reached,) = {shot.sparsity for shot in found.of(ShotFinished)}
    (warning,) = found.warnings()
    assert warning.message.startswith(
        f"{format_percent(reached, 2)} of the prunable weights were removed and"
    )
