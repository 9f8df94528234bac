"""How much room a run takes: bytes of memory at each moment, and on the disk.

Memory is that of the moment of a run that needs most; what a moment holds is counted
as the engine really keeps it:

    weights     the model, in the number format in which it is pruned
    record      the input of each block for all windows, and one gradient (collect.py)
    logits      a batch's, with what their loss and its gradient need besides
    graph       the activations of one block, for a batch
    factors     A and G of all measured layers, float32; twice while the damping is
                searched, because those of the held-out windows are added afterwards
    kept        a copy of the weights that are tried out
    undone      copies that a quality budget keeps to go back to
    uncorrected a copy that the correction at the end keeps to go back to
    algebra     one layer's matrices in float64
    directions  steps of the correction for every layer that remains, float32

Protected layers count as if they were pruned. Constants are measured (docs/results.md).
Imports neither torch nor Qt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec

from surgeon_engine.api.config.export import FOR_TRANSFORMERS, ExportConfig, Format
from surgeon_engine.api.config.pruning import COUPLED, COUPLINGS, SPARSE, Method
from surgeon_engine.api.config.run import Dtype, RunConfig
from surgeon_engine.api.errors import ConfigError
from surgeon_engine.api.messages.sources import LayerSummary, ModelSummary
from surgeon_engine.api.planning.target_size import (
    BYTES_PER_PARAMETER,
    file_dtype,
    goal_of,
)

_FLOAT, _DOUBLE = 4, 8  # bytes
_BYTES = {Dtype.FLOAT32: 4, Dtype.BFLOAT16: 2, Dtype.FLOAT16: 2}
_HELD_OUT = 4  # one of so many calibration windows
_LOGIT_COPIES = 5.25  # float32: logits, their logarithms, two gradients
_EVALUATED_COPIES = 3.0  # the same without gradients
_GRAPH = 2.5  # numbers kept for each number that a layer of a block reads or writes
_ALGEBRA = 2.5  # float64 matrices of each of a layer's factors at once
_SPARSE_ALGEBRA = 9  # and of the layer itself, where single weights adapt
_DENSE_ALGEBRA = 4
_PROBED_TOKENS = 64  # of which the logits are kept, to check the export
_OTHER_FILES = 1_000_000  # bytes of tokenizer, card and the rest beside the weights


@dataclass(frozen=True)
class Footprint:
    """The figures of a run from which everything else follows."""

    config: RunConfig
    model: ModelSummary

    # what there is

    @cached_property
    def touched(self) -> tuple[LayerSummary, ...]:
        """The layers of which something goes."""
        structure = self.config.pruning.kind
        if structure not in COUPLED:
            return self.model.layers
        places = {place(layer) for layer in self.measured}
        return tuple(x for x in self.model.layers if place(x) in places)

    @cached_property
    def measured(self) -> tuple[LayerSummary, ...]:
        """The layers by which it is chosen."""
        wanted = COUPLINGS.get(self.config.pruning.kind)
        if wanted is None:
            return self.model.layers
        return tuple(x for x in self.model.layers if x.coupling in wanted)

    @property
    def each(self) -> int:
        """Bytes of a weight in memory."""
        return _BYTES[self.config.model.dtype]

    @property
    def measures_gradients(self) -> bool:
        """Whether the method needs more than a forward."""
        return self.config.pruning.method in (Method.LLM_SURGEON, Method.K_OBD)

    @property
    def measures(self) -> bool:
        """Whether the method needs any text."""
        return self.config.pruning.method is not Method.MAGNITUDE

    @property
    def held_out(self) -> int:
        """Calibration windows that judge."""
        pruning = self.config.pruning
        judges = pruning.searches_damping or pruning.is_corrected
        return self.config.calibration.windows // _HELD_OUT if judges else 0

    @cached_property
    def remaining(self) -> tuple[LayerSummary, ...]:
        """The touched layers as a correction finds them: what is coupled is smaller.

        Where a quality budget tries it on a shot nothing has been taken out yet.
        """
        pruning = self.config.pruning
        if pruning.kind not in COUPLED or pruning.max_perplexity_increase:
            return self.touched
        try:
            dtype = file_dtype(self.config, self.model)
            removed = goal_of(pruning, self.model, dtype).removed
        except ConfigError:
            return self.touched
        stays = max(0.0, 1 - removed / max(1, sum(x.weights for x in self.touched)))
        return tuple(_narrowed(layer, stays) for layer in self.touched)

    @cached_property
    def weights_left(self) -> int:
        """Those of the layers that remain."""
        return sum(layer.weights for layer in self.remaining)

    def tokens(self, windows: int) -> int:
        """Those that are computed at once, of so many windows."""
        calibration = self.config.calibration
        return min(calibration.batch, windows) * calibration.window_length

    @property
    def fitted(self) -> int:
        """Calibration windows that are measured first."""
        return self.config.calibration.windows - self.held_out

    # bytes

    @property
    def weights(self) -> float:
        """The model in memory."""
        return self.model.parameters * self.each

    @property
    def loaded(self) -> float:
        """The model while it is loaded: what stands in the file otherwise is turned."""
        bits_differ = self.model.file_bytes != self.weights
        return self.weights + (self.model.file_bytes if bits_differ else 0)

    @property
    def kept(self) -> float:
        """A copy of what may be put back."""
        return sum(layer.weights for layer in self.touched) * self.each

    @property
    def undone(self) -> float:
        """Copies of the layers, by which a quality budget undoes what passes it.

        With a correction: those before a shot, after it, corrected, and corrected
        after the last shot.
        """
        if not self.config.pruning.max_perplexity_increase:
            return 0
        copies = 4 if self._is_corrected else 1
        return copies * sum(layer.weights for layer in self.model.layers) * self.each

    @property
    def uncorrected(self) -> float:
        """A copy from before the correction; among the others of a quality budget."""
        if self.undone or not self._is_corrected:
            return 0
        return self.weights_left * self.each

    @cached_property
    def factors(self) -> float:
        """A and G of the measured layers."""
        return self._factors(self.measured) if self.measures else 0

    @cached_property
    def directions(self) -> float:
        """The steps of the correction, for all layers that remain."""
        return self.weights_left * _FLOAT

    @cached_property
    def block_factors(self) -> float:
        """A, G and the gradients of one block of those, while it is measured."""
        all_blocks = self._factors(self.remaining) + self.directions
        return all_blocks / max(1, self.model.blocks)

    def _factors(self, layers: Iterable[LayerSummary]) -> float:
        layers = tuple(layers)
        A = sum(width(layer) ** 2 for layer in readers(layers))
        G = sum(layer.rows**2 for layer in layers) if self.measures_gradients else 0
        return (A + G) * _FLOAT

    def record(self, windows: int) -> float:
        """What a backward in blocks starts from."""
        if not self.measures_gradients:
            return 0
        numbers = windows * self.config.calibration.window_length
        return (self.model.blocks + 1) * numbers * self.model.hidden_size * self.each

    def logits(self, windows: int) -> float:
        """Those of a batch of so many windows, and their loss with its gradient."""
        numbers = self.tokens(windows) * self.model.vocabulary
        return numbers * _FLOAT * _LOGIT_COPIES

    def evaluated(self, windows: int) -> float:
        """The same without the gradient."""
        numbers = self.tokens(windows) * self.model.vocabulary
        return numbers * _FLOAT * _EVALUATED_COPIES

    @property
    def graph(self) -> float:
        """The activations of one block."""
        first = [layer for layer in self.model.layers if layer.block == 0]
        numbers = sum(layer.rows + layer.columns for layer in first)
        return self.tokens(self.fitted) * numbers * self.each * _GRAPH

    @cached_property
    def algebra(self) -> float:
        """What the layer takes that takes most."""
        is_sparse = self.config.pruning.kind in SPARSE
        copies = _SPARSE_ALGEBRA if is_sparse else _DENSE_ALGEBRA
        return max(
            (layer.rows**2 + width(layer) ** 2) * _DOUBLE * _ALGEBRA
            + layer.weights * _DOUBLE * copies
            for layer in self.touched or self.model.layers
        )

    @property
    def choices(self) -> float:
        """Costs and masks of all candidates, where each weight is one."""
        if self.config.pruning.kind not in SPARSE:
            return 0
        return sum(layer.weights for layer in self.measured) * (2 * _FLOAT + 4)

    @property
    def exported(self) -> float:
        """The models in memory once the export is written."""
        return self.weights

    @property
    def exporting(self) -> float:
        """The same while it is written: of coupled structures one that was filled up
        beside the one that had become smaller, and what is being written.
        """
        is_coupled = self.config.pruning.kind in COUPLED
        return self.weights * (2 if is_coupled else 1) + self.export_weights

    @property
    def peak(self) -> float:
        """The moment that needs most, where all memory is one."""
        moments = self._moments(self.factors, self.directions, self.uncorrected)
        return self.weights + self.undone + max(moments.values())

    @property
    def on_host(self) -> float:
        """The same of the machine's memory, where a GPU computes."""
        windows = self.config.calibration.windows
        held = self.factors * (2 if self.held_out else 1)
        correction = self.directions + self.uncorrected + self.block_factors
        most = max(held + self.choices, correction if self._is_corrected else 0)
        return most + self.kept + self.undone + self.record(windows)

    @property
    def on_device(self) -> float:
        """The same of the GPU's: factors of one block at a time, if by a backward."""
        factors = self.block_factors if self.measures_gradients else self.factors
        return self.weights + max(
            self._moments(factors, directions=0, uncorrected=0).values()
        )

    @property
    def _is_corrected(self) -> bool:
        return self.config.pruning.is_corrected

    def _moments(
        self, factors: float, directions: float, uncorrected: float
    ) -> dict[str, float]:
        """Bytes beyond the weights, moment by moment."""
        calibration, held, fitted = self.config.calibration, self.held_out, self.fitted
        moments = {"evaluation": self.evaluated(calibration.validation_windows)}
        if self.measures:
            moments["forward"] = self.record(fitted) + self.logits(fitted)
            moments["backward"] = max(self.record(fitted), factors) + self.graph
        if self.config.pruning.searches_damping:
            trial = max(self.algebra, self.evaluated(held))
            moments["damping"] = factors + self.kept + self.choices + trial
            again = max(self.record(held) + self.logits(held), factors + self.graph)
            moments["held-out"] = factors + again
        moments["update"] = factors + self.choices + self.algebra
        if self._is_corrected:
            one_block = self.block_factors + max(self.algebra, self.graph)
            record = max(self.record(fitted), directions)
            moments["gradient"] = uncorrected + record + one_block
            kept = uncorrected + self.weights_left * self.each
            moments["correction"] = directions + kept + self.evaluated(held)
        return moments

    # the disk

    @cached_property
    def export_weights(self) -> int:
        """Bytes of the weights that are written."""
        config, model = self.config, self.model
        dtype = file_dtype(config, model)
        whole = int(model.parameters * BYTES_PER_PARAMETER[dtype])
        is_masked = config.export.format is Format.MASKED
        # With a quality limit, the size that is reached is not known beforehand.
        is_open = config.pruning.max_perplexity_increase > 0
        if is_masked or is_open or config.pruning.kind in SPARSE:
            return whole
        try:
            return goal_of(config.pruning, model, dtype).weight_bytes
        except ConfigError:
            return whole  # there is no such target; whoever tells that tells it better

    @property
    def checkpoint_weights(self) -> int:
        """The same of a checkpoint for transformers beside an export for others."""
        if self.config.export.format in FOR_TRANSFORMERS:
            return 0
        held = file_dtype(self.config, self.model)
        own = file_dtype(replace(self.config, export=ExportConfig()), self.model)
        longer = BYTES_PER_PARAMETER[own] / BYTES_PER_PARAMETER[held]
        return int(self.export_weights * longer)

    @property
    def disk(self) -> int:
        """The export, the checkpoint from which others are made, and the probe."""
        calibration = self.config.calibration
        files = self.export_weights + self.checkpoint_weights
        tokens = min(_PROBED_TOKENS, calibration.window_length)
        probe = tokens * self.model.vocabulary * _FLOAT
        return files + probe + _OTHER_FILES


def readers(layers: Iterable[LayerSummary]) -> list[LayerSummary]:
    """Of the layers that read one input the first: they share one A.

    In a block those of one part, such as `self_attn`, read the same, but for the layer
    whose columns are heads or neurons: it reads what the others make.
    """
    seen: dict[tuple[int, str, int, bool], LayerSummary] = {}
    for layer in layers:
        key = (layer.block, place(layer), width(layer), bool(layer.coupling))
        seen.setdefault(key, layer)
    return list(seen.values())


def _narrowed(layer: LayerSummary, stays: float) -> LayerSummary:
    """A layer of which a share of the heads or neurons stays."""
    rows, columns = layer.rows, width(layer)
    if layer.coupling:
        columns = round(columns * stays)
    else:
        rows = round(rows * stays)
    rows, columns = max(1, rows), max(1, columns)
    return msgspec.structs.replace(
        layer, rows=rows, columns=columns, weights=rows * columns
    )


def width(layer: LayerSummary) -> int:
    """The columns, with the one of a bias."""
    return layer.weights // layer.rows


def place(layer: LayerSummary) -> str:
    """The part of a block in which a layer is: `mlp` of `mlp.down_proj`."""
    return layer.kind.rpartition(".")[0]
