"""Runs on models whose last blocks read keys and values of earlier ones."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Damping, Structure, Widths
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.run import Recovered
from surgeon_engine.base.errors import ModelError
from surgeon_engine.export.export import export_again
from surgeon_engine.model.inspect import describe_files
from surgeon_engine.runtime.run_context import RunContext
from tests.helpers.runs import Recorder, job, skip_verification
from tests.helpers.shared_keys import SMALL, save_model_with_shared_keys


def job_on(folder: Path, family: str, level: Recovery, **settings) -> RunConfig:
    save_model_with_shared_keys(folder / family, family)
    recovery = RecoveryConfig(level, general_windows=0)
    plain = {"sparsity": 0.12, "damping": Damping.AUTOMATIC, "recovery": recovery}
    return job(folder, family, 8, **plain | settings)


def load(folder: Path, family: str):
    is_whole = family == "gemma4"
    auto = AutoModelForImageTextToText if is_whole else AutoModelForCausalLM
    return auto.from_pretrained(folder, trust_remote_code=True, dtype="auto").eval()


@torch.no_grad()
def logits_and_text(model) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits, and tokens that are generated with a cache."""
    ids = torch.arange(3, 33).view(2, 15)
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    text = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    return model(input_ids=ids, use_cache=False).logits, text


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    [
        "gemma4",
        pytest.param("gemma3n_text", marks=pytest.mark.runtimes),
        pytest.param("gemma4_dense", marks=pytest.mark.runtimes),
    ],
)
def test_exports_of_a_recovered_model_are_equal(tmp_path, family, monkeypatch):
    skip_verification(monkeypatch)
    run, compact = tmp_path / "run", tmp_path / "compact"
    recorder = Recorder().run(job_on(tmp_path, family, Recovery.BOTH), run)
    recovered = recorder.of(Recovered)[0]
    assert recovered.steps
    context = RunContext("", print)
    export_again(str(run), ExportConfig(str(compact), Format.COMPACT), context)
    masked, smaller = load(run / "export", family), load(compact, family)
    sizes = [sum(p.numel() for p in model.parameters()) for model in (smaller, masked)]
    assert sizes[0] < sizes[1]
    (ours, text), (theirs, expected) = map(logits_and_text, (smaller, masked))
    assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())
    assert torch.equal(text, expected)


@pytest.mark.slow
def test_plain_export_equals_the_masked_model(tmp_path, monkeypatch):
    """Neurons alone, as many of each block; the MLPs are equally wide."""
    skip_verification(monkeypatch)
    run, plain = tmp_path / "run", tmp_path / "plain"
    widths = {"structure": Structure.NEURONS, "widths": Widths.SAME}
    Recorder().run(job_on(tmp_path, "gemma4_dense", Recovery.OFF, **widths), run)
    export_again(
        str(run), ExportConfig(str(plain), Format.PLAIN), RunContext("", print)
    )
    masked, smaller = load(run / "export", ""), load(plain, "")
    (ours, text), (theirs, expected) = map(logits_and_text, (smaller, masked))
    assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())
    assert torch.equal(text, expected)


def test_model_that_reads_the_keys_of_another_model_raises(tmp_path):
    part = {name: SMALL[name] for name in SMALL if "per_layer_input" not in name}
    part |= {"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 6}
    config = AutoConfig.for_model(
        "gemma4_unified_assistant", text_config=part, backbone_hidden_size=16
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="drafts tokens for another model"):
        describe_files(ModelConfig(source=str(tmp_path)))
