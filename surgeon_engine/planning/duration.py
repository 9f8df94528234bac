"""The duration of a run: the operations of each stage by the speed of the machine.

    forward     2 operations for each weight and token, and those of attention
    covariance  2 n^2 for each token and factor of side n
    algebra     n^3 for a factor's Cholesky factor, inverse or solution
    calls       a fixed time for each, most of the total in small models
    copies      of offloaded blocks to a GPU, while it computes

The number of dampings tried is not known beforehand; the constants below are usual
ones. With a quality limit, recovery counts once. Constants are measured
(docs/results.md).
"""

from __future__ import annotations

from surgeon_engine.api.config.export import K_FORMATS, QUANTIZED
from surgeon_engine.api.config.pruning import (
    DEPTH_TOKENS,
    GATE_DRAWS,
    GATE_OWN_WINDOWS,
    SPARSE,
    Fisher,
    Method,
    Structure,
)
from surgeon_engine.api.config.run import Dtype
from surgeon_engine.api.config.samples import NEW_TOKENS
from surgeon_engine.api.messages.machine import Rates
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.api.messages.sources import LayerSummary
from surgeon_engine.planning.memory import Footprint, readers, width
from surgeon_engine.planning.target_size import file_dtype

_CALLS = 60  # operations of a block's forward
_BACKWARD_CALLS = 2.5  # of its backward, for each of those
# The share of large products' speed that those of a model reach: 0.2 at a width of 192
# (the demo), and nearly all of it from three times that width on (SmolLM2).
_EFFICIENCY, _WIDTH, _POWER, _MOST = 0.2, 192, 1.37, 0.9
_LOGIT_PASSES = 8  # over the logits, for their loss
_GRAPH_PASSES = 6  # over the activations of a block that are no products
# How many dampings a search tries in each shot at least, how many costs are computed
# for that, and how many more of both in the first shot.
_TRIALS, _COSTS, _TRIALS_FIRST = 3, 2, 1
_TRIALS_LAST = 1  # more in the last shot
_SPARSE_PASSES = 40  # over a layer, for costs and masks of its weights
_STEPS = 30  # of the conjugate gradients of a layer
_REFIT_PASSES = 4  # over the text, each as long as a forward
_FLOAT = Dtype.FLOAT32  # in which a refit solves
_RIDGES = 5  # that a refit of a layer tries, usually
_RECONSTRUCTION_PASSES = 7
_TRAINING_PASSES = 3.5
_CHECKS = 5  # of a training, on the held-out windows
_SAMPLED_AT_ONCE = 64  # windows
_LIBRARIES_SECONDS = 8.0  # in which a fresh process is ready, on a usual processor
_USUAL_CALL = 1e-6  # seconds, of that processor
_FEEDBACK_PASSES = 4  # over the text, to feed errors of rounding forward
_QUANTISED = 4e6  # weights rounded a second
_DISK = 400e6  # bytes/s
_DEQUANTISED = 8e6  # weights of a GGUF file turned into floats a second


def seconds_of_stages(job: Footprint, rates: Rates) -> dict[Stage, float]:
    """Return the seconds of each stage over the whole run."""
    return _DurationModel(job, rates).stages()


