"""The page of a run: its buttons, the verdict, and what is opened in place."""

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import QEvent, QPoint, QSize, Qt
from PySide6.QtGui import QAction, QGuiApplication, QImage
from PySide6.QtWidgets import QLabel, QPushButton, QStackedWidget, QWidget

from surgeon_engine.api.config.export import LLAMA_PACKAGE, FileDtype, Format
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.benchmark import rate_of
from surgeon_engine.api.messages.commands import Pause, StopAndKeep
from surgeon_engine.api.messages.events import Cancelled, EngineReady, Failed
from surgeon_engine.api.messages.run import RunResumed, Stage, StageStarted
from surgeon_engine.api.saved_state import ResumePoint
from surgeon_engine.api.verdict import Verdict
from surgeon_engine.planning.running_memory import memory_beside_weights
from surgeon_gui.state.app import Engine
from surgeon_gui.state.bars import path_of
from surgeon_gui.state.export_text import speed_rows
from surgeon_gui.state.job.checks import save_obstacle, source_of_formats
from surgeon_gui.state.run import Status, interrupted, resume_requested
from surgeon_gui.text.problems import Kind, Problem, sentence
from surgeon_gui.views.run import head
from surgeon_gui.views.run.details import SpeedFacts
from surgeon_gui.widgets.dot import Shape
from tests.helpers.fake_results import measured, write_file_of
from tests.helpers.judgments import fidelity, judgment
from tests.helpers.run_pages import CONFIG, KL, RUNNING, finished, show
from tests.helpers.run_states import with_events
from tests.helpers.widget_queries import facts, is_on, shown
from tests.helpers.window_audit import settle
from tests.helpers.windows import click, find, find_type


def visible_buttons(page):
    names = (
        *("pause", "stop", "cancel"),
        *(
            f"run_{x}"
            for x in ["resume", "again", "gentler", "smaller", "folder", "copy", "try"]
        ),
    )
    return [n for n in names if find(page, f"{n}_button").isVisible()]


def primary(page):
    buttons = page.findChildren(QPushButton)
    return [x.objectName() for x in buttons if x.property("primary") and x.isVisible()]


# in progress


def test_pictures_of_hidden_charts_have_one_size(page, tmp_path):
    show(page, run := finished())
    page.save_charts(run, 9.0, tmp_path)
    names = {path.stem for path in tmp_path.iterdir()}
    assert names >= {"perplexity", "sparsity", "costs", "times"}
    for name in names:
        chart, picture = page.charts[name], QImage(str(tmp_path / f"{name}.png"))
        least = QSize(640, max(300, chart.minimumHeight()))
        assert picture.size() == 2 * least
        assert chart.maximumWidth() > 9_999  # the page still sets its size


def test_run_in_progress_has_its_time_and_its_controls(page):
    show(page, RUNNING, now=60.0)
    assert visible_buttons(page) == ["pause", "stop", "cancel"]
    assert find(page, "run_title").text().startswith("Bundled demo · ")
    assert shown(page, "run_time").endswith(" so far")
    assert find(page, "run_progress_bar").isVisible()
    assert find(page, "course_view").isVisible()
    assert not find(page, "run_course_link").isVisible()
    assert not primary(page)
    label = find(page, "part_remove_label", QLabel)
    assert "730" in label.text()
    assert label.fontMetrics().horizontalAdvance(label.text()) <= label.width()


def test_run_in_progress_has_its_place_in_the_queue(page):
    show(page, RUNNING)
    assert shown(page, "run_name") == ""
    state = page.session.state
    page.show_state(state, 60.0, "2 of 3 in the queue")
    assert shown(page, "run_name") == "2 of 3 in the queue"
    page.show_state(replace(state, run=finished()), 60.0, "")
    assert find(page, "run_title").text() not in shown(page, "run_name")


