"""The expected quality at each size: its scale, its band, its points and its end."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from surgeon_engine.api.config.pruning import (
    Method,
    PruningConfig,
    Structure,
    Vocabulary,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.forecast import (
    Basis,
    End,
    RunPoint,
    expected_divergence,
    forecast,
)
from surgeon_engine.planning.limits import max_removable, min_removable
from surgeon_engine.planning.target_size import goal_of
from tests.helpers.configs import pruning_config
from tests.helpers.fake_results import model_summary
from tests.helpers.mixtures import mixture_job, mixture_summary

MODEL = model_summary()
PLAIN = PruningConfig(width_multiple=1)
RISES = (np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.4, 4.0]))
SMOLLM2 = 134_515_008  # parameters


def of_size(parameters):
    return forecast(PLAIN, msgspec.structs.replace(MODEL, parameters=parameters))


def test_shares_reach_from_the_whole_model_to_the_smallest():
    found = forecast(PLAIN, MODEL)
    most = max_removable(PLAIN, MODEL) / MODEL.prunable
    assert (found.shares[0], found.last) == (0.0, pytest.approx(min(most, 0.95)))
    assert found.first == min_removable(PLAIN, MODEL) / MODEL.prunable > 0
    assert found.at(0.0) == 0
    assert np.all(np.diff(found.expected) > 0)
    for share, possible in ((0.0, 0.001), (0.3, 0.3), (2.0, found.smallest)):
        assert found.possible(share) == possible
    assert found.first <= 0.001 and found.last - 0.001 < found.smallest <= found.last


@pytest.mark.parametrize(("share", "measured"), [(0.1, 0.20), (0.3, 0.60), (0.5, 1.11)])
def test_measured_runs_of_a_model_of_this_size_are_expected(share, measured):
    assert of_size(SMOLLM2).at(share) == pytest.approx(measured, abs=0.05)


def test_models_of_other_sizes_have_the_scale_of_the_nearest():
    at = [of_size(size).at(0.3) for size in (2_828_736, SMOLLM2, 268e6, 8e9)]
    assert at[0] < at[1] < at[2]
    assert at[3] == at[1]  # larger than all that were measured
    single = forecast(pruning_config(Structure.ELEMENTS), MODEL).at(0.3)
    assert single < forecast(PLAIN, MODEL).at(0.3)


def test_smaller_model_is_never_expected_closer_than_a_larger_one():
    points = RunPoint("a", 0.1, 0.9), RunPoint("b", 0.3, 0.4)
    found = forecast(PLAIN, MODEL, points)
    assert np.all(np.diff(found.expected) >= 0)
    assert found.at(0.1) == pytest.approx(0.9, rel=0.2)


def test_own_runs_scale_the_curve_and_narrow_its_band():
    similar = forecast(PLAIN, MODEL)
    unusable = RunPoint("b", 0.5, 0.0), RunPoint("c", 0.0, 0.1), RunPoint("d", 1.0, 9.0)
    points = (RunPoint("a", 0.2, 0.8), *unusable)
    own = forecast(PLAIN, MODEL, points)
    assert (similar.basis, own.basis) == (Basis.SIMILAR, Basis.OWN_RUNS)
    assert own.at(0.2) == pytest.approx(0.8, rel=0.01)
    ratio = np.divide(own.expected[1:], similar.expected[1:])
    assert ratio == pytest.approx(ratio[0])
    assert own.spread_at(0.2) == pytest.approx(1.3, rel=0.01)
    assert 1.3 < own.spread_at(0.4) < own.spread_at(0.6) <= similar.spread_at(0.6)
    assert own.spread_at(0.001) == similar.spread_at(0.001)
    assert own.points == points[:1]
    # A run far off the others moves the curve at its own size, and little elsewhere.
    usual = [RunPoint("e", share, 2 * similar.at(share)) for share in (0.1, 0.2, 0.3)]
    far = RunPoint("f", 0.6, similar.at(0.6))
    several = forecast(PLAIN, MODEL, (*usual, far))
    for point in (*usual, far):
        assert several.at(point.share) == pytest.approx(point.divergence, rel=0.25)
    torn = forecast(PLAIN, MODEL, (RunPoint("g", 0.2, 0.2), RunPoint("h", 0.2, 0.8)))
    assert torn.at(0.2) == pytest.approx(0.4, rel=0.01)
    assert torn.spread_at(0.2) == pytest.approx(2.0, rel=0.01)  # to either run
    useless = forecast(PLAIN, MODEL, unusable)
    assert (useless.basis, useless.at(0.3)) == (Basis.SIMILAR, similar.at(0.3))


@pytest.mark.parametrize("method", [Method.K_OBD, Method.L_OBD, Method.MAGNITUDE])
def test_nothing_is_expected_of_a_method_of_which_no_run_was_measured(method):
    pruning = replace(PLAIN, method=method)
    found = forecast(pruning, MODEL)
    assert not found.is_known and found.possible(0.3) == 0.3
    config = RunConfig(pruning=pruning)
    goal = goal_of(pruning, MODEL, file_form(config, MODEL))
    assert expected_divergence(config, MODEL, goal, found) is None
    own = forecast(pruning, MODEL, (RunPoint("a", 0.2, 8.0),))
    assert own.is_known and own.at(0.2) == pytest.approx(8.0, rel=0.01)


def test_diagnosis_gives_the_shape_and_runs_the_scale():
    alone = forecast(PLAIN, MODEL, rises=RISES)
    assert alone.basis is Basis.DIAGNOSIS
    assert alone.at(0.5) == pytest.approx(0.83 * 0.4**0.74, rel=0.03)
    both = forecast(PLAIN, MODEL, (RunPoint("a", 0.5, 1.0),), RISES)
    assert both.basis is Basis.DIAGNOSIS
    assert both.at(0.5) == pytest.approx(1.0, rel=0.01)
    similar = forecast(PLAIN, MODEL)
    assert both.spread_at(0.5) < alone.spread_at(0.5) < similar.spread_at(0.5)
    # No scale follows from a run where the diagnosis predicts no rise.
    flat = (RISES[0], np.array([0.0, 0.0, 4.0]))
    at_0 = forecast(PLAIN, MODEL, (RunPoint("a", 0.2, 0.1),), flat)
    assert at_0.at(0.8) == forecast(PLAIN, MODEL, rises=flat).at(0.8)


@pytest.mark.parametrize(
    ("level", "factors"),
    [
        (Recovery.OFF, (1.4, 1.7, 2.2)),
        (Recovery.REFIT, (1.06, 1.06, 1.06)),
        (Recovery.DISTILLATION, (1, 1, 1)),
    ],
)
def test_model_without_a_training_is_expected_to_be_worse(level, factors):
    usual = forecast(PLAIN, MODEL)
    other = forecast(PLAIN, MODEL, recovery=RecoveryConfig(level))
    for share, factor in zip((0.1, 0.3, 0.5), factors, strict=True):
        assert other.at(share) == pytest.approx(factor * usual.at(share), rel=0.01)


@pytest.mark.parametrize(
    ("epochs", "factor"),
    [(0.0, 1.06), (0.5, 1.03), (1.0, 1), (4.0, 0.95**2), (25.0, 0.788), (1e3, 0.788)],
)
def test_longer_training_is_expected_to_be_better_until_it_is_flat(epochs, factor):
    usual = forecast(PLAIN, MODEL)
    other = forecast(PLAIN, MODEL, recovery=RecoveryConfig(epochs=epochs))
    assert other.at(0.3) == pytest.approx(factor * usual.at(0.3), rel=0.001)


@pytest.mark.parametrize(
    ("seconds", "epochs"), [(0.0, 1.0), (3600.0, 0.5), (450.0, 4.0), (1.0, 25.0)]
)
def test_training_by_time_counts_as_the_epochs_that_fit(seconds, epochs):
    """One if their time is not known."""
    timed = RecoveryConfig(minutes=30.0, epochs=0.0)
    counted = RecoveryConfig(epochs=epochs)
    found = forecast(PLAIN, MODEL, recovery=timed, epoch_seconds=seconds)
    expected = forecast(PLAIN, MODEL, recovery=counted).at(0.3)
    assert found.at(0.3) == pytest.approx(expected)
    run = RunPoint("a", 0.3, 0.4, timed)
    again = forecast(PLAIN, MODEL, (run,), None, timed, seconds)
    assert again.at(0.3) == pytest.approx(0.4, rel=0.01)


def test_runs_with_and_without_a_training_scale_the_same_curve():
    untrained = RecoveryConfig(Recovery.OFF)
    points = RunPoint("a", 0.5, 0.8), RunPoint("b", 0.5, 1.76, untrained)
    for recovery, expected in ((RecoveryConfig(), 0.8), (untrained, 1.76)):
        for point in points:
            found = forecast(PLAIN, MODEL, (point,), recovery=recovery)
            assert found.at(0.5) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("pruning", "end"),
    [
        (PLAIN, End.STRUCTURE),
        (pruning_config(Structure.ROWS), End.NOTHING),
        (replace(PLAIN, protect=("block 0", "block 1", "block 2")), End.PROTECTION),
        (replace(PLAIN, min_density=0.5), End.DENSITY),
        (PruningConfig(width_multiple=256), End.FORMAT),
    ],
)
def test_end_tells_what_keeps_the_model_from_becoming_smaller(pruning, end):
    assert forecast(pruning, MODEL).end is end


def test_model_of_which_nothing_can_be_removed_has_no_forecast():
    assert forecast(replace(PLAIN, protect=("*",)), MODEL) is None


def test_tokens_cost_by_themselves_and_save_blocks_where_their_costs_decide():
    model = msgspec.structs.replace(MODEL, vocabulary=49_152)
    whole = forecast(PLAIN, model).at(0.3)
    fewer = replace(PLAIN, vocabulary=Vocabulary.TOKENS, vocabulary_tokens=33_280)
    assert forecast(fewer, model).at(0.0) == pytest.approx(0.136, abs=0.001)
    assert forecast(fewer, model).at(0.3) == pytest.approx(whole + 0.136, abs=0.001)
    chosen = forecast(replace(PLAIN, vocabulary=Vocabulary.AUTOMATIC), model)
    assert chosen.at(0.0) == 0
    assert chosen.at(0.3) == pytest.approx(0.77 * whole)


def test_experts_are_expected_as_dense_models_with_a_wider_band():
    found = forecast(mixture_job().pruning, mixture_summary())
    assert found.basis is Basis.DENSE
    heads = PruningConfig()
    assert found.spreads[0] > forecast(heads, mixture_summary()).spreads[0]
    own = forecast(mixture_job().pruning, mixture_summary(), [RunPoint("a", 0.3, 0.2)])
    assert own.basis is Basis.OWN_RUNS
    assert own.at(0.3) == pytest.approx(0.2, rel=0.01)
