"""The memory in which a model runs: its weights, its context and buffers of a batch.

    weights   the bytes of the file
    cache     keys and values of each token in each block, 16 bits each; blocks with a
              sliding window keep the tokens of the window and of one batch
    buffers   for one batch of 512 tokens: activations, 4 F + 3 H numbers of 32 bits for
              each of its tokens, where F is the width of the MLPs and H the hidden
              size; and the mask of the attention, 16 bits for each pair of one of them
              and a token in the cache

This is what llama.cpp reserves at its start for one sequence, with its defaults: flash
attention and a `ubatch` of 512. The cache is exact. The activations are the "compute
buffer size" that it reported for six models, or up to a fifth more (docs/export.md).
Older versions also reserve the logits of the batch. The code of the program, and the
rest of the machine, come on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import Coupling, Structure
from surgeon_engine.api.messages.run import Exported, LayerSparsity
from surgeon_engine.api.messages.sources import LayerSummary, ModelSummary
from surgeon_engine.planning.constants import EXPERT_MATRICES

# Memories that computers and graphics cards have, in GB. In fact most have GiB, which
# leaves 7 % for the driver and the screen.
COMMON_MEMORIES = (
    *(0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80, 96, 128, 192, 256, 512),
)
GIGABYTE = 1_000_000_000

_CACHE_BYTES = 2  # bytes of a number in keys and values
_PADDING = 256  # tokens: the cache has room for a multiple of it
_BATCH = 512  # tokens that are computed at once
_BYTES = 4  # bytes of an activation
_MASK_BYTES = 2
_MLP_BUFFERS, _HIDDEN_BUFFERS = 4, 3  # buffers that exist at once

HeadsLeft = Mapping[int, float]  # the share of its heads that a block keeps


def memory_beside_weights(
    context: int, model: ModelSummary, left: HeadsLeft | None = None
) -> int:
    """Return the bytes that a model needs besides its file: context and buffers.

    `context` counts the tokens of prompt and answer together. `left` has the share of
    the key-value heads that blocks keep; others keep all.
    """
    left = left or {}
    cache = sum(
        round(size * left.get(block, 1.0))
        for block, size in _cache_bytes(context, model).items()
    )
    return cache + _buffer_bytes(context, model)


@dataclass(frozen=True, slots=True)
class PlannedContext:
    """The memory beside the weights of a model from which weights are removed."""

    tokens: int  # at most as many as the model supports
    bytes: int  # beside the weights of the original
    heads: int = 0  # removable heads; 0: they do not count
    weights_per_head: int = 1
    bytes_per_head: int = 0  # keys and values

    def beside(self, removed: int) -> int:
        """Return the bytes beside the weights once so many weights are removed."""
        heads = min(self.heads, removed // self.weights_per_head)
        return self.bytes - heads * self.bytes_per_head


@lru_cache(maxsize=64)
def planned_context(
    context: int, model: ModelSummary, kind: Structure
) -> PlannedContext:
    """Return the memory that a context takes in a planned model.

    Removed heads count only where all removed weights belong to heads. Where neurons
    are removed, too, the costs decide how many heads are, so all of them count.
    `context` counts the tokens of prompt and answer together, and is capped at the
    model's maximum.
    """
    context = usable_context(context, model)
    whole = memory_beside_weights(context, model)
    heads = [each for each in model.coupled if each.kind is Coupling.HEADS]
    if kind is not Structure.HEADS or not heads:
        return PlannedContext(context, whole)
    layers, cache = _by_name(model), _cache_bytes(context, model)
    return PlannedContext(
        context,
        whole,
        sum(each.groups for each in heads),
        max(
            sum(layers[x].weights for x in each.layers) // each.groups for each in heads
        ),
        min(cache[layers[each.layers[0]].block] // each.groups for each in heads),
    )


def memory_of_export(
    exported: Exported,
    layers: Iterable[LayerSparsity],
    context: int,
    model: ModelSummary,
) -> int:
    """Return the bytes that an exported model needs to run, with its remaining heads.

    `layers` has the sparsity of each layer after the run. `context` counts the tokens
    of prompt and answer together.
    """
    left = {} if exported.format is Format.MASKED else heads_left(layers)
    return exported.weight_bytes + memory_beside_weights(context, model, left)


def heads_left(layers: Iterable[LayerSparsity]) -> dict[int, float]:
    """Return the share of its heads that each block has kept, where it is known."""
    return {
        layer.block: layer.groups.kept / layer.groups.of
        for layer in layers
        if layer.groups is not None and layer.groups.kind == Coupling.HEADS
    }


def smallest_memory(needed: int, gigabyte: int = GIGABYTE) -> float | None:
    """Return the smallest common memory with `needed` bytes, in GB; None: none has."""
    return next((x for x in COMMON_MEMORIES if needed <= x * gigabyte), None)


def usable_context(context: int, model: ModelSummary) -> int:
    """Return a context that the model supports: at most its longest window."""
    return min(context, model.longest_window or context)


def _cache_bytes(context: int, model: ModelSummary) -> dict[int, int]:
    """Return the bytes of the keys and values of each block."""
    cells, in_window = _cells(context, model)
    return {
        block: _CACHE_BYTES
        * width
        * (in_window if block in model.window_blocks else cells)
        for block, width in _cache_widths(model).items()
    }


def _cells(context: int, model: ModelSummary) -> tuple[int, int]:
    """Return the tokens in the cache of a block, and of one with a sliding window."""
    cells = _padded(context)
    return cells, min(cells, _padded(model.attention_window + _BATCH))


def _cache_widths(model: ModelSummary) -> dict[int, int]:
    """Return how many numbers a token adds to the keys and values of each block.

    The producers of heads have rows for queries, keys and values; the consumer has as
    many columns as queries have rows. If heads are unknown, all blocks count alike.
    """
    layers, widths = _by_name(model), dict.fromkeys(range(model.blocks), 0)
    for each in model.coupled:
        if each.kind is Coupling.HEADS:
            consumer, *producers = (layers[name] for name in each.layers)
            rows = sum(layer.rows for layer in producers)
            widths[consumer.block] += rows - consumer.columns
    if sum(widths.values()) != model.cache_width:
        return {block: -(-model.cache_width // model.blocks) for block in widths}
    return widths


def _buffer_bytes(context: int, model: ModelSummary) -> int:
    hidden, chosen = model.hidden_size, {x.layers[0]: x.chosen for x in model.experts}
    widths = [x.columns for x in model.layers if x.coupling == Coupling.NEURONS]
    # The outputs of all experts of a token exist at once.
    widths += [
        chosen[x.name] * max(hidden, x.rows // (EXPERT_MATRICES * hidden))
        for x in model.layers
        if x.is_experts
    ]
    if not widths:  # the MLPs are not known
        widths = [max(x.rows, x.columns) for x in model.layers]
    numbers = _MLP_BUFFERS * max(widths, default=0)
    numbers += _HIDDEN_BUFFERS * hidden
    cells, in_window = _cells(context, model)
    seen = cells + (in_window if model.window_blocks else 0)
    return min(_BATCH, context) * (_BYTES * numbers + _MASK_BYTES * seen)


def _by_name(model: ModelSummary) -> dict[str, LayerSummary]:
    return {layer.name: layer for layer in model.layers}


def _padded(tokens: int) -> int:
    return -(-tokens // _PADDING) * _PADDING
