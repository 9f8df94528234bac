"""The model card of an export."""

import logging
from dataclasses import replace

import msgspec
import pytest
from huggingface_hub import ModelCard

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import PruningConfig, Vocabulary
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.config.toml import config_to_toml
from surgeon_engine.api.messages.run import (
    Estimate,
    Exported,
    Fidelity,
    GroupsLeft,
    TokensRemoved,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.export.model_card import model_card, with_judgment
from surgeon_engine.export.provenance import Provenance, provenance_of, published
from surgeon_engine.model.source import ModelSource
from tests.helpers.fake_runs import job, write_run
from tests.helpers.judgments import judgment

UNKNOWN = Provenance()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return a report without fidelities."""
    run = write_run(tmp_path_factory.mktemp("runs"), "run", job())
    found = RunFolder(run).read_report()
    shots = tuple(
        msgspec.structs.replace(
            shot, evaluation=msgspec.structs.replace(shot.evaluation, fidelity=())
        )
        for shot in found.shots
    )
    baseline = msgspec.structs.replace(found.baseline, fidelity=())
    return msgspec.structs.replace(found, shots=shots, baseline=baseline)


def card(report, provenance=UNKNOWN, *auto_class, **changes) -> str:
    exported = Exported("folder", 1, 64, 0.0123, agreement=0.9875)
    exported = msgspec.structs.replace(exported, **changes)
    return model_card("Tiny {{ name }}", report, exported, provenance, *auto_class)


def test_card_of_a_compact_file_names_the_class_that_loads_it(report):
    text = card(report, UNKNOWN, "AutoModelForImageTextToText", format=Format.COMPACT)
    assert "from transformers import AutoModelForImageTextToText" in text
    assert "AutoModelForCausalLM" not in text


@pytest.mark.parametrize("file_format", tuple(Format)[1:])
def test_model_card_has_front_matter_figures_and_recipe(report, file_format):
    text = card(report, format=file_format, checked_with="a program")
    parsed = ModelCard(text)
    assert parsed.data.pipeline_tag == "text-generation"
    assert {"pruned", "surgeon"} <= set(parsed.data.tags)
    assert "prunable weights of Tiny {{ name }} were removed" in text
    assert "3 shots." in text
    one = msgspec.structs.replace(report, shots=report.shots[:1], recovered=None)
    assert "1 shot." in card(one)
    for shot in report.shots:
        assert f"| {shot.evaluation.perplexity:.2f} | {shot.parameters:,} |" in text
    assert "difference is 0.012, " in text
    assert "98.8 %." in text
    assert "```toml\nversion = 1\n\n[model]" in text
    assert text.endswith("\n```\n")
    assert "\n\n\n" not in text


def test_model_card_states_where_the_original_comes_from(report, tmp_path):
    text = card(report, Provenance("org/tiny", "apache-2.0", languages=("en", "fr")))
    data = ModelCard(text).data
    assert (data.base_model, data.license) == ("org/tiny", "apache-2.0")
    assert data.language == ["en", "fr"]
    (tmp_path / "README.md").write_text(text)
    # A later export of the run finds it there.
    expected = Provenance("org/tiny", "apache-2.0", languages=("en", "fr"))
    assert provenance_of(ModelSource("Tiny", tmp_path)) == expected
    assert "license" not in ModelCard(card(report)).data.to_dict()


def test_model_card_has_a_model_index(report):
    plain, measured = (
        ModelCard(card(each)).data
        for each in (report, with_fidelity(report, nats=0.391, perplexity=80.0))
    )
    assert plain.model_name == "Tiny {{ name }}, pruned"
    (only,) = plain.eval_results
    assert only.metric_type == "perplexity"
    figures = {each.metric_type: each.metric_value for each in measured.eval_results}
    assert figures == {"perplexity": 80.0, "KL to the original": 0.391}
    assert {each.dataset_name for each in measured.eval_results} == {"story"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# Tiny",
        "---\nlicense: [\n---\n",
        "---\n- 1\n---\n",
        "---\nlicense: 3\nlanguage: {a: b}\n---\n",
        "---\nmodel-index: 3\n---\n",
    ],
)
def test_damaged_card_states_nothing(text, tmp_path):
    (tmp_path / "README.md").write_text(text)
    assert provenance_of(ModelSource("Tiny", tmp_path)) == Provenance()


def test_card_without_front_matter_states_nothing_and_warns_of_nothing(
    tmp_path, caplog
):
    (tmp_path / "README.md").write_text("# Tiny\n")
    logging.getLogger("huggingface_hub").addHandler(caplog.handler)
    assert provenance_of(ModelSource("Tiny", tmp_path)) == Provenance()
    logging.getLogger("huggingface_hub").removeHandler(caplog.handler)
    assert not caplog.records


def test_recipe_names_no_paths():
    config = RunConfig(
        ModelConfig("/home/me/tiny"),
        CalibrationConfig(
            "/home/me/a.txt",
            "/home/me/b.npy",
            more_texts=(MoreText("/home/me/c.txt"), MoreText("builtin")),
        ),
        pruning=PruningConfig(
            vocabulary=Vocabulary.TOKENS,
            vocabulary_tokens=512,
            kept_texts=("German", "/home/me/e.txt"),
        ),
        export=ExportConfig("/home/me/out"),
        evaluation=EvaluationConfig(texts=("~/d.txt", "hf://datasets/org/e")),
    )
    toml = config_to_toml(published(config))
    assert "home" not in toml
    assert "~" not in toml
    names = ("tiny", "a.txt", "b.npy", "c.txt", "d.txt", "e.txt", "German")
    for name in (*names, "hf://datasets/org/e"):
        assert f'"{name}"' in toml
    hub = RunConfig(ModelConfig("hf://org/tiny@main"))
    assert published(hub) == hub
    assert published(RunConfig()) == RunConfig()


def test_model_card_says_how_the_windows_begin(report):
    assert "each of which begins" not in card(report)
    baseline = msgspec.structs.replace(report.baseline, beginning="<bos>")
    text = card(msgspec.structs.replace(report, baseline=baseline))
    assert "each of which begins with `<bos>`" in text


def test_model_card_has_the_fidelity_on_each_text(report):
    measured = with_fidelity(report, nats=0.391, perplexity=80.0)
    text = card(measured)
    assert (
        "| story, 32 windows of 256 tokens | 0.391 (0.35 to 0.43) | 71.4 % (70 % to "
        "72 %) | 81 % (80 % to 82 %) | 80.00 (75.00 to 85.00) | 60.00 |" in text
    )
    assert "on held-out text\n(story)." in text
    assert "/home" not in text
    assert "with the original: **noticeably different**" in text
    assert "the model is closer to the calibration text than\nthe original" not in text
    assert "\n\n\n" not in text
    below = card(with_fidelity(report, nats=0.391, perplexity=10.0))
    assert "the model is closer to the calibration text than\nthe original" in below
    assert "KL(original" not in card(report)


def test_model_card_has_the_figures_of_the_file(report):
    measured = with_fidelity(report, nats=0.0, perplexity=60.0)
    (of_file,) = with_fidelity(report, nats=0.391, perplexity=80.0).fidelity
    text = card(measured, fidelity=(of_file,))
    assert "0.391 (0.35 to 0.43)" in text
    assert "with the original: **noticeably different**" in text
    assert ModelCard(text).data.eval_results[1].metric_value == 0.391
    assert "**, judged on the file." in text
    note = "before they were rounded"  # the figures of the shots
    assert note in text
    assert note not in card(measured)
    rounded = card(measured, dtype=FileDtype.Q4_0)
    assert "**, judged on the weights before rounding, not on the file." in rounded


def with_fidelity(report, nats, perplexity):
    """Return the report with the fidelity of the pruned model on one text."""

    def measured(evaluation, nats, perplexity):
        found = Fidelity(
            Estimate(nats, 0.35, 0.43),
            Estimate(0.714, 0.7, 0.72),
            Estimate(perplexity, 75.0, 85.0),
            *(32, 256, "/home/me/story"),
            overlap=Estimate(0.81, 0.8, 0.82),
        )
        return msgspec.structs.replace(
            evaluation, perplexity=perplexity, text=found.text, fidelity=(found,)
        )

    replace = msgspec.structs.replace
    *before, last = report.shots
    last = replace(last, evaluation=measured(last.evaluation, nats, perplexity))
    baseline = measured(report.baseline, 0.0, 60.0)
    return replace(report, baseline=baseline, shots=(*before, last), recovered=None)


def test_model_card_of_unverified_file_says_so(report):
    text = card(report, tokens_compared=0, checked_with="gguf 0.19")
    assert (
        "The tensors were read back by gguf 0.19. No program on this machine could run"
        in text
    )


def test_model_card_compares_perplexities(report):
    text = card(report, perplexity=12.34567, expected_perplexity=12.34568)
    assert "Perplexity on the first windows: 12.3457, in memory\n12.3457." in text
    assert "\n\n## Recipe" in text
    assert "Perplexity on the first" not in card(report)


def test_model_card_has_the_latest_judgment(report):
    text = card(report)
    nothing = judgment()
    (found,) = nothing.texts
    named = msgspec.structs.replace(found.fidelity, text="/home/me/story")
    found = msgspec.structs.replace(found, fidelity=named)
    nothing = msgspec.structs.replace(nothing, texts=(found,))
    once = with_judgment(text, nothing)
    assert "\n| story | 0.02" in once
    assert "| arithmetic | 20 of 30 | 12 of 30 | 0.0078 | worse |" in once
    assert "Judged on the file: **noticeably different**" in once
    assert "1 of 1 answers to prompts are equal" in once
    assert with_judgment(once, nothing) == once
    assert (
        once.replace(once[once.index("## What") : once.index("## Verif")], "") == text
    )
    assert "\n\n\n" not in once


def test_card_names_the_tokens_that_are_left(report):
    assert "The vocabulary has" not in card(report)
    measured = Fidelity(*[Estimate(0.5, 0.4, 0.6)] * 3, 4, 32, "a text", compared=0.968)
    baseline = msgspec.structs.replace(report.baseline, fidelity=(measured,))
    fewer = msgspec.structs.replace(
        report, tokens=TokensRemoved(before=2_048, after=1_500), baseline=baseline
    )
    text = card(fewer, fidelity=(measured,))
    assert "The vocabulary has 1,500 of 2,048 tokens." in text
    assert "They are compared at 96.8 % of the tokens" in text
    assert "per token of the original." in text


def test_card_of_fewer_tokens_alone_does_not_say_that_nothing_was_removed(report):
    shots = tuple(
        msgspec.structs.replace(shot, layers=(), sparsity=0.0) for shot in report.shots
    )
    config = replace(report.config, pruning=PruningConfig(sparsity=0.0))
    fewer = msgspec.structs.replace(
        report,
        tokens=TokensRemoved(before=2_048, after=1_500),
        shots=shots,
        config=config,
    )
    text = card(fewer)
    assert "# Tiny {{ name }} with 1,500 tokens" in text
    assert "stored as zeros" not in text
    assert "widths" not in card(fewer, format=Format.PLAIN).partition("## Figures")[0]
    assert "No weights were removed" not in text
    assert "pruned" in ModelCard(text).data.tags


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ((6, 6), "Each block has 6 of 8 experts."),
        ((4, 6), "The blocks have 4 to 6 of 8 experts."),
        ((8, 8), ""),
    ],
)
def test_model_card_says_how_many_experts_are_left(report, kept, words):
    *before, last = report.shots
    layers = tuple(
        msgspec.structs.replace(layer, groups=GroupsLeft("experts", n, 8))
        for layer, n in zip(last.layers, kept, strict=False)
    )
    last = msgspec.structs.replace(last, layers=layers)
    text = card(msgspec.structs.replace(report, shots=(*before, last)))
    assert words in text
    assert ("experts." in text) is bool(words)
    assert "\n\n\n" not in text
