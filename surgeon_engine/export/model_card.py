"""The README.md of an exported checkpoint: recipe, figures, verification."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from huggingface_hub import ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import display_name
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.formatting import format_count, format_percent
from surgeon_engine.api.messages.run import (
    Evaluation,
    Exported,
    Recovered,
    ShotFinished,
    format_estimate,
)
from surgeon_engine.api.planning.target_size import Goal, file_dtype, goal_of
from surgeon_engine.api.run_folder import Report

_LIBRARY = {Format.GGUF: "llama.cpp", Format.ONNX: "onnx"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings and results of the run that pruned a model."""

    config: RunConfig
    goal: Goal
    baseline: Evaluation
    shots: tuple[ShotFinished, ...]
    stopped_early: bool
    recovered: Recovered | None = None

    @classmethod
    def from_report(cls, report: Report) -> Recipe:
        """Return the recipe of a finished run."""
        config = report.config
        goal = goal_of(config.pruning, report.model, file_dtype(config, report.model))
        return cls(
            config,
            goal,
            report.baseline,
            report.shots,
            report.stopped_early,
            report.recovered,
        )


def model_card(name: str, recipe: Recipe, exported: Exported) -> str:
    """Return the model card as Markdown with YAML front matter.

    Args:
        name: Name of the original model.
        recipe: How it was pruned.
        exported: The exported files and the result of their verification.
    """
    config, last = recipe.config, recipe.shots[-1]
    data = ModelCardData(
        library_name=_LIBRARY.get(exported.format, "transformers"),
        pipeline_tag="text-generation",
        tags=["pruned", "surgeon", str(config.pruning.kind)],
    )
    return _template().render(
        card_data=data.to_yaml(),
        name=name,
        removed=sum(layer.removed for layer in last.layers),
        prunable=recipe.goal.prunable,
        version=version("surgeon"),
        structure=display_name(config.pruning.kind),
        method=display_name(config.pruning.method),
        baseline=recipe.baseline,
        shots=recipe.shots,
        last=last,
        recovered=recipe.recovered,
        pruned=(recipe.recovered or last).evaluation,
        exported=exported,
        config=config_to_toml(config),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("surgeon_engine.export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": format_count,
        "percent": format_percent,
        "interval": format_estimate,
    }
    environment.globals |= {
        "nats": "{:.3g}".format,
        "percent": format_percent,
        "perplexity": "{:.2f}".format,
    }
    return environment.get_template("model_card.md.jinja")
