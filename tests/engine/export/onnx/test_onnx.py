"""ONNX files compute the logits of the pruned model in onnxruntime."""

from __future__ import annotations

import copy
import json
import logging
import math
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoConfig, GenerationConfig, LlamaConfig, LlamaForCausalLM

from surgeon_engine.api.config.export import ExportConfig, FileDtype
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.base.errors import ExportError, ModelError
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel
from surgeon_engine.export.onnx import check as onnx_check
from surgeon_engine.export.onnx import file as onnx_file
from surgeon_engine.export.onnx.file import OnnxWriter
from surgeon_engine.model.layers import find_blocks
from surgeon_engine.model.source import ModelSource, read_model_config
from tests.engine.compaction.test_shrink import masked
from tests.helpers.depth import without_depth
from tests.helpers.tiny_models import VOCABULARY, byte_tokenizer, tiny_model

# Of learned positions, and of normalised queries and soft caps.
OTHER_FAMILIES = ("opt", "gemma3")
RELATIVE = 1e-3  # of the largest logit
NAMES = ("model.onnx", "model.onnx.data")
needs_extra = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra `onnx` is not installed",
)


def pruned_of(model, plan=None) -> PrunedModel:
    loaded = SimpleNamespace(
        model=model,
        tokenizer=byte_tokenizer(),
        blocks=find_blocks(model),
        source=ModelSource("Tiny", Path("nowhere")),
    )
    return PrunedModel(loaded, plan or CompactionPlan())


def write(model, plan, folder) -> PrunedModel:
    pruned = pruned_of(model, plan)
    assert OnnxWriter().unsupported_reason(pruned) == ""
    OnnxWriter().write(pruned, ExportConfig(), folder)
    return pruned


def session_of(folder):
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )


