"""Texts about a result: its files, their verification, quality and speed."""

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.pruning import Coupling, PruningConfig, Target
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.benchmark import conditions, summarize
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.run import (
    Estimate,
    Fidelity,
    GroupsLeft,
    Stage,
    TokensRemoved,
)
from surgeon_engine.planning.file_form import file_form
from surgeon_engine.planning.planned_file import planned_file
from surgeon_engine.planning.running_memory import memory_beside_weights
from surgeon_engine.planning.target_size import goal_of
from surgeon_gui.base import translation
from surgeon_gui.state import bars, comparison, export_text, result_text
from surgeon_gui.state.bars import Pair
from surgeon_gui.state.request import Request
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.run_text import planned_export
from surgeon_gui.state.runs.reading import read_state
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from tests.helpers import run_pages
from tests.helpers.configs import AUTOMATIC
from tests.helpers.fake_engine import evaluation, model_summary, shot_finished
from tests.helpers.fake_results import READ_BACK, exported, measured
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
        "Weights on disk": "8.4 MB (74 % of the original)",
        "Memory, 512 tokens": "15.5 MB",
        "Checked with": "transformers 5.5.0",
        "File and model in memory": "same top token for 512 of 512 tokens that "
        "check the file; max logit difference 1.5e-06",
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
    config = RunConfig(
        pruning=PruningConfig(target=Target.MEMORY, memory_gigabytes=1.0, context=100)
    )
    model = model_summary()
    result = exported("there", PruningConfig())
    run = RunState(config=config, model=model, exported=result)
    memory = numbers.size(result.weight_bytes + memory_beside_weights(100, model))
    assert ("Memory, 100 tokens", memory) in export_text.export_facts(run)
    pair, context = bars.memory_bytes(run)
    assert (numbers.size(pair.after), context) == (memory, 100)
    rows = comparison.table([comparison.ComparedRun("a", run)], 100)
    (row,) = [each for each in rows if each[0] == "Memory, 100 tokens"]
    assert row[-1] == memory
    old = replace(run, model=msgspec.structs.replace(model, cache_width=0))
    assert not any(
        name.startswith("Memory") for name, _ in export_text.export_facts(old)
    )


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
    assert facts["Checked with"] == READ_BACK
    assert "File and model in memory" not in facts
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
        "Checked with",
        "File and model in memory",
        "Folder",
    }
    # The size of the original is unknown.
    assert facts["Weights on disk"] == f"8.4{SPACE}MB"


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
        (Request("a", is_cancelling=True), "Canceling…", 0.0),
    ],
)
def test_phase_and_progress_of_a_request(task, phase, progress):
    assert export_text.phase_of(task) == phase
    assert export_text.progress_of(task) == pytest.approx(progress)


def test_speed_rows():
    prompt, generation = export_text.speed_rows(measured())
    assert [cell.value for cell in prompt] == ["Prompt", "1,261", "1,620", "1.28"]
    assert generation[0].below == "tokens/s"
    assert prompt[1].below == f"1,249{DASH}1,274"


def test_measurement_alternates_only_between_two_models():
    alone = msgspec.structs.replace(measured(), models=measured().models[1:])
    assert "alternating" in conditions(measured())
    assert "alternating" not in conditions(alone)
    assert all("7 rounds" in conditions(each) for each in (measured(), alone))
    assert "without the lowest and the highest" in conditions(alone)


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


def test_name_has_the_target_of_a_run_until_there_is_the_size_of_its_file(run):
    assert plain(result_text.name_of(run)) == "Bundled demo · 8.4 MB"
    before = replace(run, exported=None, status=Status.RUNNING)
    checkpoint = msgspec.structs.replace(run.exported, weight_bytes=245_000_000)
    for each in (
        replace(before, model=None),
        before,
        replace(before, exported=checkpoint),
    ):
        name = plain(result_text.name_of(each))
        assert name == "Bundled demo · 30 % fewer prunable weights"
    assert result_text.name_of(replace(run, name="Mine")) == "Mine"


def test_summary_has_the_share_of_the_worst_text_and_the_program(run):
    worst = min(run.evaluation.fidelity, key=lambda each: each.agreement.value)
    assert worst is not run.evaluation.fidelity[0]
    reached = round(100 * worst.agreement.value)
    assert plain(result_text.summary(run)) == (
        f"Its top token is the original's in {reached} of 100 "
        f"places, on {worst.text}. "
        "The saved file was checked with transformers 5.5.0."
    )
    assert result_text.warnings(run) == ""


def test_summary_says_that_nothing_was_removed(run):
    nothing = shot_finished(1, 1, 0.0)
    assert "No weights" in result_text.summary(replace(run, history=(nothing,)))


