"""Presets replace the pruning part of a job and keep model, texts and destination."""

import dataclasses
from importlib.resources import files

import msgspec
import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.fields import values_in_use, values_of
from surgeon_engine.api.config.presets import (
    NAMES,
    preset_from_toml,
    preset_to_toml,
    presets,
)
from surgeon_engine.api.config.pruning import (
    OF_EXPERTS,
    CostBasis,
    Damping,
    Fisher,
    Method,
    PruningConfig,
    Structure,
    Target,
    UpdateKind,
)
from surgeon_engine.api.config.recovery import Recovery
from surgeon_engine.api.config.run import ModelConfig, RunConfig
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml
from surgeon_engine.base.errors import ConfigError
from tests.helpers.runs import job, outcome
from tests.helpers.tiny_models import byte_tokenizer, llama_with

MINE = RunConfig(
    model=ModelConfig("/models/mine"),
    calibration=CalibrationConfig("mine.txt", "other.txt", windows=128, seed=7),
    pruning=PruningConfig(Structure.COLUMNS, sparsity=0.77, shots=9, protect=("*",)),
    export=ExportConfig("/there"),
)
GOOD = 'version = 1\ntitle = "T"\nabout = "A."\n'
each_preset = pytest.mark.parametrize("preset", presets(), ids=NAMES)


def text_of(name):
    return (files("surgeon_resources") / "presets" / f"{name}.toml").read_text()


def test_every_preset_file_is_listed():
    folder = files("surgeon_resources") / "presets"
    found = {path.name.removesuffix(".toml") for path in folder.iterdir()}
    assert found == set(NAMES) == {preset.name for preset in presets()}


@each_preset
def test_toml_round_trip_keeps_a_preset(preset):
    config = preset.applied_to(MINE)
    assert config_from_toml(config_to_toml(config)) == config
    assert preset_from_toml(preset.name, preset_to_toml(preset)) == preset


@each_preset
def test_preset_files_have_all_changed_settings_and_no_unused_ones(preset):
    written = msgspec.toml.decode(text_of(preset.name))["pruning"]
    assert set(written) <= set(values_in_use(preset.pruning))
    default, values = values_of(PruningConfig()), values_of(preset.pruning)
    assert set(written) >= {
        x for x in default if values.get(x, default[x]) != default[x]
    }


@each_preset
def test_applied_to_keeps_model_texts_and_destination(preset):
    config = preset.applied_to(MINE)
    assert config.pruning == preset.pruning
    assert config.model == MINE.model
    assert config.export == MINE.export
    kept = set(MINE.calibration.__slots__) - set(preset.calibration)
    assert {"text", "validation_text"} <= kept
    for name in kept:
        assert getattr(config.calibration, name) == getattr(MINE.calibration, name)


@each_preset
def test_is_in_recognizes_one_preset(preset):
    config = preset.applied_to(MINE)
    assert [other for other in presets() if other.is_in(config)] == [preset]
    assert not preset.is_in(MINE)


def test_new_job_has_the_settings_of_a_preset():
    found = [preset.name for preset in presets() if preset.is_in(RunConfig())]
    assert found == ["standard"]


@each_preset
def test_preset_has_a_title_and_a_sentence_about_it(preset):
    assert preset.title
    assert preset.about.endswith(".")


@pytest.mark.parametrize(
    "name", ["paper_structured", "paper_2_4", "paper_unstructured"]
)
def test_paper_presets_have_the_settings_of_the_paper(name):
    (preset,) = (preset for preset in presets() if preset.name == name)
    pruning = preset.pruning
    damping = {
        "damping": Damping.FIXED,
        "cost_damping": 0.01,
        "update_damping": 0.01,
    }
    structures = {
        "paper_structured": {
            "structure": Structure.ROWS_AND_COLUMNS,
            "cost_basis": CostBasis.RAW,
            "update": UpdateKind.SEPARATE,
        },
        "paper_2_4": {
            "structure": Structure.N_M,
            "pattern": "2:4",
            "max_correlated": 2000,
        },
        "paper_unstructured": {"structure": Structure.ELEMENTS, "max_correlated": 2000},
    }
    target = {"target": Target.PRUNABLE_SHARE, "sparsity": 0.5}
    wanted = damping | structures[name] | target
    assert values_of(pruning).items() >= wanted.items()
    assert pruning.fisher is Fisher.EMPIRICAL
    assert pruning.method is Method.LLM_SURGEON
    assert preset.recovery.level is Recovery.OFF
    assert pruning.shots == (40 if name == "paper_structured" else 5)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_runs")
@pytest.mark.parametrize(
    "preset",
    [x for x in presets() if not x.name.startswith("paper")],  # they take seconds
    ids=lambda preset: preset.name,
)
def test_preset_prunes_a_model_to_its_sparsity(preset, tmp_path):
    llama_with(intermediate_size=256).save_pretrained(tmp_path / "llama")
    byte_tokenizer().save_pretrained(tmp_path / "llama")
    mine = job(tmp_path, windows=8)
    config = preset.applied_to(mine)
    recovery = dataclasses.replace(config.recovery, general_windows=4)
    config = dataclasses.replace(
        config, calibration=mine.calibration, recovery=recovery
    )
    found = outcome(config, tmp_path / "run")
    assert len(found.shots) == preset.pruning.shots
    assert found.zeros == found.reported
    missing = preset.pruning.sparsity - found.shots[-1].sparsity
    multiple = preset.pruning.width_multiple or 1  # 0: automatic, free here
    assert 0 <= missing < (0.01 if multiple == 1 else 0.1)
    for block in range(2):
        neurons = found.after[f"model.layers.{block}.mlp.down_proj"]
        width = int((neurons != 0).any(dim=0).sum())
        assert width % multiple == 0


def test_preset_with_a_purpose_fits_models_that_its_method_does_not_prune():
    text = GOOD + "purpose = 'smaller'\n[pruning]\nmethod = 'llm_surgeon'\nshots = 3"
    preset = preset_from_toml("mine", text)
    dense = preset.for_model([Structure.HEADS_AND_NEURONS]).pruning
    mixture = preset.for_model(OF_EXPERTS).pruning
    assert (dense.structure, dense.method) == (
        Structure.HEADS_AND_NEURONS,
        Method.LLM_SURGEON,
    )
    assert (mixture.structure, mixture.method) == (
        Structure.EXPERTS_AND_NEURONS,
        Method.FIRST_ORDER,
    )
    assert dense.shots == mixture.shots == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version = 1\ntitle = 'T'", "has no about"),
        (GOOD + "[pruning]\nsparsty = 0.5", "no setting called “sparsty”"),
        (GOOD + "[pruning]\nsparsity = 1.5", "sparsity is 1.5, and must be"),
        (GOOD + "[calibration]\ntext = 'mine.txt'", "must not set text"),
        (GOOD + "[model]\nsource = 'demo'", "must not set model"),
        (GOOD + "calibration = 3", "calibration is 3, and must be a table"),
        (GOOD + "purpose = 'art'", "no choice called “art”"),
        ("title =", "preset broken is not valid TOML"),
        ("x = " + "[" * 10_000, "preset broken is not valid TOML: it is nested"),
        ("x = " + "9" * 5_000, "preset broken is not valid TOML: Exceeds"),
        ("a." * 200_000 + "a = 1", "preset broken is not valid TOML: a line"),
        ("title = 1979-05-27\nabout = 'A.'", "has no title"),
    ],
)
def test_wrong_preset_raises(text, words):
    with pytest.raises(ConfigError, match=words):
        preset_from_toml("broken", text)
