"""A job survives the way to TOML and back, and a wrong one is refused in words."""

from __future__ import annotations

import dataclasses

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.pruning import (
    SPARSE,
    Correction,
    CostBasis,
    Damping,
    Fisher,
    Method,
    PruningConfig,
    Structure,
    Target,
    methods_for,
)
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml, read_config
from surgeon_engine.api.errors import ConfigError


def test_a_config_survives_the_way_to_toml_and_back():
    config = RunConfig(
        model=ModelConfig(source="/models/a b"),
        pruning=PruningConfig(
            structure=Structure.ROWS_AND_COLUMNS,
            sparsity=0.125,
            cost_basis=CostBasis.RAW,
        ),
    )
    assert config_from_toml(config_to_toml(config)) == config


def test_every_setting_survives_the_way_to_toml_and_back():
    pruning = PruningConfig(
        structure=Structure.N_M,
        kept=1,
        of=3,
        method=Method.SPARSEGPT,
        target=Target.PARAMETERS,
        million_parameters=12.5,
        megabytes=17.25,
        perplexity_rise=5.0,
        width_multiple=64,
        protect=("block 0", "*.down_proj"),
        keep_at_least=0.1,
        fisher=Fisher.SAMPLED,
        correction=Correction.NONE,
        max_correlated=2000,
        damping=Damping.FIXED,
    )
    config = RunConfig(pruning=pruning)
    assert config_from_toml(config_to_toml(config)) == config


def test_two_of_three_may_be_asked_for_in_three_digits():
    PruningConfig(Structure.N_M, kept=1, of=3, sparsity=0.667)


def test_single_weights_have_methods_of_their_own():
    for structure in Structure:
        has_wanda = Method.WANDA in methods_for(structure)
        assert has_wanda == (structure in SPARSE)
        assert Method.LLM_SURGEON in methods_for(structure)


def applying(pruning):
    return {
        item.name
        for item in dataclasses.fields(PruningConfig)
        if item.metadata.get("applies", lambda config: True)(pruning)
    }


@pytest.mark.parametrize(
    ("pruning", "more", "fewer"),
    [
        (PruningConfig(Structure.N_M), {"kept", "of"}, {"cost_basis"}),
        (PruningConfig(target=Target.PARAMETERS), {"million_parameters"}, {"sparsity"}),
        (PruningConfig(target=Target.FILE_SIZE), {"megabytes"}, {"sparsity"}),
        (PruningConfig(target=Target.PARAMETER_SHARE), {"sparsity"}, {"megabytes"}),
        (PruningConfig(Structure.ROWS_AND_COLUMNS), {"update"}, {"width_multiple"}),
        (PruningConfig(Structure.ELEMENTS), {"max_correlated"}, {"width_multiple"}),
        (PruningConfig(method=Method.MAGNITUDE), {"shots"}, {"damping", "fisher"}),
    ],
)
def test_a_setting_says_to_which_others_it_applies(pruning, more, fewer):
    assert more <= applying(pruning)
    assert not fewer & applying(pruning)


def test_what_a_job_leaves_out_has_its_default():
    config = config_from_toml("[pruning]\nshots = 5\n")
    assert config == dataclasses.replace(RunConfig(), pruning=PruningConfig(shots=5))


@pytest.mark.parametrize("sparsity", [0.0, -0.1, 0.96, 1.0, float("nan")])
def test_a_target_out_of_range_is_refused_with_the_range(sparsity):
    with pytest.raises(ConfigError, match=r"sparsity must be in \(0, 0\.95\], got"):
        PruningConfig(sparsity=sparsity)


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        ("[pruning]\nsparsity = 1.5", r"sparsity must be in \(0, 0.95\], got 1.5"),
        ("[pruning]\nsparsty = 0.5", "pruning has no setting called 'sparsty'"),
        ("[prunning]\nshots = 2", "The job has no part called 'prunning'"),
        ("[pruning]\nshots = 'two'", r"Expected `int`, got `str` - at `\$.pruning"),
        ("[pruning]\nstructure = 'layers'", "Invalid enum value 'layers'"),
        ("pruning = 3", "Expected `object`, got `int`"),
        ("[pruning", "not valid TOML"),
        ("[model]\nsource = ' '", "No model was given"),
        ("[pruning]\nstructure = 'n_m'\nkept = 4", "4:4 removes nothing"),
        (
            "[pruning]\nstructure = 'n_m'\nkept = 16\nof = 32",
            "There are 601,080,390 ways",
        ),
        ("[pruning]\nmethod = 'wanda'", "Wanda does not remove heads and neurons"),
        (
            "[pruning]\nstructure = 'elements'\ntarget = 'file_size'",
            "no file gets smaller",
        ),
        (
            "[pruning]\nstructure = 'n_m'\nsparsity = 0.6",
            r"2:4 removes at most 50.0% of the weights, 60.0% were asked for",
        ),
        (
            "[pruning]\nfisher = 'sampled'\ncorrection = 'loss'",
            "The correction follows the gradient of the text's own labels",
        ),
    ],
)
def test_a_wrong_job_is_refused_in_words(job, sentence):
    with pytest.raises(ConfigError, match=sentence):
        config_from_toml(job)


@pytest.mark.parametrize("part", [CalibrationConfig, PruningConfig])
def test_every_number_has_a_range_that_holds_its_default(part):
    for item in dataclasses.fields(part):
        if isinstance(item.default, int | float):
            assert item.metadata["limits"].contain(item.default), item.name


def test_paths_of_a_job_start_at_its_file(tmp_path):
    job = tmp_path / "job.toml"
    job.write_text("[model]\nsource = 'model'\n[calibration]\ntext = '../a.txt'\n")
    config = read_config(job)
    assert config.model.source == str(tmp_path / "model")
    assert config.calibration.text == str(tmp_path.parent / "a.txt")
    assert config.calibration.validation_text == ""
    assert config.export.folder == ""


def test_a_user_nobody_knows_is_no_crash(tmp_path):
    job = tmp_path / "job.toml"
    job.write_text("[model]\nsource = '~nobody-of-that-name/model'\n")
    assert "nobody-of-that-name" in read_config(job).model.source


def test_the_names_of_bundled_things_are_no_paths(tmp_path):
    job = tmp_path / "job.toml"
    job.write_text("")
    assert read_config(job) == RunConfig()


def test_a_missing_job_is_refused_with_its_path(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
        read_config(tmp_path / "none.toml")
