"""Shares of several texts, and what a preview says about them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from surgeon_engine.api.config.calibration import CalibrationConfig, MoreText
from surgeon_engine.api.config.recovery import RecoveryConfig
from surgeon_engine.api.config.run import Dtype, RunConfig
from surgeon_engine.api.messages.sources import PreviewedText, TextPreviewed
from surgeon_gui.state.app import AppState
from surgeon_gui.state.job.editing import with_config
from surgeon_gui.state.request import Request, RequestKind
from surgeon_gui.state.sources.shares import max_share, new_share, share_rows
from surgeon_gui.state.sources.text import (
    own_text_line,
    preview_facts,
    preview_line,
    preview_parts,
)

MORE = (
    MoreText("hf://datasets/a/b", 0.25, "story", "long", "test"),
    MoreText("notes/c.txt", 0.125),
)
PREVIEW = TextPreviewed(
    ("main",), ("held out",), 16_384, 8_192, 900_000, "builtin", 256, 40, 32
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


def test_preview_of_several_texts_counts_them():
    more = (PreviewedText("a.txt", 1, ()), PreviewedText("b.txt", 1, ()))
    shown = TextPreviewed((), (), 1, 1, 2, "builtin", more_texts=more)
    assert preview_line(shown).endswith("of 2 in 3 texts.")
    assert preview_line(PREVIEW).endswith("of 900,000 in Built-in text.")


def test_preview_line_says_how_windows_begin():
    shown = TextPreviewed((), (), 1, 1, 2, "builtin", beginning="<bos>")
    assert preview_line(shown).endswith(". Each window begins with <bos>.")


def test_preview_facts_name_chats():
    shown = TextPreviewed(
        (), (), 1, 1, 2, "a.jsonl", column="messages", chats=2, skipped_chats=1
    )
    facts = dict(preview_facts(shown))
    assert facts["Chats"] == "2 chats, rendered by the model's template"
    assert facts["No chat"] == "1 row without a chat that the template can render"
    assert "Chats" not in dict(preview_facts(PREVIEW))


def test_preview_facts_say_how_much_was_not_read():
    shown = TextPreviewed((), (), 1, 1, 2, "a.txt", unread_characters=99_500_000)
    assert dict(preview_facts(shown))["Not read"].startswith("99,500,000 characters;")
    assert "Not read" not in dict(preview_facts(PREVIEW))


def test_parts_of_a_preview_are_in_order():
    more = (PreviewedText("notes/{c}.txt", 8, ("further",)), PreviewedText("d", 0, ()))
    shown = TextPreviewed(
        ("main",),
        ("held out",),
        *(16_384, 8_192, 900_000, "builtin", 256, 40, 32),
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
    cached = TextPreviewed((), (), 1, 1, 2, "", own=("a",), own_cache_bytes=2_000_000)
    line = own_text_line(cached, 128).replace("\xa0", " ")
    assert line == (
        "128 windows were written by the model itself. The cache of such windows, of "
        "all models, takes 2.0 MB."
    )


@pytest.mark.parametrize(
    ("change", "is_kept"),
    [
        ({"recovery": RecoveryConfig(own_windows=7)}, False),
        ({"recovery": RecoveryConfig(epochs=2.0)}, True),
        ({"model": replace(RunConfig().model, dtype=Dtype.BFLOAT16)}, False),
        ({"calibration": CalibrationConfig(more_texts=MORE)}, False),
    ],
)
def test_preview_is_kept_until_what_it_shows_changes(change, is_kept):
    state = AppState(requests={RequestKind.PREVIEW: Request("preview-1", PREVIEW)})
    state = with_config(state, replace(state.config, **change))
    assert (state.request(RequestKind.PREVIEW).response is not None) == is_kept
