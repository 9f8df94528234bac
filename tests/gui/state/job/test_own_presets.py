"""Presets of the user: names of files, and folders that cannot be read."""

from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.state.job.own_presets import new_preset, read_presets, write_preset


def test_folder_that_cannot_be_read_is_a_problem(tmp_path):
    folder = tmp_path / ("x" * 300)
    found, problems = read_presets(folder)
    assert not found
    (problem,) = problems
    assert str(folder) in problem


def test_longest_title_of_wide_letters_can_be_saved(tmp_path):
    title = "\U00020000" * 60  # four bytes each
    preset = new_preset(title, RunConfig(), [], tmp_path)
    write_preset(preset, tmp_path / f"{preset.name}.toml")
    found, problems = read_presets(tmp_path)
    assert not problems
    assert [each.title for each in found] == [title]
