"""The factors A and G, or the gate gradients, of the layers.

    logits   one batch of them, with the copies for their loss and its gradient
    graph    the activations of one block, for a batch, with its scores

Factors are in a store on the host; there are twice as many at the end of a damping
search, because the factors of the held-out windows are added afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from surgeon_engine.api.config.pruning import (
    BY_ROUTING,
    COUPLINGS,
    Coupling,
    Fisher,
    Method,
)
from surgeon_engine.planning import speed
from surgeon_engine.planning.constants import (
    FLOAT,
    GATE_GENERAL_WINDOWS,
    GRADIENT_LOGITS_AT_ONCE,
    gate_draws,
)
from surgeon_engine.planning.job import Job, readers, width
from surgeon_engine.planning.measured_before import Kind
from surgeon_engine.planning.stages.need import ANY_NUMBER, Moment, StageNeed

_LOGIT_COPIES = 3.25  # float32: logits, probabilities, their sums
_SCORES = 1.2  # scores in the graph, relative to a forward
_GRAPH = 2.5  # numbers kept for each number that a layer of a block reads or writes


def curvature(job: Job) -> StageNeed | None:
    """State the need of the backward, or of the forward where A alone is measured."""
    pruning = job.config.pruning
    if pruning.method is Method.MAGNITUDE or pruning.removes_nothing:
        return None
    recorded = job.record(job.config.calibration.windows)
    # The inputs of a block are dropped when its factors have been measured.
    stored = max(job.factors, job.beyond_device(recorded))
    shots = pruning.shots - (Kind.GATES in job.measured_before)
    return StageNeed(
        shots * _seconds(job),
        ANY_NUMBER,
        tuple(_moments(job)),
        stored=(stored,),
        files=job.record(job.fitted) + job.factors,
    )


def _moments(job: Job) -> Iterator[Moment]:
    factors, on_device, graph = job.factors, job.factors_on_device, _graph(job)
    recorded = job.record(job.fitted)
    yield Moment(_logits(job, job.fitted), states=recorded)
    yield Moment(graph, states=recorded)
    yield Moment(graph, stores=(factors,), of_stores=on_device)
    if job.config.pruning.searches_damping:
        logits, again = _logits(job, job.held_out), job.record(job.held_out)
        yield Moment(logits, states=again, stores=(factors,), of_stores=on_device)
        yield Moment(graph, stores=(factors, factors), of_stores=2 * on_device)


def _logits(job: Job, windows: int) -> float:
    """Return the logits of a part of a batch, with their loss and its gradient.

    The forward before them holds scores.
    """
    scores = job.scores(job.tokens(windows))
    if not job.config.pruning.measures_gradients:
        return scores
    copies = _LOGIT_COPIES
    if job.each < FLOAT:  # in 16 bits, too, with their gradient
        copies += 2 * job.each / FLOAT
    numbers = job.tokens(windows) * job.model.vocabulary
    return max(scores, min(numbers, GRADIENT_LOGITS_AT_ONCE) * FLOAT * copies)


def _graph(job: Job) -> float:
    numbers: Counter[int] = Counter()  # by block
    for layer in job.used_layers:
        numbers[layer.block] += layer.rows + layer.columns
    tokens = job.tokens(job.fitted)
    activations = tokens * max(numbers.values()) * job.each * _GRAPH
    return activations + _SCORES * job.scores(tokens)


def _seconds(job: Job) -> float:
    """Return the time of a shot."""
    config, layers = job.config, job.measured
    windows, pruning = config.calibration.windows, config.pruning
    if pruning.method in BY_ROUTING:  # each expert of a token runs twice
        return 2 * speed.forward(job, windows)
    if not pruning.measures_factors:
        of_experts = Coupling.EXPERT_NEURONS in COUPLINGS.get(pruning.structure, ())
        gates = sum(
            2.0 * layer.weights
            for layer in job.as_used(layers)
            if of_experts or not layer.is_experts
        )
        draws = gate_draws(windows) if pruning.fisher is Fisher.SAMPLED else 1
        general = min(config.general_windows, GATE_GENERAL_WINDOWS)
        return sum(
            speed.backward(job, count, times, times * gates, speed.fast_products(job))
            for count, times in ((windows, draws), (general, 1))
        )
    flops = sum(2.0 * width(layer) ** 2 for layer in readers(layers))
    if pruning.measures_gradients:
        flops += sum(2 * layer.rows**2 for layer in layers)
        return speed.backward(job, windows, 1, flops, speed.products(job))
    products = job.length * windows * flops / speed.products(job)
    return speed.forward(job, windows) + products
