"""A job as its stages see it: layers, windows, and the sizes of what several hold.

Bytes count the engine's tensors:

    weights     the model, in the number format in which it is pruned; the device holds
                two offloaded blocks at a time, and the host all or none
    references  the original's last hidden states on the windows that judge
    factors     A and G of all measured layers, or their gate gradients, float32
    record      the input of each block for all windows, and one gradient (collect.py)
    kept        a copy of the weights during a trial
    undone      copies that a quality budget keeps to roll back a shot
    unrecovered a copy that the final recovery keeps to roll it back
    head        the head of the original for its predictions in fewer tokens
    unshared    embeddings and head of the original that its pruned model does not share

Protected layers count as if they were pruned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import msgspec

from surgeon_engine.api.config.pruning import COUPLED, COUPLINGS, SPARSE, Method
from surgeon_engine.api.config.run import Dtype, Offload, RunConfig
from surgeon_engine.api.messages.machine import Rates
from surgeon_engine.api.messages.sources import LayerSummary, ModelSummary
from surgeon_engine.planning.constants import (
    ATTENTION_AT_ONCE,
    ATTENTION_QUERIES,
    BYTES,
    FLOAT,
    HELD_OUT,
    HOST_SHARE,
    SHIPPED_TOKENS,
    pinned_bytes,
)
from surgeon_engine.planning.measured_before import Kind
from surgeon_engine.planning.target_size import PlannedSize, planned_size

# Rates of a machine whose speed was not measured: nothing takes time.
UNKNOWN = Rates(dict.fromkeys(Dtype, math.inf), math.inf, math.inf, 0.0)
_HEADERS = 0.01  # maximum share of a file's bytes
_BLOCKS = 2  # offloaded blocks that the device holds at once


@dataclass(frozen=True)  # no slots: cached properties need a dictionary
class Job:
    """A config, its model, and what the machine has for it."""

    config: RunConfig
    model: ModelSummary
    size: PlannedSize
    # Bytes of the device that hidden states may take.
    store_on_device: float = 0.0
    is_on_gpu: bool = False
    free_on_host: float = math.inf  # bytes; what has no room there goes to files
    rates: Rates = UNKNOWN
    measured_before: frozenset[Kind] = frozenset()  # and kept on the disk

    @classmethod
    def of(cls, config: RunConfig, model: ModelSummary) -> Job:
        """Return a job on a machine with all memory."""
        return cls(config, model, planned_size(config, model))

    # layers

    @cached_property
    def touched(self) -> tuple[LayerSummary, ...]:
        """The layers that lose weights."""
        pruning = self.config.pruning
        if pruning.structure not in COUPLED and not pruning.removes_nothing:
            return self.model.linear_layers
        places = {(layer.block, place(layer)) for layer in self.measured}
        return tuple(x for x in self.model.layers if (x.block, place(x)) in places)

    @cached_property
    def measured(self) -> tuple[LayerSummary, ...]:
        """The layers whose curvature is measured."""
        if self.config.pruning.removes_nothing:
            return ()
        wanted = COUPLINGS.get(self.config.pruning.structure)
        if wanted is None:
            return self.model.linear_layers
        return tuple(x for x in self.model.layers if x.coupling in wanted)

    @cached_property
    def remaining(self) -> tuple[LayerSummary, ...]:
        """The touched layers at recovery; coupled ones are smaller by then.

        With a quality budget, recovery may come before they get smaller.
        """
        pruning, goal = self.config.pruning, self.size.goal
        if (
            pruning.structure not in COUPLED
            or pruning.has_quality_limit
            or goal is None
        ):
            return self.touched
        stays = max(0.0, 1 - goal.removed / max(1, self.touched_weights))
        return tuple(_scaled_layer(layer, stays) for layer in self.touched)

    def as_used(self, layers: Iterable[LayerSummary]) -> tuple[LayerSummary, ...]:
        """Return layers as a token uses them: only the experts that it chooses.

        Their rows are all numbers that these make of the token.
        """
        hidden = self.model.hidden_size
        chosen = {x.layers[0]: x.chosen for x in self.model.experts}
        return tuple(
            msgspec.structs.replace(
                x,
                rows=chosen[x.name] * (x.rows // hidden + hidden),
                columns=hidden,
                weights=chosen[x.name] * x.rows,
            )
            if x.is_experts
            else x
            for x in layers
        )

    @cached_property
    def used_layers(self) -> tuple[LayerSummary, ...]:
        """All layers of the original as a token uses them."""
        return self.as_used(self.model.layers)

    @cached_property
    def active_weights(self) -> int:
        """The number of weights in the blocks that a token uses."""
        return self.model.prunable - self.model.idle_parameters

    @cached_property
    def touched_weights(self) -> int:
        """The number of weights of the touched layers."""
        return sum(layer.weights for layer in self.touched)

    @cached_property
    def weights_left(self) -> int:
        """The number of prunable weights at recovery."""
        others = self.model.prunable - self.touched_weights
        return others + sum(layer.weights for layer in self.remaining)

    # windows

    @property
    def judging_windows(self) -> int:
        """The number of windows of each evaluation, of all texts."""
        evaluation = self.config.evaluation
        calibration = self.config.calibration
        others = max(1, len(evaluation.texts)) + len(calibration.more_texts)
        return calibration.validation_windows + others * evaluation.windows

    @property
    def held_out(self) -> int:
        """The number of held-out calibration windows."""
        judges = self.config.pruning.searches_damping
        return self.config.calibration.windows // HELD_OUT if judges else 0

    @property
    def fitted(self) -> int:
        """The number of calibration windows that are not held out."""
        return self.config.calibration.windows - self.held_out

    @property
    def recovery_windows(self) -> int:
        """The windows of the user's text and of general text, for recovery."""
        if not self.config.recovery.recovers:
            return 0
        return self.config.calibration.windows + self.config.general_windows

    @property
    def all_shipped_windows(self) -> int:
        """The number of windows of the whole shipped text, approximately."""
        return SHIPPED_TOKENS // self.length

    @property
    def shipped_windows(self) -> int:
        """The number of shipped windows in general text."""
        return min(self.config.shipped_windows, self.all_shipped_windows)

    @property
    def own_windows(self) -> int:
        """The number of windows of general text that the original writes."""
        return self.config.general_windows - self.shipped_windows

    def tokens(self, windows: int) -> int:
        """Return the tokens of a batch of at most so many windows."""
        return min(self.config.calibration.batch, windows) * self.length

    @property
    def length(self) -> int:
        """The tokens of a window."""
        return self.config.calibration.window_length

    # the model in memory, in bytes

    @property
    def each(self) -> int:
        """A weight in memory."""
        return BYTES[self.config.model.dtype]

    @property
    def weights(self) -> int:
        """The model in memory."""
        return self.model.parameters * self.each

    @property
    def offloads(self) -> bool:
        """Whether the blocks are offloaded."""
        return self.config.model.offload is Offload.ON

    @property
    def weights_on_device(self) -> float:
        """The model on the device; if blocks are offloaded, one and the next."""
        if not self.offloads:
            return self.weights
        return self.weights - self.of_blocks + self.visiting

    @property
    def visiting(self) -> float:
        """The offloaded blocks that the device holds at once."""
        return min(_BLOCKS, self.model.blocks) * self.of_blocks / self.model.blocks

    @property
    def ahead(self) -> float:
        """The offloaded blocks of both models that are copied ahead."""
        if self.model.blocks < _BLOCKS:
            return 0
        return (1 + self.offloads) * self.of_blocks / self.model.blocks

    @property
    def of_blocks(self) -> int:
        """The weights of all blocks."""
        return self.model.prunable * self.each

    @property
    def weights_on_host(self) -> float:
        """The offloaded blocks, unless they are left in files."""
        fits = self.offloads and self.pinned <= self.room()
        return self.pinned if fits else 0

    @cached_property
    def pinned(self) -> int:
        """The blocks in memory of the host; beside a GPU it is pinned."""
        if not self.is_on_gpu:
            return self.of_blocks
        sizes = (layer.rows * layer.columns * self.each for layer in self.model.layers)
        return sum(map(pinned_bytes, sizes))

    @property
    def is_converted(self) -> bool:
        """Whether the files hold another number format.

        Their header makes them slightly larger than the weights.
        """
        difference = abs(self.model.file_bytes - self.weights)
        return difference > _HEADERS * self.weights

    @property
    def unmapped(self) -> int:
        """The model in the machine's memory, without what stays in its files."""
        stays = self.offloads and not (self.is_converted and self.model.is_gguf)
        return self.weights - (self.of_blocks if stays else 0)

    @property
    def copied_to_files(self) -> int:
        """The blocks in temporary files, used in place of the model's own files.

        Their weights are converted, dequantized, or joined from single experts.
        """
        is_computed = self.is_converted or bool(self.model.experts)
        return self.of_blocks if self.offloads and is_computed else 0

    # bytes held beside the model

    @property
    def references(self) -> int:
        """The original's last hidden states on the windows that judge."""
        tokens = (self.judging_windows + self.held_out) * self.length
        return tokens * self.model.hidden_size * self.each

    @property
    def kept(self) -> int:
        """A copy of the touched layers."""
        return self.touched_weights * self.each

    @property
    def undone(self) -> int:
        """Copies of the layers, by which a quality budget rolls back a shot.

        With recovery, the copies are of four states: before a shot, after it,
        recovered, and recovered after the last shot.
        """
        if not self.config.pruning.has_quality_limit:
            return 0
        copies = 4 if self.recovery_windows else 1
        return copies * sum(layer.weights for layer in self.model.layers) * self.each

    @property
    def unrecovered(self) -> int:
        """A copy from before the final recovery; 0 with a quality budget."""
        if self.undone or not self.recovery_windows:
            return 0
        return self.weights_left * self.each

    @property
    def head(self) -> int:
        """The original's head beside a model with fewer tokens."""
        if not self.config.pruning.removes_tokens:
            return 0
        return self.model.vocabulary * self.model.hidden_size * self.each

    @property
    def unshared(self) -> int:
        """The original's embeddings and head, once its blocks are loaded again."""
        if not self.config.pruning.removes_tokens:
            return 0
        return self.model.vocabulary * self.model.token_parameters * self.each

    @cached_property
    def factors(self) -> int:
        """A and G of the measured layers, or their gate gradients."""
        pruning = self.config.pruning
        if pruning.method is Method.FIRST_ORDER:
            return self._gates
        if not pruning.measures_factors:
            return 0
        A = sum(width(layer) ** 2 for layer in readers(self.measured))
        rows = self.measured if pruning.measures_gradients else ()
        return (A + sum(layer.rows**2 for layer in rows)) * FLOAT

    @property
    def _gates(self) -> int:
        structure = self.config.pruning.structure
        windows = self.config.calibration.windows
        if structure in SPARSE:
            return sum(layer.weights for layer in self.measured) * FLOAT
        numbers = sum(width(x) for x in self.measured)
        if structure not in COUPLED:
            numbers += sum(x.rows for x in self.measured)
        return windows * numbers * FLOAT

    @property
    def factors_on_device(self) -> float:
        """Factors that a GPU holds at once: of one block, if gradients are measured."""
        blocks = max(1, self.model.blocks)
        return self.factors / (blocks if self.config.pruning.measures_gradients else 1)

    def record(self, windows: int) -> int:
        """Return the recorded inputs of the blocks, for the backward."""
        if not self.config.pruning.measures_gradients:
            return 0
        numbers = windows * self.length
        return (self.model.blocks + 1) * numbers * self.model.hidden_size * self.each

    def scores(self, tokens: int, *, in_graph: bool = False) -> int:
        """Return the bytes of the scores that an attention holds, usually 0.

        They are held in the model's dtype, and in float32 before and after the softmax.
        A graph keeps only scores after the softmax, in both dtypes. On a CPU it keeps
        only the scores of short windows, for the keys up to each query.

        Args:
            tokens: the tokens of a batch.
            in_graph: whether to count only the scores that a graph keeps.
        """
        model, keys = self.model, self.length
        if in_graph and not (model.score_heads or self.is_on_gpu):
            is_held = keys <= ATTENTION_QUERIES
            read = (keys + ATTENTION_AT_ONCE) // 2
            return is_held * model.heads * tokens * read * self.each
        numbers = model.score_heads * tokens * keys
        return numbers * (self.each + (1 if in_graph else 2) * FLOAT)

    def room(self, held: float = 0.0) -> float:
        """Return the bytes that a store may take in main memory beside `held` bytes."""
        return HOST_SHARE * max(0.0, self.free_on_host - held)

    def with_store(self, held: float, stored: float) -> float:
        """Return the bytes in memory with a store beside `held` bytes."""
        return held + min(stored, self.room(held))

    def beyond_device(self, states: float) -> float:
        """Return how much of a store of hidden states is not on the device."""
        return max(0, states - self.store_on_device)


def readers(layers: Iterable[LayerSummary]) -> list[LayerSummary]:
    """Return the first layer of each set that reads the same input and shares one A.

    The layers of a part of a block, such as `self_attn`, read the same input, except
    the one whose columns are heads or neurons.
    """
    seen: dict[tuple[int, str, int, bool], LayerSummary] = {}
    for layer in layers:
        key = (layer.block, place(layer), width(layer), bool(layer.coupling))
        seen.setdefault(key, layer)
    return list(seen.values())


def _scaled_layer(layer: LayerSummary, stays: float) -> LayerSummary:
    """Return a layer with a share of its heads, neurons or experts."""
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
    """Return the number of columns, including a bias."""
    return layer.weights // layer.rows


def place(layer: LayerSummary) -> str:
    """Return the part of a block that has the layer: `mlp` for `mlp.down_proj`."""
    return layer.kind.rpartition(".")[0]
