"""The seconds of a job's passes, by the operations of each and the speed of a machine.

    forward     2 operations for each weight and token, and those of attention
    covariance  2 n^2 for each token and factor of side n
    algebra     n^3 for a factor's Cholesky factor, inverse or solution
    calls       a fixed time for each, most of the total in small models
    copies      of offloaded blocks to a GPU, while it computes

Constants are measured (docs/results.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from surgeon_engine.api.config.run import Dtype, Offload, RunConfig
from surgeon_engine.api.messages.machine import Rates
from surgeon_engine.api.messages.sources import ModelSummary
from surgeon_engine.planning.constants import BYTES, FLOAT

_CALLS = 60  # operations of a block's forward
_BACKWARD_CALLS = 2.5  # of its backward, for each of those
# The share of large products' speed that those of a model reach: 0.2 at a width of 192
# (the demo), and nearly all of it from three times that width on (SmolLM2).
_EFFICIENCY, _WIDTH, _POWER, _MOST = 0.2, 192, 1.37, 0.9
_LOGIT_PASSES = 8  # over the logits, for their loss
_GRAPH_PASSES = 6  # over the activations of a block that are no products
DISK = 400e6  # bytes/s
_DEQUANTISED = 8e6  # weights of a GGUF file turned into floats a second

# Rates of a machine whose speed was not measured: nothing takes time.
UNKNOWN = Rates(dict.fromkeys(Dtype, math.inf), math.inf, math.inf, 0.0)


@dataclass(frozen=True)  # no slots: cached properties need a dictionary
class Speed:
    """The durations of what a job does at given speeds."""

    config: RunConfig
    model: ModelSummary
    rates: Rates

    @property
    def _efficiency(self) -> float:
        grown = (self.model.hidden_size / _WIDTH) ** _POWER
        return min(_MOST, _EFFICIENCY * grown)

    @cached_property
    def products(self) -> float:
        """The flop/s of products in the model's number format."""
        return self.rates.products[self.config.model.dtype] * self._efficiency

    @cached_property
    def fast(self) -> float:
        """The flop/s of gates and recovery: of 16-bit inputs where that is faster."""
        found = self.rates.products
        faster = max(found[self.config.model.dtype], found[Dtype.BFLOAT16])
        return faster * self._efficiency

    @property
    def _bytes(self) -> int:
        return BYTES[self.config.model.dtype]

    @cached_property
    def _block_flops(self) -> int:
        """The operations of all blocks for a token."""
        length, model = self.config.calibration.window_length, self.model
        return 2 * model.prunable + 4 * length * model.hidden_size * model.blocks

    @property
    def _head_flops(self) -> int:
        return 2 * self.model.vocabulary * self.model.hidden_size

    def tokens(self, windows: int) -> int:
        """Return the number of tokens of windows."""
        return windows * self.config.calibration.window_length

    def loading(self) -> float:
        """Return the time to read a model, and to dequantise it if need be."""
        seconds = (self.model.file_bytes + self.model.parameters * self._bytes) / DISK
        if not self.model.dtype:  # it is quantised
            seconds += self.model.parameters / _DEQUANTISED
        return seconds

    def forward(self, windows: int, products: float = 0.0) -> float:
        """Return the time to evaluate the loss on `windows` windows.

        Args:
            windows: how many.
            products: the FLOP/s of products; 0: those of the model's number format.
        """
        tokens = self.tokens(windows)
        flops = tokens * (self._block_flops + self._head_flops)
        logits = tokens * self.model.vocabulary * FLOAT * _LOGIT_PASSES
        computing = (
            flops / (products or self.products)
            + (logits + self._activations(tokens)) / self.rates.moving
            + self._calls(windows)
        )
        return max(computing, self._batches(windows) * self._copying)

    def backward(
        self, windows: int, draws: int, flops: float, products: float
    ) -> float:
        """Return the time of gradients, with some more operations per token."""
        # Each block runs again, and back for each draw.
        flops += (1 + draws) * self._block_flops + draws * self._head_flops
        tokens = self.tokens(windows)
        seconds = self.forward(windows, products)
        seconds += _BACKWARD_CALLS * self._calls(windows)
        seconds += (1 + draws) * self._activations(tokens) / self.rates.moving
        return seconds + tokens * flops / products

    def writing(self, steps: int) -> float:
        """Return the time of passes over one token, without the products."""
        weights = self.model.parameters * self._bytes
        reading = max(weights / self.rates.moving, self._copying)
        return steps * (reading + (self.model.blocks + 1) * _CALLS * self.rates.call)

    def cubic(self, n: int) -> float:
        """Return the time of the inverse of an n x n matrix."""
        return n**3 / self.rates.factorising

    def _batches(self, windows: int) -> int:
        return -(-windows // self.config.calibration.batch)

    def _calls(self, windows: int) -> float:
        blocks = self.model.blocks + 1
        return self._batches(windows) * blocks * _CALLS * self.rates.call

    @property
    def _copying(self) -> float:
        """Return the time in which all offloaded blocks come to a GPU.

        They come while others compute.
        """
        rate, offloads = self.rates.copying, self.config.model.offload is Offload.ON
        return self.model.prunable * self._bytes / rate if offloads and rate else 0.0

    def _activations(self, tokens: int) -> float:
        """Return the bytes read and written between the matrix products."""
        numbers = sum(layer.rows for layer in self.model.layers)
        return tokens * numbers * self._bytes * _GRAPH_PASSES
