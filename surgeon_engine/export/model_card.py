"""The README.md of an exported checkpoint: recipe, figures and their protocol."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from huggingface_hub import ModelCardData

from surgeon_engine.config import RunConfig, config_to_toml
from surgeon_engine.events import Evaluation, ShotFinished

_CARD = """\
---
{data}
---

# {name}, pruned by {sparsity:.1%}

{removed:,} of {prunable:,} prunable weights of {name} were removed with
[Surgeon](https://arxiv.org/abs/2312.17244) {version}: structure
{structure}, {shots} of {planned} shots.

The checkpoint is **masked**: removed weights are zero and stand in their place, so
that it loads anywhere, and is as large and as fast as the unpruned model in the same
number format.

## Figures

| | sparsity | perplexity | parameters that remain |
|---|---|---|---|
{rows}

Perplexity is exp of the mean next-token loss over {windows} windows of
{window_length} tokens, without overlap and without added tokens, on held-out text
({text}).

## Recipe

```toml
{config}```
"""


def model_card(
    name: str, config: RunConfig, baseline: Evaluation, shots: Sequence[ShotFinished]
) -> str:
    """The card as Markdown with YAML front matter."""
    last = shots[-1]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["pruned", "surgeon", str(config.pruning.structure)],
    )
    rows = [f"| before | 0 % | {baseline.perplexity:.2f} | |"] + [
        f"| shot {shot.shot} | {shot.sparsity:.2%} | {shot.evaluation.perplexity:.2f} "
        f"| {shot.parameters:,} |"
        for shot in shots
    ]
    return _CARD.format(
        data=data.to_yaml(),
        name=name,
        sparsity=last.sparsity,
        removed=sum(layer.removed for layer in last.layers),
        prunable=sum(layer.weights for layer in last.layers),
        version=version("surgeon"),
        structure=config.pruning.structure.replace("_", " "),
        shots=last.shot,
        planned=config.pruning.shots,
        rows="\n".join(rows),
        windows=baseline.windows,
        window_length=baseline.window_length,
        text=baseline.text,
        config=config_to_toml(config),
    )
