"""The report of a run: content, escaping, PDF, and writing it from the window."""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from functools import partial
from html import unescape

import msgspec
import pytest
from PySide6.QtCore import QSizeF, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QWidget

from surgeon_engine.api.config.toml import config_from_toml
from surgeon_engine.api.run_folder import RunFolder
from surgeon_gui.base.colours import DARK, LIGHT
from surgeon_gui.base.settings import ThemeChoice
from surgeon_gui.base.theme import apply_theme
from surgeon_gui.controllers.runs import RunsController
from surgeon_gui.state.report import Picture, ReportContext, report_html
from surgeon_gui.state.runs.reading import read_state
from surgeon_gui.text.problems import Step
from surgeon_gui.views.report import report_row
from surgeon_gui.views.report.pdf import html_to_pdf, paginated_document
from surgeon_gui.views.report.pictures import RunPictures
from surgeon_gui.views.report.reports import Reports
from surgeon_gui.widgets.charts.chart_card import image_bytes
from tests.helpers.fake_engine import recovered
from tests.helpers.fake_runs import job, write_run
from tests.helpers.widget_queries import shown
from tests.helpers.windows import TIMEOUT_MS, click, find, find_type

pytestmark = pytest.mark.thorough

PIXEL = Picture("Quality", b"\x89PNG fake")
CONTEXT = ReportContext("The <best> & only", {"torch": "2.9.0"}, (PIXEL,))


@pytest.fixture
def finished(tmp_path):
    return read_state(write_run(tmp_path / "runs", "a"))


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("\xa0", " ")


def test_report_contains_results_and_settings(finished):
    text = text_of(report_html(finished, CONTEXT))
    for expected in (
        "Heads and neurons",
        "Sparsity 30 %",
        "KL 0.048, 95 % same top token, perplexity 14.20 → 14.90 on built-in;",
        "Fidelity, built-in KL 0.048 95 % same top token",  # a tile
        "on windows that recovery holds out (built-in text, text by the model itself)",
        "KL and same top token: built-in / text by the model itself.",
        "built-in 0.048 (0.043 to 0.053) 95.3 % (85.8 % to 100 %) 14.90 (13.41 to",
        "Text by the model itself 0.077",
        "loss 2.650 nats per token on 32 held-out windows of 256 tokens (8,192 tokens)",
        "2,828,736",
        "model.layers.5.mlp.down_proj",
        "torch 2.9.0",
        "a processor",
        "A fresh process loaded the files",
        "surgeon run job.toml",
    ):
        assert expected in text, expected
    assert text.index("Results") < text.index("Settings")


def test_report_explains_a_perplexity_below_the_original(finished):
    note = "closer to the calibration text than the original, not better"
    assert note not in text_of(report_html(finished, CONTEXT))
    below = replace(finished, recovered=recovered(13.0))
    assert note in text_of(report_html(below, CONTEXT))


def test_report_of_an_earlier_version_has_no_fidelity(finished):
    def plain(event):
        evaluation = msgspec.structs.replace(event.evaluation, fidelity=())
        return msgspec.structs.replace(event, evaluation=evaluation)

    run = replace(
        finished,
        recovered=plain(finished.recovered),
        history=tuple(map(plain, finished.history)),
    )
    text = text_of(report_html(run, CONTEXT))
    assert "Same top token" not in text
    assert "14.20 → 14.90" in text


def test_report_says_how_the_windows_begin(finished):
    baseline = msgspec.structs.replace(finished.baseline, beginning="<bos>")
    text = text_of(report_html(replace(finished, baseline=baseline), CONTEXT))
    assert ", each begins with &lt;bos&gt;" in text


def test_report_escapes_names(finished):
    html = report_html(finished, CONTEXT)
    assert "<h1>The &lt;best&gt; &amp; only</h1>" in html
    assert "<best>" not in html


def test_report_has_no_external_resources(finished):
    html = report_html(finished, CONTEXT)
    assert set(re.findall(r'(?:src|href)="([^",]{0,22})', html)) == {
        "data:image/png;base64"
    }
    assert "url(" not in html
    assert "<script" not in html


def test_job_in_report_equals_job_of_run(finished):
    html = report_html(finished, CONTEXT)
    toml = unescape(re.search(r"<pre>(.*?)</pre>", html, re.DOTALL)[1])
    assert config_from_toml(toml) == job()


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("failed", "The GPU has too little memory. Choose fewer windows."),
        ("cancelled", "The run was cancelled."),
        ("killed", "interrupted after 1 of 3 shots"),
        ("stopped", "Stopped after shot 1 of 3"),
    ],
)
def test_report_of_incomplete_run_states_why_it_ended(tmp_path, ending, expected):
    run = read_state(write_run(tmp_path, ending=ending))
    text = text_of(report_html(run, ReportContext("A run")))
    assert expected in text
    assert "not recorded" in text


