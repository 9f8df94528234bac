"""The expected quality of a model at each size, before a run.

    s   removed share of the prunable weights
    d   KL(original || pruned) after recovery, nats per token, on text of another kind
        than the calibration text

Recovered runs of SmolLM2-135M follow d = a (s / (1 - s))^b with a = 1.13 and b = 0.78
(docs/results.md: 0.20 at 10 %, 0.60 at 30 %, 1.11 at 50 %). `_MEASURED` has a for other
models. After a diagnosis, d = 0.83 r^0.74, where r is the rise of the loss that it
predicts: right within a tenth for SmolLM2-135M from 10 to 50 %, and 0.16 where the demo
has 0.11 to 0.15. Runs of the model itself replace the factor of either; at each share,
the nearest count most. Where they contradict each other, d does not fall.

Methods in `_UNMEASURED` end far from that, and where, no run has shown: without a run
of the model by the same method, nothing is expected of them.

Tokens were measured on SmolLM2-135M alone (docs/results.md, A smaller vocabulary).
Without a third of them, d is 0.136 by itself. If their costs decide how many leave, d
is 0.77 times the d of blocks alone at the same size.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from itertools import accumulate
from operator import mul

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.config.pruning import (
    MAX_SHARE,
    OF_EXPERTS,
    SPARSE,
    Method,
    PruningConfig,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import Estimate
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.base.sentences import say
from surgeon_engine.planning.fewer_tokens import planned_tokens
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.limits import max_removable, min_removable
from surgeon_engine.planning.target_size import Goal, prunable_weights

_EXPONENT = 0.78
_RISE_SCALE, _RISE_EXPONENT = 0.83, 0.74
# The scale a of measured models by the decimal logarithm of their parameters.
_MEASURED = {6.45: 0.22, 8.13: 1.13, 8.43: 2.5}  # demo, SmolLM2-135M, Gemma 3 270M
_LARGE_SCALE = 1.13  # for larger models
_UNMEASURED = (Method.K_OBD, Method.L_OBD, Method.MAGNITUDE)
_SPARSE_SCALE = 0.5  # single weights lose less at the same share
# Factors of d without a training, at these shares: SmolLM2-135M before and after
# recovery at 10, 30 and 50 %, and with the refit alone at 30 %, as means of both texts
# (docs/results.md, Fidelity).
_AT_SHARES = (0.1, 0.3, 0.5)
# By which d is lower after twice the epochs, from one on until the training is flat:
# SmolLM2-135M, 30 %, from 1 to 25 epochs (docs/results.md, Longer recovery).
_DOUBLED, _FLAT_EPOCHS = 0.05, 25
_UNTRAINED = {Recovery.OFF: (1.4, 1.7, 2.2), Recovery.REFIT: (1.06, 1.06, 1.06)}
CURVE_POINTS = 120
# Factors from the curve to the ends of the band.
_OTHER_MODELS, _DIAGNOSED, _OWN_RUNS = 2.2, 1.6, 1.3
_FAR = 4.0  # factor of d from which on a run says no more than other models do
_NEAR = 0.1  # share of log(_FAR): runs that are nearer than this count alike
_OF_TOKENS, _OF_CHOSEN_TOKENS = 0.136 / 0.323, 0.77  # by the removed share; factor
_OF_EXPERTS = 1.8  # wider than those, as they are measured on models without experts
# About KL(original || rounded) of the whole model, nats per token (docs/results.md).
_ROUNDING = {
    FileDtype.Q8_0: 0.001,
    FileDtype.Q6_K: 0.005,
    FileDtype.Q5_K_M: 0.02,
    FileDtype.Q4_K_M: 0.03,
    FileDtype.IQ4_NL: 0.1,
    FileDtype.Q4_0: 0.15,
    FileDtype.MXFP4_MOE: 0.15,
}


class Basis(Enum):
    """The evidence for a forecast."""

    NOTHING = "nothing"  # nothing is expected
    SIMILAR = "similar"  # measured runs of another model
    DENSE = "dense"  # runs of models without experts, though experts are removed
    OWN_RUNS = "own_runs"  # runs of this model
    DIAGNOSIS = "diagnosis"  # the costs of this model, and runs of it if there are any


class End(Enum):
    """The reason why a model cannot become smaller."""

    NOTHING = "nothing"
    PROTECTION = "protection"
    DENSITY = "density"
    FORMAT = "format"  # its blocks force multiples of widths
    STRUCTURE = "structure"  # the last of its kind stays, or a token's experts


@dataclass(frozen=True, slots=True)
class RunPoint:
    """A finished run of the model."""

    name: str
    share: float  # removed, of the prunable weights
    divergence: float  # KL of its file, nats per token
    recovery: RecoveryConfig = RecoveryConfig()
    # What the job's number format adds, in place of its file's format; perhaps < 0.
    rounding: float = 0.0
    has_format: bool = True  # whether its file has the number format of the job

    @property
    def in_format(self) -> float:
        """About its divergence in the number format of the job."""
        return max(self.divergence + self.rounding, self.divergence / 2)


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Expected divergences for removed shares, with a band."""

    shares: Sequence[float]  # removed / prunable weights, ascending, from 0
    expected: Sequence[float]  # if anything is
    spreads: Sequence[float]  # factors from the curve to the ends of the band, by share
    basis: Basis
    points: tuple[RunPoint, ...]  # runs that it rests on
    first: float  # the smallest share that can be removed
    end: End

    @property
    def is_known(self) -> bool:
        """Whether anything is expected."""
        return self.basis is not Basis.NOTHING

    @property
    def last(self) -> float:
        """The largest share that can be removed."""
        return self.shares[-1]

    def at(self, share: float) -> float:
        """Return the expected divergence at a share; only if it is known."""
        return _interpolated(share, self.shares, self.expected)

    def spread_at(self, share: float) -> float:
        """Return the factor from the curve to the ends of the band at a share."""
        return _interpolated(share, self.shares, self.spreads)

    @property
    def smallest(self) -> float:
        """The share at the smallest size, in whole thousandths."""
        return math.floor(1000 * self.last) / 1000

    def possible(self, share: float) -> float:
        """Return the nearest share that can be removed, in thousandths."""
        least = math.ceil(1000 * self.first) / 1000
        return min(max(round(share, 3), least), self.smallest)


