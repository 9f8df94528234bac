"""The report of a run: content, escaping, PDF, and writing it from the window."""

import re
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from html import unescape

import msgspec
import pytest
from PySide6.QtCore import QSizeF, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QWidget

from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.base.colors import DARK, LIGHT
from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.theme import apply_theme
from surgeon_gui.state.report import report_html
from surgeon_gui.state.report_parts import Picture
from surgeon_gui.state.runs.reading import read_state
from surgeon_gui.views.report import reports
from surgeon_gui.views.report.pdf import paginated_document
from surgeon_gui.views.report.pictures import RunPictures
from surgeon_gui.views.report.reports import Reports
from surgeon_gui.widgets.charts.chart_card import image_bytes
from tests.helpers.fake_results import recovered
from tests.helpers.fake_runs import job, write_run
from tests.helpers.widget_queries import shown
from tests.helpers.windows import TIMEOUT_MS, click, find, find_type, wait_until

PIXEL = Picture("Quality", b"\x89PNG fake")
CONTEXT = ("The <best> & only", {"torch": "2.9.0"}, (PIXEL,))


@pytest.fixture
def finished(tmp_path):
    return read_state(write_run(tmp_path / "runs", "a"))


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("\xa0", " ")


def test_report_contains_results_and_settings(finished):
    html = report_html(finished, *CONTEXT)
    text = text_of(html)
    for expected in (
        "KL 0.077, 93 % same top token",  # on the worst text
        "built-in 0.048 (0.043 to 0.053) 95.3 % (85.8 % to 100.0 %) 14.90 (13.41 to",
        "8,192 tokens",
        "2,828,736",
        "model.layers.5.mlp.down_proj",
        "torch 2.9.0",
        "a processor",
        "surgeon run job.toml",
    ):
        assert expected in text, expected
    assert "<h1>The &lt;best&gt; &amp; only</h1>" in html
    assert "<best>" not in html
    assert "not better" not in text
    baseline = msgspec.structs.replace(finished.baseline, beginning="<bos>")
    other = replace(finished, baseline=baseline, recovered=recovered(13.0))
    assert "&lt;bos&gt;" in report_html(other, *CONTEXT)
    assert "not better" in text_of(report_html(other, *CONTEXT))


def test_report_of_an_earlier_version_has_no_fidelity(finished):
    def plain(event):
        evaluation = msgspec.structs.replace(event.evaluation, fidelity=())
        return msgspec.structs.replace(event, evaluation=evaluation)

    run = replace(
        finished,
        recovered=plain(finished.recovered),
        history=tuple(map(plain, finished.history)),
    )
    text = text_of(report_html(run, *CONTEXT))
    assert "Same top token" not in text
    assert "14.20 → 14.90" in text


def test_report_has_no_external_resources(finished):
    html = report_html(finished, *CONTEXT)
    assert set(re.findall(r'(?:src|href)="([^",]{0,22})', html)) == {
        "data:image/png;base64"
    }
    assert "url(" not in html
    assert "<script" not in html


def test_job_in_report_equals_job_of_run(finished):
    html = report_html(finished, *CONTEXT)
    toml = unescape(re.search(r"<pre>(.*?)</pre>", html, re.DOTALL)[1])
    assert config_from_toml(toml) == job()


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("failed", "The GPU has too little memory. Choose fewer windows."),
        ("cancelled", "The run was canceled."),
        ("killed", "interrupted after 1 of 3 shots"),
        ("stopped", "Stopped after shot 1 of 3"),
    ],
)
def test_report_of_incomplete_run_states_why_it_ended(tmp_path, ending, expected):
    run = read_state(write_run(tmp_path, ending=ending))
    text = text_of(report_html(run, "A run"))
    assert expected in text
    assert "not recorded" in text