def test_expectation_is_told_where_it_was_missed(run):
    assert result_text.expectation(run) == ""  # nothing is known of it
    as_expected = replace(run, expected=Estimate(0.2, 0.1, 0.4))
    assert result_text.expectation(as_expected) == ""
    worst = max(run.evaluation.fidelity, key=lambda each: each.divergence.value)
    nats = numbers.nats(worst.divergence.value)
    in_band = Estimate(0.04, 0.02, worst.divergence.value + 0.01)
    assert result_text.expectation(replace(run, expected=in_band)) == ""
    other = replace(run, expected=Estimate(0.04, 0.02, 0.06))
    text = result_text.expectation(other)
    assert text == (
        "Expected: nearly the same (KL 0.020 to 0.060). Measured: close to the "
        f"original (KL {nats} on {worst.text})."
    )
    assert text in result_text.summary(other)


def test_verdict_is_that_on_the_file_where_it_was_measured(run):
    def on_file(nats, share):
        estimates = [Estimate(x, x, x) for x in (nats, share, 14.2)]
        return Fidelity(*estimates, 32, 256, "built-in", overlap=estimates[1])

    def title(*fidelity):
        exported = msgspec.structs.replace(run.exported, fidelity=fidelity)
        return result_text.headline(replace(run, exported=exported))

    assert title(on_file(0.01, 0.97)) == "Nearly the same"
    assert title(on_file(0.2, 0.8)) == "Close to the original"
    assert title(on_file(0.01, 0.97), on_file(0.9, 0.6)) == "Noticeably different"
    assert title(on_file(5.0, 0.1)) == "Broken"


def test_warnings_name_what_is_unusual(run):
    larger = replace(run, model=msgspec.structs.replace(run.model, file_bytes=10**6))
    assert "Larger than the original" in result_text.warnings(larger)
    unrun = replace(run, exported=exported("there", PruningConfig(), is_run=False))
    assert "no program" in result_text.warnings(unrun)
    assert "checked with" not in result_text.summary(unrun)
    early = msgspec.structs.replace(run.result, stopped_early=True)
    stopped = replace(run, result=early)
    assert "Stopped during recovery" in result_text.warnings(stopped)
    in_shots = replace(stopped, history=run.history[:1])
    assert "Stopped after shot 1 of 3" in result_text.warnings(in_shots)


def test_result_says_that_no_token_was_removed(run):
    assert "No token" not in result_text.summary(run)
    job = replace(run.config, pruning=replace(run.config.pruning, **AUTOMATIC))
    kept = replace(run, config=job)
    assert "No token was removed" in result_text.summary(kept)
    assert plain(result_text.name_of(kept)) == "Bundled demo · 8.4 MB"
    fewer = replace(kept, tokens=TokensRemoved(2_048, 1_600))
    assert "No token" not in result_text.summary(fewer)
    assert plain(result_text.name_of(fewer)) == "Bundled demo · 8.4 MB, 1,600 tokens"


@pytest.mark.parametrize(("excess", "is_warning"), [(1.0, False), (1.02, True)])
def test_missed_share_is_a_plain_note_where_the_file_is_small_enough(
    run, excess, is_warning
):
    (*before, last) = run.history
    planned = goal_of(run.config.pruning, run.model, file_form(run.config, run.model))
    last = msgspec.structs.replace(last, sparsity=planned.sparsity - 0.0073)
    size = int(excess * planned.weight_bytes)
    file = msgspec.structs.replace(run.exported, weight_bytes=size)
    missed = replace(run, history=(*before, last), exported=file)
    assert ("instead of" in result_text.warnings(missed)) is is_warning
    assert ("instead of" in result_text.summary(missed)) is not is_warning


def test_clock_has_one_time_for_a_finished_run(run):
    slow = replace(run, result=msgspec.structs.replace(run.result, seconds=267.0))
    assert plain(result_text.clock(slow, 1e9)) == "took 4 min 27 s"
    assert slow.seconds(1e9) == 267.0


def test_bars_compare_with_the_original(run):
    assert bars.file_bytes(run) == Pair(run.exported.weight_bytes, run.model.file_bytes)
    memory, context = bars.memory_bytes(run)
    assert context == run.model.longest_window
    assert memory.after < memory.before
    assert bars.memory_bytes(replace(run, exported=None)) is None
    assert bars.generation(None) is None
    pair = bars.generation(measured())
    assert pair.share == 1.0  # the faster one
    assert Pair(1.0, 4.0).share == 0.25


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


def test_failed_export_is_described():
    failed = RunState(
        status=Status.FAILED, stage=Stage.EXPORT, error=Failed("No space.")
    )
    assert result_text.headline(failed) == "The run failed"
    assert "No space." in result_text.summary(failed)
    assert result_text.quality_facts(RunState()) == ()


