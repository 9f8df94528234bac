"""Exports are verified in an isolated process, within the tolerance of their format."""

import contextlib
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import msgspec
import psutil
import pytest
import torch
from transformers.utils import hub

from surgeon_engine.api.config.export import QUANTIZED, FileDtype
from surgeon_engine.base.errors import ExportError
from surgeon_engine.export import isolated_process
from surgeon_engine.export.base import VerificationResult
from surgeon_engine.export.isolated_process import run_isolated
from surgeon_engine.export.transformers import check, files
from surgeon_engine.export.transformers.check import compare, divergence, placement
from surgeon_engine.export.verify import (
    describe_mismatch,
    expected_figures,
    save_probe,
    tolerance_of,
)
from surgeon_engine.planning.constants import CHECK_KEPT, CHECK_ROOM
from tests.helpers.pruning_states import make_state
from tests.helpers.tiny_models import tiny_model

RIGHT = VerificationResult(64, 0.0, 20.0, 1.0, 12.0, "transformers 5.24.0")
LLAMA_CPP = "llama.cpp in xllamacpp 0.2"
F32, F16, BF16 = FileDtype.FLOAT32, FileDtype.FLOAT16, FileDtype.BFLOAT16
BELOW, ABOVE = 0.99, 1.01


def problem(*dtypes: FileDtype, has_experts: bool = False, **changed) -> str:
    result = msgspec.structs.replace(RIGHT, **changed)
    tolerance = tolerance_of(dtypes, has_experts=has_experts)
    return describe_mismatch(result, tolerance, 12.0)


@pytest.mark.parametrize(
    ("dtype", "program", "limit"),
    [
        (F32, "transformers 5.24.0", 1e-4),
        (F16, "transformers 5.24.0", 1e-2),
        (BF16, "transformers 5.24.0", 8e-2),
        (F32, LLAMA_CPP, 1e-3),
        (F16, LLAMA_CPP, 1e-2),
        (BF16, LLAMA_CPP, 8e-2),
    ],
)
def test_logit_difference_is_limited_relative_to_largest_logit(dtype, program, limit):
    def at(share: float) -> str:
        difference = 20.0 * limit * share
        return problem(dtype, checked_with=program, largest_difference=difference)

    assert at(BELOW) == ""
    assert at(ABOVE) == (
        f"The reloaded checkpoint gives other logits: they differ by up to "
        f"{20 * limit * ABOVE:.3g} (maximum {20 * limit:.3g}, as the largest is 20)."
    )


@pytest.mark.parametrize(("dtype", "minimum"), [(F32, 0.98), (F16, 0.9), (BF16, 0.9)])
def test_agreement_is_limited_by_dtype(dtype, minimum):
    assert problem(dtype, agreement=minimum) == ""
    assert problem(dtype, agreement=minimum - 0.01) == (
        "The reloaded checkpoint gives the same top token for only "
        f"{100 * (minimum - 0.01):.0f} % of 64 tokens (minimum {100 * minimum:.0f} %)."
    )