@pytest.mark.slow
def test_pictures_are_light_in_the_dark_theme(qtbot, qapp, finished):
    apply_theme(qapp, ThemeChoice.DARK)
    pictures = list(RunPictures().of(finished))
    apply_theme(qapp, ThemeChoice.LIGHT)
    assert len(pictures) >= 3
    images = [QImage.fromData(picture.png) for picture in pictures]
    for image in images:
        assert image.width() > 1000
        assert image.pixelColor(image.width() // 2, 12).name() == LIGHT.surface
    legend = images[0].copy(0, 30, images[0].width(), 40)
    colors = {
        legend.pixel(x, y) for x in range(legend.width()) for y in range(0, 40, 5)
    }
    assert QColor(LIGHT.series[0]).rgb() in colors
    assert QColor(DARK.series[0]).rgb() not in colors


@pytest.mark.parametrize("rows", [10, 26])
def test_pdf_heading_stays_with_its_picture(qtbot, rows):
    image = QImage(680, 400, QImage.Format.Format_RGB32)
    image.fill(Qt.GlobalColor.gray)
    png = b64encode(image_bytes(image)).decode()
    picture = f"<p><img src='data:image/png;base64,{png}'></p>"
    html = f"{rows * '<p>text</p>'}<h2>Charts</h2>{picture}"
    page = QSizeF(680, 1000)
    document = paginated_document(html, page)
    heading = document.begin()
    while heading.text() != "Charts":
        heading = heading.next()
    picture = heading.next()
    box = document.documentLayout().blockBoundingRect
    top = box(picture).top() + picture.layout().lineAt(0).y()
    assert box(heading).bottom() // page.height() == top // page.height()


@pytest.mark.parametrize("rows", [60])
def test_pdf_table_leaves_no_row_alone(qtbot, rows):
    cells = "".join(f"<tr><td>a</td><td>{x}</td></tr>" for x in range(rows))
    table = f"<h2>Settings</h2><table cellpadding='4'>{cells}</table>"
    page = QSizeF(680, 1000)
    for lines in range(20, 40, 4):
        html = f"{lines * '<p>text</p>'}{table}"
        document = paginated_document(html, page)
        box = document.documentLayout().blockBoundingRect
        block, pages = document.lastBlock(), Counter()
        while block.isValid():
            if block.text() == "a":
                pages[box(block).top() // page.height()] += 1
            block = block.previous()
        assert sum(pages.values()) == rows
        assert pages[max(pages)] > 1, lines


@pytest.fixture
def opened(qtbot, tmp_path, window):
    """Return a window with an earlier run."""
    window.runs.open_run(write_run(tmp_path / "runs", "a"))
    wait_until(qtbot, lambda: is_opened(window))
    return window


def test_saved_report_is_shown_and_opened_and_one_that_fails_shows_an_error(
    qtbot, tmp_path, opened, monkeypatch
):
    launched = []
    monkeypatch.setattr(reports, "open_folder", launched.append)
    opened.runs.show_run()
    click(opened, "run_report_link")
    note = find(opened, "report_note")
    assert not note.isVisible()
    pdf, html = tmp_path / "r.PDF", tmp_path / "mine.html"
    find_type(opened, Reports).save(str(pdf))
    qtbot.waitUntil(note.isVisible, timeout=TIMEOUT_MS)
    assert pdf.read_bytes().startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", pdf.read_bytes())) >= 2
    find_type(opened, Reports).save(str(html))
    wait_until(qtbot, lambda: html.name in note.text())
    text = html.read_text()
    assert text.startswith("<!DOCTYPE")
    assert "torch 2.9.0" in text_of(text)  # from report.json in the run's folder
    assert text.count("data:image/png;base64") >= 3
    click(opened, "report_open_button")
    assert launched == [str(html)]
    find_type(opened, Reports).save(str(tmp_path / "nowhere" / "report.html"))
    wait_until(qtbot, lambda: shown(opened, "error_message"))
    opened.runs.open_run(
        write_run(tmp_path / "runs", "b")
    )  # the note is of the other run
    wait_until(qtbot, lambda: not note.isVisible())


def test_closing_window_finishes_report(qtbot, tmp_path, opened, monkeypatch):
    drawn = []

    class Recorded(RunPictures):
        def of(self, run):
            drawn.append(run)
            return super().of(run)

    monkeypatch.setattr("surgeon_gui.views.report.reports.RunPictures", Recorded)
    path = tmp_path / "late.html"
    find_type(opened, Reports).save(str(path))
    wait_until(qtbot, lambda: drawn)
    assert not path.exists()
    assert opened.close()
    assert path.read_text().count("data:image/png;base64") >= 3
    assert not [sheet for sheet in opened.findChildren(QWidget) if sheet.isVisible()]


def test_completed_run_gets_a_report_and_a_cancelled_one_gets_none(
    qtbot, tmp_path, window
):
    cancelled = write_run(tmp_path / "runs", "b", ending="cancelled")
    folder = write_run(tmp_path / "runs", "a")
    for each in (cancelled, folder):
        window.session.run_ended.emit(read_state(each))
    qtbot.waitUntil(RunFolder(folder).html_path.exists, timeout=TIMEOUT_MS)
    assert not RunFolder(cancelled).html_path.exists()


def is_opened(window):
    return bool(window.session.state.shown_run.name)