def test_clock_of_a_run_that_was_read_waits_for_the_engine(page):
    read = replace(RUNNING, log_bytes=1000)
    show(page, read, now=60.0)
    counts = shown(page, "run_time")
    waiting = replace(page.session.state, engine=Engine.STARTING)
    page.show_state(waiting, 61.0)
    before = shown(page, "run_time"), shown(page, "part_measure_time")
    page.show_state(waiting, 75.0)
    assert (shown(page, "run_time"), shown(page, "part_measure_time")) == before
    assert before[0] != counts
    page.show_state(replace(waiting, run=RUNNING), 60.0)  # it began in this window
    assert shown(page, "run_time") == counts
    assert shown(page, "part_measure_time") != before[1]


def test_paused_run_that_was_read_is_shown_as_paused_and_resumes_later(page):
    read = replace(RUNNING, log_bytes=1000, status=Status.PAUSED, paused_at=50.0)
    show(page, read, now=60.0)
    paused, resume = shown(page, "run_time"), find(page, "pause_button")
    label = resume.text()
    assert resume.isEnabled()
    page.show_state(replace(page.session.state, engine=Engine.STARTING), 61.0)
    assert shown(page, "run_time") == paused
    assert resume.text() == label and not resume.isEnabled()


@pytest.mark.parametrize("status", [Engine.STARTING, Engine.READY])
def test_resumed_run_is_shown_as_resumed_until_its_state_is_loaded(page, status):
    earlier = interrupted(replace(RUNNING, log_bytes=1000), 60.0)  # read from its log
    run = resume_requested("run-1", earlier, 90.0, saved_seconds=20.0)
    show(page, run, now=95.0)
    counts = shown(page, "run_time")
    state = replace(page.session.state, engine=status)
    page.show_state(state, 96.0)
    assert shown(page, "run_time") == counts  # the engine's start makes no difference
    show(page, with_events(run, 97.0, StageStarted(Stage.LOAD, 0)), now=98.0)
    assert shown(page, "run_time") == counts
    show(page, with_events(run, 99.0, RunResumed(1, 20.0)), now=99.0)
    assert shown(page, "run_time") != counts


@pytest.mark.parametrize(
    "status", [Status.PAUSED, Status.PAUSING, Status.STOPPING, Status.CANCELLING]
)
def test_buttons_stay_in_place_when_their_labels_change(page, status):
    show(page, RUNNING)
    names = ("pause_button", "stop_button", "cancel_button")
    before = [find(page, name).geometry() for name in names]
    show(page, replace(RUNNING, status=status))
    assert [find(page, name).geometry() for name in names] == before
    hints = [find(page, name).sizeHint().width() for name in names]
    assert all(a <= b.width() for a, b in zip(hints, before, strict=True))


def test_no_button_of_a_run_has_the_focus_by_itself(qtbot, page):
    stack, other = QStackedWidget(), QPushButton("Start")
    for each in (other, page):
        stack.addWidget(each)
    qtbot.addWidget(stack)
    stack.show()
    qtbot.waitExposed(stack)
    show(page, RUNNING)
    other.setFocus()
    stack.setCurrentWidget(page)
    assert page.isAncestorOf(stack.focusWidget())
    assert not isinstance(stack.focusWidget(), QPushButton)
    for name in ("cancel_button", "perplexity_more_button"):
        show(page, RUNNING)
        find(page, name).setFocus()
        assert stack.focusWidget() is find(page, name)
        show(page, finished())
        assert page.isAncestorOf(stack.focusWidget())
        assert not isinstance(stack.focusWidget(), QPushButton)


def test_tab_passes_the_page_itself_which_scrolls_by_keys(qtbot, page):
    window = page.window()
    window.resize(1100, 400)
    window.layout().addWidget(QPushButton("After"))
    window.activateWindow()
    qtbot.waitActive(window)
    show(page, RUNNING)
    page.setFocus()
    area = window.focusWidget()
    qtbot.keyClick(area, Qt.Key.Key_PageDown)
    assert area.verticalScrollBar().value() > 0
    for turn in (window.focusNextChild, window.focusPreviousChild):
        reached = []
        while (widget := turn() and window.focusWidget()) not in reached:
            reached.append(widget)
        assert find(page, "run_back_button") in reached
        assert area not in reached


