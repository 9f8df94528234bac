"""What the window says about files and their speed is what the engine has told."""

from __future__ import annotations

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.run import Stage
from surgeon_gui.state import export_text as export_text
from surgeon_gui.state.request import Request
from surgeon_gui.state.run import RunState, Status
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_results import COMPARED_TOKENS, READ_BACK, exported, measured

SPACE = "\N{NO-BREAK SPACE}"
DASH = "\N{EN DASH}"


def facts_of(result):
    run = RunState(status=Status.FINISHED, model=model_summary(), exported=result)
    facts = export_text.export_facts(run)
    return {name: value.replace(SPACE, " ") for name, value in facts}


def test_the_facts_of_an_export():
    facts = facts_of(exported("there", PruningConfig()))
    assert facts == {
        "Format": "transformers, compact",
        "Number format": "float32",
        "Weights on disk": "8.4 MB",
        "Of the original's": "147.4 % of 5.7 MB",
        "Forecast": "8.4 MB, exact to the byte",
        "Whole folder": "8.6 MB",
        "Checked with": "transformers 5.5.0",
        "Compared": f"{COMPARED_TOKENS} tokens",
        "Largest difference": "1.5e-06",
        "Same likeliest token": "100 %",
        "Perplexity reloaded": "14.62 on the first windows",
        "Perplexity in memory": "14.62",
        "Folder": "there",
    }


@pytest.mark.parametrize(
    ("forecast", "words"),
    [
        (8_000_000, "8.0 MB; came out 5 % larger"),
        (8_400_001, "8.4 MB; came out 1 Byte smaller"),
        (0, "none was made"),
    ],
)
def test_the_forecast_is_compared_with_what_came_of_it(forecast, words):
    result = msgspec.structs.replace(
        exported("there", PruningConfig()),
        weight_bytes=8_400_000,
        forecast_bytes=forecast,
    )
    assert facts_of(result)["Forecast"] == words


def test_what_nothing_has_run_is_marked_and_has_no_figures_of_a_run():
    result = exported("there", PruningConfig(), is_run=False)
    facts = facts_of(result)
    assert facts["Checked with"] == READ_BACK
    assert "Largest difference" not in facts
    assert "Same likeliest token" not in facts
    assert export_text.unrun_note(result).startswith("Not run")
    assert export_text.unrun_note(exported("there", PruningConfig())) == ""


def test_a_file_that_is_no_smaller_says_why():
    run = RunState(model=model_summary(), exported=exported("there", PruningConfig()))
    assert "shorter than float32" in export_text.larger_note(run)
    shorter = exported("there", PruningConfig(), ExportConfig(dtype=FileDtype.FLOAT16))
    run = RunState(model=model_summary(), exported=shorter)
    assert export_text.larger_note(run) == ""


def test_what_was_saved_is_told_in_brief():
    facts = dict(export_text.saved_facts(exported("there", PruningConfig()), 0))
    assert set(facts) == set(export_text._IN_BRIEF)
    assert facts["Of the original's"] == DASH


@pytest.mark.parametrize(
    ("stage", "result", "words"),
    [
        (Stage.CURVATURE, None, ""),
        (Stage.EXPORT, None, "Nothing was exported. Full. Make room."),
        (Stage.VERIFICATION, exported("x", PruningConfig()), "The export has failed."),
    ],
)
def test_a_failed_export_says_so(stage, result, words):
    run = RunState(
        status=Status.FAILED,
        config=RunConfig(),
        stage=stage,
        exported=result,
        error=Failed("Full.", "Make room."),
    )
    note = export_text.failure_note(run)
    assert words in note
    assert bool(words) is bool(note)


def test_choices_that_there_are_not_are_a_line_for_each_reason():
    words = export_text.unavailable({Format.STOCK: "No.", Format.ONNX: "No."})
    assert words == (
        "Not possible: \N{LEFT DOUBLE QUOTATION MARK}transformers, plain"
        "\N{RIGHT DOUBLE QUOTATION MARK}, \N{LEFT DOUBLE QUOTATION MARK}ONNX for "
        "onnxruntime\N{RIGHT DOUBLE QUOTATION MARK}. No."
    )
    assert export_text.unavailable({Format.STOCK: ""}) == ""


@pytest.mark.parametrize(
    ("asked", "phase", "progress"),
    [
        (Request(), "", 0.0),
        (Request("a"), "Starting…", 0.0),
        (Request("a", stage=Stage.EXPORT), "Writing the pruned model", 1 / 3),
        (
            Request("a", stage=Stage.MEASUREMENT, done=9, total=36),
            "Measuring speed and memory, turn 10 of 36",
            0.25,
        ),
        (Request("a", is_cancelling=True), "Cancelling…", 0.0),
    ],
)
def test_a_request_says_what_is_being_done(asked, phase, progress):
    assert export_text.phase_of(asked) == phase
    assert export_text.progress_of(asked) == pytest.approx(progress)


def test_the_table_of_speeds():
    prompt, generation, memory, size = export_text.speed_rows(measured())
    assert [cell.value for cell in prompt] == ["Prompt", "1,261", "1,620", "1.28"]
    assert generation[0].below == "tokens/s"
    assert prompt[1].below == f"1,249{DASH}1,274"
    assert memory[3].value == "0.99"
    assert size[1].value == f"5.7{SPACE}MB"
    assert "7 rounds" in export_text.how_measured(measured())
