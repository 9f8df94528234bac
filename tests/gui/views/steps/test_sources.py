"""Models and texts in the window: downloads, samples, facts, columns and previews."""

import json

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QLabel, QProgressBar

from surgeon_engine.api.model_info.source_names import DEMO, hub_name
from surgeon_gui.controllers.sample_download import SampleDownload
from surgeon_gui.state.run import Status
from surgeon_gui.state.sources import text as source_text
from surgeon_gui.views.new import model_card
from surgeon_gui.views.new.model_card import ModelCard
from tests.helpers.fake_sources import GATED
from tests.helpers.widget_queries import shown
from tests.helpers.windows import (
    click,
    find,
    find_type,
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


def test_wrong_path_keeps_the_first_screen_with_what_was_typed(qtbot, window, tmp_path):
    missing = str(tmp_path / "model.gguf")
    look_up(window, missing)
    assert not window.session.state.model_is_chosen
    assert missing in shown(window, "empty_hub_problem")
    edit = find(window, "empty_hub_edit")
    assert edit.isVisible() and edit.text() == missing
    qtbot.keyClicks(edit, "x")
    assert shown(window, "empty_hub_problem") == ""
    look_up(window, missing)
    look_up(window)  # a name on the Hub
    assert window.session.state.config.model.source == SOURCE


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
    window.session.draft.choose_model(SOURCE)
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
    window.session.draft.choose_model(DEMO)
    assert (
        "2.83\N{NO-BREAK SPACE}M parameters"
        in find(window, "model_line", QLabel).text()
    )
    config = {"architectures": ["BertModel"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    window.session.draft.choose_model(str(tmp_path))
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
    for module in (source_text, model_card):
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
    window.session.draft.choose_model(str(picture))
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
