"""The last session comes back: model, settings and the shown run."""

from dataclasses import replace

from PySide6.QtGui import QAction

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import Target
from surgeon_engine.api.config.run import ModelConfig
from surgeon_gui.base.settings import Settings
from surgeon_gui.state.run import Status
from surgeon_gui.widgets.choice_box import ChoiceBox
from tests.helpers.fake_runs import write_run
from tests.helpers.widget_queries import choose_unit
from tests.helpers.windows import QUICK, find, load_and_wait, run_of, wait_until


def reopened(window, make_window):
    """Close a window and open another one with its settings."""
    window.close()
    again = make_window(settings=window.settings)
    again.restore_last_session()
    return again


def test_job_comes_back_but_no_missing_model(qtbot, tmp_path, window, make_window):
    load_and_wait(qtbot, window)
    again = reopened(window, make_window)
    assert again.session.state.config == QUICK
    assert again.session.state.model_is_chosen
    undo = find(again, "undo_action", QAction)
    assert not undo.isEnabled()
    again.session.draft.load(replace(QUICK, model=ModelConfig(str(tmp_path / "gone"))))
    assert undo.isEnabled()
    assert not reopened(again, make_window).session.state.model_is_chosen


def test_unit_of_the_size_comes_back(qtbot, window, make_window):
    export = ExportConfig(format=Format.GGUF)
    load_and_wait(qtbot, window, replace(QUICK, export=export))
    assert find(window, "size_unit_combo", ChoiceBox).value is Target.FILE_SIZE
    choose_unit(window, Target.PRUNABLE_SHARE)
    again = reopened(window, make_window)
    wait_until(qtbot, lambda: again.session.state.model is not None)
    assert find(again, "size_unit_combo", ChoiceBox).value is Target.PRUNABLE_SHARE


def test_run_that_was_shown_is_opened(qtbot, tmp_path, window, make_window):
    folder = write_run(tmp_path / "runs")
    window.runs.open_run(folder)
    wait_until(qtbot, lambda: run_of(window).run)
    again = reopened(window, make_window)
    wait_until(qtbot, lambda: run_of(again).status is Status.FINISHED)
    assert run_of(again).folder == str(folder)
    assert again.session.state.shown_run.run


def test_job_of_another_version_is_ignored(qtbot, tmp_path, make_window):
    folder = write_run(tmp_path / "runs")
    job = "[prunning]\nspeed = 1\n"
    window = make_window(settings=Settings(job=job, open_run=str(folder)))
    window.restore_last_session()
    assert not window.session.state.model_is_chosen
    wait_until(qtbot, lambda: run_of(window).run)


def test_runs_folder_is_kept_only_if_it_can_be_used(qtbot, tmp_path, window):
    load_and_wait(qtbot, window)
    (tmp_path / "file").write_text("")
    usable, unusable = str(tmp_path / "usable"), str(tmp_path / "file" / "runs")
    for chosen, kept in ((unusable, ""), (usable, usable), (unusable, usable)):
        window.session.draft.set_run_parent(chosen)
        window.remember()
        assert window.settings.run_parent == kept
    window.session.draft.set_run_parent(window._initial_run_parent)  # as by Cancel
    window.remember()
    assert window.settings.run_parent == ""
