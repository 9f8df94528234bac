"""Exports are verified by a fresh process and complete, or not written at all."""

import dataclasses
import functools
import json
import math
import re
import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Structure, Target
from surgeon_engine.api.export_marker import write_marker
from surgeon_engine.api.messages.commands import Cancel
from surgeon_engine.api.messages.events import Envelope, Logged
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Exported,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.base.decoding import decode_json
from surgeon_engine.base.errors import (
    ConfigError,
    EngineError,
    ExportError,
    RunCancelled,
)
from surgeon_engine.compaction.restore import load_compact, restore
from surgeon_engine.export import export as module
from surgeon_engine.export.base import VerificationResult
from surgeon_engine.export.export import export_again
from surgeon_engine.export.formats import WRITERS
from tests.helpers.exports import flip
from tests.helpers.runs import Recorder, job, run, skip_verification

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_runs")]

WHOLE = (Structure.HEADS_AND_NEURONS, Structure.ROWS_AND_COLUMNS)


def job_with(tmp_path, export: ExportConfig, family: str = "llama", **pruning):
    return job(tmp_path, family, **pruning, export=export)


def run_to(folder, form: Format, name: str = "run", **settings) -> Exported:
    config = job_with(folder, ExportConfig(format=form), **settings)
    (event,) = Recorder().run(config, folder / name).of(Exported)
    return event


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a function that makes a run once for all tests with these settings."""

    @functools.cache
    def made(form: Format, **settings) -> tuple[Exported, Path]:
        folder = tmp_path_factory.mktemp("finished")
        return run_to(folder, form, **settings), folder / "run"

    return made


@pytest.fixture
def exported(finished, tmp_path):
    """Return a function that copies a finished run; it returns the run's export."""

    def copied(form, name="run", structure=WHOLE[0], **settings) -> Exported:
        event, folder = finished(form, structure=structure, **settings)
        shutil.copytree(folder, tmp_path / name)
        return event

    return copied


def again(
    tmp_path, form: Format, name: str, *, replace: bool = False, **settings
) -> Exported:
    config = ExportConfig(str(tmp_path / name), form, **settings)
    folder, context = str(tmp_path / "run"), Recorder().context
    return export_again(folder, config, context, replace=replace)


def weights_of(folder) -> dict[str, torch.Tensor]:
    tensors = {}
    for path in folder.glob("model*.safetensors"):
        tensors |= load_file(path)
    return tensors


@pytest.mark.runtimes
@pytest.mark.fresh_process
@pytest.mark.parametrize("structure", WHOLE)
def test_compact_checkpoint_is_smaller_and_computes_the_same(
    tmp_path, structure, monkeypatch
):
    event = run_to(tmp_path, Format.COMPACT, structure=structure)
    assert event.format is Format.COMPACT
    assert event.tokens_compared > 0
    assert event.agreement == 1
    assert event.perplexity == pytest.approx(event.expected_perplexity, rel=1e-4)
    assert event.checked_with.startswith("transformers")
    skip_verification(monkeypatch)
    masked = run_to(tmp_path, Format.MASKED, "masked", structure=structure)
    assert event.weight_bytes < masked.weight_bytes
    kept = sum(x.numel() for x in weights_of(tmp_path / "run/export").values())
    assert kept < sum(
        x.numel() for x in weights_of(tmp_path / "masked/export").values()
    )
    card = (tmp_path / "run" / "export" / "README.md").read_text()
    assert "trust_remote_code=True" in card
    assert "100 %" in card