def test_pictures_are_light_in_the_dark_theme(qtbot, qapp, finished):
    apply_theme(qapp, ThemeChoice.DARK)
    pictures = list(RunPictures().of(finished))
    apply_theme(qapp, ThemeChoice.LIGHT)
    assert pictures[0].title == "Quality"
    assert len(pictures) >= 3
    for picture in pictures:
        image = QImage.fromData(picture.png)
        assert image.width() > 1000
        edge = image.pixelColor(image.width() // 2, 12).name()
        assert edge == LIGHT.surface, picture.title


def test_legends_in_pictures_have_the_colours_of_the_curves(qtbot, qapp, finished):
    apply_theme(qapp, ThemeChoice.DARK)
    quality = QImage.fromData(next(iter(RunPictures().of(finished))).png)
    apply_theme(qapp, ThemeChoice.LIGHT)
    swatch = _columns_with(quality, LIGHT.series[0], rows=range(30, 70))
    assert swatch, "the swatch of the first curve"
    assert not _columns_with(quality, DARK.series[0], rows=range(quality.height()))


def _columns_with(image: QImage, colour: str, rows: range) -> set[int]:
    wanted = QColor(colour).rgb()
    return {
        x for y in rows for x in range(image.width()) if image.pixel(x, y) == wanted
    }


def test_pdf_has_title_and_pages(qtbot, finished):
    pdf = html_to_pdf(report_html(finished, ReportContext("A run")), "A run")
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", pdf)) >= 2
    assert b"A run" in pdf or "A run".encode("utf-16-be") in pdf


@pytest.mark.parametrize("rows", [0, 10, 20, 26, 30])
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


@pytest.mark.parametrize("rows", [9, 60])
def test_pdf_table_leaves_no_row_alone(qtbot, rows):
    cells = "".join(f"<tr><td>a</td><td>{x}</td></tr>" for x in range(rows))
    table = f"<h2>Settings</h2><table cellpadding='4'>{cells}</table>"
    page = QSizeF(680, 1000)
    for lines in range(20, 40):
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


@pytest.mark.parametrize(
    ("name", "start"), [("r.html", b"<!DOCTYPE"), ("r.PDF", b"%PDF")]
)
def test_suffix_of_path_gives_the_format(qtbot, tmp_path, window, name, start):
    window.open_run(write_run(tmp_path / "runs", "a"))
    qtbot.waitUntil(partial(is_opened, window), timeout=TIMEOUT_MS)
    path = tmp_path / name
    find_type(window, Reports).save(str(path))
    qtbot.waitUntil(path.exists, timeout=TIMEOUT_MS)
    assert path.read_bytes().startswith(start)
    if name.endswith("html"):
        text = text_of(path.read_text())
        assert "torch 2.9.0" in text  # from report.json in the run's folder
        assert path.read_text().count("data:image/png;base64") >= 3


def test_saved_report_is_shown_and_can_be_opened(qtbot, tmp_path, window, monkeypatch):
    opened = []
    monkeypatch.setattr(report_row, "open_folder", opened.append)
    window.open_run(write_run(tmp_path / "runs", "a"))
    qtbot.waitUntil(partial(is_opened, window), timeout=TIMEOUT_MS)
    window.open_step(Step.EXPORT)
    note = find(window, "report_note")
    assert not note.isVisible()
    path = tmp_path / "mine.html"
    find_type(window, Reports).save(str(path))
    qtbot.waitUntil(note.isVisible, timeout=TIMEOUT_MS)
    assert note.text() == "Saved mine.html."
    click(window, "report_open_button")
    assert opened == [str(path)]
    window.open_run(
        write_run(tmp_path / "runs", "b")
    )  # the note belongs to the other run
    qtbot.waitUntil(lambda: not note.isVisible(), timeout=TIMEOUT_MS)


def test_closing_window_finishes_report(qtbot, tmp_path, window, monkeypatch):
    drawn = []

    class Recorded(RunPictures):
        def of(self, run):
            drawn.append(run)
            return super().of(run)

    monkeypatch.setattr("surgeon_gui.views.report.reports.RunPictures", Recorded)
    window.open_run(write_run(tmp_path / "runs", "a"))
    qtbot.waitUntil(partial(is_opened, window), timeout=TIMEOUT_MS)
    path = tmp_path / "late.html"
    find_type(window, Reports).save(str(path))
    qtbot.waitUntil(lambda: bool(drawn), timeout=TIMEOUT_MS)
    assert not path.exists()
    assert window.close()
    assert path.read_text().count("data:image/png;base64") >= 3
    assert not [sheet for sheet in window.findChildren(QWidget) if sheet.isVisible()]


def test_unwritable_report_shows_an_error(qtbot, tmp_path, window):
    window.open_run(write_run(tmp_path / "runs", "a"))
    qtbot.waitUntil(partial(is_opened, window), timeout=TIMEOUT_MS)
    find_type(window, Reports).save(str(tmp_path / "nowhere" / "report.html"))
    qtbot.waitUntil(
        lambda: "cannot be written" in shown(window, "error_message"),
        timeout=TIMEOUT_MS,
    )


def test_completed_run_gets_a_report(qtbot, tmp_path, window):
    folder = write_run(tmp_path / "runs", "a")
    window.session.run_ended.emit(read_state(folder))
    path = RunFolder(folder).html_path
    qtbot.waitUntil(path.exists, timeout=TIMEOUT_MS)
    assert "Layer by layer" in path.read_text()


def test_cancelled_run_gets_no_report(qtbot, tmp_path, window):
    folder = write_run(tmp_path / "runs", "a", ending="cancelled")
    window.session.run_ended.emit(read_state(folder))
    qtbot.waitUntil(partial(is_read, window), timeout=TIMEOUT_MS)
    assert not RunFolder(folder).html_path.exists()


def is_opened(window):
    return bool(window.session.state.shown_run.name)


def is_read(window):
    return find_type(window, RunsController).state.has_been_read