def forecast(
    pruning: PruningConfig,
    model: ModelSummary,
    points: Sequence[RunPoint] = (),
    rises: tuple[Sequence[float], Sequence[float]] | None = None,
    recovery: RecoveryConfig = RecoveryConfig(),  # noqa: B008
    epoch_seconds: float = 0.0,
) -> Forecast | None:
    """Return the forecast of a job; None if nothing of the model can be removed.

    Args:
        pruning: settings of the job, with the width multiple that its file needs.
        model: the model.
        points: finished runs of this model.
        rises: shares and the rise of the loss that a diagnosis predicts for them.
        recovery: settings of the job.
        epoch_seconds: about the time of an epoch of training; 0: it is not known.
    """
    prunable = prunable_weights(pruning, model)
    most = min(max_removable(pruning, model), int(MAX_SHARE * prunable))
    if most < 1:
        return None
    end = most / prunable
    shares = [end * n / (CURVE_POINTS - 1) for n in range(CURVE_POINTS)]
    scale, spread = _scale(model), _OTHER_MODELS
    shape = [(share / (1 - share)) ** _EXPONENT for share in shares]
    if pruning.structure in SPARSE:
        scale *= _SPARSE_SCALE
    if rises is not None:
        scale, spread = _RISE_SCALE, _DIAGNOSED
        costs = [max(0.0, _interpolated(share, *rises)) for share in shares]
        shape = [cost**_RISE_EXPONENT for cost in costs]
    of_experts = pruning.structure in OF_EXPERTS
    if of_experts:
        spread *= _OF_EXPERTS
    used = tuple(p for p in points if 0 < p.share < 1 and p.divergence > 0)
    heights = [_interpolated(point.share, shares, shape) for point in used]
    of_recovery = partial(_of_recovery, epoch_seconds)
    runs = [
        (height, p.in_format / (height * of_recovery(p.recovery, p.share)))
        for p, height in zip(used, heights, strict=True)
        if height > 0
    ]
    by_share = [_of_runs(height, runs, (scale, spread)) for height in shape]
    factor = _OF_CHOSEN_TOKENS if pruning.chooses_tokens else 1.0
    fewer = model.vocabulary - planned_tokens(pruning, model)
    of_tokens = _OF_TOKENS * fewer / max(1, model.vocabulary)
    basis = Basis.DENSE if of_experts else Basis.SIMILAR
    basis = Basis.OWN_RUNS if used else basis
    basis = Basis.DIAGNOSIS if rises is not None else basis
    if pruning.method in _UNMEASURED and not used:
        basis = Basis.NOTHING
    expected = (
        factor * scale * height * of_recovery(recovery, share) + of_tokens
        for share, height, (scale, _) in zip(shares, shape, by_share, strict=True)
    )
    return Forecast(
        shares=shares,
        expected=list(accumulate(expected, max)),
        spreads=[spread for _, spread in by_share],
        basis=basis,
        points=used,
        first=min_removable(pruning, model) / prunable,
        end=_end(pruning, model, most),
    )


def cost_of_rounding(config: RunConfig, model: ModelSummary, found: Forecast) -> float:
    """Return the divergence that the number format of the file adds to a forecast.

    A forecast from runs of the model includes it (`RunPoint.in_format`).
    """
    return 0.0 if found.points else usual_rounding(file_form(config, model).dtype)


