"""A mixture of experts for the window: its summary, its routing, and a finished run."""

from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.run import (
    GroupsLeft,
    LayerSparsity,
    Routing,
    ShotFinished,
)
from surgeon_engine.api.messages.sources import LayerSummary, ModelSummary
from surgeon_engine.api.model_info.header import DecoderSizes, MixtureSizes, ModelFacts
from surgeon_engine.planning.sketch import sketch_model

MIXTURE = "a mixture"  # name of its folder
EXPERTS, CHOSEN = 16, 4
SIZES = DecoderSizes(
    4, 64, 96, 4, 2, 16, 512, MixtureSizes(EXPERTS, CHOSEN, 48, shared_size=32)
)


def mixture_summary(sizes: DecoderSizes = SIZES, name: str = MIXTURE) -> ModelSummary:
    """Return the summary of a model with experts in each block."""
    return sketch_model(ModelFacts(name, "MixtureForCausalLM"), sizes)


def routing(block: int, kept: tuple[int, ...] = tuple(range(EXPERTS))) -> Routing:
    """Return a routing in which later experts cost more and get more tokens."""
    tokens = tuple(100 * (expert + block) for expert in range(EXPERTS))
    costs = tuple(1e-4 * (1 + expert + block) for expert in range(EXPERTS))
    return Routing(tokens, costs, kept)


def mixture_job(share: float = 0.3) -> RunConfig:
    """Return a job that removes experts."""
    pruning = PruningConfig(Structure.EXPERTS, sparsity=share)
    return RunConfig(ModelConfig(MIXTURE), pruning=pruning)


def shot_of_experts(model: ModelSummary, removed: tuple[int, ...]) -> ShotFinished:
    """Return a shot that removes the first `removed[block]` experts of each block."""
    layers = tuple(_layer(layer, removed[layer.block]) for layer in model.layers)
    gone = sum(layer.removed for layer in layers)
    return ShotFinished(
        shot=1,
        target=gone / model.prunable,
        sparsity=gone / model.prunable,
        threshold=1e-7,
        parameters=model.parameters - gone,
        evaluation=None,
        layers=layers,
        seconds=1.0,
    )


def _layer(layer: LayerSummary, removed: int) -> LayerSparsity:
    found = LayerSparsity(layer.name, layer.block, layer.kind, layer.weights, 0)
    if not layer.is_experts:
        return found
    kept = EXPERTS - removed
    return LayerSparsity(
        layer.name,
        layer.block,
        layer.kind,
        layer.weights,
        removed * layer.rows,
        cost=1e-3 * (1 + removed),
        rows_kept=layer.rows,
        columns_kept=kept,
        groups=GroupsLeft("experts", kept, EXPERTS),
        routing=routing(layer.block, tuple(range(removed, EXPERTS))),
    )
