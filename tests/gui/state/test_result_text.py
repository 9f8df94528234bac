"""The headline, the verification and the quality of a result."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import FileDtype, Format
from surgeon_engine.api.config.pruning import PruningConfig, Structure
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.run import Stage
from surgeon_gui.state import result_text
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.state.runs.reading import read_state
from tests.helpers.configs import pruning_config
from tests.helpers.fake_results import READ_BACK, exported
from tests.helpers.fake_runs import write_run


@pytest.fixture
def run(tmp_path):
    """Return a finished run."""
    return read_state(write_run(tmp_path))


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_headline_has_the_share_and_both_sizes(run):
    left = run.history[-1].parameters / run.model.parameters
    assert plain(result_text.headline(run)) == (
        f"{100 * (1 - left):.3g} % fewer parameters, 8.4 MB instead of 11.3 MB"
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
    expected = "4 bits (Q4_0), 8.4 MB instead of 11.3 MB"
    assert plain(result_text.headline(unpruned)) == expected


def test_larger_result_is_no_success(run):
    model = msgspec.structs.replace(run.model, file_bytes=10**6)
    larger = replace(run, model=model)
    assert "but 8.4 MB instead of 1.0 MB" in plain(result_text.headline(larger))
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
