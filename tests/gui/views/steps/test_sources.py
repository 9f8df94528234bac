"""Models and texts in the window: downloads, samples, facts, columns and previews."""

from __future__ import annotations

import json

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QLabel,
    QProgressBar,
)
from superqt import QElidingLabel

from surgeon_engine.api.model_info.source_names import DEMO, hub_name
from surgeon_gui.controllers.sample_download import SampleDownload
from surgeon_gui.state.run import Status
from surgeon_gui.text.problems import Step
from surgeon_gui.views.new import empty_state, model_card
from surgeon_gui.views.new.model_card import ModelCard
from surgeon_gui.views.steps import more_texts
from surgeon_gui.views.steps.calibration_page import CalibrationPage
from surgeon_gui.window import new_place
from tests.helpers.fake_sources import CACHED, GATED, UNREADABLE
from tests.helpers.widget_queries import facts, shown
from tests.helpers.windows import (
    click,
    find,
    find_type,
    load_and_wait,
    trigger,
    wait_for_status,
    wait_until,
)

SOURCE = "hf://someone/tiny"


def wait_for_end(qtbot, window, kind):
    """Wait until no request of a kind is in progress, and return the latest."""
    wait_until(qtbot, lambda: not window.session.state.request(kind).is_open)
    return window.session.state.request(kind)


def look_up(window, name="someone/tiny"):
    find(window, "empty_hub_edit").setText(name)
    click(window, "empty_hub_button")


def progress_of(window):
    return window.session.state.download


# downloads


def test_downloaded_model_can_be_pruned(qtbot, make_window):
    window = make_window("--pause", "0.005")
    look_up(window)
    assert window.session.state.config.model.source == SOURCE
    assert find(window, "download_card").isVisible()
    assert shown(window, "model_problem") == ""
    assert not find(window, "start_button").isEnabled()
    assert not progress_of(window).id  # nothing is downloaded before it is asked for
    click(window, "download_button")
    assert not find(window, "download_button").isVisible()
    wait_until(qtbot, lambda: progress_of(window).share > 0)
    assert "1.0 GB" in shown(window, "download_line").replace("\xa0", " ")
    assert find(window, "download_bar").value() > 0
    trigger(window, "use_demo_action")  # the download goes on
    assert "someone/tiny" in shown(window, "download_title")
    assert progress_of(window).is_open
    window.choose_model(SOURCE)
    wait_until(qtbot, lambda: window.session.state.model is not None)
    assert not find(window, "download_card").isVisible()
    assert not window.session.start_obstacle()
    assert window.settings.recent_models[0] == SOURCE


def test_cancelled_download_is_resumed(qtbot, make_window):
    window = make_window("--pause", "0.02")
    look_up(window)
    click(window, "download_button")
    wait_until(qtbot, lambda: progress_of(window).share > 0.2)
    click(window, "download_cancel_button")
    assert not find(window, "download_cancel_button").isEnabled()
    wait_until(qtbot, lambda: progress_of(window).is_cancelled)
    assert find(window, "download_button").text() == "Resume"
    assert find(window, "download_bar").isVisible()
    click(window, "download_button")
    wait_until(qtbot, lambda: progress_of(window).response is not None)
    downloaded = progress_of(window).response
    assert downloaded.fetched < downloaded.bytes
    wait_until(qtbot, lambda: window.session.state.model is not None)


def test_failed_download_shows_the_error_and_can_be_retried(qtbot, window):
    look_up(window, "someone/gated")
    click(window, "download_button")
    wait_until(qtbot, lambda: progress_of(window).error is not None)
    assert shown(window, "download_line").startswith(GATED)
    assert find(window, "download_button").text() == "Download"  # nothing has arrived
    assert find(window, "model_source").property("invalid")
    assert GATED in find(window, "step_model_header").accessibleDescription()
    click(window, "download_button")
    assert progress_of(window).is_open
    assert not find(window, "model_source").property("invalid")
    wait_until(qtbot, lambda: not progress_of(window).is_open)


def test_cached_model_needs_no_download(qtbot, window):
    from tests.helpers.fake_sources import cached

    cached(hub_name(SOURCE))
    look_up(window, "https://huggingface.co/someone/tiny")
    assert not find(window, "download_card").isVisible()
    wait_until(qtbot, lambda: window.session.state.model is not None)


