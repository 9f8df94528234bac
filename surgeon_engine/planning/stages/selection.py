"""The choice of what is removed, the damping search before it, and the update after it.

    algebra  the matrices of the largest layer, or the weights of the largest unit
    choices  the costs and masks of single weights

In time, a factor of side n takes n^3 operations to be inverted or solved with.

The number of dampings tried is not known beforehand; the constants below are usual.
"""

from __future__ import annotations

from collections.abc import Iterable

from surgeon_engine.api.config.pruning import COUPLED, SPARSE, Method, Structure
from surgeon_engine.api.messages.sources import LayerSummary
from surgeon_engine.planning import speed
from surgeon_engine.planning.constants import DEPTH_TOKENS, FLOAT
from surgeon_engine.planning.job import Job, width
from surgeon_engine.planning.stages.evaluation import evaluated
from surgeon_engine.planning.stages.need import ANY_NUMBER, Moment, StageNeed

# How many dampings a search tries in each shot at least, how many costs are computed
# for that, and how many more of both in the first shot.
_TRIALS, _COSTS, _TRIALS_FIRST = 3, 2, 1
_TRIALS_LAST = 1  # more in the last shot
_PASSES = 40  # over a layer, for costs and masks of its single weights
_STEPS = 30  # conjugate gradient steps of a layer
_COPIES = 2.5  # matrices of each of a layer's factors at once
_SPARSE_COPIES = 9  # and of the layer itself, where single weights adapt
_DENSE_COPIES = 4
_OTHER_WEIGHTS = 1.02  # norms and biases beside the layers


