"""Texts about a smaller vocabulary, before a run."""

from msgspec.structs import replace as changed

from surgeon_engine.api.config.fields import values_of
from surgeon_engine.api.config.pruning import PruningConfig, Vocabulary
from surgeon_engine.api.config.run import RunConfig
from surgeon_engine.api.messages.run import TokensRemoved
from surgeon_engine.api.messages.vocabulary import ScriptLoss
from surgeon_gui.state.job import plan_text
from surgeon_gui.state.job.targets import implied_changes
from surgeon_gui.state.job.vocabulary_text import (
    hit_warning,
    planned_tokens,
    preview_line,
    script_rows,
    text_rows,
)
from surgeon_gui.state.queue.text import run_name
from surgeon_gui.state.runs.text import title_of
from tests.helpers.configs import AUTOMATIC, some_tokens
from tests.helpers.fake_engine import model_summary
from tests.helpers.fake_sources import fewer_tokens

MODEL = model_summary()
FOUND = fewer_tokens(1_500)
SPACE = "\N{NO-BREAK SPACE}"


def with_vocabulary(vocabulary, share=0.3) -> RunConfig:
    pruning = PruningConfig(sparsity=share, **vocabulary)
    return RunConfig(pruning=pruning)


def test_plan_names_the_tokens_before_and_after():
    config = with_vocabulary(some_tokens(1_500))
    tokens = f"{MODEL.vocabulary:,} to 1,500 tokens"
    assert planned_tokens(config, MODEL) == tokens
    assert tokens in plan_text.brief_sizes(config, MODEL)
    assert tokens in plan_text.describe_goal(config, MODEL)
    assert planned_tokens(RunConfig(), MODEL) == ""
    automatic = with_vocabulary(AUTOMATIC)
    assert planned_tokens(automatic, MODEL) == "fewer tokens, as the run decides"


def test_plan_of_tokens_alone_does_not_say_that_nothing_is_removed():
    config = with_vocabulary(some_tokens(1_500), share=0.0)
    assert plan_text.brief_plan(config.pruning) == "Remove tokens alone"
    assert "1,500 tokens; nothing else" in plan_text.describe_goal(config, MODEL)


def test_names_of_runs_have_the_tokens():
    job = with_vocabulary(some_tokens(1_500))
    for title in (title_of("", "", job), run_name(job)):
        planned = "30 % fewer prunable weights, 1,500 tokens"
        assert planned in title.replace(SPACE, " ")
    automatic = with_vocabulary(AUTOMATIC)
    assert title_of("", "", automatic).endswith("prunable weights, fewer tokens")
    for config in (job, automatic):  # a file has the tokens that the run has left
        name = title_of("", "", config, 90_000_000, None, TokensRemoved(2_048, 1_600))
        assert name.endswith(f"90.0{SPACE}MB, 1,600 tokens")
        assert title_of("", "", config, 90_000_000).endswith(f"90.0{SPACE}MB")
    assert title_of("", "", RunConfig()).endswith("prunable weights")


def test_number_of_tokens_that_the_model_does_not_have_becomes_a_usual_one():
    before, after = (
        values_of(with_vocabulary(x).pruning)
        | {"pattern": "2:4", "vocabulary_tokens": 32_768}
        for x in ({}, {"vocabulary": Vocabulary.TOKENS})
    )
    changes = implied_changes(before, after, MODEL)
    assert changes == {"vocabulary_tokens": 1_365}
    large = changed(MODEL, vocabulary=49_152)
    assert implied_changes(before, after, large) == {}
    assert implied_changes(after, after, MODEL) == {}  # what the user types stays


def test_preview_says_what_is_kept_and_that_a_choice_is_the_runs():
    assert preview_line(FOUND).startswith("1,500 of 2,048 tokens are kept. 105")
    assert f"420.9{SPACE}kB of a file like the original's" in preview_line(FOUND)
    assert "The run chooses" not in preview_line(FOUND)
    assert "The run chooses" in preview_line(fewer_tokens(None))


def test_scripts_that_lose_nothing_are_left_out_and_many_are_added_up():
    (row,) = script_rows(FOUND)
    assert row == ("Latin", "495 of 1,668 removed: tensor  els  node")
    many = tuple(ScriptLoss(f"Old_{n}", 10, n, ()) for n in range(10, 0, -1))
    rows = script_rows(changed(FOUND, scripts=many))
    assert len(rows) == 7
    assert rows[0][0] == "Old 10"
    assert rows[-1] == ("Others", "10 removed, in 4 scripts")  # 4 + 3 + 2 + 1


def test_texts_get_longer_by_a_share():
    assert text_rows(FOUND) == (
        ("mine.txt", f"50{SPACE}% longer; 25{SPACE}% of its tokens are split"),
        (
            "Built-in text",
            f"3.4{SPACE}% longer; 3.2{SPACE}% of its tokens are split",
        ),
    )


def test_hit_language_is_a_warning_with_numbers():
    assert f"Cyrillic makes up 50{SPACE}% of your text" in hit_warning(FOUND)
    assert f"25{SPACE}% of its tokens" in hit_warning(FOUND)
    assert hit_warning(fewer_tokens(1_500, ("Cyrillic",))) == ""
    assert hit_warning(None) == ""
