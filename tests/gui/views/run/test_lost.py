"""The losses of a file: rows, answers, and the command that judges it."""

from dataclasses import replace

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel

from surgeon_engine.api.config.export import FileDtype
from surgeon_engine.api.config.run import ModelConfig
from surgeon_engine.api.messages.commands import Cancel, Judge
from surgeon_engine.api.messages.judgment import Answer as Said
from surgeon_engine.api.messages.judgment import (
    ClassJudged,
    Figures,
    Judgment,
    Outcome,
    PositionJudged,
    Probe,
    ProbeJudged,
    PromptJudged,
    TextJudged,
    TokenClass,
)
from surgeon_engine.api.messages.run import Estimate, Fidelity, SampleWritten
from surgeon_engine.api.verdict import Verdict
from surgeon_gui.state.judgment import lost_rows
from surgeon_gui.state.verdict import baseline_of, fidelity_of, verdict_of_run
from surgeon_gui.text.judgments import Answer
from surgeon_gui.views.run.lost import AnswerList
from surgeon_gui.widgets.dot import Dot, Shape
from tests.helpers.run_pages import CONFIG, finished, show
from tests.helpers.widget_queries import facts, shown
from tests.helpers.windows import click, find


def test_texts_are_rows_and_samples_are_answers(page):
    run = finished(Verdict.DIFFERENT)
    show(page, run)
    rows = facts(page, "lost_rows")
    assert "built-in\nNoticeably different; 60 % same top token" in rows
    assert not find(page, "answer_list").isVisible()  # there are no samples
    assert find(page, "judge_button").isVisible()
    assert "about" in shown(page, "judge_note")


def test_file_is_judged_and_its_rows_and_answers_are_shown(page, session):
    show(page, finished())
    sent = session.store.engine.commands
    click(page, "judge_button")
    assert sent[-1] == Judge(run=sent[-1].run, target="folder")
    show_request(page, session)
    assert not find(page, "judge_button").isVisible()
    click(page, "judge_cancel_button")
    assert isinstance(sent[-1], Cancel)
    show(page, finished(judgment=judgment()))
    assert not find(page, "judge_button").isVisible()
    rows = facts(page, "lost_rows")
    assert "Arithmetic\n41 of 60, original 52" in rows
    assert "JSON answers\n18 of 20, original 18: cannot tell apart" in rows
    fails = "Answers in the language of the question\n2 of 20, original 3: "
    assert fails + "the original fails it, too" in rows
    assert "Numbers\n80 % same top token" in rows
    assert "By position in the text\n80 %, 60 % same top token" in rows
    rows_of_run = lost_rows(finished(judgment=judgment()))
    meanings = {row.name: row.meaning for row in rows_of_run}
    assert "no limit applies" in meanings["Numbers"]
    assert "no limit applies" in meanings["By position in the text"]
    assert "no limit applies" not in meanings["Arithmetic"]
    dots = find(page, "lost_rows").findChildren(Dot)
    shapes = [x.shape for x in dots if x.isVisible()]
    assert shapes[1:4] == [Shape.CROSS, Shape.RING, Shape.RING]
    (answer,) = [x for x in page.findChildren(QLabel, "answer_prompt") if x.isVisible()]
    assert answer.text() == "“Name three rivers.”"  # the answers to others are equal
    assert shown(page, "answer_shared") == "The Seine, the Loire and the"
    assert shown(page, "answer_original") == "… Rhône."
    assert shown(page, "answer_pruned_nats") == "1.20 nats per byte"
    nats = next(
        x for x in page.findChildren(QLabel, "answer_pruned_nats") if x.isVisible()
    )
    assert nats.alignment() & Qt.AlignmentFlag.AlignRight  # figures of other lengths
    assert "the original" in nats.toolTip()


def test_sample_before_rounding_is_not_called_the_file(page):
    texts = [(0, "one two"), (1, "one three")]
    run = finished(samples=tuple(SampleWritten(*each) for each in texts))
    show(page, run)
    assert shown(page, "answer_pruned_title") == "This file"
    rounded = msgspec.structs.replace(run.exported, dtype=FileDtype.Q4_0)
    run = replace(run, exported=rounded)
    show(page, run)
    assert shown(page, "answer_pruned_title") == "Before rounding"
    show(page, replace(run, judgment=judgment()))  # which runs the file
    assert shown(page, "answer_pruned_title") == "This file"


