"""Texts about a result: its files, their verification, quality and speed."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Memory, PruningConfig, Structure
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.benchmark import summarize
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.run import Stage
from surgeon_engine.planning.running_memory import memory_to_run
from surgeon_gui.base import translation
from surgeon_gui.state import export_text, result_text
from surgeon_gui.state.request import Request
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.runs.reading import read_state
from surgeon_gui.text import numbers
from tests.helpers.configs import pruning_config
from tests.helpers.fake_engine import evaluation, model_summary, shot_finished
from tests.helpers.fake_results import COMPARED_TOKENS, READ_BACK, exported, measured
from tests.helpers.fake_runs import write_run

SPACE = "\N{NO-BREAK SPACE}"
DASH = "\N{EN DASH}"


def facts_of(result):
    run = RunState(status=Status.FINISHED, model=model_summary(), exported=result)
    facts = export_text.export_facts(run)
    return {name: value.replace(SPACE, " ") for name, value in facts}


def test_export_facts():
    facts = facts_of(exported("there", PruningConfig()))
    assert facts == {
        "Format": "transformers, compact",
        "Number format": "float32",
        "Weights on disk": "8.5 MB (74 % of the original)",
        "Memory to run it": "15.5 MB with 512 tokens: fits in 0.25 GB",
        "Verified with": "transformers 5.5.0",
        "Verified": f"same top token for {COMPARED_TOKENS}/{COMPARED_TOKENS}; "
        "max logit difference 1.5e-06",
        "Perplexity": "unchanged by saving",
        "KL to the original": "unchanged by saving",
        "Folder": "there",
    }


def test_change_of_the_kl_names_its_text():
    measured_on = evaluation(14.9)
    shot = msgspec.structs.replace(shot_finished(1, 1, 0.3), evaluation=measured_on)
    run = RunState(exported=exported("there", PruningConfig()), history=(shot,))
    facts = dict(export_text.export_facts(run))
    assert facts["KL to the original"] == "unchanged by saving, on built-in"
    assert facts["Perplexity"] == "unchanged by saving"


def test_memory_to_run_has_the_context_of_the_target():
    config = RunConfig(pruning=PruningConfig(target=Memory(1.0, context=100)))
    model = model_summary()
    result = exported("there", PruningConfig())
    run = RunState(config=config, model=model, exported=result)
    memory = numbers.size(memory_to_run(result.weight_bytes, 100, model))
    text = f"{memory} with 100 tokens: fits in 0.25{SPACE}GB"
    assert export_text.memory_to_run_of(run) == text
    old = msgspec.structs.replace(model, cache_width=0)  # of an earlier version
    assert export_text.memory_to_run_of(replace(run, model=old)) == ""


@pytest.mark.parametrize(
    ("perplexity", "text"),
    [
        (14.62, "unchanged by saving"),
        (14.6201, "unchanged by saving"),
        (14.7, "0.55 % more than before saving"),
        (14.6, "0.14 % less than before saving"),
    ],
)
def test_figures_of_the_reloaded_model_are_shown_by_what_saving_changed(
    perplexity, text
):
    """Beside the figures of the run, which has more windows, they read as an error."""
    result = msgspec.structs.replace(
        exported("there", PruningConfig()), perplexity=perplexity
    )
    assert facts_of(result)["Perplexity"] == text


def test_divergence_of_the_file_is_shown():
    result = exported("there", PruningConfig())
    assert "KL by saving" not in facts_of(result)
    quantized = msgspec.structs.replace(result, saving_divergence=0.0123)
    assert facts_of(quantized)["KL by saving"] == "0.012"
    saved = dict(export_text.saved_facts(quantized, 0))
    assert saved["KL by saving"] == "0.012"


def test_export_that_no_program_could_run_is_marked():
    result = exported("there", PruningConfig(), is_run=False)
    facts = facts_of(result)
    assert facts["Verified with"] == READ_BACK
    assert "Verified" not in facts
    assert export_text.unrun_note(result).startswith("Not run")
    assert export_text.unrun_note(exported("there", PruningConfig())) == ""


def test_larger_note_explains_a_larger_file():
    model = msgspec.structs.replace(model_summary(), file_bytes=5_700_000)
    run = RunState(model=model, exported=exported("there", PruningConfig()))
    assert "fewer bits than float32" in export_text.larger_note(run)
    smaller = exported("there", PruningConfig(), ExportConfig(dtype=FileDtype.FLOAT16))
    run = RunState(model=model, exported=smaller)
    assert export_text.larger_note(run) == ""


def test_saved_facts_are_the_most_important_ones():
    facts = dict(export_text.saved_facts(exported("there", PruningConfig()), 0))
    assert set(facts) == {
        "Format",
        "Number format",
        "Weights on disk",
        "Verified with",
        "Verified",
        "Folder",
    }
    # The size of the original is unknown.
    assert facts["Weights on disk"] == f"8.5{SPACE}MB"


@pytest.mark.parametrize(
    ("stage", "result", "text"),
    [
        (Stage.CURVATURE, None, ""),
        (Stage.EXPORT, None, "Nothing was exported. Full. Make room."),
        (Stage.VERIFICATION, exported("x", PruningConfig()), "The export failed."),
    ],
)
def test_failure_note_states_why_the_export_failed(stage, result, text):
    run = RunState(
        status=Status.FAILED,
        config=RunConfig(),
        stage=stage,
        exported=result,
        error=Failed("Full.", "Make room."),
    )
    note = export_text.failure_note(run)
    assert text in note
    assert bool(text) is bool(note)


def test_unavailable_formats_are_counted_in_one_line():
    text = export_text.unavailable({Format.STOCK: "No.", Format.GGUF: "No."})
    assert text == "2 formats are not possible; see their tooltips."
    assert export_text.unavailable({Format.STOCK: ""}) == ""


@pytest.mark.parametrize(
    ("task", "phase", "progress"),
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
def test_phase_and_progress_of_a_request(task, phase, progress):
    assert export_text.phase_of(task) == phase
    assert export_text.progress_of(task) == pytest.approx(progress)


def test_speed_rows():
    prompt, generation, memory, size = export_text.speed_rows(measured())
    assert [cell.value for cell in prompt] == ["Prompt", "1,261", "1,620", "1.28"]
    assert generation[0].below == "tokens/s"
    assert prompt[1].below == f"1,249{DASH}1,274"
    assert memory[3].value == "0.99"
    assert size[1].value == f"5.7{SPACE}MB"
    assert "7 rounds" in export_text.measurement_conditions(measured())


def test_speed_summary_is_in_the_language_and_units_of_the_window():
    first, second = measured().models
    larger = msgspec.structs.replace(second, peak_bytes=2 * first.peak_bytes)
    larger = msgspec.structs.replace(measured(), models=(first, larger))
    translation.use("de")
    try:
        text = summarize(larger, numbers.size)
        assert f"{numbers.size(first.peak_bytes)} mehr Speicher" in text
        assert "1,28" in text
    finally:
        translation.use("en")


@pytest.fixture
def run(tmp_path):
    """Return a finished run."""
    return read_state(write_run(tmp_path))


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_headline_has_the_share_and_both_sizes(run):
    left = run.history[-1].parameters / run.model.parameters
    assert plain(result_text.headline(run)) == (
        f"{100 * (1 - left):.3g} % fewer parameters, 8.5 MB instead of 11.4 MB"
    )
    assert result_text.is_success(run)


def test_headline_of_zeros_promises_no_fewer_parameters(run):
    pruning = pruning_config(Structure.ELEMENTS, sparsity=0.4)
    sparse = replace(run, config=replace(run.config, pruning=pruning))
    assert "of the prunable weights are zero" in result_text.headline(sparse)
    masked = replace(run.config.export, format=Format.MASKED)
    zeros = replace(run, config=replace(run.config, export=masked))
    assert "of the prunable weights are zero" in result_text.headline(zeros)


def test_headline_of_an_unpruned_model_names_its_number_format(run):
    nothing = replace(run.config, pruning=pruning_config(sparsity=0.0))
    short = msgspec.structs.replace(run.exported, dtype=FileDtype.Q4_0)
    unpruned = replace(run, config=nothing, exported=short)
    expected = "4 bits (Q4_0), 8.5 MB instead of 11.4 MB"
    assert plain(result_text.headline(unpruned)) == expected


def test_larger_result_is_no_success(run):
    model = msgspec.structs.replace(run.model, file_bytes=10**6)
    larger = replace(run, model=model)
    assert "but 8.5 MB instead of 1.0 MB" in plain(result_text.headline(larger))
    assert not result_text.is_success(larger)


def test_file_that_no_program_could_run_is_no_success(run):
    result = exported("there", PruningConfig(), is_run=False)
    unrun = replace(run, exported=result)
    assert not result_text.is_success(unrun)
    text = result_text.verified(unrun)
    assert text.startswith(f"Read back by {READ_BACK}")
    assert "no program could run" in text


def test_verification_names_program_and_tokens(run):
    text = result_text.verified(run)
    assert text.startswith("Verified: transformers 5.5.0 has loaded the files")
    assert result_text.verified(replace(run, exported=None)) == ""


def test_quality_is_that_on_each_text(run):
    facts = result_text.quality_facts(run)
    texts = run.evaluation.fidelity
    assert len(facts) == len(texts) > 1
    for (_, value), each in zip(facts, texts, strict=True):
        assert f"KL {each.divergence.value:.2g}" in plain(value)
        assert f"perplexity {run.baseline.perplexity:.2f}" in plain(value)


def test_quality_of_an_older_run_is_its_perplexity(run):
    old = replace(
        run,
        recovered=None,
        history=(
            msgspec.structs.replace(
                run.history[-1],
                evaluation=msgspec.structs.replace(
                    run.history[-1].evaluation, fidelity=()
                ),
            ),
        ),
    )
    ((name, value),) = result_text.quality_facts(old)
    assert name == "Perplexity"
    assert value.startswith(f"{run.baseline.perplexity:.2f}")


def test_failed_export_has_a_result_and_a_running_one_has_none(run):
    failed = RunState(
        status=Status.FAILED, stage=Stage.EXPORT, error=Failed("No space.")
    )
    assert result_text.has_result(failed)
    assert result_text.headline(failed) == "The run failed."
    assert result_text.has_result(run)
    assert not result_text.has_result(replace(run, status=Status.RUNNING))
    assert not result_text.has_result(RunState(config=RunConfig()))
    assert result_text.quality_facts(RunState()) == ()
