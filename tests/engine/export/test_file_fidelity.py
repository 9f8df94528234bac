"""The fidelity of a quantized file is measured on the numbers in it."""

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.config.run import Device, ModelConfig, RunConfig
from surgeon_engine.api.model_info.source_names import DEMO
from surgeon_engine.calibration.windows import JudgingText
from surgeon_engine.compaction.plan import CompactionPlan, PrunedModel
from surgeon_engine.evaluation.evaluate import evaluate, references_of
from surgeon_engine.evaluation.fidelity import divergences
from surgeon_engine.export import file_fidelity
from surgeon_engine.export.file_fidelity import Yardstick, fidelity_of_file, put_file
from surgeon_engine.export.gguf.file import file_tensors
from tests.helpers.gguf_files import (
    needs_llama,
    numbers,
    pruned,
    tiny_llama,
    uniform,
    written,
)
from tests.helpers.gguf_models import GGUF_FAMILIES
from tests.helpers.pairs import others_later
from tests.helpers.pruned_models import compact_model
from tests.helpers.runs import Recorder
from tests.helpers.smaller_vocabularies import demo, demo_with, kept_of_demo, save

WINDOWS = torch.randint(1, 300, (5, 24), generator=torch.Generator().manual_seed(1))
DTYPES = [
    FileDtype.Q8_0,
    pytest.param(FileDtype.Q4_0, marks=needs_llama),
]


def spread(model):
    """Return a model whose predictions differ from token to token."""
    torch.manual_seed(3)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.normal_(std=0.15)
    return model


def yardstick_of(model) -> Yardstick:
    texts = [JudgingText("story", WINDOWS), JudgingText("code", WINDOWS[:2])]
    references = references_of(model, texts, None, 2, lambda: None)
    return Yardstick(references, torch.device("cpu"))


@pytest.mark.slow
def test_export_with_fewer_tokens_is_measured_on_the_same_bytes(tmp_path):
    config = RunConfig(
        model=ModelConfig(DEMO, device=Device.CPU),
        calibration=CalibrationConfig(
            windows=4, validation_windows=4, window_length=64
        ),
        evaluation=EvaluationConfig(windows=0),
    )
    smaller = demo_with(kept_of_demo(demo()))
    checkpoint = save(smaller, tmp_path / "checkpoint")
    context = Recorder().context
    found = file_fidelity.yardstick_of(config, checkpoint, context)
    example = PrunedModel(smaller, CompactionPlan())
    written(example, tmp_path, FileDtype.Q8_0)
    (first, *_) = fidelity_of_file(example, tmp_path, found, context)
    assert 0 < first.compared < 1
    assert first.original_bits.value < first.bits_per_byte.value
    whole = file_fidelity.yardstick_of(config, save(demo(), tmp_path / "all"), context)
    assert whole.references.texts[0][1].translation is None


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_tied", [False, True])
def test_figures_equal_those_of_the_file_that_transformers_reads(
    dtype, is_tied, tmp_path
):
    model = spread(tiny_llama(tie_word_embeddings=is_tied))
    with torch.no_grad():
        p = model(WINDOWS).logits[:, :-1]
    yardstick, example = yardstick_of(model), pruned(model)
    written(example, tmp_path, dtype)
    found, of_code = fidelity_of_file(example, tmp_path, yardstick, Recorder().context)
    read = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.float32
    )
    with torch.no_grad():
        q = read(WINDOWS).logits[:, :-1]
    assert found.divergence.value > 1e-5
    nats = divergences(p, q).mean()
    assert found.divergence.value == pytest.approx(float(nats), rel=1e-3)
    common = torch.minimum(p.softmax(-1), q.softmax(-1)).sum(-1).mean()
    assert found.overlap.value == pytest.approx(float(common), rel=1e-4)
    same = (p.argmax(-1) == q.argmax(-1)).double().mean()
    assert found.agreement.value == pytest.approx(float(same))
    assert (found.text, of_code.text, of_code.windows) == ("story", "code", 2)


@pytest.mark.slow
def test_removed_groups_stay_removed(tmp_path):
    model = spread(tiny_llama())
    yardstick, example = yardstick_of(model), uniform(model)
    small = compact_model(model, example.plan)
    expected = evaluate(small, yardstick.references, lambda: None).fidelity
    written(example, tmp_path, FileDtype.Q8_0)
    found = fidelity_of_file(example, tmp_path, yardstick, Recorder().context)
    for each, other in zip(found, expected, strict=True):
        assert each.divergence.value == pytest.approx(other.divergence.value, rel=0.02)
        assert each.divergence.value != other.divergence.value


# At least one with each order of rows, shape and change of numbers (`gguf/layout.py`).
LAYOUTS = (
    *("arcee", "bloom", "falcon", "gemma3_with_images", "gpt2", "gpt_neox", "lfm2"),
    *("phi3", "qwen3_5_text", "qwen3_vl_text", "stablelm_head_norms"),
)
OTHERS = ("cohere", "falcon_multi_query", "gemma3_text", "gpt_bigcode")


@pytest.mark.slow
@pytest.mark.parametrize("family", others_later([*LAYOUTS, *OTHERS], LAYOUTS))
def test_model_has_the_numbers_of_its_file(family, tmp_path):
    example = pruned(GGUF_FAMILIES[family]())
    reader = written(example, tmp_path, FileDtype.Q8_0)
    put_file(example, tmp_path / "model.gguf")
    stored, types = numbers(reader), {x.name: x.tensor_type for x in reader.tensors}
    checked = 0
    for each in file_tensors(example):
        rounded = types[each.name] == gguf.GGMLQuantizationType.Q8_0
        if rounded and each.name != "output.weight":
            np.testing.assert_array_equal(
                each._selected(each.tensor()), each._selected(_tensor(stored, each))
            )
            checked += 1
    assert checked > 5


def _tensor(stored, each):
    return torch.from_numpy(stored[each.name]).view(each.shape)


@pytest.mark.parametrize("name", ["evaluate", "put_file"])
def test_short_memory_is_a_warning(name, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = spread(tiny_llama())
    yardstick, example = yardstick_of(model), pruned(model)
    written(example, tmp_path, FileDtype.Q8_0)
    monkeypatch.setattr(file_fidelity, name, fail)
    recorder = Recorder()
    assert fidelity_of_file(example, tmp_path, yardstick, recorder.context) == ()
    assert "not enough memory" in str(recorder.warnings())
