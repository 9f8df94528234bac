"""The menu Open recent: jobs, runs and models, missing ones, Clear."""

from dataclasses import replace

import pytest
from PySide6.QtGui import QAction

from surgeon_engine.api.config.pruning import Structure
from surgeon_engine.api.config.run import RunConfig
from surgeon_gui.base import settings as settings_store
from surgeon_gui.base.settings import MAX_RECENT, Settings
from surgeon_gui.state.run import Status, requested
from surgeon_gui.views.steps.run_page import RunSettingsPage
from surgeon_gui.window.recent_menu import RecentMenu
from tests.helpers.fake_runs import job as job_of
from tests.helpers.fake_runs import write_run
from tests.helpers.windows import find, find_type, load_and_wait, wait_until


def entries(window, kind):
    menu = find_type(window, RecentMenu)._menu
    prefix = f"recent_{kind}_action_"
    return [a for a in menu.actions() if a.objectName().startswith(prefix)]


def texts(window, kind):
    return [action.text() for action in entries(window, kind)]


@pytest.fixture
def job(window, tmp_path):
    path = tmp_path / "small & fast.toml"
    find_type(window, RunSettingsPage).save_job(str(path))
    return path


def test_saved_and_loaded_jobs_can_be_opened_again(qtbot, window, job):
    load_and_wait(qtbot, window)
    assert texts(window, "job") == ["small && fast.toml"]
    entries(window, "job")[0].trigger()
    assert window.session.state.job_file == str(job)


def test_opened_runs_can_be_opened_again(qtbot, window, tmp_path):
    folder = write_run(tmp_path / "runs", "a")
    (folder / "name.txt").write_text("the best\n")
    window.runs.open_run(folder)
    wait_until(qtbot, lambda: entries(window, "run"))
    assert texts(window, "run") == ["the best"]
    window.session.close_opened_run()
    refused = requested("run-1", RunConfig(), str(tmp_path / "runs" / "b"), 0.0)
    window.session.run_ended.emit(replace(refused, status=Status.FAILED, ended=1.0))
    assert texts(window, "run") == ["the best"]
    entries(window, "run")[0].trigger()
    wait_until(qtbot, lambda: window.session.state.shown_run.name == "the best")


def test_runs_have_the_titles_of_the_list(qtbot, make_window, tmp_path):
    folders = [write_run(tmp_path / "runs", name) for name in "ab"]
    elsewhere, zeros = tmp_path / "elsewhere", job_of(structure=Structure.ELEMENTS)
    others = [  # they are not in the list
        write_run(elsewhere, "c"),
        write_run(elsewhere, "stopped", zeros, ending="stopped"),
        write_run(elsewhere, "canceled", ending="cancelled"),
    ]
    missing = tmp_path / "d"
    recent = [*map(str, (*folders, *others, missing))]
    window = make_window(settings=Settings(recent_runs=recent))
    runs = window.runs.runs
    wait_until(qtbot, lambda: runs.state.has_been_read)
    find_type(window, RecentMenu).fill()
    titles = [runs.state.titles[str(folder)] for folder in folders]
    assert len(set(titles)) == 2
    assert all(title.startswith("Bundled demo · 8.4\xa0MB, ") for title in titles)
    shown = [
        *titles,
        "Bundled demo · 8.4\xa0MB",
        "Bundled demo · 10.5\xa0% of prunable weights removed",  # when it was stopped
        "Bundled demo · 30\xa0% fewer prunable weights",
        "d (missing)",
    ]
    assert texts(window, "run") == shown


def test_recent_models_can_be_chosen_if_they_exist_and_are_cleared(
    make_window, tmp_path
):
    there, missing = tmp_path / "there", tmp_path / "missing"
    there.mkdir()
    window = make_window(settings=Settings(recent_models=[str(there), str(missing)]))
    first, second = entries(window, "model")
    assert first.isEnabled()
    assert not second.isEnabled()
    assert second.text() == "missing (missing)"
    first.trigger()
    assert window.session.state.config.model.source == str(there)
    window.settings.recent_jobs, window.settings.recent_runs = ["b.toml"], ["c"]
    menu = find_type(window, RecentMenu)
    menu.fill()
    titles = [a.text() for a in menu._menu.actions() if not a.objectName()]
    assert titles == ["Jobs", "", "Runs", "", "Models", ""]  # with separators
    clear = find(window, "recent_clear_action", QAction)
    assert clear.isEnabled()
    clear.trigger()
    assert not clear.isEnabled()
    settings = window.settings
    for kind in ("job", "run", "model"):
        assert entries(window, kind) == []
    lists = (settings.recent_models, settings.recent_jobs, settings.recent_runs)
    assert lists == ([], [], [])


def test_lists_are_short_have_no_doubles_and_are_stored(qtbot):
    settings = Settings()
    for number in (*range(20), 15):
        settings.remember_run(f"/runs/{number}")
        settings.remember_job(f"/jobs/{number}.toml")
        settings.remember_model(f"/models/{number}")
    for found in (settings.recent_runs, settings.recent_jobs, settings.recent_models):
        assert "15" in found[0]
        assert len(set(found)) == len(found) == MAX_RECENT
    settings_store.name_application()
    settings_store.save(settings)
    loaded = settings_store.load()
    assert loaded.recent_runs == settings.recent_runs
    assert loaded.recent_jobs == settings.recent_jobs