def usual_rounding(dtype: FileDtype) -> float:
    """Return about what the number format of a file adds to its divergence."""
    return _ROUNDING.get(dtype, 0.0)


def expected_divergence(
    config: RunConfig, model: ModelSummary, goal: Goal | None, found: Forecast | None
) -> Estimate | None:
    """Return the expected KL of the file of a job, with its band.

    None: nothing is removed, the quality decides what is, or nothing is known.
    """
    pruning = config.pruning
    is_open = pruning.removes_nothing or pruning.has_quality_limit
    if goal is None or found is None or not found.is_known or is_open:
        return None
    rounding = cost_of_rounding(config, model, found)
    nats, spread = found.at(goal.sparsity), found.spread_at(goal.sparsity)
    ends = nats / spread, nats * spread
    return Estimate(*(rounding + each for each in (nats, *ends)))


def longer_training(seconds: float) -> str:
    """Return what twice the time of a training would bring; empty: there is none."""
    if not seconds:
        return ""
    return say(
        "Training for twice the time, {time:duration} more, would lower KL to the "
        "original by up to {share:percent}.",
        time=seconds,
        share=_DOUBLED,
    )


def _of_runs(
    height: float, runs: Sequence[tuple[float, float]], usual: tuple[float, float]
) -> tuple[float, float]:
    """Return the scale of the curve, and the factor from it to the ends of the band.

    The nearest runs count most. The band is narrow near them where they agree.

    Args:
        height: the value of the curve before it is scaled.
        runs: the value of the curve at each run, and the scale of the run.
        usual: the scale and the factor without runs.
    """
    if not runs:
        return usual
    remoteness = [_remoteness(height, of_run) for of_run, _ in runs]
    weights = [1 / (each**2 + _NEAR**2) for each in remoteness]
    total, logs = sum(weights), [math.log(scale) for _, scale in runs]
    mean = sum(map(mul, weights, logs)) / total
    squares = [(each - mean) ** 2 for each in logs]
    deviation = math.sqrt(sum(map(mul, weights, squares)) / total)
    spread = _OWN_RUNS * (usual[1] / _OWN_RUNS) ** min(remoteness)
    return math.exp(mean), max(spread, math.exp(deviation))


def _remoteness(height: float, of_run: float) -> float:
    """Return 0 at a measured run, 1 from the factor on at which it says no more."""
    if height <= 0:
        return 1.0
    return min(1.0, abs(math.log(height / of_run)) / math.log(_FAR))


def _of_recovery(epoch_seconds: float, recovery: RecoveryConfig, share: float) -> float:
    """Return the factor from the divergence after one epoch of training.

    A time counts as one epoch if it is not known how many it has.
    """
    if not recovery.trains:
        factors = _UNTRAINED.get(recovery.level, (1.0, 1.0, 1.0))
        return _interpolated(share, _AT_SHARES, factors)
    epochs = recovery.epochs
    if recovery.minutes:
        epochs = 60 * recovery.minutes / epoch_seconds if epoch_seconds else 1.0
    if epochs < 1:
        refitted = _UNTRAINED[Recovery.REFIT][0]
        return refitted + (1 - refitted) * epochs
    return float((1 - _DOUBLED) ** math.log2(min(epochs, _FLAT_EPOCHS)))


def _interpolated(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return y at x, linearly between ascending points and constant beyond them."""
    n = bisect_right(xs, x)
    if n in (0, len(xs)):
        return float(ys[min(n, len(xs) - 1)])
    part = (x - xs[n - 1]) / (xs[n] - xs[n - 1])
    return float(ys[n - 1] + part * (ys[n] - ys[n - 1]))


def _scale(model: ModelSummary) -> float:
    """Return the scale of the measured model that is nearest in size."""
    size = math.log10(max(1, model.parameters))
    nearest = min(_MEASURED, key=lambda each: abs(each - size))
    is_larger = nearest == max(_MEASURED) and size > nearest + 0.1
    return _LARGE_SCALE if is_larger else _MEASURED[nearest]


def _end(pruning: PruningConfig, model: ModelSummary, most: int) -> End:
    """Return the reason why no more than `most` weights can be removed."""
    if most < max_removable(pruning, model):
        return End.NOTHING
    freer = [
        (End.PROTECTION, replace(pruning, protect=())),
        (End.DENSITY, replace(pruning, min_density=0.0, layer_min_density=())),
    ]
    if pruning.width_multiple > 1:
        freer.append((End.FORMAT, replace(pruning, width_multiple=1)))
    for end, changed in freer:
        if max_removable(changed, model) > most:
            return end
    return End.STRUCTURE
