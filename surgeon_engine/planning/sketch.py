"""The layers of a model, estimated from its config alone.

The estimate of a run needs the layers, which the engine finds in the model itself. A
model that is not on this computer gets the layers of a usual decoder of its size: four
in the attention, and two or three in the MLP, or a mixture of experts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from surgeon_engine.api.config.pruning import OF_EXPERTS, Coupling, Structure
from surgeon_engine.api.messages.sources import (
    CoupledSummary,
    LayerSummary,
    ModelSummary,
    StructureSupport,
)
from surgeon_engine.api.model_info.header import (
    DTYPES,
    DecoderSizes,
    MixtureSizes,
    ModelFacts,
)
from surgeon_engine.api.model_info.quantization import METHODS, MXFP4

_USUAL_DTYPE = "bfloat16"
_USUAL_BYTES = 2  # bytes of a weight in that dtype


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
        for kind, rows, columns, by in _block(block, sizes, is_gated)
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
        structures=tuple(
            StructureSupport(structure)
            for structure in Structure
            if sizes.mixture is not None or structure not in OF_EXPERTS
        ),
        dtype=_dtype(facts),
        coupled=tuple(
            coupled
            for block in range(sizes.blocks)
            for coupled in _coupled(block, sizes, is_gated)
        ),
        token_parameters=sizes.hidden_size * (1 if is_tied else 2),
        has_mxfp4=facts.dtype == MXFP4.label,
    )


def _dtype(facts: ModelFacts) -> str:
    """Return the number format of the weights; empty if they are quantized."""
    if facts.dtype in {method.label for method in METHODS.values()}:
        return ""
    return facts.dtype if facts.dtype in DTYPES.values() else _USUAL_DTYPE


def _parameters(sizes: DecoderSizes, is_gated: bool, is_tied: bool) -> int:
    blocks = sum(
        rows * columns
        for block in range(sizes.blocks)
        for _, rows, columns, _ in _block(block, sizes, is_gated)
    )
    return blocks + sizes.vocabulary * sizes.hidden_size * (1 if is_tied else 2)


_Layer = tuple[str, int, int, str]  # kind, rows, columns and coupling


def _block(block: int, sizes: DecoderSizes, is_gated: bool) -> list[_Layer]:
    """Return the layers of a block."""
    hidden = sizes.hidden_size
    queries = sizes.heads * sizes.head_size
    keys = sizes.key_value_heads * sizes.head_size
    return [
        ("self_attn.q_proj", queries, hidden, ""),
        ("self_attn.k_proj", keys, hidden, ""),
        ("self_attn.v_proj", keys, hidden, ""),
        ("self_attn.o_proj", hidden, queries, Coupling.HEADS.value),
        *_mlp(*_mlp_of(block, sizes), hidden, is_gated),
        *_experts(_mixture_of(block, sizes), hidden, is_gated),
    ]


def _mixture_of(block: int, sizes: DecoderSizes) -> MixtureSizes | None:
    """Return the mixture of a block; None: it has none."""
    mixture = sizes.mixture
    return mixture if mixture is not None and mixture.is_in(block) else None


def _mlp_of(block: int, sizes: DecoderSizes) -> tuple[str, int]:
    """Return name and width of the MLP that all tokens use; 0: there is none."""
    if (mixture := _mixture_of(block, sizes)) is not None:
        return "mlp.shared_experts", mixture.shared_size
    return "mlp", sizes.intermediate_size


def _mlp(name: str, inner: int, hidden: int, is_gated: bool) -> Iterator[_Layer]:
    if not inner:
        return
    if is_gated:
        yield f"{name}.gate_proj", inner, hidden, ""
    yield f"{name}.up_proj", inner, hidden, ""
    yield f"{name}.down_proj", hidden, inner, Coupling.NEURONS.value


def _experts(
    mixture: MixtureSizes | None, hidden: int, is_gated: bool
) -> Iterator[_Layer]:
    """Yield the experts as one layer: each is a column, with its row of the router."""
    if mixture is not None:
        weights = ((2 + is_gated) * mixture.intermediate_size + 1) * hidden
        yield "mlp.experts", weights, mixture.experts, Coupling.EXPERTS.value


def _coupled(
    block: int, sizes: DecoderSizes, is_gated: bool
) -> Iterator[CoupledSummary]:
    attention = ("o_proj", "q_proj", "k_proj", "v_proj")
    yield CoupledSummary(
        Coupling.HEADS,
        tuple(f"{block}.self_attn.{name}" for name in attention),
        sizes.key_value_heads,
    )
    module, inner = _mlp_of(block, sizes)
    if inner:
        mlp = ("down_proj", *(["gate_proj"] if is_gated else []), "up_proj")
        names = tuple(f"{block}.{module}.{name}" for name in mlp)
        yield CoupledSummary(Coupling.NEURONS, names, inner)
    if (mixture := _mixture_of(block, sizes)) is not None:
        yield CoupledSummary(
            Coupling.EXPERTS,
            (f"{block}.mlp.experts",),
            mixture.experts,
            least=mixture.chosen,
            chosen=mixture.chosen,
            neurons=mixture.intermediate_size,
            weights_per_neuron=(2 + is_gated) * sizes.hidden_size,
        )
