"""A report is one file with everything in it, and says how each figure was measured."""

from __future__ import annotations

import re
from functools import partial

import pytest
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QWidget

from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.base.colours import LIGHT
from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.theme import apply_theme
from surgeon_gui.state.app import Step
from surgeon_gui.state.report import Picture, Surroundings, report_html
from surgeon_gui.state.runs.reading import read_state
from surgeon_gui.views.report import report_row
from surgeon_gui.views.report.pdf import pdf_of
from surgeon_gui.views.report.pictures import RunPictures
from tests.helpers.fake_runs import job, write_run
from tests.helpers.looking import shown
from tests.helpers.windows import TIMEOUT_MS, click, find

PIXEL = Picture("Quality", b"\x89PNG made up")
AROUND = Surroundings("The <best> & only", {"torch": "2.9.0"}, (PIXEL,))


@pytest.fixture
def finished(tmp_path):
    return read_state(write_run(tmp_path / "runs", "a"))


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("\xa0", " ")


def test_a_report_says_what_was_asked_and_what_came_of_it(finished):
    said = text_of(report_html(finished, AROUND))
    for words in (
        "Heads and neurons",
        "Sparsity 30 %",
        "14.20 → 14.90",
        "loss 2.650 nats a token on 32 held-out windows of 256 tokens (8,192 tokens)",
        "2,828,736",
        "model.layers.5.mlp.down_proj",
        "torch 2.9.0",
        "a processor",
        "A fresh process loaded the files",
        "surgeon run job.toml",
    ):
        assert words in said, words


def test_names_are_text_and_no_markup(finished):
    html = report_html(finished, AROUND)
    assert "<h1>The &lt;best&gt; &amp; only</h1>" in html
    assert "<best>" not in html


def test_nothing_comes_from_elsewhere(finished):
    html = report_html(finished, AROUND)
    assert set(re.findall(r'(?:src|href)="([^",]{0,22})', html)) == {
        "data:image/png;base64"
    }
    assert "url(" not in html
    assert "<script" not in html


def test_the_job_in_the_report_repeats_the_run(finished):
    html = report_html(finished, AROUND)
    toml = re.search(r"<pre>(.*?)</pre>", html, re.DOTALL)[1].replace("&quot;", '"')
    assert config_from_toml(toml) == job()


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("failed", "The GPU has too little memory. Choose fewer windows."),
        ("cancelled", "The run was cancelled."),
        ("killed", "interrupted after 1 of 3 shots"),
        ("stopped", "Stopped after shot 1 of 3"),
    ],
)
def test_runs_that_did_not_finish_have_reports_too(tmp_path, ending, words):
    run = read_state(write_run(tmp_path, ending=ending))
    said = text_of(report_html(run, Surroundings("A run")))
    assert words in said
    assert "not recorded" in said


@pytest.mark.parametrize("theme", [ThemeChoice.LIGHT, ThemeChoice.DARK])
def test_charts_are_light_whatever_the_window_looks_like(qtbot, qapp, finished, theme):
    apply_theme(qapp, theme)
    pictures = list(RunPictures().of(finished))
    apply_theme(qapp, ThemeChoice.LIGHT)
    assert pictures[0].title == "Quality"
    assert len(pictures) >= 3
    for picture in pictures:
        image = QImage.fromData(picture.png)
        assert image.width() > 1000
        edge = image.pixelColor(image.width() // 2, 12).name()
        assert edge == LIGHT.surface, picture.title


def test_a_pdf_has_pages_and_a_heading_is_never_the_last_on_one(qtbot, finished):
    pdf = pdf_of(report_html(finished, Surroundings("A run")), "A run")
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", pdf)) >= 2
    assert b"A run" in pdf or "A run".encode("utf-16-be") in pdf


@pytest.mark.parametrize(
    ("name", "beginning"), [("r.html", b"<!DOCTYPE"), ("r.PDF", b"%PDF")]
)
def test_the_ending_of_the_name_says_which_form_is_written(
    qtbot, tmp_path, window, name, beginning
):
    window.open_run(write_run(tmp_path / "runs", "a"))
    qtbot.waitUntil(partial(is_opened, window), timeout=TIMEOUT_MS)
    path = tmp_path / name
    window._history.reports.save(str(path))
    qtbot.waitUntil(path.exists, timeout=TIMEOUT_MS)
    assert path.read_bytes().startswith(beginning)
    if name.endswith("html"):
        said = text_of(path.read_text())
        assert "torch 2.9.0" in said  # out of the run's own report
        assert path.read_text().count("data:image/png;base64") >= 3


def test_a_report_that_is_written_is_told_and_can_be_opened(
    qtbot, tmp_path, window, monkeypatch
):
    opened = []
    monkeypatch.setattr(report_row, "open_folder", opened.append)
    window.open_run(write_run(tmp_path / "runs", "a"))
    qtbot.waitUntil(partial(is_opened, window), timeout=TIMEOUT_MS)
    window.open_step(Step.EXPORT)
    note = find(window, "report_note")
    assert not note.isVisible()
    path = tmp_path / "mine.html"
    window._history.reports.save(str(path))
    qtbot.waitUntil(note.isVisible, timeout=TIMEOUT_MS)
    assert note.shown_text() == "mine.html is written."
    click(window, "report_open_button")
    assert opened == [str(path)]
    window.open_run(write_run(tmp_path / "runs", "b"))  # another's is not its
    qtbot.waitUntil(lambda: not note.isVisible(), timeout=TIMEOUT_MS)


def test_a_window_that_closes_completes_the_report_that_it_draws(
    qtbot, tmp_path, window
):
    window.open_run(write_run(tmp_path / "runs", "a"))
    qtbot.waitUntil(partial(is_opened, window), timeout=TIMEOUT_MS)
    path, reports = tmp_path / "late.html", window._history.reports
    reports.save(str(path))
    qtbot.waitUntil(lambda: bool(reports._drawings), timeout=TIMEOUT_MS)
    assert window.close()
    assert path.read_text().count("data:image/png;base64") >= 3
    assert not [sheet for sheet in window.findChildren(QWidget) if sheet.isVisible()]


def test_a_report_that_cannot_be_written_is_told(qtbot, tmp_path, window):
    window.open_run(write_run(tmp_path / "runs", "a"))
    qtbot.waitUntil(partial(is_opened, window), timeout=TIMEOUT_MS)
    window._history.reports.save(str(tmp_path / "nowhere" / "report.html"))
    qtbot.waitUntil(
        lambda: "cannot be written" in shown(window, "error_message"),
        timeout=TIMEOUT_MS,
    )


def test_a_complete_run_gets_its_report_by_itself(qtbot, tmp_path, window):
    folder = write_run(tmp_path / "runs", "a")
    window.session.run_ended.emit(read_state(folder))
    path = RunFolder(folder).html_path
    qtbot.waitUntil(path.exists, timeout=TIMEOUT_MS)
    assert "Layer by layer" in path.read_text()


def test_a_run_without_figures_gets_none(qtbot, tmp_path, window):
    folder = write_run(tmp_path / "runs", "a", ending="cancelled")
    window.session.run_ended.emit(read_state(folder))
    qtbot.waitUntil(partial(is_read, window), timeout=TIMEOUT_MS)
    assert not RunFolder(folder).html_path.exists()


def is_opened(window):
    return bool(window.session.state.opened_run_name)


def is_read(window):
    return window._history.runs.state.has_been_read
