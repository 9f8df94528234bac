"""The README.md of an exported checkpoint: recipe, figures and their protocol."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from huggingface_hub import ModelCardData

from surgeon_engine.config import RunConfig, in_words
from surgeon_engine.events import Corrected, Evaluation, ShotFinished
from surgeon_engine.job_file import config_to_toml
from surgeon_engine.sizes import Goal

_CARD = """\
---
{data}
---

# {name}, pruned by {sparsity:.1%}

{removed:,} of {prunable:,} prunable weights of {name} were removed with
[Surgeon](https://arxiv.org/abs/2312.17244) {version}: method
{method}, structure {structure}, {shots} shots.

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


@dataclass(frozen=True, slots=True)
class Recipe:
    """What was done to the model: what its card tells."""

    config: RunConfig
    goal: Goal
    baseline: Evaluation
    shots: tuple[ShotFinished, ...]
    corrected: Corrected | None = None


def model_card(name: str, recipe: Recipe) -> str:
    """The card as Markdown with YAML front matter."""
    config, baseline, shots = recipe.config, recipe.baseline, recipe.shots
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
    if recipe.corrected is not None:
        rows.append(
            f"| after the correction | {last.sparsity:.2%} "
            f"| {recipe.corrected.evaluation.perplexity:.2f} | {last.parameters:,} |"
        )
    return _CARD.format(
        data=data.to_yaml(),
        name=name,
        sparsity=last.sparsity,
        removed=sum(layer.removed for layer in last.layers),
        prunable=recipe.goal.prunable,
        version=version("surgeon"),
        structure=in_words(config.pruning.structure),
        method=in_words(config.pruning.method),
        shots=last.shot,
        rows="\n".join(rows),
        windows=baseline.windows,
        window_length=baseline.window_length,
        text=baseline.text,
        config=config_to_toml(config),
    )
