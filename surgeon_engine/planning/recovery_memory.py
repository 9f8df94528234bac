"""The memory of recovery at each of its moments, in bytes beyond the pruned model.

    states   the hidden states of one block for all windows; a pass over the blocks
             holds the original's before and after it, and the pruned model's
    sums     of the least squares of one layer
    graph    the activations of blocks for the windows of a step
    trained  of each trained weight: gradient, two moments, the best, in float32
    logits   of some tokens at a time, with the copies for their divergence

States are in a store, which uses the device, the host or files
(`runtime/hidden_store.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from surgeon_engine.api.config.pruning import COUPLED, SPARSE
from surgeon_engine.api.messages.sources import LayerSummary

if TYPE_CHECKING:
    from surgeon_engine.planning.memory import Footprint

# Of the free memory that the store may take.
DEVICE_SHARE, HOST_SHARE = 0.25, 0.5

_FLOAT = 4  # bytes
_GRADIENT, _MOMENTS, _BEST = 4, 8, 4
_CAST = 2  # of a weight in 16 bits, beside the one in float32
_GRAPH = 1.1  # numbers kept for each number that a layer of a block reads or writes
# Bytes that the allocator takes for each byte of many middling tensors; large ones have
# pages of their own.
_STORED, _LARGE = 1.5, 4e6
_SQUARES, _PRODUCTS = 3, 6  # matrices of a fit: of inputs, and of the size of the layer
SUMS_ON_HOST = 2**29  # bytes of sums of held-out inputs, from which on all are there
_LOGITS_AT_ONCE = 2**25  # numbers
_JUDGED_COPIES, _TRAINED_COPIES = 5.0, 4.5  # of them
STEP_WINDOWS = 2
_LIBRARIES = 100e6  # bytes of what torch loads for its first optimizer


@dataclass(frozen=True, slots=True)
class RecoveryMoment:
    """The bytes of a moment of recovery, by where they are."""

    device: float
    host: float
    stored: float
    has_original: bool = False  # beside the pruned model
    copies_ahead: bool = True  # of offloaded blocks


def pinned_bytes(size: int) -> int:
    """Return the bytes of pinned memory for a tensor; torch takes a power of two."""
    return 1 << (size - 1).bit_length() if size else 0


def recovery_moments(job: Footprint) -> tuple[RecoveryMoment, ...]:
    """Return the moments of the recovery of a job."""
    return tuple(_RecoveryMemory(job).moments())


def trained_weights(job: Footprint, left: int) -> int:
    """Return the number of weights that a training changes, of those that are left."""
    recovery = job.config.recovery
    if not recovery.uses_lora:
        return left
    return sum(recovery.lora_rank * (x.rows + x.columns) for x in job.model.layers)


class _RecoveryMemory:
    def __init__(self, job: Footprint) -> None:
        self._job, self._recovery = job, job.config.recovery
        self._length = job.config.calibration.window_length
        windows = job.recovery_windows
        self._step = min(STEP_WINDOWS, windows) * self._length  # tokens
        tokens = windows * self._length
        states = tokens * job.model.hidden_size * job.each
        is_large = job.tokens(windows) * states >= _LARGE * tokens
        self._states = states if is_large else _STORED * states
        self._held_out = self._states * job.recovery_judges / (windows or 1)
        touched = sum(layer.weights for layer in job.touched)
        self._removed = (touched - job.weights_left) * job.each
        self._left = job.model.prunable - touched + job.weights_left

    def moments(self) -> Iterable[RecoveryMoment]:
        yield self._refit()
        yield self._judgement()
        if self._recovery.reconstructs:
            yield self._reconstruction()
        if self._recovery.trains:
            yield self._training()

    def _refit(self) -> RecoveryMoment:
        job = self._job
        # A layer may keep all that it has, while others lose more.
        layers = job.measured or job.model.layers
        sums, on_host = max(_fit(x, is_pinned=job.is_on_gpu) for x in layers)
        held_out = self._held_out + on_host
        moment = self._with_original(sums, held_out, 3 * self._states)
        return replace(moment, copies_ahead=False)

    def _judgement(self) -> RecoveryMoment:
        tokens = self._job.tokens(self._job.recovery_windows)
        logits = self._logits(tokens) * _JUDGED_COPIES
        return self._with_original(logits, self._held_out, self._states)

    def _reconstruction(self) -> RecoveryMoment:
        share = 1 / max(1, self._job.model.blocks)
        weights = self._left * share
        undo = weights * self._job.each
        trained = self._kept(weights) + weights * _GRADIENT + undo
        device = trained + self._graph * share
        host = self._held_out + weights * _BEST + _LIBRARIES
        return self._with_original(device, host, 3 * self._states)

    def _with_original(
        self, device: float, host: float, stored: float
    ) -> RecoveryMoment:
        """Return a moment with the original beside the pruned model."""
        removed = 0 if self._job.offloads else self._removed
        return RecoveryMoment(device - removed, host, stored, has_original=True)

    def _training(self) -> RecoveryMoment:
        model = self._job.model
        graph = self._graph
        weights = self._left
        in_graph = 0.0  # of weights
        if self._recovery.uses_lora:
            weights = trained_weights(self._job, self._left)
            if self._job.config.pruning.kind in SPARSE:
                in_graph = self._left * _FLOAT  # with the masked adapters
        else:
            in_graph = self._left * _CAST
        logits = self._logits(self._step) * _TRAINED_COPIES
        of_block = graph / max(1, model.blocks)
        if self._recovery.recomputes:
            in_graph /= max(1, model.blocks)
            states = self._step * model.hidden_size * self._number * model.blocks
            # A block has its graph when the logits are gone.
            changing = states + max(of_block + in_graph, logits)
        else:
            changing = graph + in_graph + logits
        # Gradients take the place of the graph, bit by bit.
        changing = max(changing, weights * _GRADIENT + of_block)
        removed = 0 if self._job.offloads else self._removed
        device = changing + self._kept(weights) - removed
        host = self._held_out + weights * _BEST + _LIBRARIES
        if self._job.offloads:
            host += self._masks
        else:
            device += self._masks
        return RecoveryMoment(device, host, self._states - self._held_out)

    @property
    def _masks(self) -> float:
        """A byte for each weight of layers with zeros.

        Adapters do without where whole rows and columns are zero.
        """
        kind = self._job.config.pruning.kind
        needs = kind in SPARSE if self._recovery.uses_lora else kind not in COUPLED
        return sum(x.weights for x in self._job.touched) if needs else 0

    def _kept(self, weights: float) -> float:
        """Return the moments, and what weights need more in float32."""
        wider = 0 if self._recovery.uses_lora else _FLOAT - self._job.each
        return weights * (_MOMENTS + wider)

    @property
    def _graph(self) -> float:
        """The activations of all blocks for a step."""
        touched = {layer.name for layer in self._job.touched}
        others = [x for x in self._job.model.layers if x.name not in touched]
        layers: Iterable[LayerSummary] = (*self._job.remaining, *others)
        numbers = sum(layer.rows + layer.columns for layer in layers)
        return self._step * numbers * self._number * _GRAPH

    @property
    def _number(self) -> int:
        """The bytes of an activation; weights that are trained are float32."""
        return self._job.each if self._recovery.uses_lora else _FLOAT

    def _logits(self, tokens: int) -> float:
        numbers = tokens * self._job.model.vocabulary
        return min(numbers, _LOGITS_AT_ONCE) * _FLOAT


def _fit(layer: LayerSummary, *, is_pinned: bool) -> tuple[float, float]:
    """Return the bytes to fit a layer, and those of its sums that are on the host."""
    square = layer.columns**2 * _FLOAT
    product = layer.columns * layer.rows * _FLOAT
    needed = _SQUARES * square + _PRODUCTS * product
    if square < SUMS_ON_HOST:
        return needed, 0
    held_out = square, product
    on_host = sum(map(pinned_bytes, held_out)) if is_pinned else sum(held_out)
    return needed - sum(held_out), on_host
