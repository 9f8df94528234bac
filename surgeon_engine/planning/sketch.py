"""The layers of a model of which only the config has been read.

The estimate of a run needs the layers, which the engine finds in the model itself. A
model that is not on this computer gets those of a usual decoder of its size: attention
with four layers, and an MLP with two layers or three.
"""

from __future__ import annotations

import itertools

from surgeon_engine.api.config.pruning import Coupling, Structure
from surgeon_engine.api.messages.sources import (
    CoupledSummary,
    LayerSummary,
    ModelSummary,
    StructureSupport,
)
from surgeon_engine.api.model_info.header import DTYPES, DecoderSizes, ModelFacts
from surgeon_engine.api.model_info.quantization import METHODS

_USUAL_DTYPE = "bfloat16"
_USUAL_BYTES = 2  # of a weight in it


def sketch_model(facts: ModelFacts, sizes: DecoderSizes) -> ModelSummary:
    """Return the summary of a usual decoder with these sizes.

    If the number of parameters is known, it decides whether the MLP is gated and
    whether the head shares the weights of the embeddings.
    """
    kinds = itertools.product((True, False), (False, True))  # gated; tied
    is_gated, is_tied = next(kinds)
    if facts.parameters:
        is_gated, is_tied = min(
            (is_gated, is_tied),
            *kinds,
            key=lambda kind: abs(_parameters(sizes, *kind) - facts.parameters),
        )
    parameters = facts.parameters or _parameters(sizes, is_gated, is_tied)
    layers = tuple(
        LayerSummary(f"{block}.{kind}", block, kind, rows, columns, rows * columns, by)
        for block in range(sizes.blocks)
        for kind, rows, columns, by in _block(sizes, is_gated)
    )
    return ModelSummary(
        name=facts.name,
        source=facts.name,
        architecture=facts.architecture,
        parameters=parameters,
        prunable=min(parameters, sum(layer.weights for layer in layers)),
        blocks=sizes.blocks,
        hidden_size=sizes.hidden_size,
        vocabulary=sizes.vocabulary,
        longest_window=facts.longest_window,
        file_bytes=facts.file_bytes or parameters * _USUAL_BYTES,
        cache_width=2 * sizes.blocks * sizes.key_value_heads * sizes.head_size,
        layers=layers,
        structures=tuple(map(StructureSupport, Structure)),
        dtype=_dtype(facts),
        coupled=tuple(
            coupled
            for block in range(sizes.blocks)
            for coupled in _coupled(block, sizes, is_gated)
        ),
        token_parameters=sizes.hidden_size * (1 if is_tied else 2),
    )


def _dtype(facts: ModelFacts) -> str:
    """Return the number format of the weights; empty if they are quantized."""
    if facts.dtype in {method.label for method in METHODS.values()}:
        return ""
    return facts.dtype if facts.dtype in DTYPES.values() else _USUAL_DTYPE


def _parameters(sizes: DecoderSizes, is_gated: bool, is_tied: bool) -> int:
    block = sum(rows * columns for _, rows, columns, _ in _block(sizes, is_gated))
    embeddings = sizes.vocabulary * sizes.hidden_size * (1 if is_tied else 2)
    return embeddings + sizes.blocks * block


def _block(sizes: DecoderSizes, is_gated: bool) -> list[tuple[str, int, int, str]]:
    """Return kind, rows, columns and coupling of each layer of a block."""
    hidden, inner = sizes.hidden_size, sizes.intermediate_size
    queries = sizes.heads * sizes.head_size
    keys = sizes.key_value_heads * sizes.head_size
    return [
        ("self_attn.q_proj", queries, hidden, ""),
        ("self_attn.k_proj", keys, hidden, ""),
        ("self_attn.v_proj", keys, hidden, ""),
        ("self_attn.o_proj", hidden, queries, Coupling.HEADS.value),
        *([("mlp.gate_proj", inner, hidden, "")] if is_gated else []),
        ("mlp.up_proj", inner, hidden, ""),
        ("mlp.down_proj", hidden, inner, Coupling.NEURONS.value),
    ]


def _coupled(
    block: int, sizes: DecoderSizes, is_gated: bool
) -> tuple[CoupledSummary, CoupledSummary]:
    attention = ("o_proj", "q_proj", "k_proj", "v_proj")
    mlp = ("down_proj", *(["gate_proj"] if is_gated else []), "up_proj")
    return (
        CoupledSummary(
            Coupling.HEADS,
            tuple(f"{block}.self_attn.{name}" for name in attention),
            sizes.key_value_heads,
        ),
        CoupledSummary(
            Coupling.NEURONS,
            tuple(f"{block}.mlp.{name}" for name in mlp),
            sizes.intermediate_size,
        ),
    )
