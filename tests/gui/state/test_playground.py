"""What the playground knows follows from events, and what it says from that."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig, RunConfig
from surgeon_engine.api.messages.commands import Generate
from surgeon_engine.api.messages.events import Cancelled, Envelope, Failed
from surgeon_engine.api.messages.generation import (
    GenerationSettings,
    Side,
    TokenWritten,
)
from surgeon_gui.base.colours import DARK, LIGHT
from surgeon_gui.base.theme import contrast
from surgeon_gui.state.app import AppState, Engine
from surgeon_gui.state.playground import state as playground_state
from surgeon_gui.state.playground import text as words
from surgeon_gui.state.playground.state import (
    Models,
    Place,
    PlaygroundState,
    apply,
    asked,
    cancelling,
    models_of,
    obstacle,
    ranking,
)
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.views.playground.shading import STEPS, shade
from tests.helpers.fake_playground import (
    NATS,
    REST,
    TEXTS,
    disagreement,
    playground_events,
)
from tests.helpers.fake_results import exported

SPACE = "\N{NO-BREAK SPACE}"
OWN = Models("demo", "demo")


def begun(prompt="The import"):
    state = PlaygroundState(prompt=prompt, own=OWN)
    return asked(state, "generate-1", OWN, Dtype.FLOAT32, Device.CPU)


def events_of(state, count=None):
    command = Generate(
        run="generate-1",
        original="demo",
        pruned="demo",
        prompt=state.prompt,
        settings=state.settings,
    )
    return list(playground_events(command))[:count]


def told(state, events):
    for event in events:
        state = apply(state, Envelope("generate-1", 0.0, event))
    return state


@pytest.fixture
def done():
    return told(begun(), events_of(begun()))


def run_with(form=Format.COMPACT, status=Status.FINISHED):
    export = ExportConfig(format=form)
    return RunState(
        status=status,
        run="run-1",
        folder="/runs/one",
        config=RunConfig(model=ModelConfig(source="demo"), export=export),
        exported=exported("/runs/one/export", PruningConfig(), export),
    )


def test_texts_grow_token_by_token_and_are_then_compared(done):
    for side in Side:
        tokens = done.tokens(side)
        pieces = [token.piece for token in tokens]
        rest = [*TEXTS[side][:-1], TEXTS[side][-1] + REST * (side is Side.ORIGINAL)]
        assert pieces == rest
        assert tuple(token.found.nats for token in tokens) == NATS[side]
    assert done.question.response is not None
    assert done.has_chat_template is False


def test_events_of_others_and_after_the_end_change_nothing(done):
    event = TokenWritten(Side.PRUNED, 5, "more")
    assert apply(done, Envelope("generate-1", 0.0, event)) is done
    open_state = begun()
    assert apply(open_state, Envelope("generate-2", 0.0, event)) is open_state


def test_a_new_question_begins_anew_and_a_cancelled_one_keeps_its_texts(done):
    again = asked(done, "generate-2", OWN, Dtype.FLOAT32, Device.CPU)
    assert again.original == again.pruned == ()
    assert again.has_chat_template is False  # the models are the same
    other = asked(done, "generate-2", Models("a", "b"), Dtype.FLOAT32, Device.CPU)
    assert other.has_chat_template is None
    half = cancelling(told(begun(), events_of(begun(), 6)))
    assert half.question.is_cancelling
    over = told(half, [Cancelled()])
    assert over.original == half.original != ()
    assert "Cancelled." in words.status_line(over)


def test_models_are_those_of_the_run_until_others_are_chosen():
    app = AppState(run=run_with())
    state = PlaygroundState()
    assert models_of(state, app) == Models("demo", "/runs/one/export")
    state = playground_state.with_model(state, Side.PRUNED, "/other", app)
    assert models_of(state, app) == Models("demo", "/other")
    assert models_of(PlaygroundState(), AppState()) == Models()


def test_texts_go_once_other_models_are_compared(done):
    app = AppState()
    assert playground_state.without_others(done, app) is done
    other = playground_state.with_model(done, Side.PRUNED, "/other", app)
    after = playground_state.without_others(other, app)
    assert after.original == after.pruned == ()
    assert after.question.response is None
    # While the next run goes on there is nothing that could be compared instead.
    run = AppState(run=run_with(status=Status.RUNNING))
    theirs = replace(done, own=Models(), asked=Models("demo", "/runs/one/export"))
    assert playground_state.without_others(theirs, run) is theirs
    assert playground_state.without_others(theirs, AppState(run=run_with())) is theirs


@pytest.mark.parametrize("form", [Format.GGUF, Format.ONNX])
def test_of_files_for_other_programs_the_run_is_compared(form):
    assert models_of(PlaygroundState(), AppState(run=run_with(form))) == Models(
        "demo", "/runs/one"
    )


def test_a_run_that_goes_on_has_no_pruned_model_yet():
    app = AppState(run=run_with(status=Status.RUNNING))
    assert models_of(PlaygroundState(), app) == Models("demo", "")


READY = PlaygroundState(prompt="A", own=OWN)


def busy_with(kind):
    return AppState(requests={kind: Request("request-1")})


@pytest.mark.parametrize(
    ("state", "app", "reason"),
    [
        (READY, AppState(run=run_with(status=Status.RUNNING)), "A run is under way"),
        (READY, busy_with(RequestKind.SAVE), "being saved"),
        (READY, busy_with(RequestKind.MEASUREMENT), "Speed is being"),
        (READY, busy_with(RequestKind.DIAGNOSIS), "being diagnosed"),
        (READY, AppState(engine=Engine.UNAVAILABLE), "no engine"),
        (replace(READY, question=Request("generate-1")), AppState(), "are writing"),
        (replace(READY, prompt=" \n"), AppState(), "Write a prompt"),
        (PlaygroundState(prompt="A"), AppState(), "Prune a model first"),
        (replace(READY, own=Models("demo", "")), AppState(), "pruned model too"),
        (replace(READY, own=Models("", "demo")), AppState(), "original too"),
        (replace(READY, own=Models("demo", "/gone")), AppState(), "nothing at /gone"),
        (READY, AppState(), ""),
    ],
)
def test_what_keeps_models_from_writing_is_said(state, app, reason):
    found = obstacle(state, app)
    assert reason in found
    assert bool(found) is bool(reason)


def test_the_tokens_that_differ_most_come_first_and_shared_ones_once(done):
    places = ranking(done)
    assert places[:3] == (
        Place(Side.PRUNED, 2),
        Place(Side.PRUNED, 3),
        Place(Side.ORIGINAL, 1),
    )
    # The first token is the same on both sides; the second is not.
    assert Place(Side.PRUNED, 1) in places
    assert [place.index for place in places].count(0) == 1
    assert Place(Side.ORIGINAL, 3) not in places  # they do not differ there


def test_the_summary_says_how_much_agrees_and_where_it_does_not(done):
    said = words.summary(done).replace(SPACE, " ")
    # Eight of twelve are below half a nat.
    assert "agrees on 58 % of the likeliest tokens" in said
    assert f"{sum(NATS[Side.ORIGINAL] + NATS[Side.PRUNED]) / 12:.2f} nats apart" in said
    assert "at “ moon” in the pruned one's text: 4.50 nats" in said
    assert words.summary(begun()) == ""


def test_models_that_are_the_same_are_said_to_be(done):
    tokens = tuple(replace(x, found=disagreement(0.0)) for x in done.original)
    same = replace(done, original=tokens, pruned=tokens)
    assert words.summary(same) == "Both models expect exactly the same everywhere."
    assert ranking(same) == ()


def test_a_tip_says_what_each_model_would_have_said(done):
    token = done.pruned[2]
    tip = words.token_tip(token.piece, token.found).replace(SPACE, " ")
    assert tip.splitlines() == [
        "“ moon”: the models differ by 4.50 nats",
        "Original: “ same” first (90 %), this token 5 %",
        f"Pruned: “{words.LINE_END}” first (40 %), this token 0.4 %",
    ]
    assert "not compared yet" in words.token_tip("a", None)
    assert "part of a character" in words.token_tip("", None)


def test_lines_of_the_list_say_what_is_where(done):
    line = words.place_line(done, Place(Side.PRUNED, 2)).replace(SPACE, " ")
    assert line == (
        "4.50 nats  Pruned, token 3: “ moon”; original says “ same” (90 %), pruned "
        f"says “{words.LINE_END}” (40 %)"
    )
    same = words.place_line(done, Place(Side.ORIGINAL, 2)).replace(SPACE, " ")
    assert same.endswith("“ module”; both say “ same” (90 %) first")


def test_the_line_below_a_text_has_speed_memory_and_its_end(done):
    answer = done.question.response
    ours, theirs = (
        words.written_line(done, side, answer).replace(SPACE, " ") for side in Side
    )
    assert ours == "7 tokens · 12.0 tokens/s · 390.0 MB memory"
    assert theirs == ("5 tokens · 20.0 tokens/s · 380.0 MB memory · ended")
    half = told(begun(), events_of(begun(), 4))
    assert words.written_line(half, Side.ORIGINAL, None) == "1 token"
    assert "take turns" in words.written_tip(answer)


def test_text_is_copied_with_its_prompt(done):
    assert words.text_of(done, Side.PRUNED) == "The import loads the moon\n."
    chat = replace(done, settings=GenerationSettings(as_chat=True))
    chat = asked(chat, "generate-2", OWN, Dtype.FLOAT32, Device.CPU)
    assert words.text_of(chat, Side.PRUNED) == "The import\n\n"


def test_a_failure_ends_the_question(done):
    state = told(begun("too long"), events_of(begun("too long")))
    assert isinstance(state.question.error, Failed)
    assert not state.question.is_open


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_shaded_text_can_be_read_and_shades_can_be_told_apart(theme):
    assert shade(theme, 0.0) is shade(theme, STEPS[0] - 0.001) is None
    shades = [shade(theme, step) for step in STEPS]
    assert shades == list(theme.doubt)
    assert shade(theme, 100.0) == shades[-1]
    for colour in shades:
        assert contrast(theme.text, colour) >= 4.5
    # By lightness alone, so that nobody needs to tell hues apart.
    steps = [contrast(colour, theme.surface) for colour in shades]
    assert steps == sorted(steps)
    for less, more in itertools.pairwise(shades):
        assert contrast(less, more) >= 1.1
