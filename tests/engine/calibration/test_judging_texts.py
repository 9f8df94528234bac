"""Judging texts are of other kinds than calibration texts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.base.errors import CalibrationError, ConfigError
from surgeon_engine.calibration.fenced import load_windows
from surgeon_engine.calibration.judging_texts import (
    judges_by_own_text,
    read_judging_texts,
)
from surgeon_engine.model.load import load_model

LENGTH = 32


@pytest.fixture(scope="module")
def demo():
    return load_model(RunConfig().model)


@pytest.fixture
def novel(tmp_path):
    path = tmp_path / "novel.txt"
    path.write_text("It was a dark and stormy night. " * 400)
    return str(path)


def config_of(text, *texts, windows=4):
    calibration = CalibrationConfig(text=text, window_length=LENGTH)
    return RunConfig(
        calibration=calibration, evaluation=EvaluationConfig(windows, texts)
    )


@pytest.mark.slow
def test_builtin_text_judges_a_model_that_another_text_calibrates(demo, novel):
    (text,) = read_judging_texts(config_of(novel), demo, LENGTH)
    assert text.name == "builtin"
    calibration = CalibrationConfig(window_length=LENGTH, validation_windows=4)
    held_out = load_windows(calibration, demo).validation
    assert torch.equal(text.windows, held_out)  # the demo was trained on the rest
    assert not judges_by_own_text(config_of(novel), has_tokenizer=True)


def test_model_writes_the_text_where_the_builtin_one_calibrates_or_cannot_be_read(
    demo, novel
):
    assert judges_by_own_text(config_of("builtin"), has_tokenizer=True)
    assert judges_by_own_text(config_of(novel), has_tokenizer=False)
    assert read_judging_texts(config_of("builtin"), demo, LENGTH) == ()
    mixed = config_of(novel)
    mixed = replace(
        mixed,
        calibration=replace(mixed.calibration, more_texts=(MoreText("builtin", 0.5),)),
    )
    assert judges_by_own_text(mixed, has_tokenizer=True)
    validated = config_of(novel)
    calibration = replace(validated.calibration, validation_text="builtin")
    validated = replace(validated, calibration=calibration)
    assert judges_by_own_text(validated, has_tokenizer=True)  # and not twice by one


def test_named_texts_judge_each(demo, novel, tmp_path):
    tokens = tmp_path / "tokens.npy"
    np.save(tokens, np.arange(3 * LENGTH).reshape(3, LENGTH))
    config = config_of("builtin", novel, str(tokens))
    one, other = read_judging_texts(config, demo, LENGTH)
    assert (one.name, other.name) == (novel, str(tokens))
    assert one.windows.shape == (4, LENGTH)
    assert other.windows.tolist() == np.load(tokens).tolist()


def test_calibration_text_cannot_judge_as_another_kind(novel):
    with pytest.raises(ConfigError, match="cannot judge"):
        config_of(novel, novel).check_consistency()
    config = config_of("builtin", novel)
    calibration = replace(config.calibration, validation_text=novel)
    with pytest.raises(ConfigError, match="cannot judge"):
        replace(config, calibration=calibration).check_consistency()


def test_text_shorter_than_a_window_is_refused(demo, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("Too short.")
    with pytest.raises(CalibrationError, match="no window of 32 tokens"):
        read_judging_texts(config_of("builtin", str(short)), demo, LENGTH)


def test_builtin_text_is_left_out_where_windows_are_shorter_than_a_text_has(demo):
    """A token file may have such windows; it is not read here."""
    assert read_judging_texts(config_of("tokens.npy"), demo, 6) == ()


def test_no_windows_no_texts(demo, novel):
    assert read_judging_texts(config_of(novel, windows=0), demo, LENGTH) == ()
    assert not judges_by_own_text(config_of("builtin", windows=0), has_tokenizer=True)