def depth(job: Job) -> StageNeed | None:
    """State the need of comparing whole blocks and sub-layers.

    The blocks after a missing one run again: half of them in the mean.
    """
    pruning, calibration = job.config.pruning, job.config.calibration
    if not pruning.drops_depth:
        return None
    windows = min(calibration.windows, -(-DEPTH_TOKENS // calibration.window_length))
    kinds = bool(pruning.blocks_to_drop) + 2 * bool(pruning.sublayers_to_drop)
    passes = kinds * job.model.blocks / 2 + 1
    return StageNeed(pruning.shots * passes * speed.forward(job, windows))


def vocabulary(job: Job) -> StageNeed | None:
    """State the need of measuring what the removal of tokens costs."""
    if not job.config.pruning.removes_tokens:
        return None
    windows = job.config.calibration.windows + job.config.general_windows
    batch = evaluated(job, job.config.calibration.batch)
    return StageNeed(speed.forward(job, windows), ANY_NUMBER, (Moment(batch),))


def damping(job: Job) -> StageNeed | None:
    """State the need of the search: each trial is a selection and an update."""
    shots = job.config.pruning.shots
    if not job.config.pruning.searches_damping:
        return None
    copied = 2 * job.kept / job.rates.moving
    trial = _updating(job) + speed.forward(job, job.held_out) + copied
    trials = shots * _TRIALS + _TRIALS_FIRST + _TRIALS_LAST
    costs = shots * _COSTS + _TRIALS_FIRST
    largest = max(_algebra(job), evaluated(job, job.held_out))
    moment = _moment(job, largest, job.factors, job.kept)
    stored = (job.factors, job.kept) if job.held_out else ()
    seconds = trials * trial + costs * _selecting(job)
    return StageNeed(seconds, ANY_NUMBER, (moment,), stored)


def selection(job: Job) -> StageNeed:
    """State the need of the costs of all candidates, and of the threshold."""
    seconds = job.config.pruning.shots * _selecting(job)
    algebra = _algebra(job)
    if not job.config.pruning.measures_factors:  # two copies of a layer
        algebra = 2 * max(x.weights for x in _matrices(job)) * FLOAT
    moment = _moment(job, algebra, job.factors)
    return StageNeed(seconds, ANY_NUMBER, (moment,), held=_choices(job))


def update(job: Job) -> StageNeed:
    """State the need of changing the kept weights, and of saving the shot.

    A part of the saved state is written before the one that it replaces is deleted.
    """
    moment = _moment(job, _algebra(job), job.factors)
    return StageNeed(
        job.config.pruning.shots * _updating(job),
        ANY_NUMBER,
        (moment,),
        files=job.kept,  # as if a trial had to be undone
        saved=2 * _saved_shot(job),
    )


def saved_shots(job: Job) -> float:
    """Return the saved states of the last shot and the one before, if there is one."""
    return min(2, job.config.pruning.shots) * _saved_shot(job)


def saved_at_the_end(job: Job) -> float:
    """Return the saved state of the last shot, and of recovery in place of another."""
    recovers = job.config.recovery.recovers
    return 2 * _saved_shot(job) if recovers else saved_shots(job)


def saved_weights(job: Job, weights: float) -> float:
    """Return the bytes of so many weights in a saved state, if there is one."""
    return job.config.export.save_progress * _OTHER_WEIGHTS * weights * job.each


def _saved_shot(job: Job) -> float:
    pruning = job.config.pruning
    # The first of several shots removes less than all of them.
    most = job.weights_left if pruning.shots == 1 else job.model.prunable
    masks = job.touched_weights / 8 / job.each if pruning.structure in SPARSE else 0
    return saved_weights(job, most + masks)


def _moment(job: Job, algebra: float, *stores: float) -> Moment:
    device = _choices(job) + algebra
    return Moment(device, stores=stores, of_stores=job.factors_on_device)


def _choices(job: Job) -> float:
    if job.config.pruning.structure not in SPARSE:
        return 0
    return sum(layer.weights for layer in job.measured) * (2 * FLOAT + 4)


def _algebra(job: Job) -> float:
    if not job.config.pruning.measures_factors:
        if job.config.pruning.structure in COUPLED:
            return 0  # weights become zeros where they are
        return max(_units(job)) * FLOAT
    is_sparse = job.config.pruning.structure in SPARSE
    copies = _SPARSE_COPIES if is_sparse else _DENSE_COPIES
    return max(
        (layer.rows**2 + width(layer) ** 2) * FLOAT * _COPIES
        + layer.weights * FLOAT * copies
        for layer in _matrices(job)
    )


def _matrices(job: Job) -> Iterable[LayerSummary]:
    """Return the layers that are copied; experts are not."""
    touched = [layer for layer in job.touched if not layer.is_experts]
    return touched or job.model.linear_layers


def _units(job: Job) -> Iterable[float]:
    """Return the floats of the masks of what is pruned at once, and of two layers."""
    together: dict[tuple[int, str], list[int]] = {}
    for layer in _matrices(job):
        together.setdefault((layer.block, layer.kind), []).append(layer.weights)
    return (sum(unit) / FLOAT + 2 * max(unit) for unit in together.values())


def _selecting(job: Job) -> float:
    """Return the time of the costs of all candidates."""
    pruning, flops, moved = job.config.pruning, 0.0, 0.0
    for layer in job.measured:
        R, C = layer.rows, width(layer)
        if pruning.method in (Method.LLM_SURGEON, Method.SPARSEGPT):
            flops += C**3
            if pruning.structure is not Structure.ROWS:
                flops += 2 * R * C**2
        if pruning.structure in SPARSE:
            moved += layer.weights * 8 * _PASSES
    return flops / job.rates.factorizing + moved / job.rates.moving


def _updating(job: Job) -> float:
    """Return the time of the weight update of all layers."""
    pruning = job.config.pruning
    flops = sum(_adapting(job, layer.rows, width(layer)) for layer in job.measured)
    moved = job.touched_weights * 8 * 4
    seconds = flops / job.rates.factorizing + moved / job.rates.moving
    return seconds if pruning.adapts or pruning.structure in SPARSE else seconds / 2


def _adapting(job: Job, R: int, C: int) -> float:
    """Return the operations to adapt the kept weights of a layer."""
    pruning = job.config.pruning
    if pruning.method is Method.SPARSEGPT:
        return C**3 + R * C**2
    if not pruning.adapts:
        return 0
    if pruning.structure in SPARSE:
        return C**3 + R**3 + 2 * _STEPS * (2 * R * C * (R + C))
    return C**3 / 2 + R * C**2
