"""The runs that the expected quality of a draft follows from."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import (
    Method,
    PruningConfig,
    Structure,
    Vocabulary,
    Widths,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.run import Estimate, Fidelity
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.forecast import expected_divergence, forecast
from surgeon_engine.planning.target_size import goal_of
from surgeon_gui.state.forecast import points_of
from surgeon_gui.state.runs.reading import RunOutcome, RunRecord
from surgeon_gui.state.runs.text import day
from tests.helpers.configs import pruning_config
from tests.helpers.fake_results import model_summary

MODEL, NOW = model_summary(), datetime(2026, 12, 1, 9)


def record(**changes):
    found = tuple(
        Fidelity(Estimate(kl, kl, kl), *2 * (Estimate(1, 1, 1),), 8, 64, text)
        for text, kl in (("one", 0.2), ("two", 0.5))
    )
    plain = {"config": RunConfig(), "sparsity": 0.3, "fidelity": found}
    return RunRecord("/runs/a", RunOutcome.FINISHED, **plain | changes)


def test_points_are_finished_runs_of_the_model_the_structure_and_the_method():
    other_model = RunConfig(ModelConfig("/other"))
    other_kind = RunConfig(pruning=pruning_config(Structure.NEURONS))
    other_method = RunConfig(pruning=PruningConfig(method=Method.MAGNITUDE))
    records = [
        record(),
        record(config=other_method),
        record(config=None),
        record(fidelity=()),
        record(sparsity=None),
        record(config=other_model),
        record(config=other_kind),
        replace(record(), outcome=RunOutcome.CANCELLED),
    ]
    (point,) = points_of(records, RunConfig(), MODEL, NOW)
    assert (point.share, point.divergence) == (0.3, 0.5)  # the worst text
    tokens = PruningConfig(vocabulary=Vocabulary.TOKENS, vocabulary_tokens=1_500)
    removed = [record(config=RunConfig(pruning=tokens))]
    assert points_of(removed, RunConfig(), MODEL, NOW) == ()
    assert points_of(records, RunConfig(), None, NOW) == ()
    for other in (
        PruningConfig(widths=Widths.SAME),
        PruningConfig(dropped_blocks=1),
        PruningConfig(dropped_sublayers=1),
    ):
        job, found = RunConfig(pruning=other), [record(config=RunConfig(pruning=other))]
        assert points_of(found, RunConfig(), MODEL, NOW) == ()
        assert points_of([record(), *found], job, MODEL, NOW) == (point,)
    off = record(config=RunConfig(recovery=RecoveryConfig(Recovery.OFF)))
    assert points_of([off], RunConfig(), MODEL, NOW)[0].recovery == off.config.recovery


def test_points_have_the_days_that_the_list_of_runs_shows():
    records = [
        record(began=(NOW - timedelta(days=days)).timestamp()) for days in (0, 1, 30)
    ]
    names = [point.name for point in points_of(records, RunConfig(), MODEL, NOW)]
    assert names == [day(each, NOW) for each in records]
    assert len(set(names)) == 3


def test_runs_in_other_number_formats_are_expected_in_that_of_the_job():
    exact, rounded = (
        RunConfig(export=ExportConfig(format=Format.GGUF, dtype=dtype))
        for dtype in (FileDtype.FLOAT16, FileDtype.Q4_0)
    )
    for of_run, job, expected in (
        (exact, exact, 0.5),
        (rounded, rounded, 0.5),
        (exact, rounded, 0.65),  # 0.15 by rounding, as for other models
        (rounded, exact, 0.35),
    ):
        points = points_of([record(config=of_run)], job, MODEL, NOW)
        assert points[0].divergence == 0.5  # where the window shows the run, if it does
        assert points[0].has_format is (of_run is job)
        found = forecast(job.pruning, MODEL, points)
        goal = goal_of(job.pruning, MODEL, file_form(job, MODEL))
        nats = expected_divergence(job, MODEL, goal, found)
        assert nats.value == pytest.approx(expected, rel=0.02)
