"""Messages of the window about saved files, and the copy for LM Studio."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QPushButton

from surgeon_engine.api.config.export import ExportConfig, FileDtype, Format
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.model_info.files import GGUF_FILE
from surgeon_gui.base.lm_studio import Stopped
from surgeon_gui.state.bars import gguf_of
from surgeon_gui.views import bars
from surgeon_gui.widgets.charts.chart_card import ChartCard
from surgeon_gui.window import run_actions
from tests.helpers.widget_queries import shown
from tests.helpers.windows import (
    QUICK,
    click,
    find,
    load_and_wait,
    run_of,
    trigger,
    wait_until,
)

GGUF = replace(QUICK, export=ExportConfig(format=Format.GGUF, dtype=FileDtype.IQ4_NL))


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Return the folder of models of LM Studio in a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".lmstudio" / "models"
    folder.mkdir(parents=True)
    return folder


def with_file(window):
    """Write the file that the fake engine has only announced."""
    folder = Path(run_of(window).exported.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "imatrix.gguf").write_bytes(b"GGUF of an importance matrix")
    (folder / GGUF_FILE).write_bytes(b"GGUF of the model")


def test_file_is_copied_to_lm_studio_by_a_click(qtbot, make_finished, models):
    window = make_finished(config=GGUF)
    with_file(window)
    store, run = window.session.store, run_of(window)
    config = replace(run.config, model=ModelConfig("/models/Some-Model.Q4_1.gguf"))
    store.set(replace(store.state, run=replace(run, config=config)))
    assert str(models) in find(window, "run_lm_studio_button").toolTip()
    click(window, "run_lm_studio_button")
    wait_until(qtbot, lambda: shown(window, "saved_label"))
    (file,) = models.rglob("*.gguf")
    megabytes = round(run.exported.weight_bytes / 1e6)
    name = f"Some-Model-IQ4_NL-{megabytes}MB"
    assert file.relative_to(models) == Path("surgeon", name, f"{name}.gguf")
    assert file.read_bytes() == b"GGUF of the model"
    assert f"~/{file.relative_to(models.parents[1])}" in shown(window, "saved_label")
    assert find(window, "run_lm_studio_button").isEnabled()
    click(window, "saved_dismiss_button")
    assert shown(window, "saved_label") == ""


def test_copy_that_fails_says_why(qtbot, make_finished, models):
    window = make_finished(config=GGUF)
    Path(gguf_of(run_of(window))).unlink()
    click(window, "run_lm_studio_button")
    wait_until(qtbot, lambda: window.session.state.notice)
    notice = window.session.state.notice
    assert notice.message.startswith(f"The file cannot be copied to {models}: ")
    assert shown(window, "saved_label") == ""
    assert list(models.iterdir()) == []


def test_files_are_looked_for_when_the_window_is_activated(make_finished):
    window = make_finished()
    open_button = find(window, "run_folder_button")
    assert open_button.isEnabled()
    shutil.rmtree(run_of(window).exported.folder)
    QApplication.sendEvent(window, QEvent(QEvent.Type.WindowActivate))
    assert not open_button.isEnabled()


def test_closing_the_window_stops_a_copy(make_finished, models, monkeypatch):
    stopped: list[bool] = []

    def copy(file, models, name, is_stopped):
        for _ in range(100):
            if is_stopped():
                break
            time.sleep(0.05)
        stopped.append(is_stopped())
        raise Stopped

    monkeypatch.setattr(run_actions, "add_file", copy)
    window = make_finished(config=GGUF)
    click(window, "run_lm_studio_button")
    window.close()
    assert stopped == [True]


def test_lm_studio_is_offered_only_where_it_is_and_for_its_files(
    make_finished, models, monkeypatch
):
    window = make_finished()  # a folder for transformers
    assert not find(window, "run_lm_studio_button").isVisible()
    monkeypatch.setenv("HOME", str(models))
    other = make_finished(config=GGUF)
    assert not find(other, "run_lm_studio_button").isVisible()


def test_saved_report_is_announced_with_its_folder(
    qtbot, make_finished, tmp_path, monkeypatch
):
    opened: list[str] = []
    monkeypatch.setattr(bars, "open_folder", opened.append)
    window = make_finished()
    window.runs.reports.finish_writing()
    qtbot.wait(1)
    assert shown(window, "saved_label") == ""  # the run's own report is not announced
    trigger(window, "report_html_action")
    dialog = window.findChild(QFileDialog)
    dialog.fileSelected.emit(str(tmp_path / "mine.html"))
    dialog.done(1)
    wait_until(qtbot, lambda: shown(window, "saved_label"))
    assert "mine.html" in shown(window, "saved_label")
    click(window, "saved_folder_button")
    assert opened == [str(tmp_path)]


def test_saved_job_log_and_chart_are_announced(qtbot, window, tmp_path):
    load_and_wait(qtbot, window)
    trigger(window, "save_job_action")
    choose_new_file(window, tmp_path / "mine.toml")
    assert shown(window, "saved_label") == f"The job was saved to {tmp_path}/mine.toml."
    find(window, "log_save_button", QPushButton).click()
    choose_new_file(window, tmp_path / "missing" / "mine.log")
    assert shown(window, "error_message")
    assert shown(window, "saved_label") == ""  # it is about an earlier action
    find(window, "log_save_button", QPushButton).click()
    choose_new_file(window, tmp_path / "mine.log")
    assert shown(window, "saved_label") == f"The log was saved to {tmp_path}/mine.log."
    assert (tmp_path / "mine.log").is_file()
    find(window, "perplexity_chart", ChartCard).saved.emit("The chart.", "there")
    assert shown(window, "saved_label") == "The chart."


def choose_new_file(window, path):
    dialog = window.findChildren(QFileDialog)[-1]
    dialog.fileSelected.emit(str(path))
    dialog.done(1)
