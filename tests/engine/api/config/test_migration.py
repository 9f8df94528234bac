"""Short jobs and those of earlier versions are read with the same meaning."""

from __future__ import annotations

import logging

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig
from surgeon_engine.api.config.migration import migrate
from surgeon_engine.api.config.presets import preset_from_toml
from surgeon_engine.api.config.pruning import (
    NM,
    AutomaticDamping,
    CostBasis,
    Elements,
    FileSize,
    Fisher,
    FixedDamping,
    Heads,
    HeadsAndNeurons,
    Method,
    Neurons,
    Parameters,
    ParameterShare,
    PrunableShare,
    PruningConfig,
    RowsAndColumns,
    Schedule,
    UpdateKind,
    Widths,
)
from surgeon_engine.api.config.recovery import Recovery, RecoveryConfig
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.toml import config_from_toml, config_to_toml, read_config
from surgeon_engine.base.errors import ConfigError

# As the previous version wrote it: every setting, whether or not it was used.
WHOLE = """
structure = "n_m"
kept = 3
of = 8
method = "llm_surgeon"
target = "prunable_share"
sparsity = 0.6
million_parameters = 100.0
megabytes = 400.0
perplexity_rise = 12.5
shots = 4
width_multiple = 64
widths = "same"
protect = ["block 0"]
keep_at_least = 0.125
limits = ["block 3=0.5", "mlp.*=0.75"]
schedule = "cubic"
fisher = "empirical"
cost_basis = "raw"
update = "separate"
max_correlated = 512
correction = "loss"
damping = "automatic"
cost_damping = 0.5
update_damping = 0.7
"""
WHOLE_CONFIG = PruningConfig(
    NM("3:8", max_correlated=512),
    Method.LLM_SURGEON,
    fisher=Fisher.EMPIRICAL,
    target=PrunableShare(0.6),
    max_perplexity_increase=12.5,
    shots=4,
    protect=("block 0",),
    min_density=0.125,
    layer_min_density=("block 3=0.5", "mlp.*=0.75"),
    schedule=Schedule.CUBIC,
)
JOBS = {
    "": PruningConfig(),
    WHOLE: WHOLE_CONFIG,
    # The example of the README.
    'structure = "heads_and_neurons"\nsparsity = 0.3\nshots = 5\nwidths = "same"': (
        PruningConfig(
            HeadsAndNeurons(widths=Widths.SAME), target=PrunableShare(0.3), shots=5
        )
    ),
    'structure = "n_m"\nkept = 1\nof = 3\nmethod = "sparsegpt"\ntarget = "parameters"\n'
    "million_parameters = 2.25\ncost_damping = 0.05": PruningConfig(
        NM("1:3"),
        Method.SPARSEGPT,
        Parameters(2.25),
        damping=FixedDamping(cost=0.05),
    ),
    'structure = "n_m"\nof = 8\nmethod = "wanda"\nsparsity = 0.5': PruningConfig(
        NM("2:8"), Method.WANDA, PrunableShare(0.5)
    ),
    'structure = "elements"\nmethod = "sparsegpt"\ndamping = "fixed"': PruningConfig(
        Elements(), Method.SPARSEGPT, damping=FixedDamping()
    ),
    'structure = "rows_and_columns"\ncost_basis = "raw"\nupdate = "separate"': (
        PruningConfig(RowsAndColumns(CostBasis.RAW, UpdateKind.SEPARATE))
    ),
    'structure = "heads"\ntarget = "parameter_share"\nsparsity = 0.15\n'
    'widths = "same"': (PruningConfig(Heads(Widths.SAME), target=ParameterShare(0.15))),
    'structure = "neurons"\ntarget = "file_size"\nmegabytes = 123.5\n'
    "width_multiple = 32": PruningConfig(Neurons(32), target=FileSize(123.5)),
    'damping = "fixed"\ncost_damping = 0.02\nupdate_damping = 0.3\n'
    'correction = "none"\nfisher = "sampled"': PruningConfig(
        fisher=Fisher.SAMPLED,
        damping=FixedDamping(0.02, 0.3),
    ),
    # Whole numbers where decimals are meant.
    'perplexity_rise = 5\nkeep_at_least = 0\ndamping = "fixed"\ncost_damping = 1\n'
    "update_damping = 0\nmegabytes = 300": PruningConfig(
        max_perplexity_increase=5.0, damping=FixedDamping(1.0, 0.0)
    ),
    # Values that did not apply.
    "kept = 3\nof = 3\nmegabytes = 5.0": PruningConfig(),
    "cost_damping = 0.5\nupdate_damping = 0.7": PruningConfig(),
    # Today's names, partly short.
    'pattern = "4:8"\n[pruning.structure]\nkind = "n_m"': PruningConfig(NM("4:8")),
    "[pruning.target]\nsparsity = 0.2": PruningConfig(target=PrunableShare(0.2)),
}


