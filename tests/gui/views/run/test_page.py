"""The page of a run: its buttons, the verdict, and what is opened in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import QEvent, QPoint
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtWidgets import (
    QApplication,
    QLabel,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.messages.commands import Cancel, Judge
from surgeon_engine.api.messages.events import Cancelled, Failed
from surgeon_engine.api.messages.judgment import Answer as Said
from surgeon_engine.api.messages.judgment import (
    ClassJudged,
    Figures,
    Judgment,
    Outcome,
    Probe,
    ProbeJudged,
    PromptJudged,
    TextJudged,
    TokenClass,
)
from surgeon_engine.api.messages.run import Estimate, Fidelity
from surgeon_engine.api.verdict import Verdict
from surgeon_gui.state.app import Engine
from surgeon_gui.state.run import Status, interrupted
from surgeon_gui.state.verdict import verdict_of_run
from surgeon_gui.text.judgments import Answer
from surgeon_gui.views.question import ReplaceQuestion
from surgeon_gui.views.report.reports import ReportRow
from surgeon_gui.views.run import head
from surgeon_gui.views.run.lost import AnswerList
from surgeon_gui.views.run.page import RunPage
from surgeon_gui.widgets.dot import Shape
from tests.gui.views.test_charts_do_not_grow import CONFIG, states_of
from tests.helpers.fake_results import exported, measured
from tests.helpers.run_states import with_events
from tests.helpers.widget_queries import facts, is_on, shown
from tests.helpers.window_audit import settle
from tests.helpers.windows import click, find

STATES = states_of("run-1")
RUNNING = STATES[20]
KL = {
    Verdict.NEARLY_SAME: (0.01, 0.96),
    Verdict.CLOSE: (0.2, 0.8),
    Verdict.DIFFERENT: (0.9, 0.6),
    Verdict.BROKEN: (4.0, 0.1),
}


@pytest.fixture
def page(qtbot, session):
    host = QWidget()
    qtbot.addWidget(host)
    column = QVBoxLayout(host)
    made = RunPage(session, ReportRow(), ReplaceQuestion(host))
    column.addWidget(made)
    host.resize(1100, 900)
    host.show()
    qtbot.waitExposed(host)
    yield made
    del host


def show(page, run, now=100.0):
    session = page.details._session
    state = replace(session.state, run=run, engine=Engine.READY)
    session.store.state = state
    page.show_state(state, now)
    QApplication.processEvents()


def finished(verdict=Verdict.CLOSE, file_format=Format.COMPACT, **changes):
    nats, share = KL[verdict]
    estimates = [Estimate(x, x, x) for x in (nats, share, 14.2)]
    fidelity = (Fidelity(*estimates, 32, 256, "built-in", overlap=estimates[1]),)
    result = exported("folder", CONFIG.pruning, ExportConfig(format=file_format))
    result = msgspec.structs.replace(result, fidelity=fidelity)
    return replace(STATES[-1], exported=result, **changes)


BUTTONS = (
    "pause stop cancel run_resume run_gentler run_smaller run_folder run_copy run_try"
)


def visible_buttons(page):
    return [x for x in BUTTONS.split() if find(page, f"{x}_button").isVisible()]


def primary(page):
    buttons = page.findChildren(QPushButton)
    return [x.objectName() for x in buttons if x.property("primary") and x.isVisible()]


# in progress


def test_run_in_progress_has_its_time_and_its_controls(page):
    show(page, RUNNING, now=60.0)
    assert visible_buttons(page) == ["pause", "stop", "cancel"]
    assert "→" in find(page, "run_title").text()
    assert shown(page, "run_time").endswith(" so far")
    assert find(page, "run_progress_bar").isVisible()
    assert find(page, "course_view").isVisible()
    assert not find(page, "run_course_link").isVisible()
    assert not primary(page)


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
    find(page, "cancel_button").setFocus()
    show(page, finished())
    assert not isinstance(stack.focusWidget(), QPushButton)


def test_buttons_tell_what_the_user_wants(page):
    heard = []
    for name in ("pause_clicked", "stop_clicked", "cancel_asked", "back_clicked"):
        getattr(page.head, name).connect(lambda name=name: heard.append(name))
    show(page, RUNNING)
    for name in ("pause", "stop", "cancel", "run_back"):
        click(page, f"{name}_button")
    assert heard == ["pause_clicked", "stop_clicked", "cancel_asked", "back_clicked"]
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
    assert f"{100 * KL[verdict][1]:.0f} of 100 tokens" in shown(page, "run_time")
    assert not find(page, "run_progress_bar").isVisible()


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
    assert after.text().replace("\xa0", " ") == "8.5 MB"
    assert shown(page, "file_before").replace("\xa0", " ") == "of 11.4 MB"
    share = run.exported.weight_bytes / run.model.file_bytes
    assert find(page, "file_share_bar").value() == round(1000 * share)
    assert not after.property("warning")
    small = msgspec.structs.replace(run.model, file_bytes=10**6)
    show(page, replace(run, model=small))
    assert after.property("warning")
    assert "Larger than the original" in shown(page, "run_warning")


def test_speed_has_a_button_until_it_is_measured_and_a_reason_if_it_cannot_be(page):
    card = find(page, "measure_button").parentWidget().parentWidget().parentWidget()
    show(page, finished())
    assert find(page, "measure_button").isVisible()
    height = card.height()
    show(page, finished(file_format=Format.GGUF))
    assert not find(page, "measure_button").isVisible()
    assert "GGUF" in shown(page, "measure_note")
    show(page, finished(measured=measured()))
    assert shown(page, "speed_after").replace("\xa0", " ") == "59.6 tokens/s"
    assert shown(page, "speed_before") == "was 46.4"
    assert card.height() == height


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
    assert opened == ["folder"]
    show(page, finished(computer="farm"))
    assert not is_on(page, "run_folder_button")
    assert "farm" in find(page, "run_folder_button").toolTip()


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
        show(page, replace(run, run=title, can_go_on=can_go_on))
        assert find(page, "run_title").text() == title
        assert text in shown(page, "run_time")
        assert ("Its progress is kept." in shown(page, "run_time")) == can_go_on
        resume = ["run_resume"] if can_go_on else []
        assert visible_buttons(page) == [*resume, "run_folder"]
        assert find(page, "course_view").isVisible()
        assert not find(page, "outcome_bars").isVisible()


# what was lost


def test_texts_are_rows_and_samples_are_answers(page):
    run = finished(Verdict.DIFFERENT)
    show(page, run)
    rows = facts(page, "lost_rows")
    assert "built-in\nnoticeably different; 60 % alike" in rows
    assert not find(page, "answer_list").isVisible()  # there are no samples
    assert find(page, "judge_button").isVisible()
    assert "about" in shown(page, "judge_note")


def test_file_is_judged_and_its_rows_and_answers_are_shown(page, session):
    show(page, finished())
    sent = session.store.engine.commands
    click(page, "judge_button")
    assert sent[-1] == Judge(run=sent[-1].run, target="folder")
    page.show_state(session.state, 100.0)  # with the request
    assert not find(page, "judge_button").isVisible()
    click(page, "judge_cancel_button")
    assert isinstance(sent[-1], Cancel)
    show(page, finished(judgment=judgment()))
    assert not find(page, "judge_button").isVisible()
    rows = facts(page, "lost_rows")
    assert "Arithmetic\n41 of 60, original 52" in rows
    assert "JSON answers\n18 of 20, original 18: cannot tell apart" in rows
    assert "Numbers\n71 % alike" in rows
    (answer,) = [x for x in page.findChildren(QLabel, "answer_prompt") if x.isVisible()]
    assert answer.text() == "“Name three rivers.”"  # the answers to others are equal
    assert shown(page, "answer_shared") == "The Seine, the Loire and the"
    assert shown(page, "answer_original") == "… Rhône."
    assert shown(page, "answer_pruned_nats") == "1.20 nats per byte"


def test_judgment_gives_the_verdict_and_its_probes_count(page):
    assert verdict_of_run(finished()) is Verdict.CLOSE
    assert verdict_of_run(finished(judgment=judgment(nats=0.01))) is Verdict.NEARLY_SAME
    worse = judgment(nats=0.01, p=1e-4)
    assert verdict_of_run(finished(judgment=worse)) is Verdict.CLOSE
    show(page, finished(judgment=judgment(nats=0.01)))
    assert find(page, "run_title").text() == "Nearly the same"


def judgment(nats=0.2, p=0.5):
    """Return a judgment of one text, two probes, one class and two prompts."""

    def same(x):
        return Estimate(x, x, x)

    def probe(kind, items, before, after, outcome):
        change = same((after - before) / items)
        lost = before - after
        return ProbeJudged(kind, items, before, after, lost, 0, change, p, outcome)

    text = Fidelity(same(nats), same(0.9), same(14.2), 32, 256, "built-in", same(0.8))
    figures = Figures(9, same(0.1), same(0.8), same(0.71), same(0.1), Outcome.WORSE)
    river = "The Seine, the Loire and the "
    return Judgment(
        "original",
        "file",
        "transformers",
        "llama.cpp",
        texts=(TextJudged(text, text, same(0.0), Outcome.SAME),),
        classes=(ClassJudged(TokenClass.NUMBERS, figures),),
        positions=(),
        prompts=(
            PromptJudged(
                "Name three rivers.",
                False,
                Said(f"{river}Rhône.", 9, True, 0.3),
                Said(f"{river}Danube.", 9, True, 1.2),
                parts_at=8,
            ),
            PromptJudged("Hi", True, Said("Hi", 1, True), Said("Hi", 1, True), None),
        ),
        likelihood=None,
        likelihood_outcome=Outcome.SAME,
        probes=(
            probe(Probe.ARITHMETIC, 60, 52, 41, Outcome.WORSE),
            probe(Probe.JSON, 20, 18, 18, Outcome.SAME),
        ),
        tasks=(),
        is_chat=True,
        seconds=9.0,
    )


@pytest.mark.parametrize(
    ("original", "pruned", "shared"),
    [
        ("The Seine and the Rhône.", "The Seine and the Danube.", "The Seine and the "),
        ("Yes.", "No.", ""),
        ("Yes.", "Yes.", "Yes."),
        ("Yes, it is", "Yes, it isn't", "Yes, it "),
        ("", "Yes", ""),
    ],
)
def test_answers_part_between_two_words(original, pruned, shared):
    assert Answer("Rivers?", original, pruned).shared == shared


def test_all_answers_are_shown_on_request(qtbot):
    view = AnswerList()
    qtbot.addWidget(view)
    view.show()
    view.show_answers(
        tuple(Answer(f"Prompt {n}", "one two", "one three") for n in range(5))
    )
    prompts = view.findChildren(QLabel, "answer_prompt")
    assert [each.isVisible() for each in prompts] == [True] * 2 + [False] * 3
    assert find(view, "more_answers_button").text() == "3 more"
    click(view, "more_answers_button")
    assert all(each.isVisible() for each in prompts)
    assert not find(view, "more_answers_button").isVisible()


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


def test_settings_of_a_run_can_be_used_for_the_next_one(page, session):
    show(page, finished())
    click(page, "run_settings_link")
    settle()
    assert "30 %" in facts(page, "run_settings")
    used = []
    page.details.settings_used.connect(lambda: used.append(session.state.config))
    click(page, "copy_settings_button")
    assert used == [CONFIG]