def test_buttons_do_what_the_user_wants(page, session, monkeypatch):
    heard = []
    monkeypatch.setattr(session.store, "send", heard.append)
    page.head.cancel_asked.connect(lambda: heard.append("cancel"))
    page.head.back_clicked.connect(lambda: heard.append("back"))
    show(page, RUNNING)
    for name in ("pause", "stop", "cancel", "run_back"):
        click(page, f"{name}_button")
    commands = [Pause(run=RUNNING.run), StopAndKeep(run=RUNNING.run)]
    assert heard == [*commands, "cancel", "back"]
    show(page, replace(RUNNING, status=Status.CANCELLING))
    for name in ("pause", "stop", "cancel"):
        assert not is_on(page, f"{name}_button")


def test_clock_alone_draws_the_times_alone(page, monkeypatch):
    show(page, RUNNING, now=60.0)
    settle()
    chart = find(page, "perplexity_chart")
    painted = []

    class Watch(QWidget):
        def eventFilter(self, watched, event):
            if event.type() is QEvent.Type.Paint:
                painted.append(watched.objectName())
            return False

    watch = Watch()
    watched = (chart, find(page, "sparsity_map"), find(page, "run_title", QLabel))
    for each in watched:
        each.installEventFilter(watch)
    show(page, replace(RUNNING), now=61.0)
    assert painted == []


# the verdict


@pytest.mark.parametrize(
    ("verdict", "title", "dot"),
    [
        (Verdict.NEARLY_SAME, "Nearly the same", (Shape.FILLED, "good")),
        (Verdict.CLOSE, "Close to the original", (Shape.FILLED, "accent")),
        (Verdict.DIFFERENT, "Noticeably different", (Shape.FILLED, "warning")),
        (Verdict.BROKEN, "Broken", (Shape.CROSS, "bad")),
    ],
)
def test_finished_run_has_a_verdict_on_its_file(page, verdict, title, dot):
    show(page, finished(verdict))
    assert find(page, "run_title").text() == title
    mark = page.head._dot
    assert mark.isVisible()
    assert (mark.shape, mark.color) == dot
    assert f"{100 * KL[verdict][1]:.0f} of 100 places" in shown(page, "run_time")
    assert not find(page, "run_progress_bar").isVisible()


def test_page_and_tooltip_name_what_has_decided(page):
    text = [fidelity(0.21, 0.79, 11.0, "good"), fidelity(0.24, 0.6966, 11.0, "bad")]
    before = [fidelity(0.0, 1.0, 10.0, each.text) for each in text]
    run = finished()
    baseline = msgspec.structs.replace(run.baseline, fidelity=tuple(before))
    exported = msgspec.structs.replace(run.exported, fidelity=tuple(text))
    show(page, replace(run, baseline=baseline, exported=exported))
    told = shown(page, "run_time").replace("\xa0", " ")
    assert "in 69 of 100 places, on bad" in told  # below the limit, as it is
    decision = "69.7 % same top token (“close to the original” needs at least 70 %)."
    assert decision in told
    tip = find(page, "run_title").toolTip().replace("\xa0", " ")
    assert f"bad: {decision}" in tip  # with one colon


def test_links_in_two_lines_keep_their_distance(page):
    page.window().resize(640, 3000)
    show(page, finished())
    click(page, "run_save_link")
    settle()
    row = page.details._row
    assert row.height() == row.sizeHint().height()


def test_high_section_opens_at_its_top(page):
    page.window().resize(1100, 420)
    show(page, finished())
    settle()
    click(page, "run_course_link")
    settle()
    course, view = page.details.course, page._area.viewport()
    assert course.height() > view.height()
    assert 0 <= course.mapTo(view, QPoint()).y() < view.height() // 4


