"""With equal widths, every layer loses equally many heads or neurons."""

import dataclasses

import pytest
import torch
from transformers import AutoModelForCausalLM

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Structure, Widths
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.run import Exported, ShotFinished
from surgeon_engine.base.errors import ExportError
from surgeon_engine.export.transformers.plain_widths import check_plain_widths
from surgeon_engine.model.load import load_model
from surgeon_engine.pruning.structures.units import units_of
from surgeon_engine.pruning.threshold import Removals, cheapest_in_step
from tests.helpers.configs import pruning_config
from tests.helpers.pruned_models import loaded
from tests.helpers.runs import Recorder, job, preflight_error
from tests.helpers.tiny_models import VOCABULARY, llama_with, tiny_model

pytestmark = pytest.mark.usefixtures("quick_runs")


def removals(*cost: float, weights: int = 3) -> Removals:
    order = torch.tensor(cost, dtype=torch.float64).sort()
    count = len(cost)
    return Removals(
        order.indices, order.values, torch.full((count,), weights), count + 1
    )


def test_cheapest_of_all_layers_are_removed_together():
    first, second = removals(1, 9, 2), removals(5, 3, 30)
    chosen = cheapest_in_step([{"a": first, "b": second}], budget=13)
    assert chosen.weights == 12  # the third of each would make 18
    assert chosen.removed["a"].tolist() == [True, False, True, False]
    assert chosen.removed["b"].tolist() == [True, True, False, False]
    assert chosen.threshold == (2 + 5) / 2


def test_kinds_are_compared_by_their_mean_costs():
    heads = {"h": removals(1, 10), "i": removals(3, 10)}
    neurons = {"n": removals(4, 5, weights=1), "m": removals(2, 5, weights=1)}
    chosen = cheapest_in_step([heads, neurons], budget=10)
    assert chosen.weights == 10  # heads at 2, neurons at 3 and at 5
    assert [int(x.sum()) for x in chosen.removed.values()] == [1, 1, 2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_run_with_equal_widths_exports_a_plain_model(tmp_path, family):
    config = job(
        tmp_path,
        family,
        shots=2,
        sparsity=0.4,
        widths=Widths.SAME,
        export=ExportConfig(format=Format.PLAIN),
    )
    recorder = Recorder().run(config, tmp_path / "run")
    shot = recorder.of(ShotFinished)[-1]
    by_kind: dict[str, set[int]] = {}
    for layer in shot.layers:
        by_kind.setdefault(layer.kind, set()).add(layer.removed)
    assert all(len(removed) == 1 for removed in by_kind.values())
    assert 0.2 < shot.sparsity <= 0.4
    (exported,) = recorder.of(Exported)
    assert exported.format is Format.PLAIN
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "export")
    assert sum(p.numel() for p in model.parameters()) == shot.parameters
    masked = dataclasses.replace(config, export=ExportConfig(format=Format.MASKED))
    Recorder().run(masked, tmp_path / "masked")
    full = AutoModelForCausalLM.from_pretrained(tmp_path / "masked" / "export")
    assert sum(p.numel() for p in full.parameters()) > shot.parameters
    ids = torch.arange(1, 61).view(3, -1) % VOCABULARY
    with torch.no_grad():
        expected = full(ids).logits
        difference = (model(ids).logits - expected).abs().max()
    assert difference <= 1e-4 * expected.abs().max()


OTHERS_STAY = "others of their kind are not"


@pytest.mark.parametrize(
    ("family", "file_format", "settings", "sentence"),
    [
        ("llama", Format.PLAIN, {"protect": ("block 0",)}, OTHERS_STAY),
        ("qwen3", Format.GGUF, {"protect": ("block 0",)}, OTHERS_STAY),
        # Its heads are as large as the hidden size over their number.
        ("opt", Format.PLAIN, {}, "do not fit a plain OPTForCausalLM"),
        # Its MLPs are four times the hidden size.
        (
            *("bloom", Format.PLAIN, {"structure": Structure.NEURONS}),
            "Fewer neurons do not fit a plain Bloom",
        ),
    ],
)
def test_widths_that_a_format_cannot_hold_raise_at_once(
    tmp_path, family, file_format, settings, sentence
):
    widths = Widths.SAME if file_format is Format.PLAIN else Widths.FREE
    export = ExportConfig(format=file_format)
    config = job(tmp_path, family, widths=widths, export=export, **settings)
    error = preflight_error(config, tmp_path / "run", ExportError)
    assert sentence in error.message


@pytest.mark.slow
def test_plain_format_is_possible_if_a_whole_kind_is_protected(tmp_path):
    config = job(
        tmp_path,
        sparsity=0.2,
        widths=Widths.SAME,
        protect=("self_attn.*",),
        export=ExportConfig(format=Format.PLAIN),
    )
    (exported,) = Recorder().run(config, tmp_path / "run").of(Exported)
    assert exported.format is Format.PLAIN


def test_experts_beside_a_shared_one_of_their_width_stay_as_wide_in_plain_files():
    """The config states the shared expert's width as a multiple of the others'."""
    model = tiny_model("deepseek_v3")
    pruning = pruning_config(
        structure=Structure.EXPERTS_AND_NEURONS,
        protect=("block 0", "*.shared_experts.*"),
    )
    with pytest.raises(ExportError, match="Narrower experts do not fit a plain"):
        check_plain_widths(loaded(model), units_of(pruning, model))


def test_error_lists_the_possible_numbers_of_heads(tmp_path):
    """Llama's has to divide the hidden size."""
    sizes = {"hidden_size": 24, "head_dim": 2}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8}
    llama_with(**sizes, **heads).save_pretrained(tmp_path)
    found = load_model(ModelConfig(str(tmp_path)))
    pruning = pruning_config(structure=Structure.HEADS, widths=Widths.SAME)
    reason = check_plain_widths(found, units_of(pruning, found.model))
    assert reason is not None
    assert "can have 1, 2, 3, 4, 6, 8 heads" in reason.message
