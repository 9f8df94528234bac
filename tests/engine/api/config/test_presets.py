"""Each preset is a config of its own, and applying it keeps what is the user's."""

from __future__ import annotations

import dataclasses
from importlib.resources import files

import msgspec
import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.presets import NAMES, preset_from_toml, presets
from surgeon_engine.api.config.pruning import (
    Correction,
    CostBasis,
    Damping,
    Fisher,
    PruningConfig,
    Structure,
    UpdateKind,
)
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.api.errors import ConfigError
from tests.helpers.runs import job, outcome
from tests.helpers.tiny_models import byte_tokenizer, tiny_model

MINE = RunConfig(
    model=ModelConfig("/models/mine"),
    calibration=CalibrationConfig("mine.txt", "other.txt", windows=128, seed=7),
    pruning=PruningConfig(Structure.COLUMNS, sparsity=0.77, shots=9, protect=("*",)),
    export=ExportConfig("/there"),
)
GOOD = 'title = "T"\nabout = "A."\n'
each_preset = pytest.mark.parametrize("preset", presets(), ids=NAMES)


def text_of(name):
    return (files("surgeon_resources") / "presets" / f"{name}.toml").read_text()


def test_every_file_is_a_preset_and_every_preset_a_file():
    folder = files("surgeon_resources") / "presets"
    found = {path.name.removesuffix(".toml") for path in folder.iterdir()}
    assert found == set(NAMES) == {preset.name for preset in presets()}


@each_preset
def test_a_preset_survives_the_way_to_toml_and_back(preset):
    config = preset.applied_to(MINE)
    assert config_from_toml(config_to_toml(config)) == config


@each_preset
def test_a_preset_names_only_what_differs_from_the_defaults_and_applies(preset):
    default = PruningConfig()
    fields = {item.name: item for item in dataclasses.fields(PruningConfig)}
    # Structure and damping may be the default: a preset says what it is about.
    for name in msgspec.toml.decode(text_of(preset.name))["pruning"]:
        applies = fields[name].metadata.get("applies", lambda pruning: True)
        assert applies(preset.pruning), name
    changed = {
        name
        for name in fields
        if getattr(preset.pruning, name) != getattr(default, name)
    }
    assert changed <= set(msgspec.toml.decode(text_of(preset.name))["pruning"])


@each_preset
def test_applying_keeps_model_texts_and_destination(preset):
    config = preset.applied_to(MINE)
    assert config.pruning == preset.pruning
    assert config.model == MINE.model
    assert config.export == MINE.export
    kept = set(MINE.calibration.__slots__) - set(preset.calibration)
    assert {"text", "validation_text"} <= kept
    for name in kept:
        assert getattr(config.calibration, name) == getattr(MINE.calibration, name)


@each_preset
def test_a_preset_is_recognised_and_is_none_of_the_others(preset):
    config = preset.applied_to(MINE)
    assert [other for other in presets() if other.is_in(config)] == [preset]
    assert not preset.is_in(MINE)


@each_preset
def test_a_preset_says_in_sentences_what_it_is(preset):
    assert preset.title
    assert preset.about.endswith(".")


@pytest.mark.parametrize(
    "name", ["paper_structured", "paper_2_4", "paper_unstructured"]
)
def test_the_papers_settings_are_the_papers(name):
    (preset,) = (preset for preset in presets() if preset.name == name)
    pruning = preset.pruning
    assert (pruning.cost_damping, pruning.update_damping) == (0.01, 0.01)
    assert pruning.damping is Damping.FIXED
    assert pruning.fisher is Fisher.EMPIRICAL
    assert pruning.correction is Correction.NONE
    assert pruning.sparsity == 0.5
    if name == "paper_structured":
        assert pruning.cost_basis is CostBasis.RAW
        assert pruning.update is UpdateKind.SEPARATE
    else:
        assert pruning.max_correlated == 2000
    assert pruning.shots == (40 if name == "paper_structured" else 5)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_runs")
@each_preset
def test_a_model_is_pruned_by_it_as_far_as_it_says(preset, tmp_path):
    tiny = tiny_model("llama").config.to_dict()
    wide = LlamaForCausalLM(LlamaConfig(**tiny | {"intermediate_size": 256}))
    wide.save_pretrained(tmp_path / "llama")
    byte_tokenizer().save_pretrained(tmp_path / "llama")
    mine = job(tmp_path, windows=16)
    config = preset.applied_to(mine)
    config = dataclasses.replace(config, calibration=mine.calibration)
    found = outcome(config, tmp_path / "run")
    assert len(found.shots) == preset.pruning.shots
    assert found.zeros == found.reported
    missing = preset.pruning.sparsity - found.shots[-1].sparsity
    multiple = preset.pruning.width_multiple
    assert 0 <= missing < (0.01 if multiple == 1 else 0.1)
    for block in range(2):
        neurons = found.after[f"model.layers.{block}.mlp.down_proj"]
        width = int((neurons != 0).any(dim=0).sum())
        assert width % multiple == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title = 'T'", "has no about"),
        (GOOD + "[pruning]\nsparsty = 0.5", "no setting called 'sparsty'"),
        (GOOD + "[pruning]\nsparsity = 1.5", "sparsity must be in"),
        (GOOD + "[calibration]\ntext = 'mine.txt'", "must not set text"),
        (GOOD + "[model]\nsource = 'demo'", "must not set model"),
        (GOOD + "calibration = 3", "Expected `object`"),
        ("title =", "preset broken is not valid TOML"),
    ],
)
def test_a_preset_that_says_too_much_or_too_little_is_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        preset_from_toml("broken", text)