@pytest.mark.parametrize(("factor", "is_slower"), [(1.0, False), (3.0, True)])
def test_slower_file_has_a_warning(page, factor, is_slower):
    result = measured()
    original, pruned = result.models
    faster = rate_of(1, [1 / (factor * x) for x in original.generation.rounds])
    original = msgspec.structs.replace(original, generation=faster)
    result = msgspec.structs.replace(result, models=(original, pruned))
    show(page, finished(measured=result))
    for name in ("speed_after", "speed_share_bar"):
        assert bool(find(page, name).property("warning")) is is_slower


def test_only_one_button_is_green_and_a_broken_model_gets_no_smaller_one(page):
    show(page, finished())
    assert primary(page) == ["run_try_button"]
    assert "run_smaller" in visible_buttons(page)
    show(page, finished(Verdict.BROKEN))
    assert primary(page) == ["run_gentler_button"]
    assert "run_smaller" not in visible_buttons(page)
    assert "run_try" in visible_buttons(page)
    show(page, finished())
    assert primary(page) == ["run_try_button"]


def test_bars_show_both_sizes_and_warn_of_a_larger_file(page):
    run = finished()
    show(page, run)
    after = find(page, "file_after", QLabel)
    assert after.text().replace("\xa0", " ") == "8.4 MB"
    assert shown(page, "file_before").replace("\xa0", " ") == "of 11.3 MB"
    share = run.exported.weight_bytes / run.model.file_bytes
    assert find(page, "file_share_bar").value() == round(1000 * share)
    assert not after.property("warning")
    small = msgspec.structs.replace(run.model, file_bytes=10**6)
    show(page, replace(run, model=small))
    assert after.property("warning")
    assert "Larger than the original" in shown(page, "run_warning")


def test_memory_is_rounded_up(page):
    run = finished()
    weights = 7_010_000 - memory_beside_weights(512, run.model)
    exported = msgspec.structs.replace(run.exported, weight_bytes=weights)
    show(page, replace(run, exported=exported))
    assert shown(page, "memory_after").replace("\xa0", " ") == "7.1 MB"


def test_speed_has_a_button_until_it_is_measured_and_a_reason_if_it_cannot_be(page):
    card = find(page, "measure_button").parentWidget().parentWidget().parentWidget()
    show(page, finished())
    assert find(page, "measure_button").isVisible()
    height = card.height()
    show(page, finished(file_format=Format.GGUF))
    assert not find(page, "measure_button").isVisible()
    assert "pip install xllamacpp" in shown(page, "measure_note")
    show(page, finished(measured=measured()))
    assert shown(page, "speed_after") == "59.6"
    assert shown(page, "speed_before") == "was 46.4"
    assert find(page, "speed_share_bar").isVisible()
    assert card.height() == height


