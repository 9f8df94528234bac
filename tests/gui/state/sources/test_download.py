"""State of a download and the texts that describe it."""

from dataclasses import replace

import pytest

from surgeon_engine.api.messages.events import Cancelled, Failed
from surgeon_engine.api.messages.sources import Downloading, ModelDownloaded
from surgeon_gui.state.app import AppState
from surgeon_gui.state.request import RequestKind
from surgeon_gui.state.sources.download import Download, next_download
from surgeon_gui.state.sources.text import download_line, download_title
from surgeon_gui.state.step_text import Mark, step_view
from surgeon_gui.text.problems import Step

SOURCE = "hf://someone/tiny"
ASKING = Downloading(0, 0, 0, 0)
HALF = Downloading(
    500_000_000, 10**9, 1, 3, "model.safetensors", speed=50e6, kept=100_000_000
)
ENDED = ModelDownloaded(SOURCE, "/cache/tiny", 10**9, 9 * 10**8)


def after(*events):
    download = requested(Download(), "download-1")
    for event in events:
        download = download.with_event(event)
    return download


def requested(last, id_, source=SOURCE):
    return replace(next_download(last, source), id=id_)


def line(download, source=SOURCE):
    return download_line(download, source).replace("\xa0", " ")


def test_download_before_the_first_report_is_not_planned():
    download = after(ASKING)
    assert download.is_open
    assert not download.is_planned
    assert download.share == 0
    assert "Contacting the Hub" in line(download)


def test_download_line_shows_size_speed_and_time_left():
    download = after(ASKING, HALF)
    assert download.share == 0.5
    assert download.seconds_left == 10
    text = line(download)
    assert "500.0 MB of 1.0 GB, file 2 of 3" in text
    assert "50.0 MB/s, about 10 s left" in text
    assert "100.0 MB were already downloaded" in text
    assert "attempt" not in text


def test_download_line_shows_another_attempt():
    assert "attempt 2" in line(after(Downloading(1, 9, 0, 1, attempt=2)))


def test_seconds_left_without_speed_is_unknown():
    assert after(Downloading(1, 9, 0, 1)).seconds_left is None


def test_cancelled_download_keeps_its_progress():
    download = after(HALF).cancelling()
    assert "Canceling the download" in line(download)
    download = download.with_event(Cancelled())
    assert not download.is_open
    assert download.can_resume
    assert "Canceled at 500.0 MB of 1.0 GB" in line(download)


def test_resumed_download_starts_at_the_progress_of_the_last():
    download = after(HALF, Cancelled())
    again = requested(download, "download-2")
    assert again.share == 0.5
    assert again.with_event(ASKING).share == 0.5  # it does not drop to 0 meanwhile
    assert requested(download, "download-3", "hf://someone/else").share == 0


def test_failed_download_shows_message_and_hint():
    download = after(HALF, Failed("It is gated.", "Log in."))
    assert line(download) == "It is gated. Log in."
    assert "could not be downloaded" in download_title(download, SOURCE)


def test_events_after_the_end_change_nothing():
    done = after(HALF, ENDED)
    assert not done.is_open
    assert not done.can_resume
    assert done.with_event(HALF) == done
    assert done.cancelling() == done


def test_failed_download_is_not_shown_for_another_model():
    failed = after(Failed("It is gated.", "Log in."))
    title = download_title(failed, "hf://someone/else")
    assert title == "someone/else is not on this computer"
    assert "if it exists there" in line(failed, "hf://someone/else")


@pytest.mark.parametrize(
    ("download", "mark", "text"),
    [
        (Download(), Mark.EMPTY, "not downloaded yet"),
        (after(ASKING), Mark.BUSY, "contacting the Hub"),
        (after(HALF), Mark.BUSY, "downloading, 50"),
        (after(Failed("It is gated.")), Mark.PROBLEM, "It is gated."),
    ],
)
def test_model_step_shows_the_download(download, mark, text, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    state = AppState(model_is_chosen=True, requests={RequestKind.DOWNLOAD: download})
    model = replace(state.config.model, source=SOURCE)
    state = replace(state, config=replace(state.config, model=model))
    view = step_view(state, Step.MODEL)
    assert view.mark is mark
    assert text in view.summary