@pytest.mark.parametrize(("text", "pruning"), JOBS.items())
def test_job_is_read_with_its_values(text, pruning):
    config = config_from_toml(f"[pruning]\n{text}")
    # There was no recovery when jobs could name a correction.
    recovery = (
        RecoveryConfig(Recovery.OFF) if "correction" in text else RecoveryConfig()
    )
    assert config == RunConfig(pruning=pruning, recovery=recovery)
    assert config_from_toml(config_to_toml(config)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "perplexity_rise = 101",
            r"max_perplexity_increase must be in \[0, 100\], got",
        ),
        ("keep_at_least = 1.5", r"min_density must be in \[0, 1\], got 1.5"),
        ('limits = ["block 3"]', "'block 3' is not the minimum density"),
        ('structure = "n_m"\nkept = 0\nof = 4', r"must be in \[1, 31\], got 0"),
        ('structure = "n_m"\nkept = 4', "4:4 removes nothing"),
        ("megabytes = 0", r"megabytes must be in \(0, 1e\+08\], got 0"),
        ("million_parameters = 0", "million_parameters must be in"),
        ("update_damping = 101", "update_damping must be in"),
        ("max_correlated = -1", "max_correlated must be in"),
        ('widths = "wide"\nstructure = "rows"', "Invalid enum value 'wide'"),
        ('cost_damping = "much"', "Expected `float`, got `str`"),
        ("min_density = 0.1\nkeep_at_least = 0.2", "min_density is given twice"),
    ],
)
def test_wrong_values_raise_even_if_they_do_not_apply(text, message):
    with pytest.raises(ConfigError, match=message):
        config_from_toml(f"[pruning]\n{text}")


def test_dampings_are_kept_where_too_few_windows_made_them_apply():
    text = "[calibration]\nwindows = 3\n[pruning]\ncost_damping = 0.07"
    config = config_from_toml(text)
    assert config.pruning.damping == FixedDamping(cost=0.07)
    assert config.calibration == CalibrationConfig(windows=3)
    without = config_from_toml(text.replace("0.07", "0.01"))
    assert without.pruning.damping == AutomaticDamping()


def test_reading_old_names_logs_a_warning(tmp_path, caplog):
    job = tmp_path / "job.toml"
    job.write_text("[pruning]\nkept = 3\nkeep_at_least = 0.1\n")
    with caplog.at_level(logging.WARNING):
        read_config(job)
    (record,) = caplog.records
    assert record.message == (
        f"{job} has old names in [pruning]: keep_at_least (now min_density), "
        "kept (now pattern). Save it again to update them."
    )
    caplog.clear()
    preset_from_toml("mine", f'title = "T"\nabout = "A."\n[pruning]\n{WHOLE}')
    assert "The preset mine has old names" in caplog.text


def test_reading_a_correction_logs_that_recovery_is_off(tmp_path, caplog):
    job = tmp_path / "job.toml"
    names = f"{job} names a correction, which this version does not have:"
    for value in ("none", "loss"):
        job.write_text(f'[pruning]\ncorrection = "{value}"\n')
        assert read_config(job).recovery.level is Recovery.OFF
        (record,) = caplog.records
        assert record.message == f"{names} recovery is off."
        caplog.clear()


@pytest.mark.parametrize(("value", "is_noted"), [("none", False), ("loss", True)])
def test_correction_beside_recovery_is_left_out(tmp_path, caplog, value, is_noted):
    job = tmp_path / "job.toml"
    job.write_text(f'[recovery]\nlevel = "refit"\n[pruning]\ncorrection = "{value}"\n')
    assert read_config(job) == RunConfig(recovery=RecoveryConfig(Recovery.REFIT))
    assert ("a correction" in caplog.text) == is_noted
    assert ("it is left out" in caplog.text) == is_noted


def test_reading_todays_names_logs_nothing(tmp_path, caplog):
    job = tmp_path / "job.toml"
    for text in (
        config_to_toml(RunConfig(pruning=WHOLE_CONFIG)),
        '[pruning]\nstructure = "n_m"\npattern = "2:4"\nsparsity = 0.5\n',
    ):
        job.write_text(text)
        read_config(job)
    assert not caplog.records


def test_preset_of_an_earlier_version_is_read_with_its_values():
    text = f'title = "T"\nabout = "A."\n[pruning]\n{WHOLE}\n[calibration]\nwindows = 9'
    preset = preset_from_toml("mine", text)
    assert preset.pruning == WHOLE_CONFIG
    assert preset.calibration == {"windows": 9}


@pytest.mark.parametrize("job", [{}, {"pruning": 3}, {"model": {"source": "demo"}}])
def test_migrate_has_no_notes_on_a_current_job(job):
    migrated, notes = migrate(job)
    assert notes == ()
    assert job.items() <= migrated.items()
