"""An export is called done once a fresh process has computed the same with it."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from surgeon_engine import pipeline
from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Structure, Target
from surgeon_engine.api.errors import ConfigError, ExportError
from surgeon_engine.api.messages.commands import Cancel
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import (
    BaselineEvaluated,
    Exported,
    Stage,
    StageStarted,
)
from surgeon_engine.api.run_folder import RunFolder
from surgeon_engine.compaction.restore import load_compact, restore
from surgeon_engine.export import export as exporting
from surgeon_engine.export.export import WRITERS, export_again
from surgeon_engine.runtime.run_context import RunCancelled
from tests.helpers.runs import Recorder, job, run

pytestmark = pytest.mark.usefixtures("quick_runs")

WHOLE = (Structure.HEADS_AND_NEURONS, Structure.ROWS_AND_COLUMNS)


def wanted(tmp_path, export: ExportConfig, family: str = "llama", **pruning):
    return dataclasses.replace(job(tmp_path, family, **pruning), export=export)


def exported(tmp_path, form: Format, name: str = "run", **settings) -> Exported:
    config = wanted(tmp_path, ExportConfig(format=form), **settings)
    (event,) = Recorder().run(config, tmp_path / name).of(Exported)
    return event


def again(tmp_path, form: Format, name: str, **settings) -> Exported:
    config = ExportConfig(str(tmp_path / name), form, **settings)
    return export_again(str(tmp_path / "run"), config, Recorder().context)


def weights_of(folder) -> dict[str, torch.Tensor]:
    tensors = {}
    for path in folder.glob("model*.safetensors"):
        tensors |= load_file(path)
    return tensors


def test_an_export_elsewhere(tmp_path):
    folder = tmp_path / "a" / "b"
    config = wanted(tmp_path, ExportConfig(str(folder)))
    told = Recorder().run(config, tmp_path / "run").of(Exported)
    assert told[0].folder == str(folder)
    assert (folder / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "export").exists()


@pytest.mark.slow
@pytest.mark.fresh_process
@pytest.mark.parametrize("structure", WHOLE)
def test_a_compact_checkpoint_is_smaller_and_computes_the_same(tmp_path, structure):
    told = exported(tmp_path, Format.COMPACT, structure=structure)
    assert told.format is Format.COMPACT
    assert told.tokens_compared > 0
    assert told.agreement == 1
    assert told.perplexity == pytest.approx(told.expected_perplexity, rel=1e-4)
    assert told.checked_with.startswith("transformers")
    masked = exported(tmp_path, Format.MASKED, "masked", structure=structure)
    assert told.weight_bytes < masked.weight_bytes
    kept = sum(x.numel() for x in weights_of(tmp_path / "run/export").values())
    assert kept < sum(
        x.numel() for x in weights_of(tmp_path / "masked/export").values()
    )
    card = (tmp_path / "run" / "export" / "README.md").read_text()
    assert "trust_remote_code=True" in card
    assert "100.0%" in card


@pytest.mark.parametrize("structure", WHOLE)
def test_what_was_compact_is_restored_to_zeros_in_place(tmp_path, structure):
    settings = {"structure": structure, "sparsity": 0.4}
    masked = run(tmp_path, name="masked", **settings)
    exported(tmp_path, Format.COMPACT, **settings)
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


@pytest.mark.parametrize("first", [Format.COMPACT, Format.MASKED])
@pytest.mark.parametrize("structure", WHOLE)
def test_a_finished_run_is_exported_once_more_in_another_form(
    tmp_path, structure, first
):
    told = exported(tmp_path, first, structure=structure)
    assert {f.format for f in told.others if not f.reason} >= {
        Format.COMPACT, Format.MASKED,
    }  # fmt: skip
    for form in (Format.COMPACT, Format.MASKED):
        copy = again(tmp_path, form, form.value)
        assert copy.format is form
        direct = exported(tmp_path, form, f"direct {form}", structure=structure)
        ours, theirs = (
            weights_of(tmp_path / form.value),
            weights_of(tmp_path / f"direct {form}" / "export"),
        )
        assert ours.keys() == theirs.keys()
        assert copy.weight_bytes == direct.weight_bytes
        if structure is Structure.HEADS_AND_NEURONS:
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_folder_of_a_run_is_found_wherever_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = wanted(tmp_path, ExportConfig(format=Format.COMPACT))
    Recorder().run(config, Path("run"))
    monkeypatch.chdir(tmp_path.parent)
    assert again(tmp_path, Format.MASKED, "first").format is Format.MASKED
    (tmp_path / "run").rename(tmp_path / "moved")
    another = ExportConfig(str(tmp_path / "second"), Format.MASKED)
    told = export_again(str(tmp_path / "moved"), another, Recorder().context)
    assert told.folder == str(tmp_path / "second")


def test_a_checkpoint_elsewhere_is_not_mistaken_for_one_in_the_run(tmp_path):
    elsewhere = tmp_path / "models" / "compact"
    config = wanted(tmp_path, ExportConfig(str(elsewhere), Format.COMPACT))
    Recorder().run(config, tmp_path / "run")
    again(tmp_path, Format.COMPACT, "run/compact", dtype=FileDtype.BFLOAT16)
    run = RunFolder(tmp_path / "run")
    assert run.checkpoint_of(run.read_report()) == elsewhere


@pytest.mark.parametrize("name", ["save_probe", "export"])
@pytest.mark.parametrize("error", [OSError(28, "No space left"), MemoryError()])
def test_whatever_fails_at_the_export_loses_nothing(tmp_path, monkeypatch, name, error):
    def fails(*arguments):
        raise error

    monkeypatch.setattr(pipeline, name, fails)
    with pytest.raises(ExportError, match="The export failed") as told:
        exported(tmp_path, Format.AUTOMATIC)
    assert "What was pruned is not lost" in told.value.hint
    run = RunFolder(tmp_path / "run")
    checkpoint = run.checkpoint_of(run.read_report())
    assert AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True)


def test_a_fault_of_the_program_at_the_export_loses_nothing_either(
    tmp_path, monkeypatch
):
    def fails(*arguments):
        raise LookupError("no such thing")

    monkeypatch.setattr(pipeline, "export", fails)
    with pytest.raises(LookupError, match="no such thing"):
        exported(tmp_path, Format.AUTOMATIC)
    run = RunFolder(tmp_path / "run")
    checkpoint = run.checkpoint_of(run.read_report())
    assert AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True)


def test_what_is_infinite_in_a_config_stays_so(tmp_path):
    config = wanted(tmp_path, ExportConfig(format=Format.COMPACT))
    path = Path(config.model.source) / "config.json"
    limits = {"limits": [0.0, {"__float__": "Infinity"}]}
    path.write_text(json.dumps(json.loads(path.read_text()) | limits))
    Recorder().run(config, tmp_path / "run")
    again(tmp_path, Format.COMPACT, "once more")
    for name in ("run/export", "once more"):
        pruned = restore(tmp_path / name, "Tiny")
        assert pruned.loaded.model.config.limits == [0.0, math.inf]


def test_the_same_widths_everywhere_make_plain_files(tmp_path):
    """Taken from the plan alone: one of two groups, half of the neurons."""
    told = exported(
        tmp_path, Format.AUTOMATIC, sparsity=0.5, min_density=0.5, width_multiple=12
    )
    assert told.format is Format.STOCK
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
def test_files_that_will_be_no_smaller_are_told_before(tmp_path, monkeypatch, target):
    """Where neither a plain nor a compact model can be told in a config."""
    monkeypatch.setattr(
        type(WRITERS[Format.COMPACT]), "unsupported_reason", lambda *_: "No way."
    )
    size = {"target": target, "megabytes": 0.02}
    config = wanted(tmp_path, ExportConfig(), **size)
    recorder = Recorder()
    if target is Target.FILE_SIZE:
        with pytest.raises(ExportError, match=r"as large as the original's. No way."):
            recorder.run(config, tmp_path / "run")
        assert not recorder.of(BaselineEvaluated)
        return
    recorder.run(config, tmp_path / "run")
    (told,) = recorder.warnings()
    assert told.message == "The file would be as large as the original's. No way."
    assert recorder.of(Exported)[0].format is Format.MASKED


def test_an_export_that_cannot_be_checked_is_refused_before_it_is_written(tmp_path):
    exported(tmp_path, Format.COMPACT)
    RunFolder(tmp_path / "run").probe_path.unlink()
    with pytest.raises(ExportError, match="by which exports are checked"):
        again(tmp_path, Format.MASKED, "masked")


def test_ragged_widths_make_no_plain_files(tmp_path):
    exported(tmp_path, Format.AUTOMATIC)
    with pytest.raises(ExportError, match="differs from layer to layer") as error:
        again(tmp_path, Format.STOCK, "plain")
    assert "compact" in error.value.hint
    assert not (tmp_path / "plain").exists()


@pytest.mark.parametrize("form", [Format.COMPACT, Format.STOCK])
def test_single_weights_make_nothing_smaller_and_that_is_said_before(tmp_path, form):
    config = wanted(tmp_path, ExportConfig(format=form), structure=Structure.ELEMENTS)
    recorder = Recorder()
    with pytest.raises(ExportError, match="Nothing is gone as a whole"):
        recorder.run(config, tmp_path / "run")
    assert StageStarted(Stage.BASELINE, 0) not in recorder.events


@pytest.mark.parametrize("dtype", [FileDtype.BFLOAT16, FileDtype.FLOAT16])
def test_a_narrower_number_format_halves_the_file(tmp_path, dtype):
    exported(tmp_path, Format.COMPACT)
    half = again(tmp_path, Format.COMPACT, "half", dtype=dtype)
    assert half.dtype is dtype
    wide = weights_of(tmp_path / "run" / "export")
    for name, tensor in weights_of(tmp_path / "half").items():
        assert torch.equal(tensor, wide[name].to(getattr(torch, dtype)))
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config["dtype"] == dtype


def test_a_weight_that_float16_does_not_hold_is_told(tmp_path):
    exported(tmp_path, Format.COMPACT)
    path = tmp_path / "run" / "export" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][0] = 70_000
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(ExportError, match=r"norm.weight holds a weight of 70,000"):
        again(tmp_path, Format.COMPACT, "half", dtype=FileDtype.FLOAT16)
    assert not (tmp_path / "half").exists()
    assert not list(tmp_path.glob(".*"))


def test_8_bits_are_refused_where_a_format_has_none():
    with pytest.raises(ConfigError, match="does not hold q8_0"):
        ExportConfig(format=Format.COMPACT, dtype=FileDtype.Q8_0)


@pytest.mark.slow
@pytest.mark.fresh_process
def test_a_checkpoint_with_other_weights_is_found_out_and_not_called_done(
    tmp_path, monkeypatch
):
    write = WRITERS[Format.MASKED].write

    def write_the_original(self, pruned, wanted, folder):
        write(pruned, wanted, folder)
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


@pytest.mark.slow
@pytest.mark.fresh_process
@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("shrink(self, config)", "raise RuntimeError('tampered')", "tampered"),
        ("super().__init__(config)", "super().__init__(config); x", "not defined"),
    ],
)
def test_a_modeling_file_that_was_tampered_with_is_found_out(
    tmp_path, monkeypatch, before, after, sentence
):
    kind = type(WRITERS[Format.COMPACT])
    write = kind.write

    def tampered(self, pruned, wanted, folder):
        write(self, pruned, wanted, folder)
        path = folder / "modeling_pruned.py"
        path.write_text(path.read_text().replace(before, after))

    monkeypatch.setattr(kind, "write", tampered)
    with pytest.raises(ExportError, match=f"does not load.*{sentence}"):
        exported(tmp_path, Format.COMPACT)
    assert not (tmp_path / "run" / "export").exists()


@pytest.mark.slow
@pytest.mark.fresh_process
def test_code_that_computes_something_else_is_found_out(tmp_path, monkeypatch):
    kind = type(WRITERS[Format.COMPACT])
    write = kind.write

    def tampered(self, pruned, wanted, folder):
        write(self, pruned, wanted, folder)
        path = folder / "compact_layers.py"
        path.write_text(
            path.read_text().replace("index_copy_(-1,", "index_add_(-1, 1 -")
        )

    monkeypatch.setattr(kind, "write", tampered)
    with pytest.raises(ExportError):
        exported(tmp_path, Format.COMPACT, structure=Structure.ROWS_AND_COLUMNS)
    assert not (tmp_path / "run" / "export").exists()


@pytest.mark.slow
@pytest.mark.fresh_process
def test_a_checkpoint_that_gives_no_numbers_is_found_out(tmp_path):
    Recorder().run(job(tmp_path), tmp_path / "run")
    path = tmp_path / "run" / "export" / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ExportError, match="they differ beyond measure"):
        again(tmp_path, Format.MASKED, "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.fresh_process
def test_cancel_is_heard_while_a_checkpoint_is_verified(tmp_path):
    recorder = Recorder()
    recorder.react = lambda event: (
        recorder.context.handle(Cancel(run="test"))
        if event == StageStarted(Stage.VERIFICATION, 0)
        else None
    )
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
def test_settings_that_transformers_would_not_write_stay_as_they_are(
    tmp_path, settings
):
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


def test_the_chat_template_goes_along(tmp_path):
    config = wanted(tmp_path, ExportConfig(format=Format.COMPACT))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "llama")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "llama")
    Recorder().run(config, tmp_path / "run")
    kept = AutoTokenizer.from_pretrained(tmp_path / "run" / "export")
    assert kept.chat_template == tokenizer.chat_template


def test_a_model_without_a_tokenizer_is_exported_with_a_warning(tmp_path):
    config = job(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "llama" / name).unlink()
    told = Recorder().run(config, tmp_path / "run")
    assert "no tokenizer" in told.of(Logged)[0].message
    assert (tmp_path / "run" / "export" / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "export" / "tokenizer.json").exists()


def test_tied_weights_stay_tied(tmp_path):
    config = wanted(tmp_path, ExportConfig(format=Format.COMPACT), "gemma3")
    Recorder().run(config, tmp_path / "run")
    assert "lm_head.weight" not in weights_of(tmp_path / "run" / "export")
    model = load_compact(tmp_path / "run" / "export")
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_what_is_replaced_stays_until_the_new_one_is_complete(tmp_path, monkeypatch):
    exported(tmp_path, Format.COMPACT)
    old = tmp_path / "copy" / "old.txt"
    old.parent.mkdir()
    old.write_text("precious")
    with pytest.raises(ExportError, match="not empty"):
        again(tmp_path, Format.MASKED, "copy")
    with monkeypatch.context() as patch:

        def full(*_):
            assert old.is_file()
            raise OSError(28, "No space left on device")

        patch.setattr(exporting, "model_card", full)
        with pytest.raises(ExportError, match="No space left"):
            again(tmp_path, Format.MASKED, "copy", replace=True)
    assert old.read_text() == "precious"
    again(tmp_path, Format.MASKED, "copy", replace=True)
    assert not old.exists()
    assert (tmp_path / "copy" / "model.safetensors").is_file()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["run", "run/checkpoint", "run/export/x", "run/a/b"])
def test_a_destination_among_the_runs_own_files_is_refused(tmp_path, name):
    exported(tmp_path, Format.MASKED)
    shutil.rmtree(tmp_path / "run" / "export-unverified", ignore_errors=True)
    with pytest.raises(ExportError, match=r"not empty|keeps its files"):
        again(tmp_path, Format.MASKED, name)
    with pytest.raises(ExportError, match="keeps its files"):
        again(tmp_path, Format.MASKED, name, replace=True)


def test_a_checkpoint_that_is_gone_is_missed_in_a_sentence(tmp_path):
    exported(tmp_path, Format.MASKED)
    shutil.rmtree(RunFolder(tmp_path / "run").read_report().checkpoint)
    with pytest.raises(ExportError, match="no longer in"):
        again(tmp_path, Format.COMPACT, "copy")
