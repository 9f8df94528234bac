"""The README.md of an exported checkpoint: recipe, figures, verification."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import display_name
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.messages.judgment import Judgment
from surgeon_engine.api.messages.run import (
    Evaluation,
    Exported,
    Fidelity,
    experts_left,
    format_estimate,
    neurons_left,
)
from surgeon_engine.api.report import Report
from surgeon_engine.api.verdict import (
    basis_of,
    file_fidelity,
    judged_verdict,
    verdict_of,
)
from surgeon_engine.base.formatting import format_count, format_percent
from surgeon_engine.export.provenance import TAG, Provenance, public_name, published
from surgeon_engine.planning.target_size import prunable_weights

_JUDGMENT, _VERIFICATION = "## What was lost\n", "## Verification\n"


def model_card(
    name: str,
    report: Report,
    exported: Exported,
    provenance: Provenance,
    auto_class: str = "AutoModelForCausalLM",
) -> str:
    """Return the model card as Markdown with YAML front matter.

    The report's `exported` is not read. `auto_class` loads a compact file.
    """
    config, last, pruned = report.config, report.shots[-1], report.evaluation
    fidelity = file_fidelity(exported, pruned)
    results = tuple(_results(fidelity, pruned, report.baseline))
    return _template("model_card.md.jinja").render(
        card_data=card_data(name, report, exported.format, provenance, results),
        name=name,
        auto_class=auto_class,
        removed=sum(layer.removed for layer in last.layers),
        prunable=prunable_weights(config.pruning, report.model),
        version=version("surgeon"),
        structure=display_name(config.pruning.structure),
        method=display_name(config.pruning.method),
        baseline=report.baseline,
        shots=report.shots,
        last=last,
        recovered=report.recovered,
        tokens=report.tokens,
        experts=experts_left(last.layers),
        neurons=neurons_left(last.layers),
        compared=[x.compared for x in fidelity if x.compared is not None],
        pruned=pruned,
        fidelity=fidelity,
        verdict=verdict_of(fidelity, report.baseline.fidelity),
        basis=basis_of(exported),
        exported=exported,
        config=config_to_toml(published(config)),
    )


def card_data(
    name: str,
    report: Report,
    file_format: Format,
    provenance: Provenance,
    results: Sequence[EvalResult] = (),
) -> str:
    """Return the front matter of a card, without its delimiters."""
    removed = any(layer.removed for layer in report.shots[-1].layers)
    is_pruned = removed or report.tokens is not None
    data = ModelCardData(
        base_model=provenance.base_model or None,
        license=provenance.license or None,
        license_name=provenance.license_name or None,
        license_link=provenance.license_link or None,
        language=list(provenance.languages) or None,
        library_name="llama.cpp" if file_format is Format.GGUF else "transformers",
        pipeline_tag="text-generation",
        tags=["pruned", TAG, str(report.config.pruning.structure)]
        if is_pruned
        else [TAG],
        model_name=f"{name}, pruned" if is_pruned else name,
        eval_results=list(results) or None,
    )
    return data.to_yaml()


def _results(
    fidelity: Sequence[Fidelity], pruned: Evaluation, baseline: Evaluation
) -> Iterator[EvalResult]:
    """Yield the figures of the card as entries of a model index."""
    for each in fidelity:
        yield _result(each.text, "perplexity", each.perplexity.value)
        yield _result(each.text, "KL to the original", each.divergence.value)
        if each.bits_per_byte is not None:
            yield _result(each.text, "bits per byte", each.bits_per_byte.value)
    if not fidelity:
        yield _result(baseline.text, "perplexity", pruned.perplexity)


def _result(text: str, metric: str, value: float) -> EvalResult:
    dataset = Path(text).name or "held-out text"
    return EvalResult(
        task_type="text-generation",
        dataset_type="text",
        dataset_name=dataset,
        metric_type=metric,
        metric_value=round(value, 4),
    )


def with_judgment(card: str, judgment: Judgment) -> str:
    """Return a model card with the figures of a judgment, in place of earlier ones."""
    section = _template("judgment.md.jinja").render(
        judgment=judgment,
        verdict=judged_verdict(judgment),
        equal=sum(each.parts_at is None for each in judgment.prompts),
    )
    before, _, rest = card.partition(_VERIFICATION)
    before, _, _ = before.partition(_JUDGMENT)
    return f"{before}{section}{_VERIFICATION}{rest}"


@cache
def _template(name: str) -> Template:
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
        "public_name": public_name,
    }
    environment.globals |= {
        "nats": "{:.3g}".format,
        "percent": format_percent,
        "perplexity": "{:.2f}".format,
        "bits": "{:.3f}".format,
        "signed": "{:+.3f}".format,
    }
    return environment.get_template(name)
