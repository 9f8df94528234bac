"""State and texts of the playground."""

import itertools
from dataclasses import replace

import msgspec
import pytest

from surgeon_engine.api.config.export import ExportConfig, Format
from surgeon_engine.api.config.pruning import PruningConfig
from surgeon_engine.api.config.run import Device, Dtype, ModelConfig, RunConfig
from surgeon_engine.api.messages.commands import Generate
from surgeon_engine.api.messages.events import (
    Cancelled,
    ConnectionChanged,
    ConnectionStatus,
    Envelope,
)
from surgeon_engine.api.messages.generation import (
    GenerationSettings,
    ModelsLoaded,
    Side,
    TokenWritten,
)
from surgeon_engine.api.model_info.source_names import HubName
from surgeon_gui.base import translation
from surgeon_gui.base.colors import DARK, LIGHT
from surgeon_gui.base.theme import contrast
from surgeon_gui.state.app import AppState, Engine
from surgeon_gui.state.playground import state as playground_state
from surgeon_gui.state.playground import text as playground_text
from surgeon_gui.state.playground.state import (
    Models,
    PlaygroundState,
    TokenPlace,
    apply,
    cancelling,
    models_of,
    obstacle,
    ranking,
    requested,
)
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.run import RunState, Status
from surgeon_gui.text import numbers
from surgeon_gui.text.problems import Kind
from surgeon_gui.views.playground.text_view import STEPS, shade
from tests.helpers.fake_playground import (
    NATS,
    REST,
    TEXTS,
    disagreement,
    playground_events,
)
from tests.helpers.fake_results import exported
from tests.helpers.fake_runs import write_run

SPACE = "\N{NO-BREAK SPACE}"
OWN = Models("demo", "demo")
HUB = "hf://organization/name"


def open_request(prompt="The import"):
    state = PlaygroundState(prompt=prompt, own=OWN)
    return requested(state, "generate-1", OWN, Dtype.FLOAT32, Device.CPU)


def events_of(state, count=None):
    command = Generate(
        run="generate-1",
        original="demo",
        pruned="demo",
        prompt=state.prompt,
        settings=state.settings,
    )
    return list(playground_events(command))[:count]


def applied(state, events):
    for event in events:
        state = apply(state, Envelope("generate-1", 0.0, event))
    return state


@pytest.fixture
def done():
    return applied(open_request(), events_of(open_request()))


def run_with(form=Format.COMPACT, status=Status.FINISHED):
    export = ExportConfig(format=form)
    return RunState(
        status=status,
        run="run-1",
        folder="/runs/one",
        config=RunConfig(model=ModelConfig(source="demo"), export=export),
        exported=exported("/runs/one/export", PruningConfig(), export),
    )


def test_models_have_the_names_of_their_runs(tmp_path):
    name, run = playground_text.model_name, run_with()
    size = numbers.size(run.exported.weight_bytes)
    title = f"Bundled demo \N{MIDDLE DOT} {size}"
    assert name("demo", run) == "Bundled demo"
    assert name("/runs/one/export", run) == title
    assert name("/runs/one/export", replace(run, name="the best")) == "the best"
    gguf = run_with(Format.GGUF)  # it writes from the checkpoint of its folder
    assert name("/runs/one", gguf) == title
    other = write_run(tmp_path, "20260101-demo")
    assert name(str(other), run) == name(str(other / "export"), run)
    assert name(str(other), run).startswith("Bundled demo \N{MIDDLE DOT} ")
    (other / "name.txt").write_text("mine")
    assert name(str(other), RunState()) == "mine"
    assert name(str(tmp_path / "model.gguf"), run) == "model.gguf"


def test_apply_appends_tokens_and_then_compares_them(done):
    for side in Side:
        tokens = done.tokens(side)
        pieces = [token.piece for token in tokens]
        last = TEXTS[side][-1] + REST * (side is Side.ORIGINAL)
        assert pieces == [*TEXTS[side][:-1], last]
        assert tuple(token.disagreement.nats for token in tokens) == NATS[side]
    assert done.question.response is not None
    assert done.has_chat_template is False


def test_summary_says_that_models_with_different_tokens_are_not_compared(done):
    response = msgspec.structs.replace(done.question.response, is_compared=False)
    question = replace(done.question, response=response)
    found = playground_text.summary(replace(done, question=question))
    assert "different tokens" in found
    assert "different tokens" not in playground_text.summary(done)


def test_events_of_other_requests_and_after_the_end_are_ignored(done):
    event = TokenWritten(Side.PRUNED, 5, "more")
    assert apply(done, Envelope("generate-1", 0.0, event)) is done
    open_state = open_request()
    assert apply(open_state, Envelope("generate-2", 0.0, event)) is open_state