@pytest.mark.parametrize("structure", WHOLE)
def test_restore_compact_checkpoint_gives_masked_model(exported, tmp_path, structure):
    settings = {"structure": structure, "sparsity": 0.4}
    masked = run(tmp_path, name="masked", **settings)
    exported(Format.COMPACT, **settings)
    pruned = restore(tmp_path / "run" / "export", "Tiny")
    ids = torch.arange(1, 20).unsqueeze(0)
    small = load_compact(tmp_path / "run" / "export")
    model = AutoModelForCausalLM.from_pretrained(masked.folder / "export")
    with torch.no_grad():
        expected = model(ids).logits
        torch.testing.assert_close(pruned.loaded.model(ids).logits, expected)
        torch.testing.assert_close(small(ids).logits, expected)
    if structure is Structure.HEADS_AND_NEURONS:
        for name, tensor in model.state_dict().items():
            assert torch.equal(pruned.loaded.model.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("structure", "first"),
    [
        (Structure.HEADS_AND_NEURONS, Format.MASKED),
        (Structure.ROWS_AND_COLUMNS, Format.COMPACT),
    ],
)
def test_finished_run_is_exported_in_another_format(
    exported, tmp_path, structure, first
):
    event = exported(first, structure=structure)
    assert {f.format for f in event.others if not f.reason} >= {
        Format.COMPACT, Format.MASKED,
    }  # fmt: skip
    for form in (Format.COMPACT, Format.MASKED):
        copy = again(tmp_path, form, form.value)
        assert copy.format is form
        direct = exported(form, f"direct {form}", structure=structure)
        ours, theirs = (
            weights_of(tmp_path / form.value),
            weights_of(tmp_path / f"direct {form}" / "export"),
        )
        assert ours.keys() == theirs.keys()
        assert copy.weight_bytes == direct.weight_bytes
        if structure is Structure.HEADS_AND_NEURONS:
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_later_export_is_logged_and_has_the_number_format_of_the_original(
    exported, tmp_path
):
    first = exported(Format.MASKED)
    assert first.dtype is FileDtype.FLOAT32
    later = again(tmp_path, Format.COMPACT, "again")
    assert later.dtype is FileDtype.FLOAT32
    run = RunFolder(tmp_path / "run")
    last = run.events_path.read_bytes().splitlines()[-1]
    assert decode_json(last, Envelope).event == later
    report = run.read_report()
    model = msgspec.structs.replace(report.model, dtype="")  # a quantized original
    run.write_report(msgspec.structs.replace(report, model=model))
    assert again(tmp_path, Format.MASKED, "third").dtype is FileDtype.BFLOAT16


def test_log_that_cannot_be_written_is_reported(exported, tmp_path):
    exported(Format.MASKED)
    log = RunFolder(tmp_path / "run").events_path
    log.unlink()
    log.mkdir()
    recorder = Recorder()
    export = ExportConfig(str(tmp_path / "again"), Format.COMPACT)
    export_again(str(tmp_path / "run"), export, recorder.context)
    assert "events.jsonl cannot be written" in recorder.warnings()[0].message


def test_moved_run_folder_is_exported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = job_with(tmp_path, ExportConfig(format=Format.COMPACT))
    Recorder().run(config, Path("run"))
    monkeypatch.chdir(tmp_path.parent)
    assert again(tmp_path, Format.MASKED, "first").format is Format.MASKED
    (tmp_path / "run").rename(tmp_path / "moved")
    another = ExportConfig(str(tmp_path / "second"), Format.MASKED)
    event = export_again(str(tmp_path / "moved"), another, Recorder().context)
    assert event.folder == str(tmp_path / "second")


def test_checkpoint_outside_run_folder_is_used(tmp_path):
    elsewhere = tmp_path / "models" / "compact"
    config = job_with(tmp_path, ExportConfig(str(elsewhere), Format.COMPACT))
    Recorder().run(config, tmp_path / "run")
    again(tmp_path, Format.COMPACT, "run/compact", dtype=FileDtype.BFLOAT16)
    run = RunFolder(tmp_path / "run")
    assert run.checkpoint_of(run.read_report()) == elsewhere


def test_infinity_in_config_is_preserved(tmp_path):
    config = job_with(tmp_path, ExportConfig(format=Format.COMPACT))
    path = Path(config.model.source) / "config.json"
    limits = {"limits": [0.0, {"__float__": "Infinity"}]}
    path.write_text(json.dumps(json.loads(path.read_text()) | limits))
    Recorder().run(config, tmp_path / "run")
    again(tmp_path, Format.COMPACT, "once more")
    for name in ("run/export", "once more"):
        pruned = restore(tmp_path / name, "Tiny")
        assert pruned.loaded.model.config.limits == [0.0, math.inf]