@pytest.mark.parametrize(("dtype", "limit"), [(F32, 1e-3), (F16, 0.02), (BF16, 0.05)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_perplexity_deviation_is_limited_by_dtype(dtype, limit, sign):
    def at(share: float) -> str:
        return problem(dtype, perplexity=12.0 * math.exp(sign * limit * share))

    assert at(BELOW) == ""
    assert "instead of 12.0000 (maximum deviation" in at(ABOVE)


UNVERIFIED = {"tokens": 0, "largest_difference": None, "agreement": 0.0}


@pytest.mark.parametrize(
    ("dtype", "changed", "sentence"),
    [
        (F32, {"perplexity": None}, ""),
        (F32, UNVERIFIED, ""),
        (F16, {"perplexity": None, "windows": 4}, "that is not finite instead of 12.0"),
        (F16, {"largest_difference": None}, "differ infinitely"),
        (FileDtype.Q8_0, {"saving_divergence": None}, "no finite KL"),
    ],
)
def test_figures_that_are_missing_or_not_finite(dtype, changed, sentence):
    found = problem(dtype, **changed)
    assert sentence in found
    assert bool(found) == bool(sentence)


def test_quantized_files_are_judged_by_their_divergence():
    limits = {}
    for dtype in QUANTIZED:
        off = {"largest_difference": 15.0, "agreement": 0.7}
        text = problem(dtype, F32, saving_divergence=9.0, **off)
        limits[dtype] = float(text.split("maximum ")[1].split(")")[0])
        near = limits[dtype] * BELOW
        assert problem(dtype, F32, saving_divergence=near, **off) == ""
    assert limits[FileDtype.Q8_0] == 0.05
    assert list(limits.values()) == sorted(limits.values())
    assert problem(FileDtype.Q4_0, saving_divergence=0.75) == (
        "The reloaded checkpoint gives a KL of 0.75 nats to the model in memory "
        "(maximum 0.5)."
    )


@pytest.mark.parametrize("dtype", [F16, BF16])
def test_mixtures_in_16_bits_are_judged_by_their_divergence(dtype):
    off = {"largest_difference": 15.0, "agreement": 0.85, "has_experts": True}
    assert problem(dtype, F32, saving_divergence=0.049, **off) == ""
    assert "KL of 0.051" in problem(dtype, F32, saving_divergence=0.051, **off)
    assert problem(F32, saving_divergence=0.0, **off)


def test_divergence_of_almost_equal_logits_is_not_negative():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 8, 300, generator=draw, dtype=torch.float64)
    assert all(divergence(x, x + 1e-3) >= 0 for x in logits)


def test_loosest_tolerance_of_several_dtypes_applies():
    off = {"largest_difference": 0.5, "agreement": 0.92, "perplexity": 12.5}
    assert problem(F32, BF16, **off) == ""
    assert problem(BF16, F32, **off) == ""
    assert problem(F32, **off)


def test_description_lists_all_mismatches():
    text = problem(F32, largest_difference=5.0, agreement=0.5, perplexity=24.0)
    assert text == (
        "The reloaded checkpoint gives other logits: they differ by up to 5 (maximum "
        "0.002, as the largest is 20); the same top token for only 50 % of 64 "
        "tokens (minimum 98 %); a perplexity of 24.0000 instead of 12.0000 "
        "(maximum deviation 0.1 %)."
    )


def test_divergence_from_the_original_is_that_of_two_whole_models(tmp_path):
    state = make_state("llama")
    model, original = state.loaded.model, tiny_model("llama")
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[:, ::2] = 0
    _, validation = state.references.texts[0]
    probe = tmp_path / "probe.safetensors"
    save_probe(state.loaded, validation, probe)
    tokens = validation.windows[:1, :64]
    with torch.no_grad():
        p, q = (x(tokens).logits.double().log_softmax(-1) for x in (original, model))
    nats = float((p.exp() * (p - q)).sum(-1).mean())
    assert nats > 1e-4
    assert expected_figures(probe).divergence == pytest.approx(nats, rel=1e-3)
    model.save_pretrained(tmp_path / "checkpoint")
    found = compare(tmp_path / "checkpoint", probe, CHECK_ROOM, CHECK_KEPT)
    assert found["tokens"] == tokens.numel()
    assert found["largest_difference"] < 1e-5
    assert found["divergence"] == pytest.approx(nats, rel=1e-3)


@pytest.mark.slow
def test_large_mixture_is_read_from_a_folder_with_the_same_logits(
    tmp_path, monkeypatch
):
    """By transformers, which joins the experts there."""
    state = make_state("qwen3_moe")
    _, validation = state.references.texts[0]
    probe, checkpoint = tmp_path / "probe.safetensors", tmp_path / "checkpoint"
    save_probe(state.loaded, validation, probe)
    state.loaded.model.save_pretrained(checkpoint)
    shares = (CHECK_ROOM, CHECK_KEPT)
    expected = compare(checkpoint, probe, *shares)
    size = (checkpoint / "model.safetensors").stat().st_size
    free = mock.Mock(available=2 * size - 2)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    folder = tmp_path / "offloaded"
    monkeypatch.setattr(
        tempfile,
        "TemporaryDirectory",
        lambda **_: contextlib.nullcontext(str(folder)),
    )
    assert compare(checkpoint, probe, *shares) == expected
    assert expected["largest_difference"] < 1e-5
    assert any("experts.gate_up_proj" in x.name for x in folder.iterdir())
    free.available = 2 * size
    assert placement(checkpoint, "", *shares) == {}


def test_check_holds_the_shares_of_memory_that_are_planned(monkeypatch, tmp_path):
    run = mock.Mock()
    monkeypatch.setattr(files, "run_isolated", run)
    files.MaskedWriter().verify(tmp_path, tmp_path / "probe", int)
    program, (_, _, *shares), _ = run.call_args.args
    assert program == Path(check.__file__)
    assert [*map(float, shares)] == [CHECK_ROOM, CHECK_KEPT]


def failure(tmp_path, code: str, reason_after: str = "") -> ExportError:
    program = tmp_path / "program.py"
    program.write_text(code)
    with pytest.raises(ExportError, match="does not load in a fresh process") as error:
        run_isolated(program, ("a", "b"), lambda: None, reason_after)
    return error.value


REPORT = "Please report this with the name of the model."


@pytest.mark.parametrize(
    ("code", "reason", "is_short_of_memory"),
    [
        ("import surgeon_engine", "surgeon_engine is blocked here", False),
        ("import surgeon_gui.app", "surgeon_gui is blocked here", False),
        ("import fresh_process", "No module named 'fresh_process'", False),
        ("raise ValueError('no such width.')", "no such width", False),
        ("raise MemoryError", "MemoryError", True),
        ("import sys; sys.exit('out of memory')", "out of memory", True),
        ("import os; os.kill(os.getpid(), 9)", "it was killed", True),
        ("import os; os.abort()", "", False),
        ("", "exit code 0", False),
    ],
)
def test_failed_program_reports_its_reason(tmp_path, code, reason, is_short_of_memory):
    error = failure(tmp_path, code)
    assert f"{reason}." in error.message
    assert (error.hint != REPORT) is is_short_of_memory


def test_reason_may_be_in_an_earlier_line(tmp_path):
    code = "import sys; sys.exit('llama: error loading: wrong shape\\nno model')"
    assert "process: wrong shape." in failure(tmp_path, code, "error loading: ").message
    assert "process: no model." in failure(tmp_path, code, "something else").message


# Prints a result whose program is `found`.
RESULT = """
print(json.dumps({"tokens": 1, "largest_difference": None, "largest_logit": 0,
    "agreement": 1, "perplexity": None, "checked_with": found}))
"""


def found_by(folder, code: str) -> str:
    """Return the result of an isolated program."""
    program = folder / "program.py"
    program.write_text(code + RESULT)
    return run_isolated(program, ("a", "b"), lambda: None).checked_with


def test_program_ignores_modules_in_current_folder(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    code = "import json, sys\nfound = f'{sys.argv[1:]} {__name__}'"
    assert found_by(tmp_path, code) == "['a', 'b'] __main__"


def test_isolated_program_exits_with_its_parent(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import time; time.sleep(60)")
    command = [sys.executable, "-c", isolated_process._BLOCK_SURGEON, program]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    process.stdin.close()
    assert process.wait(timeout=20) == 1


@pytest.mark.slow
def test_code_of_checkpoint_is_not_left_in_users_cache(tmp_path):
    code = (
        "import json, os\n"
        "from transformers.utils import hub\n"
        "found = hub.HF_MODULES_CACHE\n"
        "assert os.path.isdir(found), found\n"
    )
    folder = Path(found_by(tmp_path, code))
    assert not folder.exists()
    assert folder != Path(hub.HF_MODULES_CACHE)