def test_new_request_clears_texts_and_cancelled_one_keeps_them(done):
    again = requested(done, "generate-2", OWN, Dtype.FLOAT32, Device.CPU)
    assert not any(map(again.tokens, Side))
    assert again.has_chat_template is False  # the models are the same
    other = requested(done, "generate-2", Models("a", "b"), Dtype.FLOAT32, Device.CPU)
    assert other.has_chat_template is None
    partial = cancelling(applied(open_request(), events_of(open_request(), 6)))
    assert partial.question.is_cancelling
    cancelled = applied(partial, [Cancelled()])
    assert cancelled.texts == partial.texts != {}
    kept = "Canceled. The texts so far are kept."
    assert playground_text.status_line(cancelled) == kept
    without = applied(cancelling(open_request()), [Cancelled()])
    assert playground_text.status_line(without) == "Canceled."


@pytest.mark.parametrize(
    ("run", "pruned"),
    [
        (run_with(), "/runs/one/export"),
        (run_with(Format.GGUF), "/runs/one"),  # an export for other programs
        (run_with(status=Status.RUNNING), ""),
    ],
    ids=["compact", "GGUF", "in progress"],
)
def test_models_default_to_those_of_the_run(run, pruned):
    state, app = PlaygroundState(), AppState(run=run)
    assert models_of(state, app) == Models("demo", pruned)
    state = playground_state.with_model(state, Side.PRUNED, "/other", app)
    assert models_of(state, app) == Models("demo", "/other")
    assert models_of(PlaygroundState(), AppState()) == Models()


def test_texts_are_cleared_once_other_models_are_chosen(done):
    app = AppState()
    assert playground_state.without_stale_texts(done, app) is done
    other = playground_state.with_model(done, Side.PRUNED, "/other", app)
    after = playground_state.without_stale_texts(other, app)
    assert not any(map(after.tokens, Side))
    assert after.question.response is None
    # While the next run is in progress, there is nothing to compare instead.
    run = AppState(run=run_with(status=Status.RUNNING))
    of_run = replace(
        done, own=Models(), requested_models=Models("demo", "/runs/one/export")
    )
    assert playground_state.without_stale_texts(of_run, run) is of_run
    assert (
        playground_state.without_stale_texts(of_run, AppState(run=run_with())) is of_run
    )


READY = PlaygroundState(prompt="A", own=OWN)


def busy_with(kind):
    return AppState(requests={kind: Request("request-1")})


@pytest.mark.parametrize(
    ("state", "app", "reason"),
    [
        (READY, AppState(run=run_with(status=Status.RUNNING)), Kind.RUN_BUSY),
        (READY, busy_with(RequestKind.SAVE), Kind.SAVING),
        (READY, busy_with(RequestKind.MEASUREMENT), Kind.MEASURING),
        (READY, busy_with(RequestKind.DIAGNOSIS), Kind.DIAGNOSING),
        (READY, AppState(engine=Engine.UNAVAILABLE), Kind.ENGINE_UNAVAILABLE),
        (replace(READY, question=Request("generate-1")), AppState(), Kind.GENERATING),
        (replace(READY, prompt=" \n"), AppState(), Kind.NO_PROMPT),
        (PlaygroundState(prompt="A"), AppState(), Kind.NO_MODELS),
        (replace(READY, own=Models("demo", "")), AppState(), Kind.NO_PRUNED),
        (replace(READY, own=Models("", "demo")), AppState(), Kind.NO_ORIGINAL),
        (replace(READY, own=Models("demo", "/gone")), AppState(), Kind.MODEL_MISSING),
        (replace(READY, own=Models(HUB, "demo")), AppState(), Kind.NOT_DOWNLOADED),
        (READY, AppState(), None),
    ],
)
def test_obstacle_names_the_reason(state, app, reason):
    found = obstacle(state, app)
    assert (found.kind if found else None) is reason


def test_models_there_and_of_the_hub_can_be_used(monkeypatch, tmp_path):
    there = replace(READY, own=Models("/models/there", "/runs/1/export"))
    connected = AppState(
        computer="box", connection=ConnectionChanged(ConnectionStatus.CONNECTED, "box")
    )
    assert obstacle(there, connected) is None
    monkeypatch.setattr(HubName, "snapshot", tmp_path)
    assert obstacle(replace(READY, own=Models(HUB, "demo")), AppState()) is None


def test_ranking_has_largest_differences_first_and_common_tokens_once(done):
    places = ranking(done)
    assert places[:3] == (
        TokenPlace(Side.PRUNED, 2),
        TokenPlace(Side.PRUNED, 3),
        TokenPlace(Side.ORIGINAL, 1),
    )
    # The first token is the same on both sides; the second is not.
    assert TokenPlace(Side.PRUNED, 1) in places
    assert [place.index for place in places].count(0) == 1
    assert TokenPlace(Side.ORIGINAL, 3) not in places  # they do not differ there