class _DurationModel:
    """The durations of one job at given speeds."""

    def __init__(self, job: Footprint, rates: Rates) -> None:
        self._job = job
        self._rates = rates
        model, config = job.model, job.config
        self._length = config.calibration.window_length
        self._batch = config.calibration.batch
        attention = 4 * self._length * model.hidden_size * model.blocks
        self._block_flops = 2 * model.prunable + attention  # of all, per token
        self._head_flops = 2 * model.vocabulary * model.hidden_size
        efficiency = _EFFICIENCY * (model.hidden_size / _WIDTH) ** _POWER
        efficiency = min(_MOST, efficiency)
        found, dtype = rates.products, config.model.dtype
        self._products = found[dtype] * efficiency
        # Of the gates and of recovery, whose products take 16-bit inputs where that is
        # faster.
        self._fast = max(found[dtype], found[Dtype.BFLOAT16]) * efficiency

    def stages(self) -> dict[Stage, float]:
        """Return the seconds by stage."""
        job, pruning = self._job, self._job.config.pruning
        shots, held = pruning.shots, job.held_out
        validation = self._forward(job.judging_windows)
        times = {
            Stage.LOAD: 0.5 + self._loading,
            Stage.TEXT: 0.5,
            Stage.BASELINE: validation + self._forward(held),
            Stage.EVALUATION: shots * validation,
            Stage.SAMPLING: self._sampling(job.written_windows),
            Stage.UPDATE: shots * self._update(),
            Stage.SELECTION: shots * self._selection(),
            Stage.EXPORT: 0.5 + 2 * job.export_weights / _DISK + self._quantisation(),
            Stage.VERIFICATION: self._verification(),
        }
        if job.measures:
            times[Stage.CURVATURE] = shots * self._curvature()
        if pruning.drops_depth:
            times[Stage.DEPTH] = shots * self._depth()
        if pruning.searches_damping:
            trial = self._update() + self._forward(held) + 2 * job.kept / self._moving
            trials = shots * _TRIALS + _TRIALS_FIRST + _TRIALS_LAST
            costs = shots * _COSTS + _TRIALS_FIRST
            times[Stage.DAMPING] = trials * trial + costs * self._selection()
        if job.recovery_windows:
            times |= self._recovery()
            times[Stage.EVALUATION] += validation
        if job.config.samples.after_shots:
            recovers = bool(job.recovery_windows)
            times[Stage.SAMPLING] += self._writing(NEW_TOKENS)
            times[Stage.GENERATION] = (shots + recovers) * self._writing(NEW_TOKENS)
        return times

    @property
    def _loading(self) -> float:
        """Return the seconds in which a model is read, and dequantised if need be."""
        model = self._job.model
        seconds = (model.file_bytes + self._job.weights) / _DISK
        if not model.dtype:  # it is quantised
            seconds += model.parameters / _DEQUANTISED
        return seconds

    def _recovery(self) -> dict[Stage, float]:
        """Return the seconds of the stages of recovery, and of the text for it."""
        job, config = self._job, self._job.config
        whole = self._forward(job.recovery_windows, self._fast)
        judged = self._forward(job.recovery_judges, self._fast)
        # The original is loaded again, and runs as the pruned model does.
        times = {Stage.REFERENCE: self._loading + 2 * judged}
        if config.recovery.reconstructs:
            passes = _REFIT_PASSES + _RECONSTRUCTION_PASSES
            times[Stage.RECONSTRUCTION] = passes * whole + self._fits()
        else:
            times[Stage.REFIT] = _REFIT_PASSES * whole + self._fits()
        if config.recovery.trains:
            again = 1 if config.recovery.recomputes else 0
            training = (_TRAINING_PASSES + again) * config.recovery.epochs * whole
            if limit := 60 * config.recovery.max_minutes:
                training = min(training, limit)
            times[Stage.DISTILLATION] = training + _CHECKS * judged
        return times

    def _fits(self) -> float:
        """Return the seconds in which a refit solves for the weights of all layers."""
        names = {layer.name for layer in self._job.measured}
        layers = [x for x in self._job.remaining if x.name in names]
        factors = sum(x.columns**3 / 3 for x in layers)
        products = sum(4 * x.rows * x.columns**2 for x in layers)  # and their errors
        seconds = factors / self._factorising + products / self._rates.products[_FLOAT]
        return _RIDGES * seconds

    def _sampling(self, windows: int) -> float:
        """Return the seconds in which the original writes windows, token by token."""
        steps = -(-windows // _SAMPLED_AT_ONCE) * self._length
        return self._forward(windows) + self._writing(steps)

    def _writing(self, steps: int) -> float:
        """Return the seconds of passes over one token, without the products."""
        reading = steps * max(self._job.weights / self._moving, self._copying)
        return (
            reading + steps * (self._job.model.blocks + 1) * _CALLS * self._rates.call
        )

    @property
    def _moving(self) -> float:
        return self._rates.moving

    def _batches(self, windows: int) -> int:
        return -(-windows // self._batch)

    def _calls(self, windows: int) -> float:
        blocks = self._job.model.blocks + 1
        return self._batches(windows) * blocks * _CALLS * self._rates.call

    def _quantisation(self) -> float:
        """Return the time to round weights by what the layers read of the text."""
        config, model = self._job.config, self._job.model
        dtype = file_dtype(config, model)
        if dtype not in QUANTIZED:
            return 0.0
        forward = self._forward(config.calibration.windows)
        passes = 1 if dtype in K_FORMATS else _FEEDBACK_PASSES
        return passes * forward + model.parameters / _QUANTISED

    def _forward(self, windows: int, products: float = 0.0) -> float:
        """Return the time to evaluate the loss on `windows` windows.

        Args:
            windows: how many.
            products: the FLOP/s of products; 0: those of the model's number format.
        """
        tokens = self._tokens(windows)
        flops = tokens * (self._block_flops + self._head_flops)
        numbers = tokens * self._job.model.vocabulary * 4 * _LOGIT_PASSES
        computing = (
            flops / (products or self._products)
            + (numbers + self._activations(tokens)) / self._moving
            + self._calls(windows)
        )
        return max(computing, self._batches(windows) * self._copying)

    @property
    def _copying(self) -> float:
        """Return the seconds in which all offloaded blocks come to a GPU.

        They come while others compute.
        """
        job, rate = self._job, self._rates.copying
        return job.model.prunable * job.each / rate if job.offloads and rate else 0.0

    def _activations(self, tokens: int) -> float:
        """Return the bytes read and written between the matrix products."""
        numbers = sum(layer.rows for layer in self._job.model.layers)
        return tokens * numbers * self._job.each * _GRAPH_PASSES

    def _curvature(self) -> float:
        """Return the time to measure the factors or the gates of the layers."""
        config, layers = self._job.config, self._job.measured
        windows, pruning = config.calibration.windows, config.pruning
        if not pruning.measures_factors:
            draws = GATE_DRAWS if pruning.fisher is Fisher.SAMPLED else 1
            own = min(config.own_windows, GATE_OWN_WINDOWS)
            return self._gates(windows, draws) + self._gates(own, 1)
        flops = sum(2.0 * width(layer) ** 2 for layer in readers(layers))
        if self._job.measures_gradients:
            flops += sum(2 * layer.rows**2 for layer in layers)
            return self._backward(windows, 1, flops, self._products)
        return self._forward(windows) + self._tokens(windows) * flops / self._products

    def _gates(self, windows: int, draws: int) -> float:
        flops = sum(2.0 * layer.weights for layer in self._job.measured)
        return self._backward(windows, draws, draws * flops, self._fast)

    def _backward(
        self, windows: int, draws: int, flops: float, products: float
    ) -> float:
        """Return the time of gradients, with some more operations per token."""
        # Each block runs again, and back for each draw.
        flops += (1 + draws) * self._block_flops + draws * self._head_flops
        tokens = self._tokens(windows)
        seconds = self._forward(windows, products)
        seconds += _BACKWARD_CALLS * self._calls(windows)
        seconds += (1 + draws) * self._activations(tokens) / self._moving
        return seconds + tokens * flops / products

    def _depth(self) -> float:
        """Return the seconds in which whole blocks and sub-layers are compared.

        The blocks after a missing one run again: half of them in the mean.
        """
        pruning, blocks = self._job.config.pruning, self._job.model.blocks
        length = self._length
        windows = min(self._job.config.calibration.windows, -(-DEPTH_TOKENS // length))
        candidates = bool(pruning.dropped_blocks) * blocks
        candidates += bool(pruning.dropped_sublayers) * 2 * blocks
        return (candidates / 2 + 1) * self._forward(windows)

    def _tokens(self, windows: int) -> int:
        return windows * self._length

    def _selection(self) -> float:
        """Return the seconds of the costs of all candidates."""
        pruning = self._job.config.pruning
        seconds = 0.0
        for layer in self._job.measured:
            if pruning.method in (Method.LLM_SURGEON, Method.SPARSEGPT):
                seconds += self._cubic(width(layer))
                if pruning.kind is not Structure.ROWS:
                    seconds += 2 * layer.rows * width(layer) ** 2 / self._factorising
            if pruning.kind in SPARSE:
                moved = layer.weights * 8 * _SPARSE_PASSES
                seconds += moved / self._moving
        return seconds

    def _update(self) -> float:
        """Return the seconds of the weight update of all layers."""
        pruning = self._job.config.pruning
        moved = sum(layer.weights for layer in self._job.touched) * 8 * 4
        seconds = moved / self._moving
        for layer in self._job.measured:
            seconds += self._solution(layer)
        return seconds if pruning.adapts or pruning.kind in SPARSE else seconds / 2

    def _solution(self, layer: LayerSummary) -> float:
        """Return the seconds of adapting the kept weights of a layer."""
        pruning = self._job.config.pruning
        R, C = layer.rows, width(layer)
        product = 2 * R * C * (R + C)
        if pruning.method is Method.SPARSEGPT:
            return self._cubic(C) + R * C**2 / self._factorising
        if not pruning.adapts:
            return 0.0
        if pruning.kind in SPARSE:
            return (
                self._cubic(C)
                + self._cubic(R)
                + (2 * _STEPS * product / self._factorising)
            )
        return self._cubic(C) / 2 + R * C**2 / self._factorising

    @property
    def _factorising(self) -> float:
        return self._rates.factorising

    def _cubic(self, n: int) -> float:
        """Return the seconds of the inverse of an n x n matrix."""
        return n**3 / self._factorising

    def _verification(self) -> float:
        """Return the seconds of a fresh process that checks the export."""
        start = _LIBRARIES_SECONDS * max(1.0, self._rates.call / _USUAL_CALL)
        return start + self._job.export_weights / _DISK + 4 * self._forward(4)
