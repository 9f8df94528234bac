"""Tables that the commands print."""

from msgspec.structs import replace
from rich.table import Table

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.messages.run import (
    Estimate,
    Fidelity,
    GroupsLeft,
    RecoveryUndone,
    Stage,
    TokensRemoved,
    UndoReason,
)
from surgeon_engine.cli.formatting import (
    event_line,
    experts_line,
    format_table,
    tokens_lines,
)
from surgeon_engine.cli.model_tables import layer_table, model_table, structure_table
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.source import ModelSource
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_results import exported
from tests.helpers.gguf_mixtures import MIXTURES
from tests.helpers.mixtures import mixture_summary, shot_of_experts
from tests.helpers.tiny_models import tiny_model


def cells(table: Table, column: int = 0) -> list[str]:
    return [str(cell) for cell in table.columns[column].cells]


def test_own_format_of_a_result_is_listed_once():
    result = exported("there", PruningConfig())
    assert result.format in [other.format for other in result.others]
    listed = cells(format_table(result))
    assert listed[0] == result.format
    assert sorted(listed) == sorted(set(Format) - {Format.AUTOMATIC})


def test_layers_of_each_kind_of_block_are_listed_once(tmp_path):
    model = describe(tiny_model("qwen3_next"), ModelSource("tiny", tmp_path))
    listed = cells(layer_table(model))
    headers = [name for name in listed if name.endswith(":")]
    assert headers == ["1 of 2 blocks, as 0:", "1 of 2 blocks, as 1:"]
    rest = [name for name in listed if name not in headers]
    assert rest == [layer.kind for layer in model.layers]
    alike = describe(tiny_model("llama"), ModelSource("tiny", tmp_path))
    assert cells(layer_table(alike)) == [x.kind for x in alike.layers if x.block == 0]


def test_number_format_is_shown_or_estimated():
    model = model_summary()
    assert cells(model_table(model, "FP8"))[-1] == "number format"
    assert cells(model_table(model, "FP8"), 1)[-1] == "FP8"
    bits = 8 * model.file_bytes / model.parameters
    assert f"about {bits:.1f} bits" in cells(model_table(model, ""), 1)[-1]


def test_fewer_tokens_are_named_with_the_share_that_is_compared():
    tokens = TokensRemoved(before=49_152, after=32_768)
    assert event_line(tokens) == "vocabulary: 49,152 to 32,768 tokens"
    measured = Fidelity(*[Estimate(0.5, 0.4, 0.6)] * 3, 4, 32, "a text", compared=0.975)
    note, compared = tokens_lines(tokens, (measured,))
    assert "49,152 to 32,768 tokens" in note
    assert "per token of the original" in note
    assert "a text: " in compared
    assert "at 97.5 % of the tokens" in compared
    whole = replace(measured, compared=None)
    assert list(tokens_lines(tokens, (whole,))) == [note]
    assert list(tokens_lines(None, (whole,))) == []


def test_model_with_experts_has_their_number_and_the_active_parameters():
    model = mixture_summary()
    rows = dict(zip(*(cells(model_table(model, ""), n) for n in (0, 1)), strict=True))
    assert rows["active"].startswith(f"{model.parameters - model.idle_parameters:,} ")
    assert rows["experts"] == "16 in 4 of 4 blocks, 4 for each token"
    table = layer_table(model)
    row = cells(table).index("mlp.experts")
    assert cells(table, 1)[row] == "16"
    assert cells(table, 2)[row].startswith("experts of ")


def test_structures_have_their_names_in_jobs_and_one_answer_each(tmp_path):
    model = describe(MIXTURES["qwen3_moe"](), ModelSource("tiny", tmp_path))
    rows = dict(zip(*(cells(structure_table(model), n) for n in (0, 1)), strict=True))
    assert list(rows) == [str(each.structure) for each in model.structures]
    assert rows["experts"] == rows["rows_and_columns"] == "yes"
    assert rows["neurons"].startswith("no: Surgeon finds no neurons")
    assert rows["heads_and_neurons"].startswith("only heads. Surgeon finds no neurons")
    both = rows["experts_heads_and_neurons"]
    assert both.startswith("only heads, neurons of experts, experts. Surgeon finds no")


def test_experts_and_neurons_that_are_left_are_counted():
    model = mixture_summary()
    removed = ((4,) * 4, (0, 4, 2, 3), (0,) * 4)
    same, free, none = (shot_of_experts(model, x) for x in removed)
    sentence = "experts are left in each block"
    assert experts_line(same.layers) == f"12 of 16 {sentence}"
    assert experts_line(free.layers) == f"12 to 16 of 16 {sentence}"
    assert experts_line(()) == experts_line(none.layers) == ""
    neurons = GroupsLeft("expert_neurons", 24, 32)
    narrower = [replace(x, neurons=neurons) for x in none.layers]
    assert experts_line(narrower) == "24 of 32 neurons are left in each expert"
    both = [*narrower, *same.layers]
    assert "experts are left in each block, 24 of 32 neurons" in experts_line(both)


def test_step_of_recovery_without_effect_is_named_once():
    for stage, step in ((Stage.DISTILLATION, "distillation"), (Stage.REFIT, "refit")):
        line = event_line(RecoveryUndone(UndoReason.WORSE, stage))
        assert line.startswith(f"The {step} brought the model no closer")
        assert "was left out: the model is as good as it was before" in line
    assert event_line(RecoveryUndone(UndoReason.FAILED)) == ""  # the log says it
