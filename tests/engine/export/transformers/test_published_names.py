"""Plain files have the tensors of published checkpoints, by name and form."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.compaction.plan import CompactionPlan
from surgeon_engine.compaction.restore import restore
from surgeon_engine.export.transformers.files import MaskedWriter, PlainWriter
from surgeon_engine.model.inspect import describe
from surgeon_engine.planning.constants import TENSOR_ENTRY
from surgeon_engine.planning.planned_file import FileForm, PlannedFile
from tests.helpers.configs import pruning_config
from tests.helpers.gguf_files import pruned
from tests.helpers.gguf_mixtures import MIXTURES, without_experts
from tests.helpers.gguf_models import GGUF_FAMILIES
from tests.helpers.pruned_models import NOWHERE, assert_close

# Some tensors of the second of three blocks.
PUBLISHED = {
    "olmoe": (
        "mlp.gate.weight",
        "mlp.experts.0.gate_proj.weight",
        "mlp.experts.4.up_proj.weight",
        "mlp.experts.4.down_proj.weight",
    ),
    "mixtral": (
        "block_sparse_moe.gate.weight",
        "block_sparse_moe.experts.3.w1.weight",
        "block_sparse_moe.experts.4.w2.weight",
    ),
    "deepseek_v2": (
        "mlp.experts.4.up_proj.weight",
        "mlp.shared_experts.up_proj.weight",
    ),
    "glm4_moe": ("mlp.experts.4.up_proj.weight", "mlp.gate.e_score_correction_bias"),
    "granitemoe": (
        "block_sparse_moe.input_linear.weight",
        "block_sparse_moe.router.layer.weight",
    ),
    "lfm2_moe": ("feed_forward.experts.4.w3.weight", "feed_forward.expert_bias"),
    "gpt_oss": ("mlp.experts.gate_up_proj", "mlp.experts.down_proj_bias"),
    "gemma4_text": ("experts.gate_up_proj", "router.per_expert_scale"),
}
TOKENS = torch.arange(1, 49).view(2, 24)


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(TOKENS, use_cache=False).logits


def names_in(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return set(file.keys())


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_mixture_has_the_names_of_published_checkpoints(name, tmp_path):
    # The experts that all tokens use are as wide as the others, or twice as wide.
    has_own_width = name not in ("deepseek_v2", "glm4_moe")
    example = without_experts(MIXTURES[name](), neurons=32 * has_own_width)
    expected = logits(example.loaded.model)
    writer = PlainWriter()
    assert writer.unsupported_reason(example) == ""
    writer.write(example, ExportConfig(), tmp_path)
    found = names_in(tmp_path)
    assert {f"model.layers.1.{each}" for each in PUBLISHED[name]} <= found
    assert not any(".experts.5." in each for each in found)
    size = (tmp_path / "model.safetensors").stat().st_size
    entries = len(found) * TENSOR_ENTRY
    assert abs(writer.forecast(example, FileDtype.SAME) - size) < 0.3 * entries
    again, info = AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert_close(logits(again), expected)
    assert torch.equal(logits(restore(tmp_path, "Tiny").loaded.model), expected)


def test_experts_are_those_of_the_model(tmp_path):
    model = MIXTURES["qwen3_moe"]()
    PlainWriter().write(without_experts(model), ExportConfig(), tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    experts = model.model.layers[2].mlp.experts
    for part, expected in (
        ("gate_proj", experts.gate_up_proj[3, :64]),
        ("up_proj", experts.gate_up_proj[3, 64:]),
        ("down_proj", experts.down_proj[3]),
    ):
        # The first expert was removed.
        assert torch.equal(
            found[f"model.layers.2.mlp.experts.2.{part}.weight"], expected
        )


@pytest.mark.parametrize("name", ["glm4_moe", "minimax_m2"])
def test_corrections_of_routers_are_not_rounded(name, tmp_path):
    """With rounded ones, tokens would use other experts."""
    model, correction = MIXTURES[name](), "e_score_correction_bias"
    tensors = [*model.named_parameters(), *model.named_buffers()]
    expected = [x.normal_() for key, x in tensors if key.endswith(correction)]
    config = ExportConfig(dtype=FileDtype.BFLOAT16)
    MaskedWriter().write(pruned(model, CompactionPlan()), config, tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    in_file = [x for key, x in found.items() if key.endswith(correction)]
    torch.testing.assert_close(in_file, expected, rtol=0, atol=0)
    assert found["model.embed_tokens.weight"].dtype is torch.bfloat16


def test_shards_hold_parts_of_a_block(tmp_path):
    model = MIXTURES["qwen3_moe"]()
    example = without_experts(model)
    PlainWriter().write(example, ExportConfig(shard_gigabytes=0.001), tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) == 3
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert_close(logits(again), logits(model))


def test_config_states_the_experts_under_both_names(tmp_path):
    """Of Qwen 3, transformers 4 reads `num_experts`, and 5 `num_local_experts`."""
    PlainWriter().write(
        without_experts(MIXTURES["qwen3_moe"]()), ExportConfig(), tmp_path
    )
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["num_experts"] == config["num_local_experts"] == 5


def test_dense_model_has_the_names_of_published_checkpoints(tmp_path):
    model = GGUF_FAMILIES["gpt_neox"]()
    example = pruned(model, CompactionPlan())
    MaskedWriter().write(example, ExportConfig(), tmp_path)
    assert "embed_out.weight" in names_in(tmp_path)
    assert torch.equal(logits(restore(tmp_path, "Tiny").loaded.model), logits(model))


def test_planned_bytes_count_the_names_of_all_experts(tmp_path):
    example = without_experts(MIXTURES["qwen3_moe"]())
    summary = describe(example.loaded.model, NOWHERE)
    form = FileForm(Format.PLAIN, FileDtype.FLOAT32)
    planned = PlannedFile(summary, form, pruning_config(structure=Structure.EXPERTS))
    PlainWriter().write(example, ExportConfig(), tmp_path)
    size = (tmp_path / "model.safetensors").stat().st_size
    removed = sum(x.weights // x.columns for x in summary.layers if "experts" in x.name)
    assert planned.bytes(removed) == pytest.approx(size, rel=0.003)
