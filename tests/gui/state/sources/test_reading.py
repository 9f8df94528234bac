"""The model and texts of a draft before the engine reads them, and their previews."""

from dataclasses import replace

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.pruning import PruningConfig, Target
from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.config.run import Dtype, ModelConfig, RunConfig
from surgeon_engine.api.messages.events import Failed
from surgeon_engine.api.messages.sources import (
    PreviewedText,
    TextPreviewed,
    TextStatistics,
)
from surgeon_engine.api.model_info.header import ModelFacts, model_facts
from surgeon_engine.base.errors import ConfigError
from surgeon_engine.base.sentences import say
from surgeon_gui.base import translation
from surgeon_gui.base.translation import ENGLISH, LANGUAGES
from surgeon_gui.state import run as run_state
from surgeon_gui.state.app import AppState, with_request, without_requests
from surgeon_gui.state.job.checks import draft_obstacle, find_problems, start_obstacle
from surgeon_gui.state.job.editing import with_config
from surgeon_gui.state.queue.checks import add_obstacle
from surgeon_gui.state.queue.state import QueueState
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.sources.reading import text_problem, wait_note
from surgeon_gui.state.sources.shares import (
    max_share,
    new_share,
    share_rows,
    with_texts,
)
from surgeon_gui.state.sources.text import (
    inspected_facts,
    own_text_line,
    preview_facts,
    preview_line,
    preview_parts,
)
from surgeon_gui.state.step_text import Mark, step_view
from surgeon_gui.text.problems import Kind, Step, of_error, sentence
from tests.helpers.fake_engine import model_summary
from tests.helpers.queued_runs import ready_state

RUN = run_state.requested("run-1", RunConfig(), "folder", 0.0)
WAITING = ("run", "task")


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("main.txt", "text"),
        ("chats.jsonl", "more_texts"),
        ("held-out.txt", "validation_text"),
        ("both.txt", "text"),
        ("", "text"),
    ],
)
def test_problem_belongs_to_the_text_that_the_error_names(name, setting):
    main = "/a/both.txt" if name == "both.txt" else "/a/main.txt"
    config = CalibrationConfig(
        text=main,
        validation_text="/b/held-out.txt",
        more_texts=(MoreText("/c/both.txt"), MoreText("/c/chats.jsonl")),
    )
    path = say("the column {column} of {file}", column="chat", file=name)
    for each in (name, path, f"{name} (train)"):
        text = say("{path} cannot be read: {reason}.", path=each, reason="line 301")
        problem = text_problem(Failed(text), config)
        assert (problem.step, problem.setting) == (Step.CALIBRATION, setting)


