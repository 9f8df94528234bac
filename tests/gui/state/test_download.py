"""A download's state follows its events, and says what a person wants to know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from surgeon_engine.api.messages.events import Cancelled, Failed
from surgeon_engine.api.messages.sources import Downloading, ModelDownloaded
from surgeon_gui.state.app import AppState, Step
from surgeon_gui.state.sources.download import Download, cancelling, followed, requested
from surgeon_gui.state.sources.text import download_line, download_title
from surgeon_gui.state.step_text import Mark, step_view

SOURCE = "hf://someone/tiny"
ASKING = Downloading(0, 0, 0, 0)
HALF = Downloading(
    500_000_000, 10**9, 1, 3, "model.safetensors", speed=50e6, kept=100_000_000
)
ENDED = ModelDownloaded(SOURCE, "/cache/tiny", 10**9, 9 * 10**8)


def after(*events):
    download = requested(Download(), SOURCE, "download-1")
    for event in events:
        download = followed(download, event)
    return download


def line(download, source=SOURCE):
    return download_line(download, source).replace("\xa0", " ")


def test_before_the_hub_has_answered_nothing_is_known():
    download = after(ASKING)
    assert download.is_open
    assert not download.is_planned
    assert download.share == 0
    assert "Contacting the Hub" in line(download)


def test_on_the_way_size_speed_and_time_left_are_told():
    download = after(ASKING, HALF)
    assert download.share == 0.5
    assert download.seconds_left == 10
    said = line(download)
    assert "500.0 MB of 1.0 GB, file 2 of 3" in said
    assert "50.0 MB/s, about 10 s left" in said
    assert "100.0 MB were already downloaded" in said
    assert "attempt" not in said


def test_another_attempt_is_told():
    assert "attempt 2" in line(after(Downloading(1, 9, 0, 1, attempt=2)))


def test_without_a_byte_there_is_no_time_left():
    assert after(Downloading(1, 9, 0, 1)).seconds_left is None


def test_cancel_is_told_at_once_and_what_has_arrived_is_kept():
    download = cancelling(after(HALF))
    assert "Cancelling the download" in line(download)
    download = followed(download, Cancelled())
    assert not download.is_open
    assert download.can_resume
    assert "Cancelled at 500.0 MB of 1.0 GB" in line(download)


def test_a_resumed_download_begins_where_it_was():
    download = followed(after(HALF), Cancelled())
    again = requested(download, SOURCE, "download-2")
    assert again.share == 0.5
    assert followed(again, ASKING).share == 0.5  # not back to nothing meanwhile
    assert requested(download, "hf://someone/else", "download-3").share == 0


def test_a_failure_is_told_with_its_hint():
    download = after(HALF, Failed("It is gated.", "Log in."))
    assert line(download) == "It is gated. Log in."
    assert "could not be downloaded" in download_title(download, SOURCE)


def test_what_comes_after_the_end_changes_nothing():
    done = after(HALF, ENDED)
    assert not done.is_open
    assert not done.can_resume
    assert followed(done, HALF) == done
    assert cancelling(done) == done


def test_of_another_model_the_end_of_a_download_is_not_told():
    failed = after(Failed("It is gated.", "Log in."))
    assert "not on this computer yet" in line(failed, "hf://someone/else")


@pytest.mark.parametrize(
    ("download", "mark", "words"),
    [
        (Download(), Mark.EMPTY, "not downloaded yet"),
        (after(ASKING), Mark.BUSY, "contacting the Hub"),
        (after(HALF), Mark.BUSY, "downloading, 50"),
    ],
)
def test_the_step_says_how_it_stands(download, mark, words, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    state = AppState(model_is_chosen=True, download=download)
    model = replace(state.config.model, source=SOURCE)
    state = replace(state, config=replace(state.config, model=model))
    view = step_view(state, Step.MODEL)
    assert view.mark is mark
    assert words in view.summary
