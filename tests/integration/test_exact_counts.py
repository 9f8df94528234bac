"""Runs remove exact numbers of weights, also in the exported file."""

import pytest

from surgeon_engine.api.config.pruning import Schedule, Structure
from surgeon_engine.api.messages.run import ShotFinished
from surgeon_engine.base.errors import PruningError
from surgeon_engine.base.formatting import format_percent
from surgeon_engine.model.coupling import coupled_groups
from surgeon_engine.model.layers import prunable_layers
from surgeon_engine.planning.target_size import share_of_goal
from tests.helpers.runs import Recorder, job, outcome
from tests.helpers.tiny_models import tiny_model

pytestmark = [pytest.mark.usefixtures("quick_runs"), pytest.mark.slow]


@pytest.mark.parametrize(
    ("structure", "sparsity", "schedule"),
    [
        (Structure.HEADS, 0.2, Schedule.LINEAR),
        (Structure.ROWS_AND_COLUMNS, 0.4, Schedule.LINEAR),
        (Structure.N_M, 0.4, Schedule.CUBIC),
    ],
)
def test_every_shot_is_within_its_target(tmp_path, structure, sparsity, schedule):
    pruning = {"structure": structure, "sparsity": sparsity, "schedule": schedule}
    found = outcome(job(tmp_path, "opt", shots=4, **pruning), tmp_path / "run")
    assert len(found.shots) == 4
    removed = dict.fromkeys(found.reported, 0)
    for number, shot in enumerate(found.shots, start=1):
        share = share_of_goal(number / 4, schedule)
        assert shot.target == pytest.approx(share * sparsity, rel=1e-2)
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