def random_tokens(batch: int, length: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(batch * length)
    return torch.randint(1, VOCABULARY, (batch, length), generator=draw)


def assert_computes_the_same(context, model, relative=RELATIVE) -> None:
    """Compare logits at several sizes, without and with left padding."""
    for batch, length, padding in (
        (1, 1, 0),
        (1, 24, 0),
        (3, 7, 0),
        (1, 40, 5),
        (4, 24, 9),
    ):
        ids = random_tokens(batch, length)
        mask = torch.ones_like(ids)
        mask[0, :padding] = 0
        with torch.no_grad():
            whole = model(input_ids=ids, attention_mask=mask, use_cache=False)
        inputs = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        ours = torch.from_numpy(context.run(["logits"], inputs)[0])
        assert ours.dtype == torch.float32
        theirs, is_text = whole.logits.float(), mask.bool()
        difference = (ours - theirs)[is_text].abs().max()
        assert difference <= relative * theirs[is_text].abs().max()


def probe_of(model, path, length: int = 24):
    ids, windows = random_tokens(1, length), random_tokens(2, length)
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits.contiguous()
        predictions = model(windows, use_cache=False).logits[:, :-1]
    original = logits + torch.randn(logits.shape, generator=torch.Generator())
    loss = functional.cross_entropy(predictions.flatten(0, 1), windows[:, 1:].flatten())
    probe = {"tokens": ids, "logits": logits, "original": original, "windows": windows}
    save_file(probe, path)
    return path, math.exp(float(loss))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Return a pruned model and the folder with its files."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    model, plan = masked("llama", Structure.HEADS_AND_NEURONS)
    folder = tmp_path_factory.mktemp("llama")
    write(model, plan, folder)
    return model, folder


@needs_extra
@pytest.mark.slow
def test_onnxruntime_matches_masked_llama(llama):
    model, folder = llama
    assert_computes_the_same(session_of(folder), model)


@needs_extra
@pytest.mark.slow
def test_folder_has_the_configs_that_other_programs_read(llama):
    model, folder = llama
    config = AutoConfig.from_pretrained(folder)
    assert config.model_type == "llama"
    assert config.vocab_size == model.config.vocab_size
    assert config.use_cache is False
    assert GenerationConfig.from_pretrained(folder).eos_token_id == 0
    with pytest.raises(ModelError, match="has been pruned already"):
        read_model_config(ModelSource("Tiny", folder))


@needs_extra
@pytest.mark.thorough
@pytest.mark.parametrize("family", OTHER_FAMILIES)
def test_written_file_matches_masked_model_and_nothing_is_printed(
    family, tmp_path, capfd, caplog
):
    model, plan = masked(family, Structure.HEADS_AND_NEURONS)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    write(model, plan, tmp_path)
    assert tuple(capfd.readouterr()) == ("", "")
    assert not [x for x in caplog.records if x.levelno >= logging.WARNING]
    assert_computes_the_same(session_of(tmp_path), model)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@needs_extra
@pytest.mark.thorough
def test_bfloat16_model_is_written_in_float32_with_zeros_in_full_matrices(tmp_path):
    model, plan = masked("qwen2", Structure.ELEMENTS)
    assert plan.is_empty
    wide = copy.deepcopy(model)
    model.to(torch.bfloat16)
    write(model, plan, tmp_path)
    assert model.dtype == torch.bfloat16
    # The rounded weights alone: `to` rounds the positions' frequencies as well, which
    # stay float32 in a model that is loaded in bfloat16.
    wide.load_state_dict(model.state_dict())
    assert_computes_the_same(session_of(tmp_path), wide)


@pytest.mark.thorough
def test_graph_has_documented_inputs_and_outputs(llama):
    context = session_of(llama[1])
    taken = {x.name: (x.type, x.shape) for x in context.get_inputs()}
    assert taken == {
        "input_ids": ("tensor(int64)", ["batch", "length"]),
        "attention_mask": ("tensor(int64)", ["batch", "length"]),
    }
    (given,) = context.get_outputs()
    assert (given.name, given.type) == ("logits", "tensor(float)")
    assert given.shape == ["batch", "length", VOCABULARY]


@pytest.mark.thorough
def test_files_contain_no_paths_of_this_machine(llama):
    assert {path.name for path in llama[1].glob("model*")} == set(NAMES)
    assert (llama[1] / "tokenizer.json").is_file()
    graph = (llama[1] / "model.onnx").read_bytes()
    assert b".py" not in graph and b"site-packages" not in graph


@needs_extra
@pytest.mark.thorough
def test_forecast_is_within_one_percent(tmp_path):
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=320,
        intermediate_size=900,
        num_hidden_layers=1,
        num_attention_heads=5,
        num_key_value_heads=5,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    pruned = write(model, None, tmp_path)
    taken = sum((tmp_path / name).stat().st_size for name in NAMES)
    expected = OnnxWriter().forecast(pruned, FileDtype.SAME)
    assert expected == pytest.approx(taken, rel=0.01)


@needs_extra
def test_forecast_includes_buffers_outside_checkpoints():
    model = tiny_model("gpt_neo")
    masks = sum(x.numel() for name, x in model.named_buffers() if "bias" in name)
    weights = sum(x.numel() for x in model.parameters())
    expected = OnnxWriter().forecast(pruned_of(model), FileDtype.SAME)
    assert masks == 2 * 64 * 64
    assert expected == pytest.approx(4 * weights + masks + 3 * 9_000, abs=200)


@needs_extra
@pytest.mark.thorough
@pytest.mark.parametrize("parts", [{0: "heads", 1: "neurons"}, {0: "block"}])
def test_graph_lacks_what_is_removed_as_a_whole(parts, tmp_path):
    model = tiny_model("llama")
    pruned = write(model, without_depth(model, parts), tmp_path)
    assert_computes_the_same(session_of(tmp_path), model)
    taken = sum((tmp_path / name).stat().st_size for name in NAMES)
    forecast = OnnxWriter().forecast(pruned, FileDtype.SAME)
    assert forecast == pytest.approx(taken, rel=0.3)  # of a graph with few weights


@pytest.mark.thorough
def test_verify_reports_differences(llama, tmp_path):
    model, folder = llama
    probe, perplexity = probe_of(model, tmp_path / "probe.safetensors")
    looks = []
    result = OnnxWriter().verify(folder, probe, lambda: looks.append(1))
    assert looks
    assert result.tokens == 24
    assert result.largest_difference <= RELATIVE * result.largest_logit
    assert result.agreement == 1
    assert result.perplexity == pytest.approx(perplexity, rel=1e-4)
    held = load_file(probe)
    log_p, log_q = (
        held[name].double().log_softmax(-1) for name in ("original", "logits")
    )
    nats = float((log_p.exp() * (log_p - log_q)).sum(-1).mean())
    assert nats > 1e-4
    assert result.divergence == pytest.approx(nats, rel=1e-3)
    assert result.checked_with.startswith("onnxruntime 1.")


@pytest.mark.thorough
def test_verify_detects_another_model(llama, tmp_path):
    other, _ = masked("llama", Structure.HEADS_AND_NEURONS, seed=1)
    probe, _ = probe_of(other, tmp_path / "probe.safetensors")
    result = OnnxWriter().verify(llama[1], probe, lambda: None)
    assert result.largest_difference > 0.1 * result.largest_logit
    assert result.agreement < 1


@pytest.mark.thorough
def test_verify_detects_logits_that_are_not_finite(llama, tmp_path):
    model, folder = llama
    size = (folder / "model.onnx.data").stat().st_size
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    (tmp_path / "model.onnx.data").write_bytes(b"\xff" * size)
    probe, _ = probe_of(model, tmp_path / "probe.safetensors")
    result = OnnxWriter().verify(tmp_path, probe, lambda: None)
    assert result.largest_difference is None
    assert result.perplexity is None


@pytest.mark.thorough
def test_verify_graph_without_weights_raises(llama, tmp_path):
    model, folder = llama
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    probe, _ = probe_of(model, tmp_path / "probe.safetensors")
    with pytest.raises(ExportError, match=r"does not load .*model\.onnx\.data"):
        OnnxWriter().verify(tmp_path, probe, lambda: None)


@pytest.mark.thorough
def test_check_runs_without_torch_surgeon_and_windows(llama, tmp_path, monkeypatch):
    model, folder = llama
    probe, _ = probe_of(model, tmp_path / "probe.safetensors")
    held = load_file(probe)
    del held["windows"]
    save_file(held, probe)
    for name in ("torch", "transformers", "surgeon_engine"):
        monkeypatch.setitem(sys.modules, name, None)
    found = json.loads(json.dumps(onnx_check.compare(folder / "model.onnx", probe)))
    assert (found["tokens"], found["perplexity"]) == (24, None)


@needs_extra
@pytest.mark.thorough
def test_write_model_that_torch_cannot_convert_raises(tmp_path):
    model = tiny_model("llama")

    class Erratic(type(model)):
        """A model with a branch that depends on its input."""

        def forward(self, input_ids=None, **others):
            if int(input_ids.sum()) % 2:
                return super().forward(input_ids=input_ids + 1, **others)
            return super().forward(input_ids=input_ids, **others)

    model.__class__ = Erratic
    with pytest.raises(ExportError, match="torch cannot write LlamaModel as an ONNX"):
        write(model, CompactionPlan(), tmp_path)


@needs_extra
def test_rows_and_columns_are_unsupported():
    model, plan = masked("llama", Structure.ROWS_AND_COLUMNS)
    assert "heads and neurons" in OnnxWriter().unsupported_reason(
        pruned_of(model, plan)
    )


@needs_extra
def test_falcon_with_bfloat16_positions_is_unsupported():
    unsupported_reason = OnnxWriter().unsupported_reason(
        pruned_of(tiny_model("falcon_multi_head"))
    )
    assert "bfloat16" in unsupported_reason
    assert OnnxWriter().unsupported_reason(pruned_of(tiny_model("falcon"))) == ""


def test_missing_packages_are_named(monkeypatch):
    def find(name):
        return None if name == "onnxscript" else object()

    monkeypatch.setattr(onnx_file, "find_spec", find)
    unsupported_reason = OnnxWriter().unsupported_reason(pruned_of(tiny_model("llama")))
    assert unsupported_reason == (
        "ONNX files need packages that are not installed: onnxscript. Install them "
        "with `pip install onnxscript`."
    )