@pytest.mark.parametrize("source", ["a", "hf://a/b.gguf", "a.GGUF"])
def test_gguf_file_is_measured_with_the_original_only_if_that_is_one(
    page, session, tmp_path, monkeypatch, source
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.GGUF").touch()
    ready = EngineReady({"xllamacpp": "1.0"}, "cpu")
    session.store.state = replace(session.state, ready=ready)
    run = finished(file_format=Format.GGUF)
    config = replace(run.config, model=replace(run.config.model, source=source))
    show(page, replace(run, config=config))
    click(page, "measure_button")
    originals = (source,) if source.endswith("GGUF") else ()
    sources = session.store.engine.commands[-1].sources
    assert sources == (*originals, run.exported.folder)


def test_result_is_not_judged_or_measured_without_its_original(page, tmp_path):
    model = ModelConfig(str(tmp_path / "gone"))
    show(page, finished(config=replace(CONFIG, model=model)))
    page.session.draft.recheck()  # as when the window is activated
    page.show_state(page.session.state, 100.0)
    assert not find(page, "measure_button").isVisible()
    for name in ("judge_button", "judge_prompts_button"):
        assert not find(page, name).isEnabled()
    for name in ("judge_note", "measure_note"):
        assert str(tmp_path / "gone") in shown(page, name)


def test_deleted_file_is_named_once_beside_cards_of_the_usual_height(page, tmp_path):
    page.window().resize(800, 700)
    folder = tmp_path / "a folder with a long name" / "export"
    folder.mkdir(parents=True)
    run = finished()
    exported = msgspec.structs.replace(run.exported, folder=str(folder))
    show(page, replace(run, exported=exported))
    cards = find(page, "outcome_bars")
    settle()
    height = cards.height()
    folder.rmdir()
    page.session.draft.recheck()  # as when the window is activated
    page.show_state(page.session.state, 100.0)
    settle()
    assert cards.height() == height
    assert "deleted" in find(page, "run_file_button").text()
    for name in ("judge", "measure"):
        assert "deleted" in find(page, f"{name}_button").toolTip()
        assert "deleted" not in shown(page, f"{name}_note")
    show(page, finished(file_format=Format.GGUF))  # a long reason
    settle()
    assert cards.height() == height


@pytest.mark.parametrize(
    ("starter", "results", "after"),
    [
        ("judge_button", {"judgment": judgment()}, "judge_prompts_button"),
        ("judge_prompts_button", {"judgment": judgment()}, "judge_prompts_button"),
        ("judge_button", {}, "judge_button"),
        ("judge_prompts_button", {}, "judge_prompts_button"),
        ("measure_button", {"measured": measured()}, "run_page"),
        ("measure_button", {}, "measure_button"),
    ],
)
def test_focus_is_in_sight_after_a_request(page, session, starter, results, after):
    show(page, finished())
    task = starter.split("_")[0]
    find(page, starter).setFocus()
    {"judge": session.judge, "measure": session.measure}[task]()
    page.show_state(session.state, 100.0)
    focus = page.window().focusWidget
    assert focus() is find(page, f"{task}_cancel_button")
    if not results:
        click(page, f"{task}_cancel_button")
        page.show_state(session.state, 100.0)
    session.store.state = replace(session.state, requests={})
    show(page, finished(**results))
    expected = find(page.window(), after)
    assert focus() is (expected.focusProxy() or expected)
    assert focus().isVisible()


def test_speed_card_claims_no_gain_that_the_interval_excludes(page):
    before, after = measured().models
    rounds = [0.6, 2.0, 0.7, 1.3, 0.8, 1.9, 1.5]
    uneven = rate_of(32, [0.6 / x for x in rounds])
    steady = rate_of(32, [0.6] * 7)

    def shown_for(generation):
        pair = (
            msgspec.structs.replace(before, generation=steady),
            msgspec.structs.replace(after, generation=generation),
        )
        show(page, finished(measured=msgspec.structs.replace(measured(), models=pair)))
        label = find(page, "speed_before")
        return label.text(), label.parent().toolTip()

    text, ratio = shown_for(uneven)
    assert text == "was 53.3, within noise"
    assert "1.30 (0.70\N{EN DASH}1.90)" in ratio
    text, ratio = shown_for(rate_of(32, [0.4] * 7))
    assert text == "was 53.3"
    assert "1.50 (1.50\N{EN DASH}1.50)" in ratio
    assert not find(page, "speed_after").property("warning")


@pytest.mark.parametrize("is_measured", [True, False])
def test_texts_of_the_speed_card_are_in_one_line(page, is_measured):
    host = page.window()
    show(page, finished(measured=measured() if is_measured else None))
    cards = find(page, "outcome_bars")
    label = find(page, "speed_before" if is_measured else "measure_note", QLabel)
    for width in range(500, 1100, 20):  # beside each other, or stacked
        host.resize(width, 900)
        settle()
        text = label.fontMetrics().horizontalAdvance(label.text())
        assert text <= label.width(), width
    assert cards.height() < 150


def test_speed_of_a_file_that_was_measured_alone_has_no_bar(page):
    alone = msgspec.structs.replace(measured(), models=measured().models[1:])
    show(page, finished(measured=alone))
    assert shown(page, "speed_after") == "59.6"
    assert shown(page, "speed_before") == "original: no GGUF file"
    assert not find(page, "speed_share_bar").isVisible()
    assert [len(row) for row in speed_rows(alone)] == [2, 2]  # a name and a rate
    find_type(page, SpeedFacts).show_measured(alone)


def test_verdict_on_the_weights_alone_is_named(page):
    run = finished(file_format=Format.GGUF)
    result = msgspec.structs.replace(run.exported, dtype=FileDtype.Q4_0)
    show(page, replace(run, exported=result))
    assert "not on the file" not in shown(page, "run_warning")
    result = msgspec.structs.replace(result, fidelity=())
    show(page, replace(run, exported=result))
    assert "before rounding, not on the file" in shown(page, "run_warning")
    show(page, replace(run, exported=result, judgment=judgment()))
    assert "not on the file" not in shown(page, "run_warning")


def test_path_and_line_of_a_modelfile_are_copied(qtbot, page, tmp_path, monkeypatch):
    monkeypatch.setattr(head, "_TOLD", 10)
    file = tmp_path / "model.gguf"
    file.touch()
    run = finished(file_format=Format.GGUF)
    result = msgspec.structs.replace(run.exported, folder=str(tmp_path))
    show(page, replace(run, exported=result))
    clipboard = QGuiApplication.clipboard()
    find(page, "copy_path_action", QAction).trigger()
    assert clipboard.text() == str(file)
    button = find(page, "run_copy_button")
    assert button.text() == "Copied"
    qtbot.waitUntil(lambda: button.text() == "Copy &path")
    find(page, "copy_modelfile_action", QAction).trigger()
    assert clipboard.text() == f"FROM {file}"
    show(page, finished())
    find(page, "copy_path_action", QAction).trigger()
    assert clipboard.text() == str(Path("folder"))
    assert not find(page, "copy_modelfile_action", QAction).isEnabled()


def test_folder_of_the_files_is_opened(page, monkeypatch):
    opened = []
    monkeypatch.setattr(head, "open_folder", opened.append)
    show(page, finished())
    click(page, "run_folder_button")
    assert find(page, "run_file_button").accessibleName() == "folder"
    click(page, "run_file_button")
    assert opened == ["folder", "folder"]
    gguf = finished(file_format=Format.GGUF).exported
    later = msgspec.structs.replace(gguf, folder="later", weight_bytes=5_000_000)
    show(page, finished(saved=(gguf, later, later)))  # a folder was written again
    first, second = page.findChildren(QPushButton, "run_file_button")
    assert second.accessibleName() == "later/model.gguf \N{MIDDLE DOT} 5.0\xa0MB"
    second.click()
    assert opened[-1] == "later"
    show(page, RUNNING)
    assert not first.isVisible()
    show(page, finished(computer="farm"))
    assert not is_on(page, "run_file_button")
    assert not is_on(page, "run_folder_button")
    assert "farm" in find(page, "run_folder_button").toolTip()
    show(page, finished(file_format=Format.GGUF, computer="farm"))
    assert not is_on(page, "run_copy_button")


def test_gguf_file_is_copied_without_the_first_file_of_the_run(page, tmp_path):
    run = finished()
    gguf = finished(file_format=Format.GGUF).exported
    gguf = msgspec.structs.replace(gguf, folder=str(tmp_path))
    page.session.store.set(replace(page.session.state, run=replace(run, saved=(gguf,))))

    def usable():
        page.session.draft.recheck()
        page.show_state(page.session.state, 100.0)
        actions = ("copy_path_action", "copy_modelfile_action")
        enabled = [find(page, name, QAction).isEnabled() for name in actions]
        return is_on(page, "run_copy_button"), *enabled

    assert usable() == (False, False, False)
    write_file_of(gguf)
    assert usable() == (True, False, True)
    find(page, "copy_modelfile_action", QAction).trigger()
    assert QGuiApplication.clipboard().text() == f"FROM {path_of(gguf)}"


@pytest.mark.parametrize("file_format", [Format.COMPACT, Format.GGUF])
def test_files_that_were_deleted_are_named_and_not_offered(
    page, tmp_path, monkeypatch, file_format
):
    monkeypatch.setattr(head, "models_folder", lambda: tmp_path)
    session, run = page.session, finished(file_format=file_format)
    result = msgspec.structs.replace(run.exported, folder=str(tmp_path / "export"))
    later = msgspec.structs.replace(result, folder=str(tmp_path / "later"))
    for each in (result, later):
        write_file_of(each)
    folder = tmp_path / "run"
    (folder / "checkpoint").mkdir(parents=True)
    run = replace(run, exported=result, saved=(later,), folder=str(folder))
    ready = EngineReady({LLAMA_PACKAGE: "1"}, "a processor")
    changes = {"run": run, "engine": Engine.READY, "ready": ready}
    session.store.set(replace(session.state, **changes))

    def usable():
        session.draft.recheck()  # as when the window is activated
        page.show_state(session.state, 100.0)
        can_save = save_obstacle(session.state) is None
        assert can_save is Path(source_of_formats(run)).exists()
        found = page.findChildren(QPushButton)
        return [x.objectName() for x in found if x.isVisible() and x.isEnabled()]

    link = "run_file_button"
    actions = ["run_folder_button", "run_copy_button", "judge_button", "measure_button"]
    before = usable()
    assert before.count(link) == 2
    assert {*actions, "run_try_button"} <= {*before}
    shutil.rmtree(tmp_path / "later")
    assert usable().count(link) == 1
    shutil.rmtree(tmp_path / "export")
    after = usable()
    assert not {*actions, link, "run_lm_studio_button"}.intersection(after)
    # What other programs read is compared by its checkpoint.
    assert ("run_try_button" in after) is (file_format is Format.GGUF)
    shutil.rmtree(folder)
    assert "run_try_button" not in usable()
    folder.mkdir()
    files = page.findChildren(QPushButton, link)
    for file, each in zip(files, (result, later), strict=True):
        gone = Problem(Kind.FILE_MISSING, {"path": path_of(each)})
        assert file.accessibleName() == sentence(gone)
        assert sentence(gone) in file.toolTip()
    for each in (result, later):
        write_file_of(each)
    assert usable() == before


def test_run_can_be_tried_while_its_file_or_its_checkpoint_exists(page, tmp_path):
    run = finished(file_format=Format.GGUF, folder=str(tmp_path))
    result = msgspec.structs.replace(run.exported, folder=str(tmp_path / "export"))
    show(page, run := replace(run, exported=result))
    checkpoint = tmp_path / "checkpoint"
    for has_file, has_checkpoint in itertools.product((False, True), repeat=2):
        if has_file:
            write_file_of(result)
        if has_checkpoint:
            checkpoint.mkdir()
        page.session.store.set_checked(replace(page.session.state, run=run))
        page.show_state(page.session.state, 100.0)
        assert is_on(page, "run_try_button") is (has_file or has_checkpoint)
        shutil.rmtree(checkpoint, ignore_errors=True)


@pytest.mark.parametrize(
    ("run", "source"),
    [
        (finished(folder="there"), "there/export"),
        (finished(file_format=Format.GGUF, folder="there"), "there/checkpoint"),
    ],
    ids=["its file", "checkpoint"],
)
def test_missing_source_of_other_formats_is_named_in_the_section(page, run, source):
    session = page.session
    result = msgspec.structs.replace(run.exported, folder="there/export")
    changes = {"run": replace(run, exported=result), "engine": Engine.READY}
    session.store.set(replace(session.state, **changes))
    page.show_state(session.state, 100.0)
    click(page, "run_save_link")
    session.draft.recheck()
    page.show_state(session.state, 100.0)
    obstacle = save_obstacle(session.state)
    assert obstacle.kind is Kind.SAVE_SOURCE_MISSING
    assert obstacle.values["path"].endswith(source)
    assert shown(page, "save_problem") == sentence(obstacle)


@pytest.mark.parametrize("can_go_on", [True, False])
def test_run_without_a_result_says_why_and_what_to_do(page, can_go_on):
    failed = with_events(RUNNING, 30.0, Failed("The disk is full.", "Free some space."))
    cancelled = with_events(RUNNING, 30.0, Cancelled())
    killed = interrupted(RUNNING, 30.0)
    for run, title, text in (
        (failed, "The run failed", "The disk is full. Free some space."),
        (cancelled, "Canceled", ""),
        (killed, "Interrupted", "Its process ended"),
    ):
        place = ResumePoint(9.0, Stage.REFIT, 12, 30) if can_go_on else None
        show(page, replace(run, run=title, resumes_at=place))
        assert find(page, "run_title").text() == f"{title} at 21\N{NO-BREAK SPACE}%"
        assert not find(page, "run_progress_bar").isHidden()
        assert text in shown(page, "run_time")
        assert ("Its progress is kept." in shown(page, "run_time")) == can_go_on
        assert ("after block 12 of 30" in shown(page, "run_time")) == can_go_on
        resume = ["run_resume"] if can_go_on else []
        assert visible_buttons(page) == [*resume, "run_again", "run_folder"]
        assert find(page, "course_view").isVisible()
        assert not find(page, "outcome_bars").isVisible()
    for run, is_empty in (
        (replace(killed, baseline=None, history=()), True),
        (killed, False),
    ):
        show(page, run)
        find(page, "run_report_link").setChecked(True)
        assert find(page, "report_nothing_note").isVisible() is is_empty


def test_long_name_is_above_its_buttons_and_not_cut(page):
    page.window().resize(900, 620)
    for name, is_above in (("short", False), ("a name of many words " * 2, True)):
        show(page, replace(RUNNING, run=name, name=name))
        settle()
        title, pause = find(page, "run_title"), find(page, "pause_button")
        assert title.fontMetrics().horizontalAdvance(name) <= title.width()
        top = pause.mapTo(page, QPoint()).y()
        assert (top > title.mapTo(page, title.rect().bottomLeft()).y()) is is_above


def test_title_stays_in_view_when_a_run_is_canceled(qtbot, page):
    page.window().resize(800, 620)
    show(page, RUNNING)
    show(page, replace(RUNNING, status=Status.CANCELLED))
    assert find(page, "run_course_link").isChecked()
    bar = page.focusProxy().verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 0)
    settle()
    assert bar.value() == 0