@pytest.mark.parametrize(("source", "is_shown"), [("demo", True), ("other", False)])
def test_answers_of_the_demo_alone_have_a_note(page, source, is_shown):
    config = replace(CONFIG, model=ModelConfig(source))
    show(page, finished(judgment=judgment(), config=config))
    assert find(page, "answers_demo_note").isVisible() is is_shown


@pytest.mark.parametrize(
    ("nats", "shape", "outcome"),
    [
        ((0.2, 0.18, 0.22), Shape.TICK, "Close to the original; 90 %"),
        ((0.246, 0.22, 0.27), Shape.RING, "Close to the original, at the limit; 90 %"),
        ((0.279, 0.24, 0.3), Shape.RING, "Noticeably different, at the limit; 90 %"),
        ((0.279, 0.26, 0.3), Shape.CROSS, "Noticeably different; 90 %"),
        ((4.0, 3.0, 5.0), Shape.CROSS, "Broken; 90 %"),
    ],
)
def test_mark_of_a_text_follows_its_interval(page, nats, shape, outcome):
    found = judgment()
    (text,) = found.texts
    fidelity = msgspec.structs.replace(text.fidelity, divergence=Estimate(*nats))
    texts = (msgspec.structs.replace(text, fidelity=fidelity),)
    show(page, finished(judgment=msgspec.structs.replace(found, texts=texts)))
    rows = find(page, "lost_rows")
    assert rows.findChildren(Dot)[0].shape is shape
    assert outcome in plain(facts(page, "lost_rows"))
    tips = [plain(label.accessibleDescription()) for label in rows.findChildren(QLabel)]
    assert "up to a KL of 0.25 and from 70 % same top token" in tips[1]


def test_each_share_is_defined_where_it_stands(page):
    show(page, finished(judgment=judgment()))
    labels = find(page, "lost_rows").findChildren(QLabel)
    tips = {plain(x.text()): x.accessibleDescription() for x in labels}
    text = "Close to the original; 90 % same top token"
    assert tips[text].endswith("the original would keep 80.")
    shares = [tip for shown, tip in tips.items() if "same top token" in shown]
    assert len(shares) == 3
    assert all("both models have the same first choice" in tip for tip in shares)
    assert len(set(shares)) == 3


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def show_request(page, session):
    """Show the state as the session has it after a request."""
    page.show_state(session.state, 100.0)
    QApplication.processEvents()


def test_judgment_gives_the_verdict_and_its_probes_count(page):
    assert verdict_of_run(finished()) is Verdict.CLOSE
    assert verdict_of_run(finished(judgment=judgment(nats=0.01))) is Verdict.NEARLY_SAME
    worse = judgment(nats=0.01, p=1e-4)
    assert verdict_of_run(finished(judgment=worse)) is Verdict.CLOSE
    show(page, finished(judgment=judgment(nats=0.01)))
    assert find(page, "run_title").text() == "Nearly the same"


@pytest.mark.parametrize("dtype", [FileDtype.FLOAT32, FileDtype.Q4_0])
def test_judgment_keeps_figures_that_the_run_has_of_more_windows(dtype):
    run = finished()
    exported = msgspec.structs.replace(run.exported, dtype=dtype, fidelity=())
    is_own = dtype is FileDtype.FLOAT32  # or else of the weights before rounding
    own, other = run.evaluation.fidelity
    texts = [
        msgspec.structs.replace(text, fidelity=few, baseline=few)
        for text, few in zip(
            2 * judgment().texts,
            (
                msgspec.structs.replace(own, windows=own.windows // 2),
                msgspec.structs.replace(other, windows=2 * other.windows),
            ),
            strict=True,
        )
    ]
    judged = msgspec.structs.replace(judgment(), texts=tuple(texts))
    run = replace(run, exported=exported, judgment=judged)
    expected = own if is_own else texts[0].fidelity
    assert fidelity_of(run) == (expected, texts[1].fidelity)
    expected = run.baseline.fidelity[0] if is_own else texts[0].baseline
    assert baseline_of(run) == (expected, texts[1].baseline)


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
        positions=(
            PositionJudged(1, 128, figures),
            PositionJudged(
                129, 256, msgspec.structs.replace(figures, agreement=same(0.6))
            ),
        ),
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
            probe(Probe.LANGUAGE, 20, 3, 2, Outcome.SAME),
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