def test_same_widths_in_all_blocks_give_plain_files(exported, tmp_path):
    """One of two groups of heads and half of the neurons remain."""
    event = exported(Format.AUTOMATIC, sparsity=0.5, min_density=0.5, width_multiple=12)
    assert event.format is Format.PLAIN
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "export")
    assert model.config.num_key_value_heads == 1
    assert model.config.intermediate_size == 12
    assert model.config.head_dim == 4
    config = json.loads((tmp_path / "run" / "export" / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]
    pruned = restore(tmp_path / "run" / "export", "Tiny")
    ids = torch.arange(1, 20).unsqueeze(0)
    torch.testing.assert_close(pruned.loaded.model(ids).logits, model(ids).logits)


@pytest.mark.parametrize("target", [Target.PRUNABLE_SHARE, Target.FILE_SIZE])
def test_run_warns_if_files_will_not_be_smaller(tmp_path, monkeypatch, target):
    """No config can describe the plain or the compact model."""
    monkeypatch.setattr(
        type(WRITERS[Format.COMPACT]), "unsupported_reason", lambda *_: "No way."
    )
    size = {"target": target, "megabytes": 0.02}
    config = job_with(tmp_path, ExportConfig(), **size)
    recorder = Recorder()
    if target is Target.FILE_SIZE:
        with pytest.raises(ExportError, match=r"as large as the original's. No way."):
            recorder.run(config, tmp_path / "run")
        assert not recorder.of(BaselineEvaluated)
        return
    recorder.run(config, tmp_path / "run")
    (warning,) = recorder.warnings()
    assert warning.message == "The file would be as large as the original's. No way."
    assert recorder.of(Exported)[0].format is Format.MASKED


def test_damaged_and_missing_files_are_not_exported_again(exported, tmp_path):
    exported(Format.COMPACT)
    run = RunFolder(tmp_path / "run")
    checkpoint = tmp_path / "run" / "export"
    cases = [(path, -9) for path in checkpoint.iterdir()]
    cases += [(run.probe_path, 20), (run.probe_path, -9)]
    cases += [(run.report_path, at) for at in (0, 5, 30, 90, 2000, -1)]
    for path, at in cases:
        flip(path, at)
        with pytest.raises(EngineError, match=re.escape(path.name)):
            again(tmp_path, Format.MASKED, "masked")
        assert not (tmp_path / "masked").exists()
        flip(path, at)
    again(tmp_path, Format.MASKED, "masked")
    run.probe_path.unlink()
    with pytest.raises(ExportError, match="needed to verify exports, is missing"):
        again(tmp_path, Format.MASKED, "second")


def test_checkpoint_with_another_file_of_weights_is_not_exported_again(
    exported, tmp_path
):
    exported(Format.COMPACT)
    checkpoint = tmp_path / "run" / "export"
    (checkpoint / "notes.md").touch()
    again(tmp_path, Format.MASKED, "masked")
    shutil.copy(
        checkpoint / "model.safetensors", checkpoint / "model-1-of-2.safetensors"
    )
    with pytest.raises(ExportError, match=r"model-1-of-2\.safetensors"):
        again(tmp_path, Format.MASKED, "second")


def test_different_widths_give_no_plain_files(exported, tmp_path):
    exported(Format.AUTOMATIC)
    with pytest.raises(ExportError, match='widths = "same"') as error:
        again(tmp_path, Format.PLAIN, "plain")
    assert "compact" in error.value.hint
    assert not (tmp_path / "plain").exists()


def test_few_bits_are_refused_where_there_can_be_no_gguf_file(exported, tmp_path):
    exported(Format.COMPACT, structure=Structure.ROWS_AND_COLUMNS)
    with pytest.raises(ExportError, match="removed rows and columns") as error:
        again(tmp_path, Format.AUTOMATIC, "short", dtype=FileDtype.Q8_0)
    assert "compact" in error.value.hint


def test_weights_are_rounded_to_16_bits(exported, tmp_path):
    exported(Format.COMPACT)
    wide = weights_of(tmp_path / "run" / "export")
    for dtype in (FileDtype.BFLOAT16, FileDtype.FLOAT16):
        half = again(tmp_path, Format.COMPACT, dtype, dtype=dtype)
        assert half.dtype is dtype
        for name, tensor in weights_of(tmp_path / dtype).items():
            assert torch.equal(tensor, wide[name].to(getattr(torch, dtype)))
        config = json.loads((tmp_path / dtype / "config.json").read_text())
        assert config["dtype"] == dtype


def test_export_weight_too_large_for_float16_raises(exported, tmp_path):
    exported(Format.COMPACT)
    path = tmp_path / "run" / "export" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][0] = 70_000
    save_file(tensors, path, {"format": "pt"})
    write_marker(path.parent)
    with pytest.raises(ExportError, match=r"norm.weight holds a weight of 70,000"):
        again(tmp_path, Format.COMPACT, "half", dtype=FileDtype.FLOAT16)
    assert not (tmp_path / "half").exists()
    assert not list(tmp_path.glob(".*"))


def test_8_bits_are_rejected_where_a_format_has_none():
    with pytest.raises(ConfigError, match="does not hold Q8_0"):
        ExportConfig(format=Format.COMPACT, dtype=FileDtype.Q8_0)


