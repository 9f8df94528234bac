"""Jobs that are impossible with their model are refused, with a setting to change."""

import msgspec
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.planning.job_check import job_errors
from tests.helpers.configs import pruning_config, some_tokens
from tests.helpers.fake_results import model_summary

MODEL = model_summary()
WIDEST = max(x.groups for x in MODEL.coupled)


@pytest.mark.parametrize("structure", [Structure.NEURONS, Structure.HEADS_AND_NEURONS])
def test_multiple_beyond_all_widths_is_refused(structure):
    fitting = pruning_config(structure, width_multiple=WIDEST - 1)
    errors = job_errors(RunConfig(pruning=fitting), MODEL)
    assert "pruning.width_multiple" not in dict(errors)
    wide = pruning_config(structure, width_multiple=WIDEST + 1)
    ((setting, error),) = job_errors(RunConfig(pruning=wide), MODEL)
    assert setting == "pruning.width_multiple"
    assert f"have at most {WIDEST} neurons" in error.message


def test_run_that_keeps_all_weights_may_have_any_multiple():
    nothing = pruning_config(sparsity=0.0, width_multiple=WIDEST + 1)
    assert nothing.removes_nothing
    assert not [*job_errors(RunConfig(pruning=nothing), MODEL)]


@pytest.mark.parametrize("sparsity", [0.0, 0.3])
def test_number_of_tokens_that_removes_none_is_refused(sparsity):
    def errors_with(tokens: int) -> list[str]:
        pruning = pruning_config(sparsity=sparsity, **some_tokens(tokens))
        return [setting for setting, _ in job_errors(RunConfig(pruning=pruning), MODEL)]

    assert errors_with(MODEL.vocabulary - 1) == []
    for tokens in (MODEL.vocabulary, 100 * MODEL.vocabulary):
        assert errors_with(tokens) == ["pruning.vocabulary_tokens"]


def test_without_a_tokenizer_token_files_alone_are_possible():
    model = msgspec.structs.replace(MODEL, tokenizer_problem="It has none.")
    ((setting, error),) = job_errors(RunConfig(), model)
    assert setting == "calibration.text"
    assert "It has none." in error.message
    for other, count in (("b.npy", 0), ("b.txt", 1)):
        tokens = CalibrationConfig("a.npy", validation_text=other)
        assert len([*job_errors(RunConfig(calibration=tokens), model)]) == count
