"""The language model inside a model that reads images is pruned; all else is kept."""

import json
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Damping, Widths
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.export.export import export_again
from surgeon_engine.model.inspect import describe_files
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.multimodal import MULTIMODAL, image_and_text, save_multimodal
from tests.helpers.runs import Recorder, job, skip_verification

each_family = pytest.mark.parametrize("family", MULTIMODAL)


def job_on(folder: Path, family: str, **settings) -> RunConfig:
    save_multimodal(folder / family, family)
    refit = RecoveryConfig(Recovery.REFIT, general_windows=0)
    plain = {"sparsity": 0.4, "damping": Damping.AUTOMATIC, "recovery": refit}
    return job(folder, family, **plain | settings)


def load(folder: Path):
    return AutoModelForImageTextToText.from_pretrained(
        folder, trust_remote_code=True, dtype="auto"
    ).eval()


@torch.no_grad()
def logits(model, family: str) -> list[torch.Tensor]:
    """Return the logits of a text, and of a text with an image."""
    text = torch.arange(3, 33).view(2, 15)
    return [
        model(input_ids=text, use_cache=False).logits,
        model(**image_and_text(family), use_cache=False).logits,
    ]


_LANGUAGE = re.compile(r"language_model|lm_head")


@pytest.mark.slow
@each_family
def test_blocks_are_those_of_the_language_model(tmp_path, family):
    source = save_multimodal(tmp_path / family, family)
    summary = describe_files(ModelConfig(source=str(source))).model
    assert summary.blocks == 2
    assert all("language_model" in layer.name for layer in summary.layers)
    assert summary.parameters > summary.prunable > 0
    model = load(tmp_path / family)
    towers = [p for n, p in model.named_parameters() if not _LANGUAGE.search(n)]
    assert summary.other_parameters == sum(p.numel() for p in towers) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "format"),
    [*zip(MULTIMODAL, [Format.COMPACT, Format.PLAIN, Format.COMPACT], strict=True)],
)
def test_exports_equal_the_masked_model_for_text_and_images(
    tmp_path, family, format, monkeypatch
):
    skip_verification(monkeypatch)
    widths = Widths.SAME if format is Format.PLAIN else Widths.FREE
    run = tmp_path / "run"
    Recorder().run(job_on(tmp_path, family, widths=widths), run)
    folder = tmp_path / "smaller"
    export_again(str(run), ExportConfig(str(folder), format), RunContext("", print))
    masked, smaller = load(run / "export"), load(folder)
    sizes = [sum(p.numel() for p in model.parameters()) for model in (smaller, masked)]
    assert sizes[0] < 0.9 * sizes[1]
    for ours, theirs in zip(
        logits(smaller, family), logits(masked, family), strict=True
    ):
        assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())
    original = load(tmp_path / family)
    pruned = dict(smaller.named_parameters())
    for name, parameter in original.named_parameters():
        if "language_model.layers" not in name:
            assert torch.equal(pruned[name], parameter), name
    assert (folder / "preprocessor_config.json").read_bytes() == (
        tmp_path / family / "preprocessor_config.json"
    ).read_bytes()


@pytest.mark.runtimes
def test_export_is_verified_in_a_fresh_process(tmp_path):
    config = job_on(tmp_path, "gemma3", export=ExportConfig(format=Format.COMPACT))
    recorder = Recorder().run(config, tmp_path / "run")
    assert not recorder.warnings()
    values = json.loads((tmp_path / "run" / "export" / "config.json").read_text())
    assert values["architectures"] == ["PrunedGemma3ForConditionalGeneration"]
    assert values["text_config"]["num_hidden_layers"] == 2
