"""A sweep has a job for each combination of values."""

from dataclasses import replace

import pytest

from surgeon_engine.api.config.export import ExportConfig
from surgeon_engine.api.config.pruning import Method, PruningConfig, Target
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.config.sweep import Axis, combinations, parse_axis
from surgeon_engine.base.errors import ConfigError

JOB = RunConfig(pruning=PruningConfig(sparsity=0.3))


def variations(job, settings):
    return combinations(job, [parse_axis(text) for text in settings])


def test_each_value_is_a_job():
    found = variations(JOB, ["pruning.sparsity=0.1, 0.2"])
    assert [each.name for each in found] == [
        "pruning.sparsity=0.1",
        "pruning.sparsity=0.2",
    ]
    assert [each.config.pruning.sparsity for each in found] == [0.1, 0.2]
    assert all(replace(x.config, pruning=JOB.pruning) == JOB for x in found)


def test_settings_are_combined_and_the_last_one_varies_first():
    sets = ["pruning.method=first_order,magnitude", "calibration.windows=8,16"]
    found = variations(JOB, sets)
    assert [x.name for x in found] == [
        "pruning.method=first_order, calibration.windows=8",
        "pruning.method=first_order, calibration.windows=16",
        "pruning.method=magnitude, calibration.windows=8",
        "pruning.method=magnitude, calibration.windows=16",
    ]
    assert found[0].config.pruning.method is Method.FIRST_ORDER
    assert found[0].config.calibration.windows == 8
    assert found[0].folder_name == "pruning.method=first_order_calibration.windows=8"


def test_target_of_another_kind_can_be_varied_with_its_kind():
    sets = ["pruning.megabytes=5,10", "pruning.target=file_size"]
    for settings in (sets, sets[::-1]):
        found = variations(JOB, settings)
        wanted = [PruningConfig(target=Target.FILE_SIZE, megabytes=x) for x in (5, 10)]
        assert [each.config.pruning for each in found] == wanted


def test_settings_of_one_name_in_two_parts_are_told_apart():
    sets = ["model.dtype=float32,bfloat16", "export.dtype=float16"]
    names = [x.folder_name for x in variations(JOB, sets)]
    assert names == [
        "model.dtype=float32_export.dtype=float16",
        "model.dtype=bfloat16_export.dtype=float16",
    ]


def test_runs_do_not_write_to_one_folder():
    job = replace(JOB, export=ExportConfig("out"))
    with pytest.raises(ConfigError, match="2 runs would write to out"):
        variations(job, ["pruning.sparsity=0.1,0.2"])
    with pytest.raises(ConfigError, match="3 runs would write to a"):
        variations(job, ["export.folder=a,b", "pruning.shots=1,2,3"])
    assert len(variations(job, ["pruning.sparsity=0.1"])) == 1
    assert len(variations(job, ["export.folder=a,b"])) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pruning.sparsity", "names no setting and values"),
        ("sparsity=0.1", "names no setting and values"),
        ("prune.sparsity=0.1", "no part called “prune”"),
        ("pruning.speed=1", "pruning has no setting called “speed”"),
        ("pruning.sparsity=", "has no values"),
        ("pruning.sparsity=much", "sparsity is “much”, and must be a number"),
        ("pruning.sparsity=2", "sparsity is 2.0, and must be"),
        ('pruning.protect=["block 0"]', "protect is a list"),
        ("calibration.more_texts=a.txt", "more_texts is a list"),
        ("pruning.method=magic", "no choice called “magic”"),
        ("pruning.megabytes=5", "megabytes does not belong to the target"),
    ],
)
def test_invalid_variation_ends_in_a_sentence(text, sentence):
    with pytest.raises(ConfigError, match=sentence) as error:
        variations(JOB, [text])
    assert error.value.hint


def test_setting_is_varied_once():
    with pytest.raises(ConfigError, match="varied twice"):
        variations(JOB, ["pruning.sparsity=0.1", "pruning.sparsity=0.2"])


def test_axes_are_combined_like_settings():
    axes = [
        Axis("pruning", "target", (Target.FILE_SIZE,)),
        Axis("pruning", "megabytes", (5.0, 10.0)),
    ]
    sets = ["pruning.target=file_size", "pruning.megabytes=5,10"]
    assert [x.config for x in combinations(JOB, axes)] == [
        x.config for x in variations(JOB, sets)
    ]