def busy(state, with_what):
    if with_what == "run":
        return replace(state, run=RUN)
    return with_request(state, RequestKind.SAVE, Request("save-1"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_facts_of_a_model_have_different_names(language):
    try:
        translation.use(language)
        names = [name for name, _ in inspected_facts(model_summary())]
    finally:
        translation.use(ENGLISH)
    assert len(set(names)) == len(names)


@pytest.fixture
def text(tmp_path):
    """Return a text that is long enough by its bytes."""
    path = tmp_path / "tiny.txt"
    path.write_bytes(b"x" * 100_000)
    return str(path)


@pytest.fixture
def with_text(tmp_path, text):
    """Return a state with a text that has not been read."""
    config = RunConfig(calibration=CalibrationConfig(text))
    return ready_state(tmp_path / "runs", config)


@pytest.fixture
def with_new_model(tmp_path):
    """Return a state with a model that has not been read."""
    folder = tmp_path / "new.gguf"
    folder.touch()
    state = ready_state(tmp_path / "runs", RunConfig(ModelConfig(str(folder))))
    return with_request(state, RequestKind.INSPECTION, Request("inspect-1"))


@pytest.mark.parametrize("what", WAITING)
def test_text_waits_while_the_engine_is_busy(with_text, what):
    state = busy(with_text, what)
    assert step_view(state, Step.CALIBRATION).mark is Mark.BUSY
    assert "waiting for the" in step_view(state, Step.CALIBRATION).summary
    assert "tiny.txt" in wait_note(state, state.config.calibration.text)
    assert add_obstacle(state, QueueState()) is None  # a run of the queue reads it


def test_text_has_no_tick_before_it_was_read(with_text):
    view = step_view(with_text, Step.CALIBRATION)
    assert (view.mark, view.summary) == (Mark.BUSY, "tiny.txt: reading…")
    assert start_obstacle(with_text).kind is Kind.TEXT_UNREAD
    preview = Request("preview-1")
    state = with_request(with_text, RequestKind.PREVIEW, preview)
    assert step_view(state, Step.CALIBRATION) == view
    unread = without_requests(state, RequestKind.INSPECTION)
    unread = replace(unread, model_is_chosen=False)
    assert step_view(unread, Step.CALIBRATION).mark is Mark.EMPTY
    response = TextPreviewed(("a",), ("b",), 1, 1, TextStatistics(2), "text")
    read = replace(preview, response=response)
    state = with_request(state, RequestKind.PREVIEW, read)
    assert step_view(state, Step.CALIBRATION).mark is Mark.READY
    assert start_obstacle(state) is None
    failed = replace(preview, error=Failed("The text has 3 tokens."))
    state = with_request(state, RequestKind.PREVIEW, failed)
    assert step_view(state, Step.CALIBRATION).mark is Mark.PROBLEM
    assert start_obstacle(state) == of_error(failed.error)


def test_built_in_text_is_ready(tmp_path):
    state = ready_state(tmp_path, run=RUN)
    assert step_view(state, Step.CALIBRATION).mark is Mark.READY
    assert draft_obstacle(state) is None
    assert start_obstacle(state).kind is Kind.QUEUEABLE
    remote = replace(state, computer="gpu-box")
    assert start_obstacle(remote).kind is Kind.RUN_BUSY


@pytest.mark.parametrize("what", WAITING)
def test_new_model_waits_while_the_engine_is_busy(with_new_model, what):
    state = busy(with_new_model, what)
    view = step_view(state, Step.MODEL)
    assert view.mark is Mark.BUSY
    assert view.summary.startswith("new.gguf: waiting for the")
    assert "new.gguf" in wait_note(state, state.config.model.source)
    assert add_obstacle(state, QueueState()) is None
    fitting = replace(state, is_fitting=True)
    assert add_obstacle(fitting, QueueState()) is None
    assert start_obstacle(fitting) is not None
    experts = replace(fitting, facts=ModelFacts("new.gguf", experts=8))
    pruning = PruningConfig(target=Target.MEMORY)
    sized = replace(fitting, config=replace(fitting.config, pruning=pruning))
    for each in (experts, sized):
        obstacle = add_obstacle(each, QueueState())
        assert obstacle.kind is Kind.MODEL_AWAITED
        assert "new.gguf" in sentence(obstacle)
        if what == "run":  # the advice of the page agrees with the button
            assert start_obstacle(each) == obstacle


def test_new_model_is_read_by_an_idle_engine(with_new_model):
    assert step_view(with_new_model, Step.MODEL).summary == "new.gguf: reading…"
    assert wait_note(with_new_model, with_new_model.config.model.source) == ""
    assert draft_obstacle(with_new_model).kind is Kind.MODEL_UNREAD


@pytest.mark.parametrize("changes", [{}, {"run": RUN}])
def test_model_with_a_problem_shows_its_reason_alone(with_new_model, changes):
    facts = model_facts(with_new_model.config.model.source)
    state = replace(with_new_model, facts=facts, **changes)
    reason = "new.gguf is an empty file."
    view = step_view(state, Step.MODEL)
    assert view.mark is Mark.PROBLEM
    assert view.summary.startswith(reason)
    assert sentence(draft_obstacle(state)) == view.summary


def problem_of(calibration):
    config = RunConfig(calibration=calibration)
    return find_problems(config, None, "").get(Step.CALIBRATION, (None,))[0]


@pytest.mark.parametrize(
    ("size", "windows"), [(12, (16, 32)), (48 * 252 - 1, (16, 32)), (48 * 252, ())]
)
def test_text_with_fewer_bytes_than_tokens_is_a_problem(tmp_path, size, windows):
    path = tmp_path / "tiny.txt"
    path.write_bytes(b"x" * size)
    problem = problem_of(CalibrationConfig(str(path), windows=16))
    if not windows:
        assert problem is None
        return
    assert f"tiny.txt has {size:,} bytes: too few for 16 + 32" in sentence(problem)


def test_each_text_needs_bytes_for_its_own_windows(tmp_path, text):
    short = tmp_path / "short.txt"
    short.write_bytes(b"x" * 16 * 256)
    for validation, problem in (
        (text, None),
        ("builtin", None),
        ("", "too few for 16 + 32 windows"),
    ):
        calibration = CalibrationConfig(str(short), validation, windows=16)
        found = problem_of(calibration)
        assert found is None if problem is None else problem in sentence(found)
    calibration = CalibrationConfig(text, str(short), windows=16)
    assert "too few for 32 windows" in sentence(problem_of(calibration))
    (tmp_path / "short.csv").write_text("text\nshort\n")  # chats get further tokens
    assert problem_of(CalibrationConfig(str(tmp_path / "short.csv"))) is None


MORE = (
    MoreText("hf://datasets/a/b", 0.25, "story", "long", "test"),
    MoreText("notes/c.txt", 0.125),
)
PREVIEW = TextPreviewed(
    *(("main",), ("held out",), 16_384, 8_192, TextStatistics(900_000)),
    *("builtin", 256, 40, 32),
)


def test_rows_show_shares_and_windows_of_all_texts():
    rows = share_rows(CalibrationConfig(more_texts=MORE))
    assert [row[:3] for row in rows] == [
        ("Built-in text", "62.5\xa0%", "40"),
        ("a/b", "25\xa0%", "16"),
        ("c.txt", "12.5\xa0%", "8"),
    ]
    assert rows[1].tip == "hf://datasets/a/b, long, test, story"


@pytest.mark.parametrize(
    ("shares", "expected"), [((), 0.25), ((0.25,), 0.25), ((0.5, 0.3), 0.1)]
)
def test_new_share_leaves_at_least_half_to_the_main_text(shares, expected):
    more = tuple(MoreText(f"{share}.txt", share) for share in shares)
    assert new_share(CalibrationConfig(more_texts=more)) == expected


def test_largest_share_is_valid():
    share = max_share(MORE, 0)
    assert share == 0.874
    CalibrationConfig(more_texts=(replace(MORE[0], share=share), MORE[1]))


def texts(n):
    return [f"{i}.txt" for i in range(n)]


@pytest.mark.parametrize("n", [1, 3, 51, 54, 64])
def test_each_of_many_texts_has_a_window(n):
    config = with_texts(CalibrationConfig(windows=64), texts(n))
    assert list(config.all_texts) == texts(n)
    assert sum(config.window_counts) == 64
    assert min(config.window_counts) >= 1


@pytest.mark.parametrize(
    ("windows", "n", "numbers"),
    [(64, 65, ("65 ", "64 ")), (5000, 1001, ("1,001 ", "1,000 "))],
)
def test_texts_without_window_or_share_are_refused_with_numbers(windows, n, numbers):
    with pytest.raises(ConfigError, match="at most") as error:
        with_texts(CalibrationConfig(windows=windows), texts(n))
    assert all(number in error.value.message for number in numbers)


def test_preview_of_several_texts_counts_them():
    more = (PreviewedText("a.txt", 1, ()), PreviewedText("b.txt", 1, ()))
    shown = TextPreviewed((), (), 1, 1, TextStatistics(2), "builtin", more_texts=more)
    assert preview_line(shown).endswith("of 2 in 3 texts.")
    assert preview_line(PREVIEW).endswith("of 900,000 in Built-in text.")


def test_preview_line_says_how_windows_begin():
    shown = TextPreviewed((), (), 1, 1, TextStatistics(2), "builtin", beginning="<bos>")
    assert preview_line(shown).endswith(". Each window begins with <bos>.")


def test_preview_facts_name_chats():
    found = TextStatistics(2, column="messages", chats=2, skipped_chats=1)
    shown = TextPreviewed((), (), 1, 1, found, "a.jsonl")
    facts = dict(preview_facts(shown))
    assert facts["Chats"] == "2 chats, rendered by the model's template"
    assert facts["No chat"] == "1 row without a chat that the template can render"
    assert "Chats" not in dict(preview_facts(PREVIEW))


def test_preview_facts_say_how_much_was_not_read():
    found = TextStatistics(2, unread_characters=99_500_000)
    shown = TextPreviewed((), (), 1, 1, found, "a.txt")
    assert dict(preview_facts(shown))["Not read"].startswith(
        "About 99,500,000 characters"
    )
    assert "Not read" not in dict(preview_facts(PREVIEW))


def test_parts_of_a_preview_are_in_order():
    more = (PreviewedText("notes/{c}.txt", 8, ("further",)), PreviewedText("d", 0, ()))
    shown = TextPreviewed(
        ("main",),
        ("held out",),
        *(16_384, 8_192, TextStatistics(900_000), "builtin", 256, 40, 32),
        more_texts=more,
        own=("own",),
    )
    parts = preview_parts(shown, 128)
    titles = [
        each.title.format(number=1, total=each.windows, tokens=each.tokens)
        for each in parts
    ]
    assert titles == [
        "Calibration window 1 of 40, 256 tokens",
        "{c}.txt: window 1 of 8, 256 tokens",
        "Validation window 1 of 32, 256 tokens",
        "Written by the model itself: 1 of 128, 256 tokens",
    ]
    assert len(preview_parts(PREVIEW, 128)) == 2


def test_own_text_line_says_whether_windows_are_sampled():
    assert own_text_line(None, 128) == own_text_line(PREVIEW, 0) == ""
    line = own_text_line(PREVIEW, 128)
    assert line == (
        "The run first samples 128 windows from the model itself and keeps them."
    )
    cached = TextPreviewed(
        *((), (), 1, 1, TextStatistics(2), ""), own=("a",), own_cache_bytes=2_000_000
    )
    line = own_text_line(cached, 128).replace("\xa0", " ")
    assert line == (
        "128 windows were written by the model itself. The cache of such windows, of "
        "all models, takes 2.0 MB."
    )


@pytest.mark.parametrize(
    ("change", "is_kept"),
    [
        ({"recovery": RecoveryConfig(general_windows=7)}, False),
        ({"recovery": RecoveryConfig(epochs=2.0)}, True),
        ({"model": replace(RunConfig().model, dtype=Dtype.BFLOAT16)}, False),
        ({"calibration": CalibrationConfig(more_texts=MORE)}, False),
    ],
)
def test_preview_is_kept_until_what_it_shows_changes(change, is_kept):
    state = AppState(requests={RequestKind.PREVIEW: Request("preview-1", PREVIEW)})
    state = with_config(state, replace(state.config, **change))
    assert (state.request(RequestKind.PREVIEW).response is not None) == is_kept