# links


def test_links_open_one_section_in_place(page):
    show(page, finished())
    top = find(page, "run_title").mapTo(page, QPoint())
    sections = {
        "course": "course_view",
        "report": "export_facts",
        "save": "save_button",
        "settings": "run_settings",
    }
    assert not any(find(page, name).isVisible() for name in sections.values())
    for link, name in sections.items():
        click(page, f"run_{link}_link")
        assert find(page, name).isVisible()
        others = [other for other in sections.values() if other != name]
        assert not any(find(page, other).isVisible() for other in others)
    click(page, "run_settings_link")
    assert not find(page, "run_settings").isVisible()
    assert find(page, "run_title").mapTo(page, QPoint()) == top


def test_links_in_one_line_have_equal_gaps(page):
    show(page, finished())
    settle()
    names = ("course", "layers", "report", "save", "settings")
    row = find(page, "run_course_link").parentWidget()
    places = [find(page, f"run_{name}_link").geometry() for name in names]
    assert len({each.top() for each in places}) == 1
    gaps = {b.left() - a.right() for a, b in itertools.pairwise(places)}
    assert len(gaps) == 1
    assert row.rect().contains(find(page, "run_discard_link").geometry())


def test_settings_of_a_run_can_be_used_for_the_next_one(page, session):
    show(page, finished())
    click(page, "run_settings_link")
    settle()
    assert "30 %" in facts(page, "run_settings")
    used = []
    session.job_reused.connect(lambda: used.append(session.state.config))
    click(page, "copy_settings_button")
    assert used == [CONFIG]