@pytest.mark.parametrize(
    ("kept", "filled", "multiple"), [(454, 480, 32), (256, 256, 256), (512, 512, 512)]
)
def test_gguf_export_of_free_widths_is_planned_with_its_zeros(kept, filled, multiple):
    run = run_pages.finished()
    groups = GroupsLeft("neurons", kept, 512)
    layers = tuple(
        msgspec.structs.replace(each, groups=groups if "mlp" in each.name else None)
        for each in run.layers
    )
    last = msgspec.structs.replace(run.history[-1], layers=layers)
    run = replace(run, history=(last,))
    mlps = sum(each.weights for each in layers if each.groups)
    zeros = mlps // 512 * (filled - kept)
    removed = run.model.parameters - last.parameters - zeros
    pruning = replace(run.config.pruning, width_multiple=multiple)
    for dtype in (FileDtype.FLOAT16, FileDtype.Q4_K_M):
        form, size = planned_export(run, ExportConfig("", Format.GGUF, dtype))
        assert size == planned_file(run.model, form, pruning).bytes(removed)


def test_gguf_export_with_wide_mlps_that_lost_nothing_is_planned():
    run = run_pages.finished()
    coupled = tuple(
        msgspec.structs.replace(each, groups=2_048)
        if each.kind is Coupling.NEURONS
        else each
        for each in run.model.coupled
    )
    layers = tuple(msgspec.structs.replace(x, groups=None) for x in run.layers)
    last = msgspec.structs.replace(run.history[-1], layers=layers)
    model = msgspec.structs.replace(run.model, coupled=coupled)
    run = replace(run, model=model, history=(last,))
    form, size = planned_export(run, ExportConfig("", Format.GGUF, FileDtype.Q4_K_M))
    removed = run.model.parameters - last.parameters
    pruning = replace(run.config.pruning, width_multiple=256)
    assert size == planned_file(model, form, pruning).bytes(removed)


def test_further_export_has_its_number_format_and_size_beforehand():
    """A GGUF original of few bits becomes a larger file of 16 bits."""
    run = run_pages.finished()
    removed = run.model.parameters - run.history[-1].parameters
    plain, _ = planned_export(run, ExportConfig(format=Format.COMPACT))
    assert plain.dtype is FileDtype.FLOAT32
    form, size = planned_export(
        run, ExportConfig("", Format.COMPACT, FileDtype.FLOAT16)
    )
    assert form.dtype is FileDtype.FLOAT16
    assert size == pytest.approx(2 * (run.model.parameters - removed), rel=0.02)
    assert export_text.save_forecast(run, ExportConfig(format=Format.COMPACT))[1] == ""
    masked = planned_export(run, ExportConfig(format=Format.MASKED))[1]
    assert masked == pytest.approx(run.model.file_bytes, rel=0.02)
    small = msgspec.structs.replace(run.model, dtype="", file_bytes=size // 2)
    few_bits = replace(run, model=small)
    line, warning = export_text.save_forecast(
        few_bits, ExportConfig(format=Format.COMPACT)
    )
    assert choice_label(FileDtype.BFLOAT16)[0] in line  # not only: as the original
    assert warning


GGUF_HINT, SHORTER_HINT = "GGUF files", "shorter number format."


@pytest.mark.parametrize(
    ("file_format", "dtype", "hint"),
    [
        (Format.COMPACT, FileDtype.SAME, GGUF_HINT),
        (Format.MASKED, FileDtype.FLOAT32, GGUF_HINT),
        (Format.GGUF, FileDtype.FLOAT16, SHORTER_HINT),
        (Format.GGUF, FileDtype.Q8_0, SHORTER_HINT),
        (Format.GGUF, FileDtype.Q4_0, ""),
    ],
)
@pytest.mark.parametrize("has_gguf", [True, False])
def test_larger_file_has_a_hint_to_what_is_not_chosen_yet(
    file_format, dtype, hint, has_gguf
):
    """The original has 2 bits a weight."""
    run = run_pages.finished()
    small = msgspec.structs.replace(
        run.model, dtype="", file_bytes=run.model.parameters // 4
    )
    run = replace(run, model=small)
    if not has_gguf:
        others = tuple(x for x in run.exported.others if x.format is not Format.GGUF)
        run = replace(
            run, exported=msgspec.structs.replace(run.exported, others=others)
        )
        if hint is GGUF_HINT:
            hint = SHORTER_HINT if dtype is FileDtype.FLOAT32 else ""
    warning = export_text.save_forecast(run, ExportConfig("", file_format, dtype))[1]
    assert warning.startswith("Larger than the original")
    for each in (GGUF_HINT, SHORTER_HINT):
        assert (each in warning) is (each == hint)