@pytest.mark.runtimes
@pytest.mark.fresh_process
def test_verification_detects_other_weights(tmp_path, monkeypatch):
    write = WRITERS[Format.MASKED].write

    def write_the_original(self, pruned, config, folder):
        write(pruned, config, folder)
        shutil.copy(
            tmp_path / "llama" / "model.safetensors", folder / "model.safetensors"
        )

    monkeypatch.setattr(type(WRITERS[Format.MASKED]), "write", write_the_original)
    recorder = Recorder()
    with pytest.raises(
        ExportError, match="gives other logits: they differ by up"
    ) as error:
        recorder.run(job(tmp_path), tmp_path / "run")
    assert not recorder.of(Exported)
    kept = tmp_path / "run" / "export-unverified"
    assert str(kept) in error.value.hint
    assert (kept / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "export").exists()
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.runtimes
@pytest.mark.fresh_process
def test_verification_detects_logits_that_are_not_finite(tmp_path):
    Recorder().run(job(tmp_path), tmp_path / "run")
    path = tmp_path / "run" / "export" / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, path, {"format": "pt"})
    write_marker(path.parent)
    with pytest.raises(ExportError, match="they differ infinitely"):
        again(tmp_path, Format.MASKED, "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.slow
def test_numbers_beyond_float16_are_named(tmp_path, monkeypatch):
    infinite = VerificationResult(8, None, 1.0, 0.0, None, "transformers")
    monkeypatch.setattr(type(WRITERS[Format.MASKED]), "verify", lambda *_: infinite)
    config = job(tmp_path)
    export = ExportConfig(format=Format.MASKED, dtype=FileDtype.FLOAT16)
    config = dataclasses.replace(config, export=export)
    with pytest.raises(ExportError, match="they differ infinitely") as refused:
        Recorder().run(config, tmp_path / "run")
    assert "too large for float16: choose bfloat16" in refused.value.hint


def test_divergence_by_which_no_file_is_judged_is_not_reported(
    exported, tmp_path, monkeypatch
):
    exported(Format.MASKED)
    right = VerificationResult(
        8, 0.0, 1.0, 1.0, None, "transformers", saving_divergence=2e-13
    )
    monkeypatch.setattr(type(WRITERS[Format.MASKED]), "verify", lambda *_: right)
    found = again(tmp_path, Format.MASKED, "copy")
    assert (found.tokens_compared, found.saving_divergence) == (8, None)
    monkeypatch.setattr(module, "has_experts", lambda _: True)
    in_16_bits = again(tmp_path, Format.MASKED, "short", dtype=FileDtype.BFLOAT16)
    assert in_16_bits.saving_divergence == 2e-13


@pytest.mark.fresh_process
def test_cancel_ends_verification(tmp_path):
    recorder = Recorder()
    recorder.send_at(lambda event: event == StageStarted(Stage.VERIFICATION, 0), Cancel)
    with pytest.raises(RunCancelled):
        recorder.run(job(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run" / "export").exists()
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.6},  # without saying that it samples
        {"early_stopping": True, "length_penalty": 0.5, "num_beams": 1},
        {"pad_token_id": -1, "do_sample": False, "top_p": 0.9},
    ],
)
def test_generation_config_that_transformers_rejects_is_preserved(tmp_path, settings):
    config = job(tmp_path)
    path = tmp_path / "llama" / "generation_config.json"
    path.write_text(json.dumps(settings))
    Recorder().run(config, tmp_path / "run")
    again(tmp_path, Format.MASKED, "copy")
    for folder in (tmp_path / "run" / "export", tmp_path / "copy"):
        kept = json.loads((folder / "generation_config.json").read_text())
        for name, value in settings.items():
            assert kept[name] == value
        assert ("do_sample" in kept) is ("do_sample" in settings)


def test_model_without_tokenizer_is_exported_with_warning(tmp_path):
    config = job(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "llama" / name).unlink()
    recorder = Recorder().run(config, tmp_path / "run")
    assert "no tokenizer" in recorder.of(Logged)[0].message
    assert (tmp_path / "run" / "export" / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "export" / "tokenizer.json").exists()


def test_tied_weights_stay_tied(tmp_path):
    config = job_with(tmp_path, ExportConfig(format=Format.COMPACT), "gemma3")
    Recorder().run(config, tmp_path / "run")
    assert "lm_head.weight" not in weights_of(tmp_path / "run" / "export")
    model = load_compact(tmp_path / "run" / "export")
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_export_without_checkpoint_raises(tmp_path):
    run_to(tmp_path, Format.MASKED)
    shutil.rmtree(RunFolder(tmp_path / "run").read_report().checkpoint)
    with pytest.raises(ExportError, match="no longer in"):
        again(tmp_path, Format.COMPACT, "copy")
