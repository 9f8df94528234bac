"""GGUF files are checked: llama.cpp computes the logits of the original model."""

from importlib.metadata import version
from pathlib import Path

import gguf
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.base.errors import ExportError
from surgeon_engine.compaction.plan import PrunedModel
from surgeon_engine.export.gguf import check as gguf_check
from surgeon_engine.export.gguf import file
from surgeon_engine.export.gguf.file import GgufWriter
from surgeon_engine.model.families import FAMILIES
from tests.helpers.gguf_files import (
    INSTALLED,
    RUNTIMES,
    output_of,
    probe_of,
    pruned,
    tiny_llama,
    uniform,
    value_of,
    written,
)
from tests.helpers.gguf_models import LLAMA_VARIANTS
from tests.helpers.pruned_models import without

LLAMA = FAMILIES["llama"].gguf[0]
# Runs the check with one of the runtimes alone.
CHECK = """
import json, sys
from importlib.metadata import version
from pathlib import Path
sys.modules[{other!r}] = None
from surgeon_engine.export.gguf.check import check
print(json.dumps(check(Path({folder!r}), Path({probe!r}))))
"""


def with_large_weights(**settings):
    """Return heads of 32, the minimum of llama.cpp's kernels, with large weights."""
    return enlarge_weights(tiny_llama(head_dim=32, num_hidden_layers=3, **settings))


def enlarge_weights(model):
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(std=0.3)
        elif parameter.ndim == 2:
            parameter.normal_(std=0.15)
    return model


def ragged(model):
    """Return a model with odd widths that differ from block to block."""
    draw = torch.Generator().manual_seed(0)

    def choose(unit) -> torch.Tensor:
        is_removed = torch.rand(unit.candidates, generator=draw) < 0.4
        is_removed[0] = False
        return is_removed

    return pruned(model, without(model, choose))


SHAPES = {"whole": pruned, "uniform": uniform, "ragged": ragged}


def probed(example, folder, dtype=FileDtype.SAME):
    """Return the folder of a file, the file and the logits of its model."""
    export = folder / "export"
    reader = written(example, export, dtype)
    return export, reader, probe_of(example, folder / "probe.safetensors")


def compared(example, runtime, folder, dtype=FileDtype.SAME):
    export, reader, probe = probed(example, folder, dtype)
    other = next(name for name in RUNTIMES if name != runtime)
    code = CHECK.format(other=other, folder=str(export), probe=str(probe))
    return value_of(reader, "general.architecture"), output_of(code)


def assert_same(result) -> None:
    assert result["tokens"] >= 23
    assert result["largest_difference"] < 1e-3
    assert result["agreement"] == 1.0  # greedily the same tokens


@pytest.mark.parametrize("settings", LLAMA_VARIANTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_match_torch(settings, shape, runtime, tmp_path):
    model = with_large_weights(**settings)
    architecture, result = compared(SHAPES[shape](model), runtime, tmp_path)
    assert architecture == ("deci" if shape == "ragged" else "llama")
    assert_same(result)


def qwen2_with_large_weights():
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=300,
        hidden_size=192,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=3,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    return enlarge_weights(Qwen2ForCausalLM(config).eval().requires_grad_(False))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [("whole", "qwen2"), ("uniform", "llama"), ("ragged", "deci")],
)
def test_qwen2_has_biases(shape, expected, runtime, tmp_path):
    model = qwen2_with_large_weights()
    architecture, result = compared(SHAPES[shape](model), runtime, tmp_path)
    assert architecture == expected
    assert_same(result)


@pytest.mark.parametrize(
    ("dtype", "allowed"),
    [(FileDtype.FLOAT16, 0.05), (FileDtype.BFLOAT16, 0.3), (FileDtype.Q8_0, 0.3)],
)
def test_logits_of_rounded_files_are_close(dtype, allowed, runtime, tmp_path):
    _, result = compared(ragged(with_large_weights()), runtime, tmp_path, dtype)
    assert 1e-4 < result["largest_difference"] < allowed
    assert result["largest_logit"] > 5


@pytest.mark.runtimes
@pytest.mark.fresh_process
@pytest.mark.skipif(not INSTALLED, reason="nothing here runs GGUF files")
def test_verify_reports_the_program(tmp_path):
    folder, _, probe = probed(ragged(with_large_weights()), tmp_path)
    looks = []
    result = GgufWriter().verify(folder, probe, lambda: looks.append(None))
    assert result.agreement == 1.0
    assert result.checked_with.startswith("llama.cpp in ")
    assert looks


@pytest.mark.runtimes
@pytest.mark.fresh_process
@pytest.mark.skipif(not INSTALLED, reason="nothing here runs GGUF files")
def test_verify_reports_why_a_file_does_not_load(tmp_path, monkeypatch):
    llama, *_ = FAMILIES["llama"].gguf
    monkeypatch.setattr(file, "architecture_of", lambda _: llama)
    folder, _, probe = probed(ragged(with_large_weights()), tmp_path)
    with pytest.raises(ExportError, match="has wrong shape"):
        GgufWriter().verify(folder, probe, lambda: None)


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Return a function that writes and checks a file without a runtime."""
    monkeypatch.setattr(gguf_check, "_import_optional", lambda name: None)

    def check(example: PrunedModel, change=lambda path: None) -> dict:
        folder, _, probe = probed(example, tmp_path)
        change(folder / "model.gguf")
        return gguf_check.check(folder, probe)

    return check


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-64])  # a disk that was full


def test_check_without_runtime_reads_the_file_back(export):
    result = export(ragged(with_large_weights()))
    assert result["tokens"] == 0
    assert result["checked_with"] == f"gguf {version('gguf')}"


def test_check_truncated_file_raises(export):
    with pytest.raises(ValueError, match=r"reshape|size"):
        export(pruned(tiny_llama()), truncate)


def test_check_header_that_does_not_match_tensors_raises(export, monkeypatch):
    add = gguf.GGUFWriter.add_key_value

    def add_wrong_width(writer, key: str, value, *types) -> None:
        is_width = key.endswith(".feed_forward_length")
        add(writer, key, value + 1 if is_width else value, *types)

    monkeypatch.setattr(gguf.GGUFWriter, "add_key_value", add_wrong_width)
    with pytest.raises(ValueError, match=r"blk\.0\.ffn_down\.weight has the shape"):
        export(pruned(tiny_llama()))


@pytest.mark.slow
@pytest.mark.fresh_process
def test_verify_file_that_does_not_load_raises(tmp_path):
    example = pruned(tiny_llama())
    probe = probe_of(example, tmp_path / "probe.safetensors")
    (tmp_path / "model.gguf").write_bytes(b"GGUF and nothing more")
    with pytest.raises(ExportError, match="does not load in a fresh process: "):
        GgufWriter().verify(tmp_path, probe, lambda: None)


def test_verify_is_ended_by_check(tmp_path):
    def cancelled() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        GgufWriter().verify(tmp_path, tmp_path / "probe.safetensors", cancelled)
