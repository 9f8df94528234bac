"""Tables that the commands print."""

from __future__ import annotations

from rich.table import Table

from surgeon_engine.api.config.export import Format
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.cli.formatting import format_table, layer_table, model_table
from surgeon_engine.model.inspect import describe
from surgeon_engine.model.source import ModelSource
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_results import exported
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