def test_summary_has_agreement_and_largest_difference(done):
    summary = playground_text.summary(done).replace(SPACE, " ")
    # Eight of twelve are below half a nat.
    assert "Same top token for 58 % of the tokens" in summary
    mean = sum(NATS[Side.ORIGINAL] + NATS[Side.PRUNED]) / 12
    assert f"mean difference {mean:.2f} nats" in summary
    assert "at “ moon” in the pruned model's text: 4.50 nats" in summary
    assert playground_text.summary(open_request()) == ""


def test_tokens_have_the_quotation_marks_of_the_language():
    try:
        translation.use("de")
        assert playground_text.shown_token(" a\n") == "„\N{NO-BREAK SPACE}a↵“"
    finally:
        translation.use(translation.ENGLISH)


def test_summary_of_identical_predictions(done):
    before = done.tokens(Side.ORIGINAL)
    tokens = tuple(replace(x, disagreement=disagreement(0.0)) for x in before)
    same = replace(done, texts=dict.fromkeys(Side, tokens))
    assert (
        playground_text.summary(same) == "The predictions of both models are identical."
    )
    assert ranking(same) == ()


def test_token_tip_has_the_top_token_of_each_model(done):
    token = done.tokens(Side.PRUNED)[2]
    tip = playground_text.token_tip(token.piece, token.disagreement).replace(SPACE, " ")
    assert tip.splitlines() == [
        "“ moon”: the models differ by 4.50 nats",
        "Original: top token “ same” (90 %), this token 5 %",
        f"Pruned: top token “{playground_text.LINE_END}” (40 %), this token 0.4 %",
    ]
    assert "not compared yet" in playground_text.token_tip("a", None)
    assert "part of a character" in playground_text.token_tip("", None)


def test_token_line_has_place_and_predictions(done):
    line = playground_text.token_line(done, TokenPlace(Side.PRUNED, 2)).replace(
        SPACE, " "
    )
    assert line == (
        "4.50 nats  Pruned, token 3: “ moon”; original predicts “ same” (90 %), "
        f"pruned “{playground_text.LINE_END}” (40 %)"
    )
    same = playground_text.token_line(done, TokenPlace(Side.ORIGINAL, 2)).replace(
        SPACE, " "
    )
    assert same.endswith("“ module”; both predict “ same” (original 90 %, pruned 40 %)")


def test_written_line_has_speed_and_ending(done):
    answer = done.question.response
    original, pruned = (
        playground_text.written_line(done, side, answer).replace(SPACE, " ")
        for side in Side
    )
    assert original == "7 tokens · 12.0 tokens/s"
    assert pruned == "5 tokens · 20.0 tokens/s · ended"
    partial = applied(open_request(), events_of(open_request(), 4))
    assert playground_text.written_line(partial, Side.ORIGINAL, None) == "1 token"
    tip = playground_text.written_tip(answer).replace(SPACE, " ")
    assert "take turns" in tip
    assert "libraries included: 390.0 MB and 380.0 MB." in tip


def test_text_by_the_weights_before_rounding_says_so(done):
    for answer in (None, done.question.response):
        before = [playground_text.written_line(done, x, answer) for x in Side]
        loaded = ModelsLoaded(False, is_before_rounding=True)
        rounded = applied(replace(done, question=Request("generate-1")), [loaded])
        after = [playground_text.written_line(rounded, x, answer) for x in Side]
        assert after[0] == before[0]
        assert after[1] == f"{before[1]} · written by the model before rounding"


def test_text_of_begins_with_the_prompt(done):
    assert playground_text.text_of(done, Side.PRUNED) == "The import loads the moon\n."
    chat = replace(done, settings=GenerationSettings(as_chat=True))
    chat = requested(chat, "generate-2", OWN, Dtype.FLOAT32, Device.CPU)
    assert playground_text.text_of(chat, Side.PRUNED) == "The import\n\n"


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_shades_are_readable_and_distinguishable(theme):
    assert shade(theme, 0.0) is shade(theme, STEPS[0] - 0.001) is None
    shades = [shade(theme, step) for step in STEPS]
    assert shades == list(theme.doubt)
    assert shade(theme, 100.0) == shades[-1]
    for color in shades:
        assert contrast(theme.text, color) >= 4.5
    # By lightness alone, so that no color vision is needed.
    steps = [contrast(color, theme.surface) for color in shades]
    assert steps == sorted(steps)
    for lighter, darker in itertools.pairwise(shades):
        assert contrast(lighter, darker) >= 1.1
