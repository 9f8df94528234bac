"""Runs without a set format: a GGUF file becomes a GGUF file of a planned size."""

import dataclasses
from pathlib import Path

import pytest

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Method, Target
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.messages.events import Logged
from surgeon_engine.api.messages.run import Exported
from surgeon_engine.api.model_info.gguf_header import check_lists
from surgeon_engine.export.export import export_again
from surgeon_engine.model.inspect import describe_files
from surgeon_engine.model.source import ModelSource
from surgeon_engine.model.tokenizer import tokenizer_bytes
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.planned_file import FileForm
from tests.helpers.configs import pruning_config
from tests.helpers.gguf_files import byte_pairs, pruned, tiny_llama, written
from tests.helpers.runs import Recorder, job

SIZES = {"num_hidden_layers": 4, "intermediate_size": 256, "vocab_size": 300}


@pytest.fixture
def original(tmp_path) -> Path:
    folder = tmp_path / "original"
    written(pruned(tiny_llama(**SIZES)), folder, FileDtype.Q8_0)
    return folder / "model.gguf"


def sized(folder: Path, original: Path, share: float):
    """Return a job whose file is to be a share of the original's."""
    megabytes = share * original.stat().st_size / 1e6
    common = job(
        folder,
        method=Method.MAGNITUDE,
        structure="neurons",
        target=Target.FILE_SIZE,
        megabytes=megabytes,
    )
    model = ModelConfig(str(original))
    return dataclasses.replace(common, model=model, export=ExportConfig())


@pytest.mark.slow
@pytest.mark.usefixtures("quick_runs")
def test_gguf_file_becomes_a_smaller_one_of_at_most_the_target(tmp_path, original):
    config = sized(tmp_path, original, 0.8)
    run = Recorder().run(config, tmp_path / "run")
    *_, exported = run.of(Exported)
    assert (exported.format, exported.dtype) == (Format.GGUF, FileDtype.Q8_0)
    target = round(config.pruning.megabytes * 1e6)
    file = tmp_path / "run/export/model.gguf"
    assert file.stat().st_size == exported.weight_bytes
    # A bundle of 32 neurons of 96 columns and two times as many rows, in 8 bits.
    assert target - 32 * 3 * 96 * 34 / 32 < exported.weight_bytes <= target
    messages = [event.message for event in run.of(Logged)]
    assert "File: GGUF in Q8_0, like the original." in messages

    again = ExportConfig(str(tmp_path / "more"))
    more = export_again(str(tmp_path / "run"), again, Recorder().context)
    assert (more.format, more.weight_bytes) == (Format.GGUF, exported.weight_bytes)


@pytest.mark.parametrize("dtype", [FileDtype.FLOAT16, FileDtype.BFLOAT16])
def test_gguf_file_of_16_bits_stays_one(tmp_path, dtype):
    written(pruned(tiny_llama(**SIZES)), tmp_path, dtype)
    source = ModelConfig(str(tmp_path / "model.gguf"))
    summary = describe_files(source).model
    config = RunConfig(source, pruning=pruning_config(sparsity=0.3))
    assert file_form(config, summary) == FileForm(Format.GGUF, dtype)


def test_tokenizer_takes_about_the_planned_bytes(original, tmp_path):
    written_bytes = check_lists(original)
    summary = describe_files(ModelConfig(str(original))).model
    assert summary.tokenizer_bytes == written_bytes
    byte_pairs().save_pretrained(tmp_path / "folder")
    source = ModelSource("folder", tmp_path / "folder")
    options = 20_000  # bytes that are added for other entries
    found = tokenizer_bytes(source)
    assert found - options == pytest.approx(written_bytes, rel=0.15)
    assert found >= written_bytes
    (tmp_path / "folder/tokenizer.json").unlink()
    assert tokenizer_bytes(source) == 0
