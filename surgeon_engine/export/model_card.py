"""The README.md of an exported checkpoint: recipe, figures and their protocol."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from huggingface_hub import ModelCardData

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import display_name
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.messages.run import (
    Corrected,
    Evaluation,
    Exported,
    ShotFinished,
)
from surgeon_engine.api.planning.target_size import Goal, file_dtype, goal_of
from surgeon_engine.api.run_folder import Report

_CARD = """\
---
{data}
---

# {name}, pruned by {sparsity:.1%}

{removed:,} of {prunable:,} prunable weights of {name} were removed with
[Surgeon](https://arxiv.org/abs/2312.17244) {version}: method
{method}, structure {structure}, {shots} shots.

{form}

## Figures

| | sparsity | perplexity | parameters that remain |
|---|---|---|---|
{rows}

Perplexity is exp of the mean next-token loss over {windows} windows of
{window_length} tokens, without overlap and without added tokens, on held-out text
({text}).

## What was checked

{checked}

## Recipe

```toml
{config}```
"""


_FORMS = {
    Format.MASKED: """\
The checkpoint is **masked**: removed weights are zero and stand in their place, so
that it loads anywhere, and is as large and as fast as the unpruned model in the same
number format.""",
    Format.STOCK: """\
The checkpoint is **plain**: every layer has the same, smaller widths, so that it loads
wherever its architecture is known.""",
    Format.COMPACT: """\
The checkpoint is **compact**: what was removed is gone. Its layers differ in their
widths; the code that builds them lies beside the weights:

```python
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("FOLDER", trust_remote_code=True)
```""",
    Format.GGUF: """\
`model.gguf` is for llama.cpp and the programs that are built on it.""",
    Format.ONNX: """\
`model.onnx`, with its weights beside it, is for onnxruntime. It has no cache: give it
`input_ids` and `attention_mask`, and take `logits`.""",
}
_LIBRARY = {Format.GGUF: "llama.cpp", Format.ONNX: "onnx"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What was done to the model: what its card tells."""

    config: RunConfig
    goal: Goal
    baseline: Evaluation
    shots: tuple[ShotFinished, ...]
    corrected: Corrected | None
    stopped_early: bool

    @classmethod
    def of(cls, report: Report) -> Recipe:
        """What a finished run tells of itself."""
        config = report.config
        goal = goal_of(config.pruning, report.model, file_dtype(config, report.model))
        return cls(
            config,
            goal,
            report.baseline,
            report.shots,
            report.corrected,
            report.stopped_early,
        )


def model_card(name: str, recipe: Recipe, exported: Exported) -> str:
    """The card as Markdown with YAML front matter."""
    config, baseline, shots = recipe.config, recipe.baseline, recipe.shots
    last = shots[-1]
    data = ModelCardData(
        library_name=_LIBRARY.get(exported.format, "transformers"),
        pipeline_tag="text-generation",
        tags=["pruned", "surgeon", str(config.pruning.kind)],
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
        structure=display_name(config.pruning.kind),
        method=display_name(config.pruning.method),
        shots=last.shot,
        rows="\n".join(rows),
        windows=baseline.windows,
        window_length=baseline.window_length,
        text=baseline.text,
        form=_FORMS[exported.format],
        checked=_checked(exported),
        config=config_to_toml(config),
    )


def _checked(exported: Exported) -> str:
    if exported.tokens_compared == 0:
        return f"{exported.checked_with}. Nothing here could run the file."
    text = (
        f"A fresh process loaded the files with {exported.checked_with} and compared "
        f"the logits of {exported.tokens_compared} held-out tokens with those of the "
        f"pruned model in memory: they differ by at most "
        f"{exported.largest_difference:.2g}, and the likeliest next token is the same "
        f"for {exported.agreement:.1%}."
    )
    if exported.perplexity is not None and exported.expected_perplexity is not None:
        text += (
            f" Perplexity on the first windows: {exported.perplexity:.4f}, in memory "
            f"{exported.expected_perplexity:.4f}."
        )
    return text
