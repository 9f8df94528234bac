"""Names and paths that no system can have are refused with a sentence."""

import dataclasses

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.evaluation import EvaluationConfig
from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.config.samples import SamplesConfig
from surgeon_engine.api.config.sweep import (
    MAX_RUNS,
    Variation,
    combinations,
    parse_axis,
)
from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.paths import check_name, check_path
from tests.helpers.configs import surgeon_job

BAD = ["a\0b", "\udcff", "a\nb", "\x1b[31m", "x" * 256, "/d" * 3_000, "a\x85b"]


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize(
    "make",
    [
        lambda x: ModelConfig(source=x),
        lambda x: CalibrationConfig(text=x),
        lambda x: CalibrationConfig(column=x),
        lambda x: CalibrationConfig(more_texts=(MoreText(x),)),
        lambda x: EvaluationConfig(texts=(x,)),
        lambda x: ExportConfig(folder=x),
        lambda x: PruningConfig(protect=(x,)),
    ],
)
def test_config_refuses_what_cannot_be_a_path(make, text):
    with pytest.raises(ConfigError) as caught:
        make(text)
    assert f"{caught.value.message} {caught.value.hint}".isprintable()


@pytest.mark.parametrize(
    "text", ["", "a b", "ä/ö", "C:\\x", "hf://a/b@c", "\u202e", "~"]
)
def test_unusual_paths_are_accepted(text):
    check_path("x", text)


@pytest.mark.parametrize(
    "name", [*BAD, "", " ", ".", "..", "../x", "/x", "a/b", "a\\b", ".hidden"]
)
def test_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(ConfigError):
        check_name("--name", name)


@pytest.mark.parametrize("prompt", ["a\0b", "\udcff", "x" * 100_001])
def test_prompt_that_cannot_be_sent_is_refused(prompt):
    with pytest.raises(ConfigError):
        SamplesConfig(prompt=prompt)
    assert SamplesConfig(prompt="a\nb\tc").prompt


def test_lists_are_bounded():
    with pytest.raises(ConfigError, match="1,001 entries"):
        PruningConfig(protect=("x",) * 1_001)


def test_message_with_a_long_setting_is_cut():
    with pytest.raises(ConfigError) as caught:
        config_from_toml(f"version = 1\n[pruning]\nstructure = '{'x' * 1_000_000}'")
    assert len(caught.value.message) < 10_000


def test_sweep_is_counted_before_it_is_expanded():
    seeds = "calibration.seed=" + ",".join(map(str, range(MAX_RUNS + 1)))
    with pytest.raises(ConfigError, match="1,001 runs"):
        combinations(surgeon_job(), [parse_axis(seeds)])
    others = [
        f"calibration.{x}=" + ",".join(map(str, range(8, 428)))
        for x in ("seed", "windows", "window_length")
    ]
    with pytest.raises(ConfigError, match="74,088,000 runs"):
        combinations(surgeon_job(), list(map(parse_axis, others)))


def test_folders_of_long_variations_differ_and_are_short():
    config = dataclasses.replace(surgeon_job())
    names = [Variation("x=1, " * 100 + end, config).folder_name for end in ("a", "b")]
    assert names[0] != names[1]
    assert max(map(len, names)) < 150