def test_invalid_hub_name_is_reported(window):
    find(window, "model_source").edited.emit("hf://datasets/a/b")
    assert shown(window, "model_problem")
    assert find(window, "model_source").property("invalid")
    trigger(window, "use_demo_action")
    assert not find(window, "model_source").property("invalid")


# facts


def test_facts_are_shown_before_the_engine_starts(make_window, tmp_path):
    window = make_window("--no-start")
    window.choose_model(DEMO)
    assert (
        "2.83\N{NO-BREAK SPACE}M parameters"
        in find(window, "model_line", QElidingLabel).text()
    )
    config = {"architectures": ["BertModel"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    window.choose_model(str(tmp_path))
    assert shown(window, "model_problem")  # it is no decoder


# recent models and samples


@pytest.mark.parametrize("name", ["demo", "sample"])
def test_model_is_exported_within_two_clicks(qtbot, sample, make_window, name):
    window = make_window()
    click(window, f"empty_{name}_button")
    wait_until(qtbot, lambda: find(window, "start_button").isEnabled())
    click(window, "start_button")
    wait_for_status(qtbot, window, Status.FINISHED)
    run = window.session.state.run
    assert run.config.model.source == (DEMO if name == "demo" else sample)
    assert run.exported.tokens_compared > 0  # it was reloaded and its logits compared
    assert window.runs.shows_run


def test_recent_model_is_chosen_with_a_click_or_removed_if_missing(window, tmp_path):
    (tmp_path / "mine").mkdir()
    missing = str(tmp_path / "missing")
    window.settings.recent_models = [missing, str(tmp_path / "mine")]
    window.session.changed.emit()
    click(window, "empty_recent_button_1")
    assert missing in shown(window, "error_message")
    assert not window.session.state.model_is_chosen
    assert window.settings.recent_models == [str(tmp_path / "mine")]
    window.session.changed.emit()
    assert find(window, "empty_recent_button_1").text() == "mine"
    click(window, "empty_recent_button_1")
    assert window.session.state.config.model.source == str(tmp_path / "mine")


def test_missing_sample_is_downloaded_on_a_click(monkeypatch, make_window):
    for module in (empty_state, model_card, new_place):
        monkeypatch.setattr(module, "smollm2", str)
    started = []
    monkeypatch.setattr(SampleDownload, "start", lambda self: started.append(self))
    window = make_window()
    button = find(window, "empty_sample_button")
    action = find(window, "use_sample_action", QAction)
    assert all("98" in each.text() for each in (button, action))  # MB
    button.click()
    action.trigger()
    (download,) = {*started}
    assert len(started) == 2
    download.is_busy = True
    download.changed.emit()
    assert not any("98" in each.text() for each in (button, action))  # they cancel now


def test_download_of_the_sample_shows_its_progress_and_no_old_error(
    monkeypatch, make_window, tmp_path
):
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    monkeypatch.setattr(SampleDownload, "received_bytes", 0)
    window = make_window()
    window.choose_model(str(picture))
    assert shown(window, "model_problem")
    bar, label = (
        find(window, f"sample_progress_{part}", kind)
        for part, kind in (("bar", QProgressBar), ("label", QLabel))
    )
    download = find_type(window, ModelCard).sample_download
    assert not bar.isVisible()
    download.is_busy = True
    download.changed.emit()
    assert not find(window, "model_problem").isVisible()
    assert bar.isVisible()
    assert bar.maximum() == 0  # it moves
    monkeypatch.setattr(SampleDownload, "received_bytes", 49_181_216)
    download.changed.emit()
    assert bar.value() == bar.maximum() // 2
    assert label.text().replace("\xa0", " ") == "49.2 MB of about 98.4 MB"
    download.is_busy = False
    download.changed.emit()
    assert not bar.isVisible()
    assert find(window, "model_problem").isVisible()
    download.failed.emit("No network.")
    assert "No network." in shown(window, "error_message")


# texts


def test_parts_of_a_text_can_be_chosen(qtbot, window, tmp_path):
    (tmp_path / "stories.csv").write_text("text,summary\na,b\n")
    load_and_wait(qtbot, window)
    choose_text(qtbot, window, tmp_path / "stories.csv")
    assert offered(window, "calibration_column")[1:] == ["text", "summary"]
    assert not find(window, "calibration_split").isVisible()
    assert not find(window, "calibration_rows").isVisible()
    pick(window, "calibration_column", "summary")
    assert window.session.state.config.calibration.column == "summary"
    choose_text(qtbot, window, "someone/stories")
    assert window.session.state.config.calibration.text == DATASET
    assert find(window, "calibration_rows").isVisible()
    pick(window, "calibration_dataset_config", "long")
    wait_for_end(qtbot, window, RequestKind.DESCRIPTION)
    pick(window, "calibration_split", "validation")
    wait_for_end(qtbot, window, RequestKind.DESCRIPTION)
    pick(window, "calibration_validation_split", "train")
    calibration = window.session.state.config.calibration
    assert (calibration.dataset_config, calibration.split) == ("long", "validation")
    assert calibration.validation_split == "train"
    click(window, "builtin_text_button")
    calibration = window.session.state.config.calibration
    assert (calibration.split, calibration.validation_split) == ("", "")
    assert not find(window, "text_parts").isVisible()
    chosen = CalibrationConfig(validation_text=DATASET, validation_split="test")
    window.session.draft.edit_part(chosen)
    line = find(window, "calibration_validation_text")
    line.setText("")
    line.setModified(True)
    line.editingFinished.emit()
    calibration = window.session.state.config.calibration
    assert (calibration.validation_text, calibration.validation_split) == ("", "")


def test_unreadable_text_is_reported(qtbot, window, tmp_path):
    (tmp_path / "broken.csv").write_text('"')
    load_and_wait(qtbot, window)
    choose_text(qtbot, window, tmp_path / "broken.csv")
    wait_until(qtbot, lambda: UNREADABLE in shown(window, "calibration_problem"))


# further texts


def further(window):
    return window.session.state.config.calibration.more_texts


def cells(window):
    table = find(window, "more_texts_table", QTableWidget)
    rows = (
        [table.item(row, column).text() for column in range(3)]
        for row in range(table.rowCount())
    )
    return [tuple(text.replace("\xa0", " ") for text in row) for row in rows]


@pytest.fixture
def calibrating(qtbot, window):
    """Return a window with an open section Calibration."""
    load_and_wait(qtbot, window)
    window.open_step(Step.CALIBRATION)
    return window


def add_file(window, monkeypatch, path):
    monkeypatch.setattr(
        more_texts, "ask_file", lambda parent, *texts, **_: texts[-1](str(path))
    )
    path.write_text("A text.")
    click(window, "more_file_button")


def test_further_texts_are_added_shared_and_removed(
    qtbot, calibrating, tmp_path, monkeypatch
):
    window = calibrating
    table = find(window, "more_texts_table", QTableWidget)
    remove = find(window, "more_remove_button")
    assert not table.isVisible()
    assert not remove.isVisible()
    assert not find(window, "more_builtin_button").isVisible()  # it is the main text
    add_file(window, monkeypatch, tmp_path / "a.txt")
    assert further(window) == (MoreText(str(tmp_path / "a.txt"), 0.25),)
    windows = window.session.state.config.calibration.windows
    assert [row[1:] for row in cells(window)] == [
        ("75 %", f"{windows - round(windows / 4)}"),
        ("25 %", f"{round(windows / 4)}"),
    ]
    find(window, "calibration_windows").setValue(8)
    assert [row[2] for row in cells(window)] == ["6", "2"]
    add_file(window, monkeypatch, tmp_path / "b.txt")
    assert not table.item(0, 1).flags() & Qt.ItemFlag.ItemIsEditable
    delegate = table.itemDelegateForColumn(1)
    index = table.model().index(2, 1)
    box = delegate.createEditor(table.viewport(), None, index)
    delegate.setEditorData(box, index)
    assert (box.value(), box.maximum()) == (25.0, 74.9)
    box.setValue(50.0)
    delegate.setModelData(box, table.model(), index)
    assert [more.share for more in further(window)] == [0.25, 0.5]
    assert [row[1] for row in cells(window)] == ["25 %", "25 %", "50 %"]
    assert not remove.isEnabled()
    table.selectRow(0)  # the main text
    assert not remove.isEnabled()
    table.selectRow(1)
    remove.click()
    assert [Path(more.text).name for more in further(window)] == ["b.txt"]
    choose_text(qtbot, window, tmp_path / "a.txt")
    click(window, "more_builtin_button")
    assert further(window)[-1].text == "builtin"
    assert not find(window, "more_builtin_button").isVisible()


def test_data_set_is_added_with_its_parts(calibrating):
    window = calibrating
    assert not find(window, "more_dataset_edit").isVisible()
    click(window, "more_dataset_button")
    click(window, "more_keep_button")
    assert shown(window, "more_texts_problem")
    assert further(window) == ()
    for name, text in (("dataset", "someone/stories"), ("config", "long")):
        find(window, f"more_{name}_edit").setText(text)
    click(window, "more_keep_button")
    assert further(window) == (MoreText(DATASET, 0.25, dataset_config="long"),)
    assert not find(window, "more_dataset_edit").isVisible()
    assert shown(window, "more_texts_problem") == ""
    assert find(window, "calibration_rows").isVisible()
    click(window, "more_dataset_button")
    assert find(window, "more_dataset_edit").text() == ""
    click(window, "more_drop_button")
    assert not find(window, "more_dataset_edit").isVisible()


def test_preview_pages_through_all_texts(qtbot, calibrating, tmp_path, monkeypatch):
    window = calibrating
    add_file(window, monkeypatch, tmp_path / "a.txt")
    own = RecoveryConfig(own_windows=CACHED)
    window.session.draft.edit_part(own)
    click(window, "preview_button")
    assert wait_for_end(qtbot, window, RequestKind.PREVIEW).response is not None
    assert "16,384" in shown(window, "preview_counts")
    for value in ("2.7 %", "33.3 %", "800, 300", "12 duplicate"):
        assert value in facts(window, "preview_facts")
    text = find(window, "preview_text", QPlainTextEdit)
    back, on = find(window, "window_back_button"), find(window, "window_on_button")
    pages = []
    for _ in range(5):
        pages.append(text.toPlainText())
        click(window, "window_jump_button")
    of_file = f"From {tmp_path / 'a.txt'}."
    parts = ["The first window.", of_file, "Held out.", "Its own words."]
    assert pages == [*parts, parts[0]]
    find(window, "window_back_button").click()
    assert text.toPlainText() == "The second one."
    window.session.changed.emit()
    assert text.toPlainText() == "The second one."  # a redraw keeps the page
    back.click()
    assert not back.isEnabled()
    for part in ("The second one.", *parts[1:]):
        assert on.isEnabled()
        on.click()
        assert text.toPlainText() == part
    assert not on.isEnabled()
    assert f"{CACHED} windows" in shown(window, "own_text_note")
    window.session.draft.edit_part(RecoveryConfig(own_windows=3))
    assert not find(window, "own_text_note").isVisible()
    click(window, "preview_button")
    assert wait_for_end(qtbot, window, RequestKind.PREVIEW).response is not None
    assert "3 windows" in shown(window, "own_text_note")


# check of a chosen text


def test_chosen_file_is_read_at_once(qtbot, tmp_path, window):
    load_and_wait(qtbot, window)
    session = window.session
    assert not session.state.request(RequestKind.PREVIEW).id  # the built-in text
    text = tmp_path / "short.txt"
    text.write_text(100_000 * "x")
    find_type(window, CalibrationPage).choose_text(str(text))
    wait_until(qtbot, lambda: bool(session.state.request(RequestKind.PREVIEW).id))
    wait_for_end(qtbot, window, RequestKind.PREVIEW)
    first = session.state.request(RequestKind.PREVIEW).id
    session.changed.emit()
    qtbot.wait(2 * sources._CHECK_DELAY_MS)
    assert session.state.request(RequestKind.PREVIEW).id == first  # once


def test_text_that_takes_long_to_read_is_left_alone(
    qtbot, tmp_path, monkeypatch, make_window
):
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(10**9)
    (tmp_path / "small.txt").write_text("A text.")
    monkeypatch.setattr(sources, "_CHECK_DELAY_MS", 1)
    window = make_window()
    load_and_wait(qtbot, window)
    # Also with a small text to judge beside the large one.
    both = CalibrationConfig("large.txt", validation_text="small.txt")
    texts = (DATASET, "large.txt", "missing.txt")
    for calibration in (*map(CalibrationConfig, texts), both):
        window.session.draft.edit_part(calibration)
        qtbot.wait(20)
        assert not window.session.state.request(RequestKind.PREVIEW).id
