"""The runs that the expected quality of a draft follows from."""

from __future__ import annotations

from dataclasses import replace

from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.config.vocabulary import SomeTokens
from surgeon_engine.api.messages.run import Estimate, Fidelity
from surgeon_gui.state.forecast import points_of
from surgeon_gui.state.runs.reading import RunOutcome, RunRecord
from tests.helpers.configs import pruning_config


def record(**changes):
    found = tuple(
        Fidelity(Estimate(kl, kl, kl), *2 * (Estimate(1, 1, 1),), 8, 64, text)
        for text, kl in (("one", 0.2), ("two", 0.5))
    )
    plain = {"config": RunConfig(), "sparsity": 0.3, "fidelity": found}
    return RunRecord("/runs/a", RunOutcome.FINISHED, **plain | changes)


def test_points_are_finished_runs_of_the_model_and_the_structure():
    other_model = RunConfig(ModelConfig("/other"))
    other_kind = RunConfig(pruning=pruning_config(Structure.NEURONS))
    records = [
        record(),
        record(config=None),
        record(fidelity=()),
        record(sparsity=None),
        record(config=other_model),
        record(config=other_kind),
        replace(record(), outcome=RunOutcome.CANCELLED),
    ]
    (point,) = points_of(records, RunConfig())
    assert (point.share, point.divergence) == (0.3, 0.5)  # of the worst text
    tokens = PruningConfig(vocabulary=SomeTokens(1_500))
    assert points_of([record(config=RunConfig(pruning=tokens))], RunConfig()) == ()
    off = record(config=RunConfig(recovery=RecoveryConfig(Recovery.OFF)))
    assert points_of([off], RunConfig())[0].recovery is Recovery.OFF
