"""llama.cpp computes logits like the original model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import (
    Qwen2Config,
    Qwen2ForCausalLM,
)

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.base.errors import ExportError
from surgeon_engine.export.gguf.file import GgufWriter
from surgeon_engine.model.families import FAMILIES
from tests.engine.export.gguf.conftest import INSTALLED, RUNTIMES
from tests.engine.export.gguf.test_gguf import (
    LLAMA_3_ROPE,
    probe_of,
    pruned,
    tiny_llama,
    uniform,
    value_of,
    without,
    written,
)

YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
LLAMA = FAMILIES["llama"].gguf[0]
# Runs the check with one of the runtimes alone.
CHECK = """
import json, sys
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

    def choose(candidates: int) -> torch.Tensor:
        is_removed = torch.rand(candidates, generator=draw) < 0.4
        is_removed[0] = False
        return is_removed

    return without(model, choose)


SHAPES = {"whole": pruned, "uniform": uniform, "ragged": ragged}


def compared(example, runtime, folder, dtype=FileDtype.SAME):
    probe = probe_of(example, folder / "probe.safetensors")
    export = folder / "export"
    export.mkdir()
    reader = written(example, export, dtype)
    other = next(name for name in RUNTIMES if name != runtime)
    code = CHECK.format(other=other, folder=str(export), probe=str(probe))
    return value_of(reader, "general.architecture"), output_of(code)


def output_of(code: str, *arguments: str):
    """Return the last line of a program's output, decoded from JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def assert_same(result) -> None:
    assert result["tokens"] >= 23
    assert result["largest_difference"] < 1e-3
    assert result["agreement"] == 1.0  # greedily the same tokens


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"attention_bias": True, "mlp_bias": True},
        {"rope_parameters": LLAMA_3_ROPE},
        {"rope_parameters": LLAMA_3_ROPE | {"rope_type": "linear"}},
        {"rope_parameters": YARN},
        {"tie_word_embeddings": True},
    ],
)
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
    example = ragged(with_large_weights())
    probe = probe_of(example, tmp_path / "probe.safetensors")
    folder = tmp_path / "export"
    folder.mkdir()
    written(example, folder)
    looks = []
    result = GgufWriter().verify(folder, probe, lambda: looks.append(None))
    assert result.agreement == 1.0
    assert result.checked_with.startswith("llama.cpp in ")
    assert looks


@pytest.mark.runtimes
@pytest.mark.fresh_process
@pytest.mark.skipif(not INSTALLED, reason="nothing here runs GGUF files")
def test_verify_reports_why_a_file_does_not_load(tmp_path, monkeypatch):
    example = ragged(with_large_weights())
    probe = probe_of(example, tmp_path / "probe.safetensors")
    folder = tmp_path / "export"
    folder.mkdir()
    monkeypatch.setattr(
        "surgeon_engine.export.gguf.file.architecture_of",
        lambda compacted: replace(LLAMA, own_widths=True),
    )
    written(example, folder)
    with pytest.raises(ExportError, match="has wrong shape"):
        GgufWriter().verify(folder, probe, lambda: None)
