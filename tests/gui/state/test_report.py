"""The report sets the pruned file beside the original in fewer bits."""

import re
from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import FOR_ANY_MODEL, Format
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.messages.run import Estimate, HeldOutMeasured, TokensRemoved
from surgeon_engine.planning.planned_file import FileForm, PlannedFile
from surgeon_engine.planning.running_memory import memory_beside_weights
from surgeon_gui.state.report import report_html
from surgeon_gui.state.result_text import quality_facts
from surgeon_gui.state.runs.reading import read_state
from surgeon_gui.text import numbers
from surgeon_gui.text.choices import choice_label
from tests.helpers.configs import pruning_config
from tests.helpers.fake_results import measured
from tests.helpers.fake_runs import write_run
from tests.helpers.judgments import fidelity, judgment

TITLE = "The original in fewer bits"


@pytest.fixture
def finished(tmp_path):
    return read_state(write_run(tmp_path / "runs", "a"))


def text_of(run):
    text = re.sub(r"<[^>]+>", " ", report_html(run, "a run"))
    return re.sub(r"\s+", " ", text).replace("\xa0", " ")


def exported_as(run, size):
    return replace(
        run, exported=msgspec.structs.replace(run.exported, weight_bytes=size)
    )


def test_sizes_of_the_original_in_fewer_bits_are_listed(finished):
    left = finished.history[-1].parameters
    text = text_of(exported_as(finished, 2 * left))
    size = numbers.size(2 * left).replace("\xa0", " ")
    assert f"Pruned model {size} 16.00" in text
    for dtype in FOR_ANY_MODEL:
        file = PlannedFile(
            finished.model, FileForm(Format.GGUF, dtype), pruning_config(sparsity=0.0)
        )
        size = numbers.size(file.bytes(0)).replace("\xa0", " ")
        assert f"Original in {choice_label(dtype)[0]} {size}" in text
    original = numbers.size(finished.model.file_bytes).replace("\xa0", " ")
    assert f"Original {original}" in text
    assert "their quality was not measured in this run" in text
    assert "If only the size of the file counts, quantize instead" in text


def test_training_that_ended_early_says_so(finished):
    ended = replace(finished, held_out=(HeldOutMeasured(51, 72, 0.4),))
    assert "Distillation ended at step 51 of 72" in text_of(ended)
    whole = replace(finished, held_out=(HeldOutMeasured(72, 72, 0.4),))
    assert "ended at step" not in text_of(whole)


def test_file_smaller_than_any_of_the_original_says_so(finished):
    assert "Quantizing alone does not make it as small" in text_of(
        exported_as(finished, 1000)
    )


def test_file_with_zeros_or_without_an_export_has_no_rivals(finished):
    pruning = pruning_config(Structure.ELEMENTS)
    zeros = replace(finished, config=replace(finished.config, pruning=pruning))
    assert TITLE in text_of(finished)
    assert TITLE not in text_of(zeros)
    assert TITLE not in text_of(replace(finished, exported=None))


def test_memory_to_run_it_is_listed_by_context(finished):
    model = msgspec.structs.replace(finished.model, longest_window=4096)
    text = text_of(replace(finished, model=model))
    for context in (2048, 4096):
        size = finished.exported.weight_bytes
        needed = size + memory_beside_weights(context, model)
        row = f"{context:,} tokens {numbers.needed_size(needed)} 0.25 GB"
        assert row.replace("\xa0", " ") in text
    assert "16,384 tokens" not in text


def test_sparsity_of_single_weights_is_a_share_of_all_but_biases(finished):
    layers = [
        msgspec.structs.replace(x, weights=x.weights + x.rows)
        for x in finished.model.layers
    ]
    weights = finished.model.prunable
    model = msgspec.structs.replace(
        finished.model, layers=tuple(layers), prunable=sum(x.weights for x in layers)
    )
    for structure, prunable in (
        (Structure.HEADS_AND_NEURONS, model.prunable),
        (Structure.ELEMENTS, weights),
    ):
        config = replace(finished.config, pruning=pruning_config(structure))
        text = text_of(replace(finished, config=config, model=model))
        assert f"of {prunable:,} prunable weights" in text


def test_shot_without_evaluation_has_dashes(finished):
    last = msgspec.structs.replace(finished.history[-1], evaluation=None)
    run = replace(finished, history=(*finished.history[:-1], last))
    before, after = (text_of(x).count("\N{EN DASH}") for x in (finished, run))
    assert after == before + 4


