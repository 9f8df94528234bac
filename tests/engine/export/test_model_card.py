"""The model card of an export."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest
from huggingface_hub import ModelCard

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.messages.run import Exported
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.export.model_card import Recipe, model_card

RUN = Path(__file__).parents[2] / "fixtures" / "previous_version" / "run"


@pytest.fixture(scope="module")
def report():
    return RunFolder(RUN).read_report()


def card(report, **exported) -> str:
    event = Exported(
        **{
            "folder": "folder",
            "bytes": 1,
            "tokens_compared": 64,
            "largest_difference": 0.0123,
            "agreement": 0.9875,
        }
        | exported
    )
    return model_card("Tiny {{ name }}", Recipe.from_report(report), event)


@pytest.mark.parametrize(
    "file_format", [x for x in Format if x is not Format.AUTOMATIC]
)
def test_model_card_has_front_matter_figures_and_recipe(report, file_format):
    text = card(report, format=file_format, checked_with="a program")
    parsed = ModelCard(text)
    assert parsed.data.pipeline_tag == "text-generation"
    assert {"pruned", "surgeon"} <= set(parsed.data.tags)
    assert "prunable weights of Tiny {{ name }} were removed" in text
    for shot in report.shots:
        assert f"| {shot.evaluation.perplexity:.2f} | {shot.parameters:,} |" in text
    assert "difference is 0.012, " in text
    assert "98.8%." in text
    assert "```toml\n[model]" in text
    assert text.endswith("\n```\n")
    assert "\n\n\n" not in text


def test_model_card_after_correction_has_its_perplexity(report):
    recipe = Recipe.from_report(report)
    assert recipe.corrected is not None
    text = model_card("Tiny", recipe, Exported("folder", 1, 64, 0.0))
    evaluation = recipe.corrected.evaluation
    assert "| after the correction |" in text
    assert f"| {evaluation.perplexity:.2f} |" in text
    recipe = dataclasses.replace(recipe, corrected=None)
    assert "after the correction" not in model_card(
        "Tiny", recipe, Exported("folder", 1, 64, 0.0)
    )


def test_model_card_of_unverified_file_says_so(report):
    text = card(report, tokens_compared=0, checked_with="Its tensors were read back")
    assert "Its tensors were read back. No program on this machine could run" in text


def test_model_card_compares_perplexities(report):
    text = card(report, perplexity=12.34567, expected_perplexity=12.34568)
    assert "Perplexity on the first windows: 12.3457, in memory\n12.3457." in text
    report = msgspec.structs.replace(report, corrected=None)
    assert "Perplexity on the first" not in card(report)
