"""Recovery: bytes beside the pruned model, and seconds.

    states   the hidden states of one block for all windows; a pass over the blocks
             holds the original's before and after it, and the pruned model's
    sums     the sums of the least squares of one layer
    graph    the activations of blocks for the windows of a step
    trained  for each trained weight: gradient, two moments, the best, in float32
    logits   some tokens at a time, with the copies for their divergence

States are in a store, which uses the device, the host or files
(`runtime/hidden_store.py`). With a quality limit, recovery counts once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from surgeon_engine.api.config.pruning import COUPLED, SPARSE
from surgeon_engine.api.config.recovery import judging_windows
from surgeon_engine.api.config.run import Dtype
from surgeon_engine.api.messages.sources import LayerSummary
from surgeon_engine.planning import speed
from surgeon_engine.planning.constants import (
    EXPERT_MATRICES,
    FLOAT,
    LOGITS_AT_ONCE,
    RECONSTRUCTION_EPOCHS,
    STEP_WINDOWS,
    SUMS_ON_HOST,
    TRAINING_CHECKS,
    TRAINING_PASSES,
    pinned_bytes,
)
from surgeon_engine.planning.gguf_types import is_attention_output
from surgeon_engine.planning.job import Job
from surgeon_engine.planning.measured_before import Kind
from surgeon_engine.planning.stages.need import ANY_NUMBER, Moment, StageNeed
from surgeon_engine.planning.stages.selection import saved_shots, saved_weights
from surgeon_engine.planning.windows import shipped_of_epoch

_GRADIENT, _MOMENTS, _BEST = 4, 8, 4
_ENDS = 4  # hidden states of a step at the end: both models', a copy, a gradient
_GRADIENTS = 3  # gradients of a block's widest activations: before and after the gate
_CAST = 2  # bytes of a weight cast to 16 bits, beside the float32 weight
_SAVED_NUMBERS = 4  # numbers per trained weight: itself, the best and two moments
_GRAPH = 1.1  # numbers kept for each number that a layer of a block reads or writes
# Bytes that the allocator takes for each byte of many middling tensors; large ones have
# pages of their own.
_STORED, _LARGE = 1.5, 4e6
_SQUARES, _PRODUCTS = 3, 6  # matrices of a fit: of inputs, and of the size of the layer
_JUDGED_COPIES, _TRAINED_COPIES = 5.0, 4.5  # copies of the logits
_LIBRARIES = 100e6  # bytes of what torch loads for its first optimizer
_REFIT_PASSES = 4  # over the text, each as long as a forward
_TRAINING_READS = 2  # reads of offloaded blocks in each step
_RIDGES = 5  # ridges that a refit of a layer usually tries


def reference(job: Job) -> StageNeed | None:
    """State the need of the original's hidden states, and of judging by them.

    The original is loaded again, and runs as the pruned model does.
    """
    if not job.recovery_windows:
        return None
    logits = _logits(job, job.tokens(job.recovery_windows)) * _JUDGED_COPIES
    moment = _with_original(job, logits, _held_out(job), _states(job))
    seconds = speed.loading(job) + 2 * _judging(job)
    return StageNeed(seconds, moments=(moment,))


def refit(job: Job) -> StageNeed | None:
    """State the need of the least squares of each layer."""
    if not job.recovery_windows or job.config.recovery.reconstructs:
        return None
    return StageNeed(
        _refitting(job), ANY_NUMBER, (_refit_moment(job),), saved=_saved(job)
    )


def reconstruction(job: Job) -> StageNeed | None:
    """State the need of training block by block, each after its refit."""
    if not job.config.recovery.reconstructs:
        return None
    share = 1 / max(1, job.model.blocks)
    weights = job.weights_left * share
    undo = weights * job.each
    trained = _optimized(job, weights) + weights * _GRADIENT + undo
    device = trained + _graph(job, _left(job)) * share + _passing(job)
    host = _held_out(job) + weights * _BEST + _LIBRARIES
    moment = _with_original(job, device, host, 3 * _states(job))
    passes = RECONSTRUCTION_EPOCHS * TRAINING_PASSES
    seconds = _refitting(job) + passes * _pass(job)
    moments = _refit_moment(job), moment
    return StageNeed(seconds, STEP_WINDOWS, moments, saved=_saved(job))


def distillation(job: Job) -> StageNeed | None:
    """State the need of training the whole model."""
    recovery = job.config.recovery
    if not recovery.training_epochs:
        return None
    fixed = 60 * recovery.minutes
    if fixed:
        seconds = _judging(job)
    else:
        passes = (TRAINING_PASSES + recovery.recomputes) * recovery.epochs
        steps = recovery.epochs * job.recovery_windows / STEP_WINDOWS
        reading = _TRAINING_READS * steps * speed.reading(job)
        seconds = max(passes * _pass(job, reads=0), reading)
        epochs = math.ceil(recovery.epochs)
        seconds += _reading(job, epochs)
        seconds += (max(TRAINING_CHECKS, epochs) + 1) * _judging(job)
    trained = _trained_weights(job) * _SAVED_NUMBERS * FLOAT / job.each
    saved = saved_shots(job) + saved_weights(job, job.weights_left + 2 * trained)
    moments = _reading_moment(job), _training_moment(job)
    return StageNeed(
        seconds, fixed=fixed, shared_by=STEP_WINDOWS, moments=moments, saved=saved
    )


def _saved(job: Job) -> float:
    """Return the saved state of the shots, and a new and an old one of recovery."""
    return saved_shots(job) + saved_weights(job, 2 * job.weights_left)


# moments


def _refit_moment(job: Job) -> Moment:
    # A layer may keep all that it has, while others lose more.
    layers = job.measured or job.model.layers
    sums, on_host = max(
        _fit(rows, columns, is_pinned=job.is_on_gpu)
        for rows, columns, _ in _fitted_matrices(job, layers)
    )
    if any(layer.is_experts for layer in layers):
        sums += _seen_by_experts(job)
    states = 3 * _states(job) + _read_by_last_layers(job)
    moment = _with_original(job, sums, _held_out(job) + on_host, states)
    return replace(moment, copies_ahead=False)


def _read_by_last_layers(job: Job) -> float:
    """Return the bytes that the last layer of a block reads for all windows.

    It is kept where blocks stop before this layer: on a CPU.
    """
    if job.is_on_gpu or job.config.recovery.reconstructs:
        return 0
    tokens = job.recovery_windows * job.length
    return tokens * max(layer.columns for layer in _left(job)) * job.each


def _fitted_matrices(
    job: Job, layers: Iterable[LayerSummary]
) -> Iterator[tuple[int, int, int]]:
    """Yield rows, columns and number of fitted matrices: the last of each expert."""
    hidden = job.model.hidden_size
    for layer in layers:
        if layer.is_experts:
            yield (
                hidden,
                max(1, layer.rows // (EXPERT_MATRICES * hidden)),
                layer.columns,
            )
        else:
            yield layer.rows, layer.columns, 1


def _seen_by_experts(job: Job) -> float:
    """Return the bytes of states and missing outputs for the experts of a block.

    A batch is computed beside them: each token once for each of its experts,
    before and after a layer.
    """
    of_all = job.recovery_windows * job.length * (job.each + FLOAT)
    numbers = max(x.rows for x in job.used_layers)
    of_batch = 2 * job.tokens(job.recovery_windows) * numbers * job.each
    return of_all * job.model.hidden_size + of_batch


def _fit(rows: int, columns: int, *, is_pinned: bool) -> tuple[float, float]:
    """Return the bytes to fit a matrix, and the bytes of its sums on the host."""
    square = columns**2 * FLOAT
    product = columns * rows * FLOAT
    needed = _SQUARES * square + _PRODUCTS * product
    if square < SUMS_ON_HOST:
        return needed, 0
    held_out = square, product
    on_host = sum(map(pinned_bytes, held_out)) if is_pinned else sum(held_out)
    return needed - sum(held_out), on_host


def _reading_moment(job: Job) -> Moment:
    """Return the moment when the original reads the text of the first epoch."""
    weights = _trained_weights(job)
    copies = _optimized(job, weights) - weights * _MOMENTS
    host = _held_out(job) + weights * _BEST
    return _with_original(job, copies, host, _states(job))


def _training_moment(job: Job) -> Moment:
    model, recovery = job.model, job.config.recovery
    graph, weights = _graph(job, _left(job)), _trained_weights(job)
    in_graph = 0.0  # bytes of weights
    if recovery.trains_all_weights:
        in_graph = job.weights_left * _CAST
    elif job.config.pruning.structure in SPARSE:
        in_graph = job.weights_left * FLOAT  # with the masked adapters
    step = _step(job)
    logits = _logits(job, step) * _TRAINED_COPIES
    of_block, ends = graph / max(1, model.blocks), step * model.hidden_size
    if recovery.recomputes:
        in_graph /= max(1, model.blocks)
        inputs = ends * _number(job) * model.blocks
        # A block has its graph when the logits are gone, and may lose nothing.
        of_block = _graph(job, model.layers) / max(1, model.blocks)
        changing = inputs + max(of_block + in_graph + _passing(job), logits)
    else:
        changing = graph + in_graph + max(logits, _passing(job))
    changing += _ENDS * ends * job.each
    # Gradients take the place of the graph, bit by bit.
    changing = max(changing, weights * _GRADIENT + of_block)
    device = changing + _optimized(job, weights) - _removed(job)
    host = _held_out(job) + weights * _BEST + _LIBRARIES
    states = _states(job) - _held_out(job)
    if job.offloads:
        moment = Moment(device, host + _masks(job), states)
    else:
        moment = Moment(device + _masks(job), host, states)
    # The original reads text for later epochs during the training.
    return replace(moment, has_original=recovery.training_epochs > 1)


def _with_original(job: Job, device: float, host: float, states: float) -> Moment:
    """Return a moment with the original beside the pruned model, and scores.

    `device`, `host` and `states` are the bytes of all else, as in `Moment`.
    """
    scores = job.scores(job.tokens(job.recovery_windows))
    device += scores - _removed(job)
    return Moment(device, host, states, has_original=True)


# bytes


def _removed(job: Job) -> float:
    """Return the bytes that the model has lost; offloaded blocks do not count."""
    if job.offloads:
        return 0
    return (job.model.prunable - job.weights_left) * job.each


def _states(job: Job) -> float:
    windows = job.recovery_windows
    tokens = windows * job.length
    states = tokens * job.model.hidden_size * job.each
    is_large = job.tokens(windows) * states >= _LARGE * tokens
    return states if is_large else _STORED * states


def _held_out(job: Job) -> float:
    """Return the states of the windows that judge."""
    return _states(job) * _judges(job) / (job.recovery_windows or 1)


def _judges(job: Job) -> int:
    """Return the number of windows of all texts that judge recovery."""
    kinds = job.config.calibration.windows, job.own_windows, job.shipped_windows
    return sum(map(judging_windows, kinds))


def _trained_weights(job: Job) -> int:
    """Return the number of weights that the distillation changes."""
    recovery = job.config.recovery
    if recovery.trains_all_weights:
        return job.weights_left
    if not recovery.uses_lora:  # a row for each expert
        experts = sum(each.groups for each in job.model.experts)
        return experts * job.model.hidden_size
    layers = job.model.linear_layers
    return sum(recovery.lora_rank * (x.rows + x.columns) for x in layers)


def _masks(job: Job) -> float:
    """Return a byte for each weight of layers with zeros.

    Adapters do without where whole rows and columns are zero.
    """
    kind = job.config.pruning.structure
    is_whole = job.config.recovery.trains_all_weights
    needs = kind not in COUPLED if is_whole else kind in SPARSE
    return job.touched_weights if needs else 0


def _optimized(job: Job, weights: float) -> float:
    """Return the moments, and what weights need more in float32."""
    wider = FLOAT - job.each if job.config.recovery.trains_all_weights else 0
    return weights * (_MOMENTS + wider)


def _step(job: Job) -> int:
    """Return the tokens of a step of a training."""
    windows = min(STEP_WINDOWS, job.recovery_windows)
    return windows * job.length


def _graph(job: Job, layers: Iterable[LayerSummary]) -> float:
    """Return the activations of all blocks for a step, with such layers."""
    layers = tuple(layers)
    numbers = sum(layer.rows + layer.columns for layer in job.as_used(layers))
    activations = _step(job) * numbers * _number(job) * _GRAPH
    features = _features(job.model.layers)
    heads = _features(layers) / features if features else 1.0
    scores = job.model.blocks * job.scores(_step(job), in_graph=True)
    return activations + heads * scores


def _left(job: Job) -> Iterable[LayerSummary]:
    """Return all layers with the sizes that they have at recovery."""
    smaller = {layer.name: layer for layer in job.remaining}
    return (smaller.get(layer.name, layer) for layer in job.model.layers)


def _features(layers: Iterable[LayerSummary]) -> int:
    """Return the number of features of all heads."""
    return sum(x.columns for x in layers if is_attention_output(x.kind))


def _passing(job: Job) -> float:
    """Return the bytes of a backward through a block, without its graph."""
    widest = max((x.columns for x in job.as_used(job.model.layers)), default=0)
    gradients = _GRADIENTS * _step(job) * widest * _number(job)
    scores = job.scores(_step(job)) - job.scores(_step(job), in_graph=True)
    return gradients + scores


def _number(job: Job) -> int:
    """Return the bytes of an activation; weights that are trained are float32."""
    return FLOAT if job.config.recovery.trains_all_weights else job.each


def _logits(job: Job, tokens: int) -> float:
    return min(tokens * job.model.vocabulary, LOGITS_AT_ONCE) * FLOAT


# seconds


def _pass(job: Job, reads: float = 1) -> float:
    """Return the time of a forward of all windows, which reads offloaded blocks."""
    windows, rate = job.recovery_windows, speed.fast_products(job)
    return speed.forward(job, windows, rate, reads)


def _reading(job: Job, epochs: int) -> float:
    """Return the time of the original to read the text, and to write some of it."""
    general, first = job.config.general_windows, job.shipped_windows
    whole = job.all_shipped_windows
    later = range(2, epochs + 1)
    shipped = (shipped_of_epoch(epoch, general, first, whole) for epoch in later)
    own = Counter(general - len(each) for each in shipped)
    writing = sum(n * speed.writing_windows(job, count) for count, n in own.items())
    kept = Kind.TEXT in job.measured_before  # the first epoch's text
    return max(0, epochs - kept) * _pass(job) + writing


def _judging(job: Job) -> float:
    return speed.forward(job, _judges(job), speed.fast_products(job))


def _refitting(job: Job) -> float:
    """Return the time to solve for the weights of all layers, and of the passes."""
    names = {layer.name for layer in job.measured}
    layers = [x for x in job.remaining if x.name in names]
    rates, matrices = job.rates, [*_fitted_matrices(job, layers)]
    factors = sum(n * C**3 / 3 for _, C, n in matrices)
    products = sum(n * 4 * R * C**2 for R, C, n in matrices)  # and their errors
    seconds = factors / rates.factorizing + products / rates.products[Dtype.FLOAT32]
    return _REFIT_PASSES * _pass(job) + _RIDGES * seconds