def test_fidelity_and_verdict_are_those_of_the_file(finished):
    of_file = fidelity(0.7, 0.6, 19.0, finished.baseline.fidelity[0].text)
    exported = msgspec.structs.replace(finished.exported, fidelity=(of_file,))
    text = text_of(replace(finished, exported=exported))
    assert "Finished: KL 0.70, 60 % same top token" in text
    assert "Noticeably different." in text
    assert "KL 0.70 (“close to the original” allows at most 0.25)." in text
    assert " 0.70 60 % " in text  # in the table; one window has no interval
    in_memory = finished.evaluation.fidelity[0].divergence.value
    assert f"KL {numbers.nats(in_memory)}" not in text.partition("Shot by shot")[0]
    assert "Perplexity, built-in 14.20 \N{RIGHTWARDS ARROW} 19.00" in text
    note = "before the weights were rounded"  # where it is another one
    assert note in text.partition("Perplexity after recovery 14.90")[2]
    assert note not in text_of(finished)


def test_figures_in_short_are_those_of_the_deciding_text(finished):
    close, far = fidelity(0.02, 0.96, 15.0, "poem"), fidelity(0.7, 0.6, 40.0)
    originals = fidelity(0, 1, 14.0, "poem"), fidelity(0, 1, 30.0)
    run = replace(
        finished,
        baseline=msgspec.structs.replace(finished.baseline, fidelity=originals),
        exported=msgspec.structs.replace(finished.exported, fidelity=(close, far)),
    )
    text = text_of(run)
    for figures in (
        "Fidelity, story KL 0.70 60 % same top token",
        "Perplexity, story 30.00 \N{RIGHTWARDS ARROW} 40.00 +33.3 %",
        "perplexity 30.00 \N{RIGHTWARDS ARROW} 40.00 on story",
    ):
        assert figures in text


def test_bits_per_byte_are_in_the_report_and_the_result(finished):
    bits = [Estimate(x, x - 0.01, x + 0.01) for x in (1.25, 1.125)]
    found = msgspec.structs.replace(
        fidelity(0.02, 0.93, 10.1),
        bits_per_byte=bits[0],
        original_bits=bits[1],
        compared=0.75,
    )
    before = fidelity(0, 1, 10.0)
    run = replace(
        finished,
        baseline=msgspec.structs.replace(finished.baseline, fidelity=(before,)),
        exported=msgspec.structs.replace(finished.exported, fidelity=(found,)),
    )
    html = text_of(run)
    assert "1.250 (1.240 to 1.260)" in html
    assert "1.125" in html
    assert "compared at 75 % of the tokens" in html
    ((_, fact),) = quality_facts(run)
    first, bits = fact.replace("\N{NO-BREAK SPACE}", " ").split("\n")
    assert "perplexity" in first
    assert bits == (
        "bits per byte 1.125 \N{RIGHTWARDS ARROW} 1.250, compared at 75 % of the tokens"
    )


def test_judgment_lists_what_was_lost(finished):
    assert "What was lost" not in text_of(finished)
    text = text_of(replace(finished, judgment=judgment()))
    assert "What was lost story Nearly the same; 93 % same top token" in text
    assert "Arithmetic 12 of 30, original 20" in text


def test_speed_that_was_measured_is_reported(finished):
    assert "tokens/s" not in text_of(finished)
    text = text_of(replace(finished, measured=measured()))
    first, second = (x.generation.median for x in measured().models)
    row = text.partition("Generation (tokens/s)")[2][:80]
    assert numbers.rate(first) in row
    assert numbers.rate(second) in row


def test_fewer_tokens_are_named_with_the_share_that_is_compared(finished):
    assert "Tokens left" not in text_of(finished)
    of_file = fidelity(0.7, 0.6, 19.0, finished.baseline.fidelity[0].text)
    of_file = msgspec.structs.replace(of_file, compared=0.968)
    exported = msgspec.structs.replace(finished.exported, fidelity=(of_file,))
    tokens = TokensRemoved(before=2_048, after=1_500)
    text = text_of(replace(finished, exported=exported, tokens=tokens))
    assert "Tokens left 1,500" in text
    assert "Perplexity is per token of the original" in text
    assert "compared at 96.8 % of the tokens" in text
