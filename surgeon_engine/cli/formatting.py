"""What the terminal says of events, models and runs."""

from __future__ import annotations

from surgeon_engine.api.config.export import DESCRIPTIONS
from surgeon_engine.api.config.pruning import display_name
from surgeon_engine.api.messages.events import Event, Logged
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Corrected,
    DampingChoice,
    Exported,
    RunFinished,
    RunStarted,
    ShotFinished,
    StageStarted,
)
from surgeon_engine.api.messages.sources import Downloading, ModelSummary
from surgeon_engine.api.planning.resource_check import format_bytes
from surgeon_engine.api.run_folder import Report


def line_of(event: Event) -> str:
    """What the terminal says of an event; empty: nothing."""
    match event:
        case RunStarted(folder=folder, model=model, device=device):
            return (
                f"{model.name}: {model.parameters:,} parameters, {model.prunable:,} of "
                f"them prunable; {device}; run folder {folder}"
            )
        case StageStarted(stage=stage, shot=shot):
            return f"  {stage.value}" + (f" (shot {shot})" if shot else "")
        case BaselineEvaluated(evaluation=evaluation):
            return f"baseline: perplexity {evaluation.perplexity:.2f}"
        case ShotFinished(shot=shot, sparsity=sparsity, evaluation=evaluation):
            return (
                f"shot {shot}: sparsity {sparsity:.2%}, "
                f"perplexity {evaluation.perplexity:.2f}, {event.seconds:.0f} s"
                + _damping(event.damping)
            )
        case Corrected(lengths=lengths, evaluation=evaluation):
            steps = ", ".join(f"{length:g}" for length in lengths) or "none"
            return f"correction: steps {steps}; perplexity {evaluation.perplexity:.2f}"
        case Exported():
            return _exported(event)
        case RunFinished(seconds=seconds, peak_memory_bytes=peak):
            return f"done in {seconds:.0f} s, peak memory {format_bytes(peak)}"
        case Downloading(done=done, total=total) if total:
            return f"  {done / 1e6:,.1f} of {total / 1e6:,.1f} MB"
        case Logged(level=level, message=message):
            return f"{level.value}: {message}"
    return ""


def _exported(event: Exported) -> str:
    size = f"{event.format}, {event.dtype}, {event.weight_bytes / 1e6:,.1f} MB"
    if event.tokens_compared == 0:
        return f"exported to {event.folder} ({size}); {event.checked_with}"
    return (
        f"exported and verified: {event.folder} ({size}); {event.checked_with}: "
        f"largest logit difference {event.largest_difference:.2g}, "
        f"{event.agreement:.1%} of the likeliest tokens are the same"
    )


def _damping(choice: DampingChoice | None) -> str:
    if choice is None or choice.tried == 0:
        return ""
    return (
        f"; damping {choice.cost:g} for costs, {choice.update:g} for the update "
        f"(of {choice.tried} that were tried)"
    )


def described(model: ModelSummary) -> str:
    """What a model is and how it can be pruned."""
    lines = [
        f"{model.name} ({model.architecture})",
        f"  parameters        {model.parameters:,}",
        f"  prunable weights  {model.prunable:,} "
        f"({model.prunable / model.parameters:.0%})",
        f"  blocks            {model.blocks}, hidden size {model.hidden_size:,}",
        f"  vocabulary        {model.vocabulary:,}",
        f"  files             {model.file_bytes / 1e6:,.1f} MB",
        "  layers of a block (rows x columns)",
    ]
    lines += [
        f"    {layer.kind:<24}{layer.rows:>7,} x {layer.columns:,}"
        for layer in model.layers
        if layer.block == 0
    ]
    lines.append("  structures")
    lines += [
        f"    {display_name(support.structure):<24}{support.reason or 'yes'}"
        for support in model.structures
    ]
    return "\n".join(lines)


def offers(report: Report) -> str:
    """In which forms the result of a run can be had, and in which it is there."""
    exported = report.exported
    if exported is None:
        return (
            "The export of this run has failed. What was pruned is in "
            f"{report.checkpoint}: give --to FOLDER to export it."
        )
    lines = [f"{exported.format:<10}is in {exported.folder}"]
    for offer in exported.others:
        about = DESCRIPTIONS[offer.format]
        reason = offer.reason or f"{about.can} {about.cannot}".strip()
        lines.append(f"{offer.format:<10}{'no: ' if offer.reason else ''}{reason}")
    return "\n".join(lines)
